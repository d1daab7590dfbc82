"""Reads fenced code blocks, and makes the claims of the verifiers that check source text."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from interwhen import Claim, Segment, Span

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
    """The offset at which each line of the code starts."""
    end: int
    """The offset at which the last line ends."""


def read_block(text: str) -> Block | None:
    # The last line of `text` is taken for the closing fence. At most the indentation of the fence is removed from a
    # line.
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

    *starts* are the offsets of the lines, and *end* is that of the end of the claim.
    """
    if not 1 <= line <= len(starts):
        return None
    stop = starts[line] - 1 if line < len(starts) else end
    return Span(starts[line - 1], max(min(stop, end), starts[line - 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Claim):
    """Source text that is checked: a code block or an answer."""

    code: str
    """The text, perhaps after the beginning of a function from the task. Empty if it is too long to be checked."""
    starts: tuple[int, ...]
    """The offset of each line of ``code`` in the claim; 0 for lines that come from the task."""
    earlier: tuple[str, ...] = ()
    """The last blocks before it that the verifier checks, at most 16, oldest first; empty if it is too long."""
    doubt: str = ""
    """Why it is not checked. Empty: it is checked."""

    @property
    def size(self) -> int:
        return self.starts[-1] + len(self.code) if self.span is None else len(self.span)


def block_source(
    segment: Segment, block: Block, code: str, earlier: tuple[str, ...], *, more: int = 0, doubt: str = ""
) -> Source:
    base = block.starts[0]
    return Source(
        key=f"{block.language}:{digest(code, *earlier)}",
        span=segment.at(base, block.end),
        code=code,
        starts=(0,) * more + tuple(at - base for at in block.starts),
        earlier=earlier,
        doubt=doubt,
    )


def doubtful_source(segment: Segment, doubt: str) -> Source:
    return Source(key=doubt, span=segment.span, code="", starts=(), doubt=doubt)


def digest(*texts: str) -> str:
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
