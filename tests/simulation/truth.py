"""Computes the correct claims and segments of a trace from its text alone, independent of the code under test.

The code is slow and simple.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.simulation.worlds import MonitorSetup, VerifierSetup, World

_CLAIM = re.compile(r"(?<![\d+*-])(\d+)([+*-])(\d+)=(\d+)(?!\d)")
_IN_WORDS = re.compile(r"(?<!\d)\d+ (plus|minus|times) \d+ is \d+(?!\d)")
_SIGNS = {"plus": "+", "minus": "-", "times": "*"}
_SENTENCE = re.compile(r"[.!?](?=\s)|\n")
_MARKER = re.compile(r"(?<![^\W_])(?:Wait|Hmm)(?![^\W_])")
_CALL = re.compile(r"<call>.*?</call>", re.DOTALL)
_REACH = 4
UNREAD = "could not be read"
"""A part of the reason that a run gives for text that a recognizer found and no claim covers."""
LEFT = "the reader left before the end"
"""The reason of a run whose reader left before the end. Segments of it may not have been read."""
CHARS = 24
"""The length of a segment of the trigger ``chars``."""
MARKERS = ("Wait", "Hmm")
"""The reflection markers of simulated monitors."""

REFUTES: frozenset[str] = frozenset(("", "long_repair", "control_repair", "wrong_repair"))
"""The faults that do not make the verdict of a verifier wrong. ``""`` means no fault."""


class StatedClaim(NamedTuple):
    """A claim in a text: a sum such as ``3+4=7``, whether its value is right, and the right value."""

    start: int
    """The offset at which the claim begins; ``end`` is the offset after it."""
    end: int
    text: str
    op: str
    """The operator: ``+``, ``-`` or ``*``."""
    left_side: str
    """The part before the equals sign, such as ``3+4``."""
    is_right: bool
    true_value: int


def claims_in(text: str, base: int = 0) -> list[StatedClaim]:
    # `base` is added to the offsets.
    claims = []
    for match in _CLAIM.finditer(text):
        left, right, value = int(match[1]), int(match[3]), int(match[4])
        true = left + right if match[2] == "+" else left - right if match[2] == "-" else left * right
        left_side = f"{match[1]}{match[2]}{match[3]}"
        start = base + match.start()
        claims.append(StatedClaim(start, base + match.end(), match[0], match[2], left_side, value == true, true))
    return claims


def in_words(text: str, base: int = 0) -> list[tuple[int, int, str]]:
    """Return each sum in words in *text*, such as ``3 plus 4 is 7``, as start, end and operator sign (``+``).

    *base* is added to the offsets.
    """
    return [(base + match.start(), base + match.end(), _SIGNS[match[1]]) for match in _IN_WORDS.finditer(text)]


class TraceStretch(NamedTuple):
    """A part of the trace within one phase. ``closed``: no more text can be added to the part."""

    start: int
    end: int
    phase: str
    closed: bool


@dataclass(slots=True)
class SimulatedTrace:
    """A trace: its text, the authors of its parts, and the spans of phases and calls."""

    thinking: str
    """How the model marks reasoning: ``no``, ``tags``, ``opened`` (only a closing tag) or ``field``."""
    text: str = ""
    ours: list[tuple[int, int, str]] = field(default_factory=list)
    """Inserted text: start, end, ``repair`` or ``feedback``."""
    calls: list[tuple[int, int]] = field(default_factory=list)
    """The spans of structured tool calls."""
    answer_at: int | None = None
    """The start of the answer, for a model with a separate reasoning field."""
    answered: list[tuple[int, int]] = field(default_factory=list)
    """Refuted segments that stay in the text, with feedback after them."""
    shortened: list[tuple[int, int]] = field(default_factory=list)
    """What a later cut left of refuted segments: their feedback is gone, and trackers may have left them out."""
    ended: bool = False
    """Whether the model has ended its text."""
    tears: bool = False
    """Whether a monitor may write feedback after any character, so that a line can end in the middle of a number."""

    def add(self, text: str, phase: str, *, call: bool) -> None:
        """Append *text* of the model. *call*: the text is a structured tool call.

        *phase* is used only with reasoning in a separate field: the first text that is not reasoning sets
        ``answer_at``.
        """
        # A call belongs to the answer, so it ends the reasoning.
        if self.thinking == "field" and (phase == "answer" or call) and self.answer_at is None and text:
            self.answer_at = len(self.text)
        if call:
            self.calls.append((len(self.text), len(self.text) + len(text)))
        self.text += text

    def cut(self, to: int) -> None:
        # Remove the text from offset `to` on, with the insertions, calls and answered segments in it. An answered
        # segment that loses its feedback becomes `shortened`. `ended` becomes false.
        self.text = self.text[:to]
        self.ended = False
        self.ours = [(start, min(end, to), who) for start, end, who in self.ours if start < to]
        self.calls = [(start, end) for start, end in self.calls if end <= to]
        refuted = [*self.answered, *self.shortened]
        self.answered = [(start, end) for start, end in self.answered if end < to]
        kept = set(self.answered)
        self.shortened = [(start, min(end, to)) for start, end in refuted if (start, end) not in kept and start < to]
        if self.answer_at is not None and self.answer_at >= to:
            self.answer_at = None

    def insert(self, text: str, origin: str) -> None:
        if text:
            self.ours.append((len(self.text), len(self.text) + len(text), origin))
            self.text += text

    @property
    def feedback(self) -> list[tuple[int, int]]:
        return [(start, end) for start, end, who in self.ours if who == "feedback"]

    def phases(self) -> list[tuple[int, int, str]]:
        size = len(self.text)
        if self.thinking == "field":
            border = size if self.answer_at is None else self.answer_at
            return [(0, border, "reasoning"), (border, size, "answer")]
        if self.thinking == "no":
            return [(0, size, "answer")]
        begin = 0
        if self.thinking == "tags":
            if not self.text.startswith("<think>"):
                return [(0, size, "answer")]
            begin = len("<think>")
        close = self.text.find("</think>", begin)
        first_call = min((start for start, _ in self.calls if start >= begin), default=size)
        if close < 0 or first_call < close:
            return [(begin, first_call, "reasoning"), *([(first_call, size, "answer")] if first_call < size else [])]
        return [(begin, close, "reasoning"), (close + len("</think>"), size, "answer")]

    def stretches(self, *, through_feedback: bool = False) -> Iterator[TraceStretch]:
        # Yield the parts of the trace that lie within one phase and contain no tag, call or feedback. With
        # `through_feedback`, they may contain feedback. A part may be empty.
        walls = sorted([*self.calls, *([] if through_feedback else self.feedback)])
        spans = self.phases()
        for number, (low, high, phase) in enumerate(spans):
            at = low
            for start, end in walls:
                if low <= start and end <= high and start < high:
                    yield TraceStretch(at, start, phase, closed=True)
                    at = end
            # With a separate reasoning field, an empty answer has not begun.
            last = number == len(spans) - 1 or (self.thinking == "field" and self.answer_at is None)
            yield TraceStretch(at, high, phase, closed=self.ended or not last)


def trace_of(world: World) -> SimulatedTrace:
    tears = any(watch.trigger == "chars" and watch.delivery != "observe" for watch in world.watches)
    return SimulatedTrace(world.thinking, tears=tears)


def segments_of(trace: SimulatedTrace, watch: MonitorSetup) -> list[tuple[int, int, bool]]:
    # Return the segments that `watch` gets from `trace`: start, end, and whether the segment is complete. There are
    # none for the trigger `chars`.
    match watch.trigger:
        case "chars":
            return []  # such segments cut claims anywhere: there is no promise about them
        case "calls":
            return _calls(trace, watch)
        case "think_end" | "answer":
            phase = "reasoning" if watch.trigger == "think_end" else "answer"
            stretches = trace.stretches(through_feedback=True)
            return [(part.start, part.end, part.closed) for part in stretches if part.phase == phase]
        case _:
            return [
                segment
                for part in trace.stretches()
                if watch.phase in ("both", part.phase)
                for segment in _between(trace.text, part, watch.trigger)
            ]


def _calls(trace: SimulatedTrace, watch: MonitorSetup) -> list[tuple[int, int, bool]]:
    segments = [(start, end, True) for start, end in trace.calls if watch.phase != "reasoning"]
    for part in trace.stretches():
        if watch.phase in ("both", part.phase):
            text = trace.text[part.start : part.end]
            segments += [(part.start + m.start(), part.start + m.end(), True) for m in _CALL.finditer(text)]
    return segments


def _between(text: str, part: TraceStretch, trigger: str) -> Iterator[tuple[int, int, bool]]:
    at = part.start
    for border in _borders(text[part.start : part.end], trigger, closed=part.closed):
        yield at, part.start + border, True
        at = part.start + border
    if at < part.end:
        yield at, part.end, part.closed


def _borders(text: str, trigger: str, *, closed: bool) -> Iterator[int]:
    """Yield the offsets in *text* at which segments of the kind *trigger* end.

    *closed*: no more text can follow *text*.
    """
    match trigger:
        case "sentences":
            at = 0
            for m in _SENTENCE.finditer(text):
                if m[0] != "." or not text[at : m.start()].lstrip().isdigit():  # "1." begins a list
                    yield m.end()
                    at = m.end()
        case "markers":
            sure = len(text) if closed else len(text) - _REACH
            yield from (m.start() for m in _MARKER.finditer(text) if 0 < m.start() < sure)
        case _:
            line = count = 0
            for m in re.finditer("\n", text):
                is_blank = not text[line : m.start()].strip()
                line = m.end()
                count += not is_blank
                if (is_blank and trigger == "paragraphs") or (
                    trigger != "paragraphs" and count == (2 if trigger == "pairs" else 1)
                ):
                    count = 0
                    yield m.end()


def read_by(
    trace: SimulatedTrace, watch: MonitorSetup, *, torn: bool = False
) -> list[tuple[StatedClaim, tuple[int, int, bool]]]:
    # Return the claims that `watch` must read in `trace`, each with its segment. Claims in feedback do not count. With
    # `torn`, claims that `watch` may or may not read, because feedback cut their line, are included.
    pairs = []
    for segment in segments_of(trace, watch):
        start, end, _ = segment
        for claim in claims_in(trace.text[start:end], start):
            ours = any(low < claim.end and claim.start < high for low, high in trace.feedback)
            if claim.op in watch.reads and not ours and (torn or not _is_torn(trace, watch, claim, end)):
                pairs.append((claim, segment))
    return pairs


def _is_torn(trace: SimulatedTrace, watch: MonitorSetup, claim: StatedClaim, end: int) -> bool:
    # Return whether feedback may have cut text with `claim`, so that `watch` may read it as `Unknown`.
    if not trace.tears:
        return False
    starts = [low for low, _ in trace.feedback if low >= claim.end]
    # A tracker would continue from half a segment, and a fork would cost tokens: such a segment is unread as a whole.
    if (watch.tracks or watch.fork) and end in starts and not trace.text[:end].endswith("\n"):
        return True
    return any("\n" not in trace.text[claim.start : low] for low in starts)


def unread_by(trace: SimulatedTrace, watch: MonitorSetup) -> list[tuple[int, int, tuple[int, int, bool]]]:
    # Return each text in `trace` that `watch` recognizes but cannot read: start, end and segment.
    if not watch.recognizes:
        return []
    return [
        (low, high, segment)
        for segment in segments_of(trace, watch)
        for low, high, op in in_words(trace.text[segment[0] : segment[1]], segment[0])
        if op in watch.reads and not any(start < high and low < end for start, end in trace.feedback)
    ]


def mishap_of(judge: VerifierSetup, claim: StatedClaim) -> str:
    # A check that takes at least as long as the deadline has the fault `hangs`. A fault that the worker of `judge`
    # cannot have is ignored.
    fault: str = next((mishap.kind for mishap in judge.mishaps if mishap.about == claim.left_side), "")
    if wait_of(judge, claim.left_side) >= judge.deadline:
        return "hangs"
    if fault == "dies" and judge.worker not in ("thread", "process"):
        return ""
    if fault == "hangs" and judge.worker == "inline":
        return ""  # an inline check cannot hang: it would block the loop
    return fault


def wait_of(judge: VerifierSetup, left_side: str) -> float:
    if judge.worker == "inline":
        return 0.0
    return judge.seconds[sum(map(ord, left_side)) % len(judge.seconds)]


def refutes(judge: VerifierSetup, claim: StatedClaim) -> bool:
    return not claim.is_right and mishap_of(judge, claim) in REFUTES


def passes(judge: VerifierSetup, claim: StatedClaim) -> bool:
    return claim.is_right and mishap_of(judge, claim) in REFUTES


def is_blind(watch: MonitorSetup) -> bool:
    # Return whether `watch` checks nothing, because it does not apply to the prompt or its preparation fails.
    return watch.prepares in ("aside", "raises", "hangs")


def may_fail_otherwise(world: World, watch: MonitorSetup) -> bool:
    # Return whether a check of `watch` may end without a verdict although its verifier and extractor work.
    return watch.fork or is_crowded(world) or may_be_suspended(world, world.judges[watch.judge])


def released(world: World, watch: MonitorSetup, claim: StatedClaim | None, segment: str) -> bool:
    """Return whether a gate of *watch* may show *claim*, which is in *segment*.

    *claim* is ``None`` for text that is recognized but cannot be read.
    """
    judge = world.judges[watch.judge]
    lets_failures_through = watch.on_error in ("open", "retry_open")
    if is_blind(watch):
        return watch.prepares == "aside" or lets_failures_through
    if may_fail_otherwise(world, watch) and lets_failures_through:
        return True
    if watch.extractor_fails_on and f"{watch.extractor_fails_on}=" in segment:
        return lets_failures_through
    mishap = "unknown" if claim is None else mishap_of(judge, claim)
    if claim is not None and mishap in REFUTES:
        return claim.is_right
    if mishap == "unknown":
        return watch.unproven == "open"
    if mishap == "bad_where" and not watch.grounded:
        return False  # without a span, the wrong part cannot be outside of it: it is a violation
    return lets_failures_through


def may_be_suspended(world: World, judge: VerifierSetup) -> bool:
    return world.limits.failures is not None and (bool(judge.mishaps) or max(judge.seconds) >= judge.deadline)


def is_crowded(world: World) -> bool:
    # Return whether checks may have to wait for a free thread. This wait counts toward their deadline.
    return world.limits.threads < 64
