"""Cuts a document into pieces of limited size, which are prepared one by one.

If possible, a piece ends between two *blocks* (headings, tables, code blocks and paragraphs). Each piece has a *lead*:
the headings above it, and the end of the text before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from interwhen._types.errors import UsageError
from interwhen._types.log import log_warning
from interwhen.precompute._items import digest
from interwhen.precompute._producer import ContextPiece

PIECE = 2400
"""The default size of a piece in characters: about 600 tokens of English text."""
OVERLAP = 240
"""By default, the most characters of the text before a piece that its lead repeats."""
_SMALLEST = 16
_HEADING = 120
"""The most characters of a heading that a lead repeats."""
_ANCHOR = "01234"
"""A block whose hash begins with one of these digits usually ends a piece that is half full, so that boundaries are
found again after an edit."""

_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})")
_HASHES = re.compile(r" {0,3}(#{1,6})\s+\S")
_RULE = re.compile(r"(?P<mark>[=\-~^\"'`#*+.:_])(?P=mark){2,}+\s*+\Z")
_RULED_TABLE = re.compile(r"\s*+=++(?:\s++=++)++\s*+\Z")
_ROW = re.compile(r"\s*(?:\||\+[-=]{2,})")
_TABLE_RULE = re.compile(r"(?:[\s:|+]|[-=](?![-=]))*+[-=]{2}[\s:|+=-]*+\Z")
_INDENTED = re.compile(r"(?: {4}|\t)\s*\S")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")

BlockKind = Literal["heading", "table", "code", "text"]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a document, such as a paragraph or a table, or a part of one that is longer than a piece."""

    text: str
    kind: BlockKind
    level: int = 0
    """The level of a heading, 1 for the highest; 0 for other blocks."""
    lead: str = ""
    """The header of the table, if the block is a later part of a divided table."""


def pieces_of(text: str, *, size: int = PIECE, overlap: int = OVERLAP) -> tuple[ContextPiece, ...]:
    """Cut *text* into pieces of at most *size* characters.

    Each piece has a lead, which may be empty: headings above it, and at most *overlap* characters of the text before it
    or the header of its table. The pieces together contain the whole text, apart from white space; a blank text has
    none. A piece is named by a hash of its text, and a small edit usually changes few pieces. Raises
    :class:`~interwhen.UsageError` for a *size* under 16, and for an *overlap* that is not from 0 to *size*.
    """
    if size < _SMALLEST or not 0 <= overlap <= size:
        raise UsageError(
            f"the size of a piece must be at least {_SMALLEST} characters and the overlap between 0 and the size, "
            f"got {size!r} and {overlap!r}; correct them"
        )
    pieces: dict[str, ContextPiece] = {}
    above: dict[int, str] = {}
    before = ""
    for group in _groups(text, size):
        body = "\n\n".join(block.text for block in group)
        lead = _lead(group[0], above, before, overlap)
        name = base = f"p-{digest(body)[:12]}"
        number = 1
        while name in pieces:
            number += 1
            name = f"{base}-{number}"
        pieces[name] = ContextPiece(name, body, lead)
        for block in group:
            if block.kind == "heading":
                above = {level: said for level, said in above.items() if level < block.level}
                above[block.level] = block.text.strip("\n")[:_HEADING]
        before = "" if group[-1].kind == "heading" else group[-1].text  # a heading is in the lead already
    if not pieces:
        log_warning("context.empty")
    return tuple(pieces.values())


def _lead(first: Block, above: dict[int, str], before: str, overlap: int) -> str:
    """Return headings and, unless the first block, *first*, is one, text before it.

    *above* has the headings above the piece, by level. *before* is the last block of the previous piece; a part of a
    table has the header of the table instead.
    """
    level = first.level if first.kind == "heading" else None
    lines = [said for at, said in sorted(above.items()) if level is None or at < level]
    if level is None:
        lines += [first.lead or _end_of(before, overlap)]
    return "\n".join(filter(None, lines))


def _end_of(text: str, most: int) -> str:
    if not most:
        return ""
    if len(text) <= most:
        return text
    tail = text[-most:]
    starts = [match.end() for match in _SENTENCE_END.finditer(tail)]
    return tail[starts[0] :] if starts and starts[0] < most else ""


def _groups(text: str, size: int) -> Iterator[list[Block]]:
    # A piece also ends before a section or at an anchor (see `_ANCHOR`) if it is long enough.
    group: list[Block] = []
    for block in _fitting(_blocks(text), size):
        length = _length(group)
        is_section = block.kind == "heading" and 3 * length >= size and group[-1].kind != "heading"
        at_anchor = 2 * length >= size and digest(group[-1].text)[0] in _ANCHOR
        if group and (_length([*group, block]) > size or is_section or at_anchor):
            # A heading belongs to the text below it.
            at = len(group)
            while at > 1 and group[at - 1].kind == "heading" and _length([*group[at - 1 :], block]) <= size:
                at -= 1
            yield group[:at]
            group = group[at:]
        group.append(block)
    if group:
        yield group


