"""Tables of numbers, whole: in a file or a pipe they are as wide as they need."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table

_UNBOUNDED = 10_000


def show_tables(*tables: Table) -> None:
    """Print *tables* to standard output; rich takes 80 columns of what is no terminal, and cuts numbers off."""
    console = Console()
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        wide = Console(width=_UNBOUNDED)
        console = Console(width=max([console.width, *(wide.measure(table).maximum for table in tables)]))
    for table in tables:
        console.print(table)
