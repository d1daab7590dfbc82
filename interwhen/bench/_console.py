"""Tables of numbers, whole: in a file or a pipe they are as wide as they need."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from interwhen._types.errors import MissingExtraError, UsageError

_UNBOUNDED = 10_000


def show_tables(*tables: Table) -> None:
    """Print *tables* to standard output; rich takes 80 columns of what is no terminal, and cuts numbers off."""
    console = Console()
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        wide = Console(width=_UNBOUNDED)
        console = Console(width=max([console.width, *(wide.measure(table).maximum for table in tables)]))
    for table in tables:
        console.print(table)


# Files that a benchmark will write: looked at before an hour of work, not behind it.


def check_outputs(**paths: Path | None) -> None:
    """Raise :class:`UsageError` where a file could not be written, by the name of its option.

    A *plot* also needs matplotlib (:class:`~interwhen.toolkit.MissingExtraError` without it); ``-`` is standard output.
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
