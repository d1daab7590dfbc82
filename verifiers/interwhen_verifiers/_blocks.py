"""A fenced code block, read: its language, its code without the fence's indentation, and where each line of it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interwhen import Span

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*\{?\.?([^\s`{}]*)")
LONGEST = 100_000
"""A block of more characters is not read."""


@dataclass(frozen=True, slots=True)
class Block:
    """The code of one block; offsets count from the start of the segment."""

    language: str
    """The language that the fence declares, in lower case; empty without one."""
    code: str
    starts: tuple[int, ...]
    """Where each line of the code stands in the segment."""
    end: int
    """Where its last line ends there."""


def read_block(text: str, indent: str = "") -> Block | None:
    """Return the block that the segment *text* is; ``None`` where it holds no code.

    *indent* is the text before its first fence; as much white space is taken from each line. Without it, as much as
    stands before the closing fence.
    """
    head, _, rest = text.partition("\n")
    opening = _FENCE.match(head)
    body, newline, closing = rest.rpartition("\n")
    if opening is None or not newline or not body.strip():
        return None
    width = len(indent) or len(closing) - len(closing.lstrip(" \t"))
    lines, starts, at = [], [], len(head) + 1
    for line in body.split("\n"):
        taken = min(width, len(line) - len(line.lstrip(" \t")))
        lines.append(line[taken:].removesuffix("\r"))
        starts.append(at + taken)
        at += len(line) + 1
    return Block(opening[2].lower(), "\n".join(lines) + "\n", tuple(starts), at - 1)


def line_span(starts: tuple[int, ...], end: int, line: int) -> Span | None:
    """Return where line number *line* (from 1) of a claim stands that ends at *end*, without blanks around it."""
    if not 1 <= line <= len(starts):
        return None
    stop = starts[line] - 1 if line < len(starts) else end
    return Span(starts[line - 1], max(min(stop, end), starts[line - 1]))
