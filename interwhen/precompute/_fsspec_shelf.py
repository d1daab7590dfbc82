"""Keeps the entries of a store on a file system of fsspec, so that machines can share it (extra ``precompute``).

Two writers are safe only if the file system can create a file exclusively in one request, as local folders, memory and
some object stores (S3, Google Cloud Storage, Azure) can.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from interwhen._types.errors import MissingExtraError, StoreError
from interwhen.precompute._shelves import latest_of, number_of, numbered

_LOCAL = frozenset(("file", "local"))
_EXCLUSIVE = _LOCAL | {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
_TAKEN = 64
"""For how many newer generations a generation is kept. Until it is deleted, no writer can use its name again."""
_MEMORY = threading.Lock()


class FsspecShelf:
    """Stores each entry as one file in the folder *url* (``s3://bucket/folder``, ``file:///mnt/shared``).

    *options* go to fsspec. A local folder is created at the first write. A file system that is not known to create
    files exclusively needs *one_writer*, which declares that only one process writes at a time.
    """

    blocks = True

    def __init__(self, url: str, *, one_writer: bool = False, **options: Any) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtraError("a store at a URL", "precompute") from error
        self.place = url
        protocol = url.partition("://")[0]
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            raise MissingExtraError(f"a store at {protocol}://", "precompute", str(error)) from error
        except ValueError as error:
            raise StoreError(url, str(error)) from error
        self._root = self._root.rstrip("/")
        self._protocol = protocol
        self.is_exposed = False if protocol == "memory" else None
        """Whether others can write to the folder; ``None``: this is not known."""
        if protocol not in _EXCLUSIVE and not one_writer:
            raise StoreError(
                url,
                f"a file system must create files exclusively, got {protocol!r}, which may not, so that two writers "
                "could overwrite each other: set one_writer=True if only one process writes here, or use a local "
                "folder, S3, GCS or Azure",
            )

    def read(self, name: str, /) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:
            raise self._failed(error) from error

    def create(self, name: str, data: bytes, /) -> bool:
        try:
            self._put(self._path(name), data)
        except FileExistsError:
            return False
        except Exception as error:
            raise self._failed(error) from error
        return True

    def follow(self, folder: str, number: int, data: bytes, /) -> bool:
        # The result is also false if another writer creates this generation at the same time.
        old = self.names(folder)
        if latest_of(old) != number - 1 or not self.create(numbered(folder, number), data):
            return False
        if latest_of(self.names(folder)) >= number + _TAKEN // 2:
            self.delete(numbered(folder, number))
            return False
        for each in old:
            if number_of(each) <= number - _TAKEN:
                self.delete(each)
        return True

    def delete(self, name: str, /) -> None:
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(error) from error

    def names(self, folder: str, /) -> list[str]:
        # Names that end in `.part` are unfinished files of `_link`.
        try:
            self._fs.invalidate_cache()
            paths: Iterable[str] = self._fs.find(self._path(folder))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed(error) from error
        start = len(self._root) + 1 if self._root else 0
        return sorted(path[start:] for path in paths if not path.endswith(".part"))

    def close(self) -> None:
        """Do nothing: fsspec shares its connections between file system objects."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name

    def _put(self, path: str, data: bytes) -> None:
        if self._protocol in _LOCAL:
            _link(Path(path), data)
        elif self._protocol == "memory":
            with _MEMORY:
                self._fs.pipe_file(path, data, mode="create")
        elif self._protocol in _EXCLUSIVE:
            self._fs.pipe_file(path, data, mode="create")
        else:
            if self._fs.exists(path):
                raise FileExistsError(path)
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def _failed(self, error: Exception) -> StoreError:
        # Each file system raises its own exceptions; they are translated here.
        return StoreError(self.place, f"{type(error).__name__}: {error}")


def _link(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123  (a descriptor has no path)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.link(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
