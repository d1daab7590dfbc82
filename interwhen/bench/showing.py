"""Tables of numbers, whole: in a file or a pipe they are as wide as they need."""

from __future__ import annotations

import os

from rich.console import Console
from rich.table import Table

_WIDE = 160
"""Columns of what is no terminal. Rich takes 80, and cuts numbers off."""


def show_tables(*tables: Table) -> None:
    """Print *tables* to standard output."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_WIDE)
    for table in tables:
        console.print(table)
