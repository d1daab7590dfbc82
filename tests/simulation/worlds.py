"""A simulated world as plain data, which can be printed, stored, made smaller, and played again."""

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
"""How the model marks reasoning: not at all, by tags, by a closing tag alone, or in a separate field."""


class TextItem(msgspec.Struct, frozen=True, tag="Said"):
    """Text without a claim."""

    text: str


class SumItem(msgspec.Struct, frozen=True, tag="Sum"):
    """A claim of the model, such as ``3+4=7``, with the texts ``before`` and ``after`` it."""

    # `off` has the error of the value for each generation of the trace, 0 if the value is right. The last entry also
    # applies to all later generations.

    left: int
    op: Operator
    right: int
    off: tuple[int, ...] = (0,)
    before: str = ""
    after: str = "\n"
    call: bool = False
    """Whether the claim is the argument of a structured tool call."""


class ThinkEndItem(msgspec.Struct, frozen=True, tag="ThinkEnd"):
    """The end of the reasoning: the answer begins."""


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
"""How a verifier fails on a claim.

The last three are right verdicts on a wrong claim, with a repair that is too long, contains control characters or is
wrong.
"""


class VerifierFault(msgspec.Struct, frozen=True):
    """A fault of a verifier on every claim with the left side *about*, such as ``3+4``."""

    about: str
    kind: VerifierFaultKind


class VerifierSetup(msgspec.Struct, frozen=True):
    """A verifier that gives each claim the right verdict, unless it has a fault (*mishaps*) or is too slow."""

    worker: Worker = "inline"
    deadline: float = 5.0
    """The deadline of a check in seconds."""
    seconds: tuple[float, ...] = (0.0,)
    """Durations of its checks; the claim selects one."""
    repairs: bool = True
    """Whether its violations offer a repair."""
    answers: bool = False
    """Whether each of its passes covers the answer (``Pass(scope="answer")``)."""
    mishaps: tuple[VerifierFault, ...] = ()


RemedyKind = Literal[
    "auto",
    "auto_unverified",
    "repair",
    "repair_resample",
    "append",
    "rewind",
    "resample",
    "conclude",
    "stop",
    "abstain",
]
"""A remedy of :class:`~interwhen.Monitor`. ``append`` and ``rewind`` are the two modes of feedback."""
TriggerKind = Literal["lines", "pairs", "paragraphs", "sentences", "markers", "think_end", "answer", "calls", "chars"]
"""A trigger of :class:`~interwhen.Monitor`. ``pairs`` are two lines, and ``chars`` are segments of 24 characters."""
ForkFault = Literal["none", "raises", "hangs", "garbled"]
"""How a fork fails: not at all, with an error of the server, without an end, or with an answer that cannot be read."""
Keys = Literal["text", "kind"]
"""The key of a claim: its text, or its operator, which many claims share."""
Preparing = Literal["no", "value", "aside", "raises", "hangs"]
"""``prepare`` of a monitor: none, a value, ``None`` (the monitor does not apply), or a failure."""


class MonitorSetup(msgspec.Struct, frozen=True):
    """A simulated monitor.

    *judge* is the index of its verifier. *reads* has the operators of the claims that it reads.
    """

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
    """How a failed check is treated; ``""``: the default of the delivery. The last two first retry once."""
    required: bool = True
    grounded: bool = True
    """Whether its claims have a span."""
    fork: bool = False
    """Whether its extractor asks a fork which claims the text has."""
    extractor_fails_on: str = ""
    """The extractor raises on each segment that has this text before an equals sign; empty: on none."""
    key: Keys = "text"
    prepares: Preparing = "no"
    prepare_seconds: float = 0.0
    """How long its ``prepare`` takes."""
    tracks: bool = False
    """Whether its extractor is a tracker, which counts the claims before each claim."""
    recognizes: bool = False
    """Whether it has a recognizer for sums in signs and in words. Its extractor reads only sums in signs."""
    scope: Scope = "steps"
    """The highest scope of a pass."""


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
"""A fault of the network or the server: at opening (the first six), after ``at`` characters, or at closing."""

AT_OPENING: tuple[WireFaultKind, ...] = ("refused", "busy", "rejected", "overflow", "mute", "slow")
"""The faults that happen before a stream begins."""


class WireFault(msgspec.Struct, frozen=True):
    """A fault of the request with number ``request``, counted from 0."""

    # Only requests for streams are counted, including reconnects. Forks are not.

    request: int
    kind: WireFaultKind
    at: int = 0
    """After how many characters of the stream it happens. Faults at opening and at closing ignore it."""


class Chunking(msgspec.Struct, frozen=True):
    """How a stream is cut into chunks."""

    # `sizes` are characters, `gaps` are seconds before a read, and `tokens` are tokens of a chunk; each sequence
    # repeats. `together` is the number of chunks per read.

    sizes: tuple[int, ...] = (1000,)
    gaps: tuple[float, ...] = (0.0,)
    tokens: tuple[int, ...] = (1,)
    together: int = 1


ReaderKind = Literal["steady", "slow", "batch", "drain", "leaves", "raises", "cancelled", "late_cancelled"]
"""How a reader reads, or how it stops early: see :class:`SimulatedReader`."""


class SimulatedReader(msgspec.Struct, frozen=True):
    """A reader of the events. ``kind`` selects when it reads, and whether it leaves, raises or is cancelled."""

    # `at` is a number of events for `leaves` and `raises`, of iterations of the event loop for `cancelled`, and of
    # tenths of a second for `late_cancelled`.

    kind: ReaderKind = "steady"
    at: int = 0
    seconds: float = 0.0
    """How many seconds the reader waits after each event; ``batch`` and ``drain`` do not wait."""


