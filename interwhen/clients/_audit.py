"""The audit file: one line of JSON per call, written in the background, with rotation.

A call does not wait for the disk. If the disk is full or too slow, records are dropped and counted, which is logged.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.log import log_info, log_warning
from interwhen.clients._call_record import CallRecord
from interwhen.journal._background_writer import BackgroundWriter
from interwhen.journal._settings import read_settings

_QUEUED = 1000
"""The most records that wait for the disk. Further ones are dropped."""
_CLOSE_SECONDS = 5.0


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the records of calls are written, how large the files become, and whether they contain texts."""

    path: Annotated[
        str,
        Meta(description="The file, one JSON object per line; empty for none. Older files end in .1, .2, …"),
    ] = ""
    max_bytes: Annotated[
        int, Meta(ge=1024, description="The size beyond which the file is renamed and a new one begins.")
    ] = 64 << 20
    files: Annotated[int, Meta(ge=1, description="How many files are kept, with the current one.")] = 8
    content: Annotated[
        bool, Meta(description="Whether records hold the prompt, the text and what was wrong; they do not by default.")
    ] = False


class AuditFile(BackgroundWriter):
    """Appends the records of calls to a file. All clients of a process that use the same path share one object."""

    # If the file would become too large, it is rotated: older files get a number, and the oldest one may be deleted. A
    # single record that is larger than the limit gets a separate file.

    _open: ClassVar[weakref.WeakValueDictionary[str, AuditFile]] = weakref.WeakValueDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__("interwhen audit", _CLOSE_SECONDS)
        self.settings = settings
        self.dropped = 0
        """Records that were not written, because the queue was full or the disk failed."""
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._descriptor: int | None = None
        self._size = 0
        self._is_torn = False
        """Whether the last line is incomplete, because the disk was full."""
        self._is_failing = False

    @classmethod
    def at(cls, settings: AuditSettings) -> AuditFile:
        path = str(Path(settings.path).absolute())
        with cls._lock:
            known = cls._open.get(path)
            if known is None:
                known = cls._open[path] = cls(msgspec.structs.replace(settings, path=path))
            elif msgspec.structs.replace(settings, path=path) != known.settings:
                raise UsageError(
                    f"all users of the audit file {settings.path!r:.200} must have the same settings, got "
                    f"{settings} and {known.settings}: use equal ones, or another path"
                )
            return known

    def write(self, record: CallRecord) -> None:
        # Does not wait, since it is called on the event loop, and does not raise if the disk fails.
        line = msgspec.json.encode(record, enc_hook=str) + b"\n"
        self.start()
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._drop("queue_full")

    def _begin(self) -> Callable[[], None]:
        return partial(self._write_all, self._queue)

    def _tell_to_end(self) -> bool:
        try:
            self._queue.put(None, timeout=self.close_seconds)
        except queue.Full:
            return False
        return True

    def _forget(self) -> None:
        self._queue, self._descriptor = queue.Queue(_QUEUED), None

    def _write_all(self, lines: queue.Queue[bytes | None]) -> None:
        while (line := lines.get()) is not None:
            try:
                self._append(line)
            except OSError as error:
                self._drop(errno.errorcode.get(error.errno or 0, "OSError"))
                self._close_file()
            else:
                if self._is_failing:
                    self._is_failing = False
                    log_info("audit.resumed", path=self.settings.path, dropped=self.dropped)
        self._close_file()

    def _append(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.settings.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        if self._size and self._size + len(line) > self.settings.max_bytes:
            self._rotate()
        if self._is_torn:
            line = b"\n" + line
        written = os.write(self._descriptor, line)
        self._size += written
        self._is_torn = written < len(line)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        path = self.settings.path
        for number in range(self.settings.files - 1, 0, -1):
            older = f"{path}.{number - 1}" if number > 1 else path
            if Path(older).exists():
                Path(older).replace(f"{path}.{number}")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC
        self._close_file()
        self._descriptor = os.open(path, flags, 0o600)
        self._size, self._is_torn = 0, False

    def _close_file(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if not self._is_failing:  # once, until records are written again
            self._is_failing = True
            log_warning("audit.failed", path=self.settings.path, why=why)


def open_audit(wanted: object) -> AuditFile | None:
    if wanted is None or isinstance(wanted, AuditFile):
        return wanted
    settings = read_settings("audit", wanted, AuditSettings)
    return AuditFile.at(settings) if settings.path else None
