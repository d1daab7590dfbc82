"""The input of the invariants: a play, and the history of its trace, rebuilt from the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from interwhen._types.events import Remedied, StreamEnded, StreamStarted
from interwhen._types.results import Result, ViolationRecord
from tests.simulation.model import SentRequest
from tests.simulation.play import PlayedWorld
from tests.simulation.truth import CHARS, SimulatedTrace, segments_of, trace_of
from tests.simulation.worlds import MonitorSetup, World

# The history of the trace, rebuilt from the chunks of the model and the events of the reader.


class AppliedRemedy(NamedTuple):
    """A remedy that was applied (``record``), and the trace just before it."""

    before: SimulatedTrace
    record: ViolationRecord
    at: int
    """The index of the ``Remedied`` event in the log of the reader."""


@dataclass(slots=True)
class History:
    """How the trace changed: all remedies in order, and the final trace."""

    # `misfit` describes the first contradiction between the log of the model and the events; empty without one.

    acts: list[AppliedRemedy]
    trace: SimulatedTrace
    misfit: str = ""


def history_of(played: PlayedWorld) -> History:
    # The reader must have received every event.
    world = played.world
    trace = trace_of(world)
    history = History([], trace)
    acts = [(n, s.event) for n, s in enumerate(played.seen) if isinstance(s.event, Remedied)]
    watches = {watch.name: watch for watch in world.watches}
    sent = list(played.model.sent)
    late = played.result.ledger.late if played.result is not None else 0
    before: SentRequest | None = None
    for generation in range(len(acts) + 1):
        while sent and sent[0].generation == generation:
            now = sent.pop(0)
            _lose(trace, now, before, late)
            _stream(history, now, with_tags=world.thinking in ("tags", "opened"))
            before = now
        if generation < len(acts):
            number, event = acts[generation]
            trace.ended = _has_ended(played, number)
            _act(history, event.violation, number, watches)
    if sent and not history.misfit:
        history.misfit = f"a request of generation {sent[0].generation} after {len(acts)} remedies"
    return history


def _has_ended(played: PlayedWorld, act: int) -> bool:
    # A finish reason alone does not end a stream.
    for seen in reversed(played.seen[:act]):
        if isinstance(seen.event, StreamEnded | StreamStarted):
            return isinstance(seen.event, StreamEnded)
    return False


def _lose(trace: SimulatedTrace, sent: SentRequest, before: SentRequest | None, late: int) -> None:
    # The run had closed a stream for a remedy when the rest of its text arrived. The budget for remedies was used up,
    # so no cut removed that text. The model writes it again in the next stream.
    lost, prefix = trace.text[len(sent.request.prefix) :], sent.request.prefix
    if before is None or not lost or not trace.text.startswith(prefix):
        return
    tail, tokens = "", 0
    for chunk in reversed(before.chunks):
        if len(tail) >= len(lost):
            break
        tail, tokens = chunk.text + tail, tokens + chunk.tokens
    if tail == lost and tokens <= late:
        trace.cut(len(prefix))


def _stream(history: History, sent: SentRequest, *, with_tags: bool) -> None:
    trace, prefix = history.trace, sent.request.prefix
    if prefix != trace.text:
        # The core held back a part of a tag. The model writes this part again when it continues.
        held = trace.text[len(prefix) :]
        if not (with_tags and trace.text.startswith(prefix) and is_half_a_tag(held)):
            history.misfit = history.misfit or f"the trace is {trace.text!r}, but the model continues {prefix!r}"
        trace.cut(len(prefix))
    for chunk in sent.chunks:
        trace.add(chunk.text, chunk.phase, call=chunk.call is not None)


def is_half_a_tag(text: str) -> bool:
    return "</think>".startswith(text) or "<think>".startswith(text.lstrip())


def _act(history: History, record: ViolationRecord, number: int, watches: dict[str, MonitorSetup]) -> None:
    trace = history.trace
    history.acts.append(AppliedRemedy(_copy(trace), record, number))
    cut = record.cut
    if cut is None or cut > len(trace.text):
        history.misfit = history.misfit or f"a cut at {cut} of a trace of {len(trace.text)} characters"
        return
    watch = watches[record.monitor]
    answered = None
    is_call = any(start <= record.span.start < end for start, end in trace.calls)
    if record.remedy == "feedback" and cut >= record.span.end and not is_call:
        covering = [s for s in segments_of(trace, watch) if s[0] <= record.span.start and record.span.end <= s[1]]
        if watch.trigger == "chars":
            answered = (max(cut - CHARS, 0), cut)
        elif covering:
            answered = (covering[0][0], cut)
        else:
            history.misfit = history.misfit or f"feedback for {record.span}, which is in no segment of {watch.name}"
    trace.cut(cut)
    if record.remedy == "conclude" and trace.thinking == "field":
        trace.answer_at = len(trace.text)
    trace.insert(record.inserted, "repair" if record.remedy == "repair" else "feedback")
    if answered is not None:
        trace.answered.append(answered)


def _copy(trace: SimulatedTrace) -> SimulatedTrace:
    return SimulatedTrace(
        trace.thinking,
        trace.text,
        list(trace.ours),
        list(trace.calls),
        trace.answer_at,
        list(trace.answered),
        list(trace.shortened),
        trace.ended,
        trace.tears,
    )


@dataclass(frozen=True, slots=True)
class BrokenInvariant:
    """The name of an invariant that a play breaks, and a description of the contradiction."""

    invariant: str
    detail: str


@dataclass(frozen=True, slots=True)
class PlayedCase:
    """A played world, with the history of its trace."""

    # `history` is `None` if the reader missed events, or if the run did not end.

    played: PlayedWorld
    history: History | None

    @property
    def world(self) -> World:
        return self.played.world

    @property
    def result(self) -> Result | None:
        return self.played.result


Invariant: TypeAlias = Callable[[PlayedCase], Iterator[str]]
"""A function that yields a description of each contradiction in a play; nothing if the invariant holds."""
INVARIANTS: list[tuple[str, Invariant]] = []
"""All invariants with their names, in the order in which :func:`invariant` registered them."""


def invariant(name: str) -> Callable[[Invariant], Invariant]:
    # The function gets a `PlayedCase`, and yields a description of each contradiction.
    def enlist(function: Invariant) -> Invariant:
        INVARIANTS.append((name, function))
        return function

    return enlist


def case_of(played: PlayedWorld) -> PlayedCase:
    # The history is `None` if the reader missed events, or if the run did not end.
    return PlayedCase(played, history_of(played) if played.saw_all and played.stuck is None else None)


def final_trace(case: PlayedCase, result: Result) -> SimulatedTrace:
    # Return the final trace of a run, marked as ended. This is the trace of the history of `case`, which is changed by
    # the mark. Without a history that fits `result`, the trace is rebuilt from `result`.
    if case.history is not None and not case.history.misfit and case.history.trace.text == result.text:
        trace = case.history.trace
        trace.ended = True
        return trace
    trace = trace_of(case.world)
    trace.text = result.text
    trace.ours = [(entry.span.start, entry.span.end, entry.origin) for entry in result.insertions]
    if case.world.thinking == "field":
        trace.answer_at = len(result.reasoning) if result.answer else None
    trace.calls = _calls_of(case, result)
    trace.ended = True
    return trace


def _calls_of(case: PlayedCase, result: Result) -> list[tuple[int, int]]:
    spans = []
    for sent in case.played.model.sent:
        for chunk in sent.chunks:
            at = result.text.find(chunk.text) if chunk.call is not None else -1
            if at >= 0 and (at, at + len(chunk.text)) not in spans:
                spans.append((at, at + len(chunk.text)))
    return sorted(spans)
