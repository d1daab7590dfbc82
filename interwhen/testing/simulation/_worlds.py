"""One simulated world, as plain data: it can be printed, written to a file, made smaller, and played again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, assert_never

import msgspec

from interwhen._types.models import Piece
from interwhen._types.monitors import Delivery
from interwhen._types.segments import Phase, ToolCall
from interwhen._types.triggers import PhaseFilter
from interwhen._types.verdicts import Level, Scope
from interwhen._types.verifiers import Worker

Operator = Literal["+", "-", "*"]
Thinking = Literal["no", "tags", "opened", "field"]
"""How the model marks reasoning: not at all, by tags, by a closing tag alone, or in a field of its own."""


class TextItem(msgspec.Struct, frozen=True, tag="Said"):
    """Text without any claim."""

    text: str


class SumItem(msgspec.Struct, frozen=True, tag="Sum"):
    """A claim, between ``before`` and ``after``.

    ``off`` says by how much the value is wrong, for each generation of the trace (0: it is right); the last holds
    for all that follow.
    """

    left: int
    op: Operator
    right: int
    off: tuple[int, ...] = (0,)
    before: str = ""
    after: str = "\n"
    call: bool = False
    """Whether the claim is the argument of a structured tool call."""


class ThinkEndItem(msgspec.Struct, frozen=True, tag="ThinkEnd"):
    """Here the reasoning ends and the answer begins."""


Item: TypeAlias = TextItem | SumItem | ThinkEndItem

VerifierFaultKind = Literal[
    "raises",
    "exits",
    "hangs",
    "dies",
    "unknown",
    "none",
    "true",
    "pass_class",
    "subclass",
    "bad_where",
    "bad_why",
    "long_repair",
    "control_repair",
    "wrong_repair",
]
"""How a verifier fails on a claim: it raises, never answers, loses its worker, cannot tell, or answers garbage. The
last three are sound verdicts on a wrong claim, with a repair that cannot, must not or should not be written."""


class VerifierFault(msgspec.Struct, frozen=True):
    """The judge goes wrong on every claim with this left side, such as ``3+4``."""

    about: str
    kind: VerifierFaultKind


class VerifierSetup(msgspec.Struct, frozen=True):
    """A verifier: right about everything that it is asked, but for its mishaps."""

    worker: Worker = "inline"
    deadline: float = 5.0
    seconds: tuple[float, ...] = (0.0,)
    """How long its checks take, in turn by claim."""
    repairs: bool = True
    answers: bool = False
    """Whether each of its passes says that it covers the answer (``Pass(scope="answer")``)."""
    mishaps: tuple[VerifierFault, ...] = ()


RemedyKind = Literal["repair", "repair_resample", "append", "rewind", "resample", "conclude", "stop", "abstain"]
TriggerKind = Literal["lines", "pairs", "paragraphs", "sentences", "markers", "think_end", "answer", "calls", "chars"]
ForkFault = Literal["none", "raises", "hangs", "garbled"]
Keys = Literal["text", "kind"]
"""What the extractor takes for the key of a claim: its text, or its operator, which many claims share."""
Preparing = Literal["no", "value", "aside", "raises", "hangs"]
"""What ``prepare`` comes to: there is none, it brings a value, it stands aside, or it fails."""


class MonitorSetup(msgspec.Struct, frozen=True):
    """A monitor."""

    name: str
    judge: int = 0
    reads: tuple[Operator, ...] = ("+", "-", "*")
    trigger: TriggerKind = "lines"
    delivery: Delivery = "interrupt"
    remedy: RemedyKind = "repair"
    level: Level = "witness"
    phase: PhaseFilter = "both"
    unproven: Literal["open", "closed"] = "open"
    on_error: Literal["", "open", "closed", "retry", "retry_open"] = ""
    """What a failure means; ``""``: the delivery decides. The last two try once more before."""
    required: bool = True
    grounded: bool = True
    fork: bool = False
    extractor_fails_on: str = ""
    """The extractor raises on each segment with this left side in it."""
    key: Keys = "text"
    prepares: Preparing = "no"
    prepare_seconds: float = 0.0
    tracks: bool = False
    """Whether its extractor is a tracker, which counts the claims before each."""
    recognizes: bool = False
    """Whether it has a recognizer, for sums in signs and in words. Its extractor reads only those in signs."""
    scope: Scope = "steps"
    """The most that a pass of it may cover."""


WireFaultKind = Literal[
    "refused",
    "busy",
    "rejected",
    "overflow",
    "mute",
    "slow",
    "reset",
    "garbled",
    "error",
    "fatal",
    "stall",
    "truncated",
    "length",
    "filtered",
    "reset_after_stop",
    "deaf",
    "crash",
]
"""What the wire or the server does: at opening (the first six), behind ``at`` characters, or when it is closed."""

AT_OPENING: tuple[WireFaultKind, ...] = ("refused", "busy", "rejected", "overflow", "mute", "slow")


class WireFault(msgspec.Struct, frozen=True):
    """One fault of request number ``request`` (from 0, reconnects counted)."""

    request: int
    kind: WireFaultKind
    at: int = 0


class Chunking(msgspec.Struct, frozen=True):
    """How the text arrives: sizes in characters, waits before each, tokens of each (all in turn), chunks a read."""

    sizes: tuple[int, ...] = (1000,)
    gaps: tuple[float, ...] = (0.0,)
    tokens: tuple[int, ...] = (1,)
    together: int = 1


ReaderKind = Literal["steady", "slow", "batch", "drain", "leaves", "raises", "cancelled", "late_cancelled"]


class SimulatedReader(msgspec.Struct, frozen=True):
    """Who reads: at once, slowly, in batches; or leaves, raises or is cancelled at a moment that ``at`` names.

    ``leaves`` and ``raises`` count events, ``cancelled`` counts turns of the event loop, ``late_cancelled`` is by the
    clock, in tenths of a second.
    """

    kind: ReaderKind = "steady"
    at: int = 0
    seconds: float = 0.0


class RunLimits(msgspec.Struct, frozen=True):
    """Budgets, timers and workers."""

    remedies: int = 16
    repeats: int = 2
    discarded: int = 8192
    forks: int = 256
    reconnects: int = 3
    failures: int | None = None
    """After how many failures in a row a verifier is suspended: which checks are then skipped is a matter of time."""
    seconds: float | None = None
    max_tokens: int | None = None
    total: float | None = None
    threads: int = 64
    processes: int = 64


class ProcessDeath(msgspec.Struct, frozen=True):
    """The process is killed at a turn of its event loop, and another one goes on from the journal.

    Where it does not come to that turn, it ends by itself, and is gone on with all the same.
    """

    turn: int
    torn: int = 0
    """How many bytes of what waited to be written have reached the file."""
    reader: SimulatedReader = SimulatedReader()
    """Who reads until then. The reader of the world is the one of its last process."""


class World(msgspec.Struct, frozen=True):
    """Everything that decides how a run goes."""

    items: tuple[Item, ...]
    watches: tuple[MonitorSetup, ...] = ()
    judges: tuple[VerifierSetup, ...] = (VerifierSetup(),)
    wires: tuple[WireFault, ...] = ()
    chunking: Chunking = Chunking()
    reader: SimulatedReader = SimulatedReader()
    limits: RunLimits = RunLimits()
    thinking: Thinking = "no"
    fork_seconds: float = 0.0
    fork_fault: ForkFault = "none"
    fork_fault_about: str = ""
    seed: int = 0
    deaths: tuple[ProcessDeath, ...] = ()
    """One for each process but the last. A world without any has no journal."""
    disk_seconds: float = 0.0
    """How long the disk takes to be handed what is to be written at once."""
    counts: bool = False
    """Whether the server counts the tokens of each prompt, at the end of its stream."""


def to_json(world: World) -> str:
    """Return *world* as one line of JSON."""
    return msgspec.json.encode(world).decode()


def from_json(text: str) -> World:
    """Return the world that :func:`to_json` wrote. Raises :class:`msgspec.ValidationError`."""
    return msgspec.json.decode(text, type=World)


# What the simulated model writes: a function of the world, of the text that stands, and of nothing else.

TAGS = ("<think>", "</think>")
TOOL = "tool"
_DIGITS = re.compile(r"\d*")


class LostTextError(Exception):
    """The model was asked to go on from text that it never wrote: something was lost, or written twice."""


class TextPart(NamedTuple):
    """A stretch of what the model says."""

    text: str
    phase: Phase = "answer"
    call: ToolCall | None = None


class _Match(NamedTuple):
    """What of an item stands: how many characters in all, and what is still to be said."""

    stands: int
    rest: str


def true_value(item: SumItem) -> int:
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


def left_side(item: SumItem) -> str:
    """Return the left side of *item*, by which mishaps know it."""
    return f"{item.left}{item.op}{item.right}"


def whole_text(world: World, generation: int) -> str:
    """Return all that the model says where nobody interrupts it."""
    return "".join(part.text for part in go_on(world, (), generation))


def go_on(world: World, pieces: Sequence[Piece], generation: int) -> Iterator[TextPart]:
    """Yield what follows *pieces* in *generation*. Raises :class:`LostTextError` where the model never wrote them."""
    stands = "".join(piece.text for piece in pieces if piece.origin != "feedback")
    concluded = world.thinking == "field" and any(piece.phase == "answer" for piece in pieces)
    phase: Phase = "answer" if world.thinking == "no" or concluded else "reasoning"
    at = 0
    for item in _items(world):
        if isinstance(item, ThinkEndItem) and world.thinking in ("field", "no"):
            phase = "answer"
            continue
        half = _match(item, stands[at:], generation)
        at += half.stands
        if half.rest:
            if at < len(stands):
                after, found, expected = stands[:at][-40:], stands[at:][:40], half.rest[:40]
                raise LostTextError(f"after {after!r} comes {found!r}, where {expected!r} is due")
            yield _part(item, half, phase if world.thinking == "field" else "answer")
    if at < len(stands):
        raise LostTextError(f"behind the end of the text stands {stands[at:][:40]!r}")


def _part(item: Item, half: _Match, phase: Phase) -> TextPart:
    if not (isinstance(item, SumItem) and item.call):
        return TextPart(half.rest, phase)
    if half.stands:
        raise LostTextError(f"half a tool call stands, {half.rest!r} of it is missing")
    return TextPart(half.rest, phase, ToolCall(f"c{item.left}", TOOL, half.rest[len(TOOL) + 1 : -1]))


def _items(world: World) -> Iterator[Item]:
    if world.thinking == "tags":
        yield TextItem(TAGS[0])
    yield from world.items


def _match(item: Item, stands: str, generation: int) -> _Match:
    """Say how much of *item* is at the start of *stands*."""
    match item:
        case TextItem(text=text):
            return _common(text, stands)
        case ThinkEndItem():
            return _common(TAGS[1], stands)
        case SumItem():
            return _match_sum(item, stands, generation)
        case _:
            assert_never(item)


def _common(text: str, stands: str) -> _Match:
    size = len(text) if stands.startswith(text) else len(stands) if text.startswith(stands) else 0
    return _Match(size, text[size:])


def _match_sum(item: SumItem, stands: str, generation: int) -> _Match:
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
        return _Match(len(stands), value[len(digits) :] + after)
    tail = _common(after, rest)
    return _Match(len(head) + len(digits) + tail.stands, tail.rest)
