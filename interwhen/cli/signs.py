"""The signs and colours of a view. Each meaning has both, so that neither is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LineKind = Literal["passed", "open", "unproven", "violated", "plain"]
"""What is known about a line: the worst of what is known about its parts."""

STYLES: dict[LineKind, str] = {
    "passed": "green",
    "open": "yellow",
    "unproven": "bold yellow",
    "violated": "bold red",
    "plain": "",
}
REPAIR = "bold cyan"
FEEDBACK = "bold magenta"
GHOST = "red strike"
AHEAD = "dim"
"""Text that no check has reached yet."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of a view, in characters that the terminal can show."""

    passed: str = "✓"
    open: str = "…"
    unproven: str = "?"
    violated: str = "✗"
    wrote: str = "»"
    cut: str = "↶"
    bar: str = "│"
    quotes: tuple[str, str] = ("«", "»")
    ghost: tuple[str, str] = ("~~", "~~")

    def of(self, kind: LineKind) -> str:
        """Return the sign of *kind*."""
        signs: dict[LineKind, str] = {
            "passed": self.passed,
            "open": self.open,
            "unproven": self.unproven,
            "violated": self.violated,
            "plain": " ",
        }
        return signs[kind]


UNICODE = Signs()
ASCII = Signs(
    passed="+",
    open=".",
    unproven="?",
    violated="x",
    wrote=">",
    cut="<",
    bar="|",
    quotes=("<<", ">>"),
    ghost=("~~", "~~"),
)


def signs_for(encoding: str | None) -> Signs:
    """Return the signs that can be written in *encoding*."""
    try:
        "✓…✗»↶│«⏎─∅".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE
