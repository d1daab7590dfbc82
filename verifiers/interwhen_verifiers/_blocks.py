"""Reads a fenced code block: its language, its code without the fence's indentation, and the offset of each line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interwhen import Span

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*\{?\.?([^\s`{}]*)")
LONGEST = 100_000
"""The verifiers do not read a block of more characters."""


@dataclass(frozen=True, slots=True)
class Block:
    """The code of one block; its offsets count from the start of the segment."""

    language: str
    """The language that the fence declares, in lower case; empty without one."""
    code: str
    """The lines without the indentation of the fence, each with a line end."""
    starts: tuple[int, ...]
    """The offset in the segment at which each line of the code starts."""
    end: int
    """The offset in the segment at which the last line ends."""


def read_block(text: str) -> Block | None:
    """Return the code block in *text*, the text of a segment; ``None`` if it is not a block, or holds no code.

    The last line of *text* is taken for the closing fence. At most the indentation of the fence is removed from a line.
    """
    head, _, rest = text.partition("\n")
    opening = _FENCE.match(head)
    body, newline, closing = rest.rpartition("\n")
    if opening is None or not newline or not body.strip():
        return None
    width = len(closing) - len(closing.lstrip(" \t"))
    lines, starts, at = [], [], len(head) + 1
    for line in body.split("\n"):
        taken = min(width, len(line) - len(line.lstrip(" \t")))
        lines.append(line[taken:].removesuffix("\r"))
        starts.append(at + taken)
        at += len(line) + 1
    return Block(opening[2].lower(), "\n".join(lines) + "\n", tuple(starts), at - 1)


def line_span(starts: tuple[int, ...], end: int, line: int) -> Span | None:
    """Return the span of line number *line* (from 1) of a claim; ``None`` where there is no such line.

    *starts* are the offsets of the lines, and *end* is the offset at which the claim ends.
    """
    if not 1 <= line <= len(starts):
        return None
    stop = starts[line] - 1 if line < len(starts) else end
    return Span(starts[line - 1], max(min(stop, end), starts[line - 1]))
