"""The history of the trace, put together again from what the model sent and what the reader was told was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from interwhen.events import Remedied, StreamEnded, StreamStarted
from interwhen.results import ViolationRecord
from interwhen.simulation.lives import Played
from interwhen.simulation.model import Sent
from interwhen.simulation.truth import CHARS, Trace, segments_of
from interwhen.simulation.world import Watch


class Act(NamedTuple):
    """A remedy, and the trace as it stood just before."""

    before: Trace
    record: ViolationRecord
    at: int
    """The number of the event in the reader's log."""


@dataclass(slots=True)
class History:
    """All acts in order, the trace at the end, and the first thing that does not fit together (``""``: all fits)."""

    acts: list[Act]
    trace: Trace
    misfit: str = ""


def history_of(played: Played) -> History:
    """Return the history of a play whose reader saw every event."""
    world = played.world
    trace = Trace(world.thinking)
    history = History([], trace)
    acts = [(n, s.event) for n, s in enumerate(played.seen) if isinstance(s.event, Remedied)]
    watches = {watch.name: watch for watch in world.watches}
    sent = list(played.model.sent)
    late = played.result.ledger.late if played.result is not None else 0
    before: Sent | None = None
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
        history.misfit = f"a request of generation {sent[0].generation}, when {len(acts)} remedies had been told"
    return history


def _has_ended(played: Played, act: int) -> bool:
    """Tell whether the stream before *act* was at its end: a finish reason alone does not end it."""
    for seen in reversed(played.seen[:act]):
        if isinstance(seen.event, StreamEnded | StreamStarted):
            return isinstance(seen.event, StreamEnded)
    return False


def _lose(trace: Trace, sent: Sent, before: Sent | None, late: int) -> None:
    """Drop what came from the stream *before* once it was closed, for a remedy that there was no budget for.

    Nothing was cut then: the model writes it again, behind all that stands. *late* is how many tokens are counted so.
    """
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


def _stream(history: History, sent: Sent, *, with_tags: bool) -> None:
    trace, prefix = history.trace, sent.request.prefix
    if prefix != trace.text:
        # Half a tag, which the core held back, is not known to the model that goes on: it is written again.
        held = trace.text[len(prefix) :]
        if not (with_tags and trace.text.startswith(prefix) and is_half_a_tag(held)):
            history.misfit = history.misfit or f"the trace is {trace.text!r}, and the model was given {prefix!r}"
        trace.cut(len(prefix))
    for chunk in sent.chunks:
        trace.add(chunk.text, chunk.phase, call=chunk.call is not None)


def is_half_a_tag(text: str) -> bool:
    """Tell whether *text* may be the beginning of a tag."""
    return "</think>".startswith(text) or "<think>".startswith(text.lstrip())


def _act(history: History, record: ViolationRecord, number: int, watches: dict[str, Watch]) -> None:
    trace = history.trace
    history.acts.append(Act(_copy(trace), record, number))
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
            history.misfit = history.misfit or f"feedback answers {record.span}, which is in no segment of {watch.name}"
    trace.cut(cut)
    if record.remedy == "conclude" and trace.thinking == "field":
        trace.answer_at = len(trace.text)
    trace.insert(record.inserted, "repair" if record.remedy == "repair" else "feedback")
    if answered is not None:
        trace.answered.append(answered)


def _copy(trace: Trace) -> Trace:
    return Trace(
        trace.thinking,
        trace.text,
        list(trace.ours),
        list(trace.calls),
        trace.answer_at,
        list(trace.answered),
        trace.ended,
    )