def _length(group: Sequence[Block]) -> int:
    return sum(len(block.text) + 2 for block in group) - 2 if group else 0


def _blocks(text: str) -> Iterator[Block]:
    lines = text.split("\n")
    levels: dict[str, int] = {}
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        kind, level, end = _block_at(lines, at, levels)
        yield Block("\n".join(lines[at:end]).rstrip(), kind, level)
        at = end


def _block_at(lines: Sequence[str], at: int, levels: dict[str, int]) -> tuple[BlockKind, int, int]:
    """Return the kind of the block that begins at line *at*, its heading level (or 0), and the index after its end.

    *levels* maps each mark that underlines headings to its level. A new mark is added to it.
    """
    line = lines[at]
    if fence := _FENCE.match(line):
        end = at + 1
        while end < len(lines) and not lines[end].lstrip().startswith(fence["mark"]):
            end += 1
        return "code", 0, min(end + 1, len(lines))
    if hashes := _HASHES.match(line):
        return "heading", len(hashes[1]), at + 1
    if ruled := _underlined(lines, at):
        end, mark = ruled
        return "heading", levels.setdefault(mark, len(levels) + 1), end
    if _ROW.match(line) or _RULED_TABLE.match(line):
        is_ruled = _RULED_TABLE.match(line) is not None
        return "table", 0, _while(lines, at, lambda each: bool(each.strip()) if is_ruled else bool(_ROW.match(each)))
    if _INDENTED.match(line):
        end = _while(lines, at, lambda each: not each.strip() or bool(_INDENTED.match(each)))
        return "code", 0, end
    end = at + 1
    while end < len(lines) and lines[end].strip() and not _begins_block(lines, end):
        end += 1
    return "text", 0, end


def _while(lines: Sequence[str], at: int, holds: Callable[[str], bool]) -> int:
    end = at
    while end < len(lines) and holds(lines[end]):
        end += 1
    return end


def _begins_block(lines: Sequence[str], at: int) -> bool:
    line = lines[at]
    return bool(_FENCE.match(line) or _HASHES.match(line) or _ROW.match(line))


def _underlined(lines: Sequence[str], at: int) -> tuple[int, str] | None:
    # Return the index after an underlined heading, and the mark of its line, such as `=`; `==` with a line above, too.
    # `None` if no such heading begins at `at`.
    if _RULE.match(lines[at]):
        above = lines[at].rstrip()
        if at + 2 < len(lines) and lines[at + 1].strip() and lines[at + 2].rstrip() == above:
            return at + 3, above[0] * 2
        return None
    if at + 1 < len(lines) and not lines[at].startswith((" ", "\t", "|")) and (rule := _RULE.match(lines[at + 1])):
        is_long = len(lines[at + 1].rstrip()) >= min(len(lines[at].rstrip()), 4)
        return (at + 2, rule["mark"]) if is_long else None
    return None


def _fitting(blocks: Iterator[Block], size: int) -> Iterator[Block]:
    for block in blocks:
        if len(block.text) <= size:
            yield block
            continue
        whole = block.text.split("\n") if block.kind in ("table", "code") else _sentences(block.text)
        mark = "\n" if block.kind in ("table", "code") else " "
        header = _header(whole) if block.kind == "table" else ""
        for number, part in enumerate(_packed(whole, mark, size)):
            yield replace(block, text=part, lead=header if number else "")


def _header(rows: Sequence[str]) -> str:
    for at, row in enumerate(rows[:4]):
        if at and _TABLE_RULE.match(row):
            return "\n".join(rows[: at + 1])
    return rows[0]


def _sentences(text: str) -> list[str]:
    return [each for each in _SENTENCE_END.split(text) if each.strip()]


def _packed(units: Sequence[str], mark: str, size: int) -> Iterator[str]:
    part = ""
    for unit in (each for whole in units for each in _cut(whole, size)):
        if part and len(part) + len(mark) + len(unit) > size:
            yield part
            part = unit
        else:
            part = f"{part}{mark}{unit}" if part else unit
    if part:
        yield part


def _cut(unit: str, size: int) -> Iterator[str]:
    at = 0
    while len(unit) - at > size:
        space = unit.rfind(" ", at + size // 2, at + size)
        end = at + size if space < 0 else space
        yield unit[at:end]
        at = end if space < 0 else end + 1
    yield unit[at:]
