"""Consoles that interpret nothing, and the one place that knows what the terminal can do."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from rich.console import Console
from rich.text import Text

from interwhen.cli.escape import joined


class _PipeAware(Console):
    """Leaves it to main() what happens when whoever reads the output has left."""

    def on_broken_pipe(self) -> None:
        """Say nothing more, and say so."""
        self.quiet = True
        raise BrokenPipeError


def console_for(stream: TextIO) -> Console:
    """Return a console on *stream*: no markup, no emoji codes, no highlighting, and nothing that cannot be written."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return _PipeAware(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=not stream.isatty())


def is_live(console: Console) -> bool:
    """Tell whether a picture can be redrawn in place on *console*."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def print_error(message: str) -> None:
    """Print one red line that begins with ``error:`` on stderr."""
    console = console_for(sys.stderr)
    console.print(Text.assemble(("error: ", "bold red"), joined(message.strip())), soft_wrap=True)
