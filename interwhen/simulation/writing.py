"""What the simulated model writes: a function of the world, of the text that stands, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, assert_never

from interwhen.models.base import Piece
from interwhen.segments import Phase
from interwhen.simulation.world import Item, Said, Sum, ThinkEnd, World
from interwhen.tool_calls import ToolCall

TAGS = ("<think>", "</think>")
TOOL = "tool"
_DIGITS = re.compile(r"\d*")


class Lost(Exception):
    """The model was asked to go on from text that it never wrote: something was lost, or written twice."""


class Part(NamedTuple):
    """A stretch of what the model says."""

    text: str
    phase: Phase = "answer"
    call: ToolCall | None = None


class _Half(NamedTuple):
    """What of an item stands: how many characters in all, and what is still to be said."""

    stands: int
    rest: str


def true_value(item: Sum) -> int:
    """Return what the left side of *item* comes to."""
    match item.op:
        case "+":
            return item.left + item.right
        case "-":
            return item.left - item.right
        case "*":
            return item.left * item.right
        case _:
            assert_never(item.op)


def left_side(item: Sum) -> str:
    """Return the left side of *item*, by which mishaps know it."""
    return f"{item.left}{item.op}{item.right}"


def whole_text(world: World, generation: int) -> str:
    """Return all that the model says where nobody interrupts it."""
    return "".join(part.text for part in go_on(world, (), generation))


def go_on(world: World, pieces: Sequence[Piece], generation: int) -> Iterator[Part]:
    """Yield what follows *pieces* in *generation*. Raises :class:`Lost` where they are no text of this model."""
    stands = "".join(piece.text for piece in pieces if piece.origin != "feedback")
    concluded = world.thinking == "field" and any(piece.phase == "answer" for piece in pieces)
    phase: Phase = "answer" if world.thinking == "no" or concluded else "reasoning"
    at = 0
    for item in _items(world):
        if isinstance(item, ThinkEnd) and world.thinking in ("field", "no"):
            phase = "answer"
            continue
        half = _match(item, stands[at:], generation)
        at += half.stands
        if half.rest:
            if at < len(stands):
                raise Lost(f"after {stands[:at][-40:]!r} stands {stands[at:][:40]!r}, where {half.rest[:40]!r} belongs")
            yield _part(item, half, phase if world.thinking == "field" else "answer")
    if at < len(stands):
        raise Lost(f"behind the end of the text stands {stands[at:][:40]!r}")


def _part(item: Item, half: _Half, phase: Phase) -> Part:
    if not (isinstance(item, Sum) and item.call):
        return Part(half.rest, phase)
    if half.stands:
        raise Lost(f"half a tool call stands, {half.rest!r} of it is missing")
    return Part(half.rest, phase, ToolCall(f"c{item.left}", TOOL, half.rest[len(TOOL) + 1 : -1]))


def _items(world: World) -> Iterator[Item]:
    if world.thinking == "tags":
        yield Said(TAGS[0])
    yield from world.items


def _match(item: Item, stands: str, generation: int) -> _Half:
    """Say how much of *item* is at the start of *stands*."""
    match item:
        case Said(text=text):
            return _common(text, stands)
        case ThinkEnd():
            return _common(TAGS[1], stands)
        case Sum():
            return _match_sum(item, stands, generation)
        case _:
            assert_never(item)


def _common(text: str, stands: str) -> _Half:
    size = len(text) if stands.startswith(text) else len(stands) if text.startswith(stands) else 0
    return _Half(size, text[size:])


def _match_sum(item: Sum, stands: str, generation: int) -> _Half:
    off = item.off[min(generation, len(item.off) - 1)]
    value = str(true_value(item) + off)
    before, after = item.before, item.after
    if item.call:
        before, after = f'{TOOL}({{"sum": "', '"})'
    head = f"{before}{left_side(item)}="
    if not stands.startswith(head):
        return _common(head + value + after, stands)
    # Another value may stand there: of an earlier generation, or of a repair.
    found = _DIGITS.match(stands, len(head))
    digits = found[0] if found is not None else ""
    rest = stands[len(head) + len(digits) :]
    if not rest and value.startswith(digits):
        return _Half(len(stands), value[len(digits) :] + after)
    tail = _common(after, rest)
    return _Half(len(head) + len(digits) + tail.stands, tail.rest)