class RunLimits(msgspec.Struct, frozen=True):
    """The budgets, timeouts and numbers of workers of a run."""

    remedies: int = 16
    repeats: int = 3
    """Remedies for the same claim at the same place."""
    discarded: int = 8192
    forks: int = 256
    reconnects: int = 3
    failures: int | None = None
    """Failures in a row that suspend a verifier. Which checks are skipped then depends on time."""
    seconds: float | None = None
    """The time budget of the run."""
    max_tokens: int | None = None
    total: float | None = None
    """The longest time of a stream, in seconds."""
    threads: int = 64
    processes: int = 64


class ProcessDeath(msgspec.Struct, frozen=True):
    """The process is killed after *turn* iterations of its event loop."""

    # Then another process resumes the run from the journal, also if this process ends before. If the journal has no
    # complete header, that process begins the run again.

    turn: int
    torn: int = 0
    """How many bytes of the unwritten data still reach the file."""
    reader: SimulatedReader = SimulatedReader()
    """The reader of this process. The reader of the world is that of its last process."""


class World(msgspec.Struct, frozen=True):
    """All settings of a simulated run: the model's text, monitors, verifiers, faults, limits and deaths."""

    # Equal worlds give equal runs.

    items: tuple[Item, ...]
    """What the model writes, in order."""
    watches: tuple[MonitorSetup, ...] = ()
    """The monitors."""
    judges: tuple[VerifierSetup, ...] = (VerifierSetup(),)
    """The verifiers."""
    wires: tuple[WireFault, ...] = ()
    """The faults of requests."""
    chunking: Chunking = Chunking()
    reader: SimulatedReader = SimulatedReader()
    limits: RunLimits = RunLimits()
    thinking: Thinking = "no"
    fork_seconds: float = 0.0
    """How long the server takes to answer a fork."""
    fork_fault: ForkFault = "none"
    """What happens to a fork on text whose last claim has the left side *fork_fault_about*."""
    fork_fault_about: str = ""
    """The left side of the claim at which *fork_fault* happens, such as ``3+4``."""
    seed: int = 0
    """The seed from which the world was generated; it also selects the pauses between retries."""
    deaths: tuple[ProcessDeath, ...] = ()
    """One death for each process except the last one. A world without deaths has no journal."""
    disk_seconds: float = 0.0
    """How long the disk takes for urgent writes."""
    counts: bool = False
    """Whether the server reports the token count of each prompt at the end of its stream."""


def to_json(world: World) -> str:
    return msgspec.json.encode(world).decode()


def from_json(text: str) -> World:
    return msgspec.json.decode(text, type=World)


# The text of the simulated model: a function of the world and the text so far.

TAGS = ("<think>", "</think>")
TOOL = "tool"
_DIGITS = re.compile(r"\d*")


class LostTextError(Exception):
    """The model was asked to continue text that it never wrote: text was lost, or written twice."""


class TextPart(NamedTuple):
    """A part of the model's text."""

    text: str
    phase: Phase = "answer"
    call: ToolCall | None = None


class _Match(NamedTuple):
    """How much of an item is already in the text: the number of characters *stands*, and the missing *rest*."""

    stands: int
    rest: str


def true_value(item: SumItem) -> int:
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
    # Return the left side of `item`, such as `3+4`. Faults refer to claims by their left sides.
    return f"{item.left}{item.op}{item.right}"


def whole_text(world: World, generation: int) -> str:
    return "".join(part.text for part in go_on(world, (), generation))


def go_on(world: World, pieces: Sequence[Piece], generation: int) -> Iterator[TextPart]:
    # Raises `LostTextError` if the model cannot have written `pieces`.
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
                after, actual, expected = stands[:at][-40:], stands[at:][:40], half.rest[:40]
                raise LostTextError(
                    f"the kept text must continue with {expected!r} after {after!r}, got {actual!r}: "
                    "text was lost or repeated, which is a defect of the engine; report this world"
                )
            yield _part(item, half, phase if world.thinking == "field" else "answer")
    if at < len(stands):
        raise LostTextError(
            f"the kept text must end where the text of the model ends, got {stands[at:][:40]!r} after it: "
            "text was repeated, which is a defect of the engine; report this world"
        )


def _part(item: Item, half: _Match, phase: Phase) -> TextPart:
    if not (isinstance(item, SumItem) and item.call):
        return TextPart(half.rest, phase)
    if half.stands:
        raise LostTextError(
            f"a tool call must be kept whole or not at all, got one without {half.rest!r:.80}: text was "
            "lost, which is a defect of the engine; report this world"
        )
    return TextPart(half.rest, phase, ToolCall(f"c{item.left}", TOOL, half.rest[len(TOOL) + 1 : -1]))


def _items(world: World) -> Iterator[Item]:
    if world.thinking == "tags":
        yield TextItem(TAGS[0])
    yield from world.items


def _match(item: Item, stands: str, generation: int) -> _Match:
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
    # The text may have another value: of an earlier generation, or of a repair.
    match = _DIGITS.match(stands, len(head))
    digits = match[0] if match is not None else ""
    rest = stands[len(head) + len(digits) :]
    if not rest and value.startswith(digits):
        return _Match(len(stands), value[len(digits) :] + after)
    tail = _common(after, rest)
    return _Match(len(head) + len(digits) + tail.stands, tail.rest)
