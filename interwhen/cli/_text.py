"""Text for terminals: characters of others that would act on a terminal are escaped."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interwhen.journal._compact_form import to_json

_ACTING = re.compile(
    "["
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 without the newline, DEL, C1
    "\u00ad\u061c\u180e\u200b\u200e\u200f"  # soft hyphen, marks of direction, zero-width space
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # separators, bidi embeddings and isolates, invisible operators
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0"  # joiners and fillers without a shape
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # controls of hieroglyphs, shorthand, music
    "\U000e0000-\U000e0fff"  # tags and selectors, which hide text in text
    "\ud800-\udfff"  # lone surrogates, which cannot be encoded
    "]"
)
"""Characters that move the cursor, hide or reorder text, or cannot be written; joiners are kept for emoji."""


def visible(text: str) -> str:
    r"""Show control and invisible characters as escapes, except newlines and what emoji need."""
    return _ACTING.sub(_escaped, text)


def joined(text: str) -> str:
    r"""Return *text* on one line: escaped as by :func:`visible`, and newlines as ``\n``."""
    return visible(text).replace("\n", r"\n")


def one_line(text: str, limit: int = 160) -> str:
    shown = visible(text[: limit + 1]).replace("\n", "⏎")
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def as_json(value: object) -> str:
    # One line that is safe to print on a terminal: its control characters are escaped.
    return json_safe(to_json(value).decode())


def json_safe(encoded: str) -> str:
    r"""Escape control and invisible characters in JSON text; its value stays the same, and newlines are kept."""
    return _ACTING.sub(_json_escaped, encoded)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    named = {9: r"\t", 13: r"\r"}.get(code)
    if named:
        return named
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class PipeAwareConsole(Console):
    """Raises an error when the reader of the output has closed it. main() then ends the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def console_for(stream: TextIO) -> Console:
    # If `stream` is a text file, characters that it cannot encode are escaped from now on.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return PipeAwareConsole(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=not stream.isatty())


def stdout_console() -> Console:
    return console_for(sys.stdout)


def table(*headers: str) -> Table:
    # Long cells are wrapped.
    made = Table(*headers, box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in made.columns:
        column.overflow = "fold"
    return made


def is_live(console: Console) -> bool:
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def print_error(message: str) -> None:
    console = console_for(sys.stderr)
    console.print(Text.assemble(("error: ", "bold red"), joined(message.strip())), soft_wrap=True)


# The signs and colours of a view. Each meaning has both, so that either is enough.

LineKind = Literal["passed", "open", "unproven", "violated", "plain"]
"""The worst state of the parts of a line."""

STYLES: dict[LineKind, str] = {
    "passed": "green",
    "open": "yellow",
    "unproven": "bold yellow",
    "violated": "bold red",
    "plain": "",
}
REPAIR = "bold cyan"
FEEDBACK = "bold magenta"
RETRACTED = "red strike"
AHEAD = "dim"
"""Text after the frontier without a mark."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters with which a view marks passed checks, violations, cuts and so on."""

    passed: str = "✓"
    open: str = "…"
    unproven: str = "?"
    violated: str = "✗"
    wrote: str = "»"
    """Marks a line in which interwhen wrote something, and a remedy."""
    cut: str = "↶"
    bar: str = "│"
    """Stands between the signs of a line and its text."""
    quotes: tuple[str, str] = ("«", "»")
    """Stand around text that interwhen wrote."""
    retracted: tuple[str, str] = ("~~", "~~")

    def of(self, kind: LineKind) -> str:
        return " " if kind == "plain" else str(getattr(self, kind))


UNICODE = Signs()
ASCII = Signs(passed="+", open=".", violated="x", wrote=">", cut="<", bar="|", quotes=("<<", ">>"))


def signs_for(encoding: str | None) -> Signs:
    try:
        "✓…✗»↶│«⏎─∅".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE
