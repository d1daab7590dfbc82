"""Files that a benchmark will write: looked at before an hour of work, not behind it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from interwhen.errors import MissingExtraError, UsageError


def check_outputs(**paths: Path | None) -> None:
    """Raise :class:`UsageError` where a file could not be written, by the name of its option.

    A *plot* also needs matplotlib (:class:`~interwhen.errors.MissingExtraError` without it); ``-`` is standard output.
    """
    for option, path in paths.items():
        if path is None or str(path) == "-":
            continue
        if not path.parent.is_dir():
            raise UsageError(f"--{option} {str(path)!r}: there is no folder {str(path.parent)!r}; make it first")
        if path.is_dir():
            raise UsageError(f"--{option} {str(path)!r} is a folder; name a file in it")
        if option == "plot" and find_spec("matplotlib") is None:
            raise MissingExtraError("a plot", "plots")
