"""The scribe of a run: notes what its core does with each fact, and when.

What the core does not know, such as when a check began in its worker, is in the facts and counts of the engine. Why:
docs/decisions/0060-times-in-the-journal.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from interwhen._core.machine import Core
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Fact,
    Idle,
    Opened,
    Order,
    OutOfTime,
    Resumed,
    Settled,
    Suspend,
    SwitchedOff,
)
from interwhen._types.events import CheckSettled, CheckStarted, Event, FrontierMoved, Remedied, ViolationFound
from interwhen._types.models import Chunk, ResumeMode, Usage
from interwhen._types.results import CheckRecord, Result, ViolationRecord
from interwhen._types.segments import Span
from interwhen._types.verdicts import Cancelled, Judged, Outcome, Skipped, Violation
from interwhen.journal._records import Header, SpentRecord
from interwhen.journal._tape import Tape
from interwhen.journal._timeline import Incident

UPSERTED = ("requests", "checks", "forks", "remedies", "incidents")
"""The lists whose entries a part gives by their index, because most of them can change after they were added."""


@dataclass(slots=True)
class _Request:
    """One request, as far as it is known. It becomes a :class:`RequestTimes`, which explains the other fields."""

    entry: int
    """The number of texts on the tape when it began."""
    start: int
    number: int
    sent: float | None = None
    accepted: float | None = None
    first: float | None = None
    ended: float | None = None
    how: Literal["ended", "closed", "broken", "refused", "open"] = "open"
    error: str = ""
    resume: ResumeMode | None = None
    reason: str = ""
    usage: Usage | None = None
    remedy: int | None = None


@dataclass(slots=True)
class _Check:
    """One check, as far as it is known. It becomes a :class:`CheckTimes`, which explains the other fields."""

    monitor: int
    """The index of its monitor."""
    key: str
    span: Span | None
    ordered: float
    number: int
    tokens: int
    """The tokens of the model when it was ordered."""
    wide: tuple[Span | None, Span | None] | None = None
    """Span and segment in UTF-16 units; ``None`` if these are the same as characters."""
    segment: Span | None = None
    job: int = 0
    began: float | None = None
    ended: float | None = None
    settled: int = 0
    """The number at which it ended; 0 if it has not."""
    worker: str = ""
    record: CheckRecord | None = None
    lag: int = 0
    cut: int | None = None
    remedy: int | None = None
    interrupted: bool = False
    fork: int | None = None


@dataclass(slots=True)
class _Fork:
    """One fork, as far as it is known. It becomes a :class:`ForkTimes`, which explains the other fields."""

    monitor: int
    """The index of its monitor."""
    segment: Span
    ordered: float
    number: int
    wide: Span | None = None
    """The segment in UTF-16 units."""
    began: float | None = None
    ended: float | None = None
    worker: str = ""
    claims: int = 0
    outcome: Outcome | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass(slots=True)
class _Remedy:
    """One remedy, as far as it is known. It becomes a :class:`RemedyTimes`, which explains the other fields."""

    violation: ViolationRecord
    check: int | None
    found: float
    number: int
    """The number at which the violation was found."""
    wide: Span | None = None
    """The span of the wrong part in UTF-16 units."""
    closed: float | None = None
    cut: float | None = None
    to: int | None = None
    """The offset to which the trace was cut, in UTF-16 units."""
    written: float | None = None
    request: int | None = None
    removed: int = 0
    removed_tokens: int = 0
    entry: int | None = None
    """The index of the inserted text on the tape."""


class Scribe:
    """Records in memory what happens in a run: text, cuts, checks, forks, requests and remedies, each with its time.

    Call :meth:`before` and :meth:`after` around each step of the core, which may be live or rebuilt from a journal.
    """

    def __init__(self, core: Core, header: Header) -> None:
        """Start with the *core* of a new run. *header* is that of its journal."""
        self.core = core
        self.header = header
        self.result: Result | None = None
        self.called: Mapping[str, Any] | None = None
        """The record of the call, if one was read from the journal."""
        self.at = 0.0
        """The time of the last fact, or of the end of the run, in seconds since the run began."""
        self.number = 0
        """The number of the last fact or cut: each fact has the next one, and so has the cut that it leads to."""
        self.numbers = {str(one.fields["name"]): number for number, one in enumerate(header.monitors)}
        self._workers = [header.verifiers[one.verifier].worker for one in header.monitors]
        self.tape = Tape(core.transcript)
        self.frontier: list[tuple[int, float, int, int]] = []
        """Number, time, offset, offset in UTF-16 units."""
        self.shown: list[tuple[int, float, int, int]] = []
        """Number, time, offset (-1: as the trace), offset in UTF-16 units."""
        self._shows_all = True
        self._last_shown = 0
        self.requests: list[_Request] = []
        self.checks: list[_Check] = []
        self._open: dict[tuple[int, str, Span | None], list[int]] = {}
        self._uncut: list[int] = []
        self.forks: list[_Fork] = []
        self._open_forks: dict[int, int] = {}
        self.remedies: list[_Remedy] = []
        self.incidents: list[Incident] = []
        self._closes: list[tuple[int, int | None, float, int]] = []
        """For each stream that we closed: the request, the remedy (set later), and time and number of the order."""
        self._latencies: tuple[float, ...] = ()
        self._spent = SpentRecord()
        self._fork_counts = (0, 0, 0)
        self.changes = 0
        """How often an entry of these lists was added or changed."""
        self._changed_at: dict[str, dict[int, int]] = {name: {} for name in UPSERTED}
        """For each entry the number of its last change. The entry that changed last comes last."""
        self._length = 0
        self._count = 0
        # What the current step has shown so far.
        self._fact_times: tuple[float, float, str] | None = None
        """Seconds, queued seconds and worker of the job that ended."""
        self._removed: tuple[int, int, int] | None = None
        """The cut, its characters and its tokens."""
        self._inserted_at: int | None = None
        """The entry that was written after the cut."""
        self._finding: int | None = None
        """The fork whose claims are checked."""

    # ------------------------------------------------------------------ around a step of the core

    def before(self) -> None:
        """Store the length of the trace and the number of events, so that :meth:`after` sees what a step changes."""
        transcript = self.core.transcript
        self._length = transcript.kept_until = transcript.length
        self._count = len(self.core.events)
        self._fact_times = self._removed = self._inserted_at = self._finding = None

    def after(self, at: float, fact: Fact, orders: Sequence[Order]) -> None:
        """Note what the core changed when it processed *fact* at the time *at* and returned *orders*."""
        self.at = at
        self.number += 1
        transcript = self.core.transcript
        events = self.core.events
        if is_chunk := isinstance(fact, Chunk):
            self._chunk(at, fact)
        else:
            self._fact(at, fact)
        # Before the cut, because the offsets of checks and segments are those of the text that they judged.
        for place in range(self._count, len(events)):
            self._check_event(at, events[place])
        if transcript.kept_until < self._length or (not is_chunk and transcript.length > self._length):
            self._changed(at)
        if orders:
            self._ordered(at, orders)
        for place in range(self._count, len(events)):
            self._event(at, events[place])
        released = self.core.released
        shows_all = released == transcript.length
        if shows_all is not self._shows_all or (not shows_all and released != self._last_shown):
            self._shows_all, self._last_shown = shows_all, released
            to, wide = (-1, -1) if shows_all else (released, self.tape.u16(released))
            self.shown.append((self.number, at, to, wide))

    def _chunk(self, at: float, chunk: Chunk) -> None:
        transcript = self.core.transcript
        request = self.requests[-1] if self.requests else None
        if transcript.kept_until >= self._length:
            if transcript.length > self._length:
                self.tape.grow(self.number, at, self._length, chunk.tokens)
            elif request is not None and request.how == "open" and chunk.text:
                self.tape.owe(chunk.tokens)
        if request is None:
            return
        if chunk.text and request.first is None and request.how == "open":
            request.first = at
            self._touch("requests", len(self.requests) - 1)
        if chunk.usage is not None:
            request.usage = chunk.usage
            self._touch("requests", len(self.requests) - 1)

    def spent(self, record: SpentRecord) -> None:
        """Store the counters in *record*, and add the times of closed streams to requests and remedies."""
        self._latencies = record.close_latency
        for place, latency in enumerate(record.close_latency[: len(self._closes)]):
            number, remedy, found, _ = self._closes[place]
            if self.requests[number].ended != found + latency:
                self.requests[number].ended = found + latency
                self._touch("requests", number)
            if remedy is not None and self.remedies[remedy].closed is None:
                self.remedies[remedy].closed = found + latency
                self._touch("remedies", remedy)
        if record.behind is not None and self.requests:
            self.requests[-1].usage = record.behind
            self._touch("requests", len(self.requests) - 1)
        counts = (record.fork_tokens, record.fork_prompt_tokens, record.fork_cached_tokens)
        self._fork_counts = tuple(  # type: ignore[assignment]
            more + now - was
            for more, now, was in zip(
                self._fork_counts,
                counts,
                (self._spent.fork_tokens, self._spent.fork_prompt_tokens, self._spent.fork_cached_tokens),
                strict=True,
            )
        )
        self._spent = record

    def ended(self, at: float, result: Result) -> None:
        """Record the *result* of the run, which ended at the time *at*.

        Remedies in *result* for which the core emitted no event are added.
        """
        self.at = max(self.at, at)
        self.result = result
        for record in result.violations:
            if record.remedy is not None and not any(_same(one.violation, record) for one in self.remedies):
                # The run was given up: the core emits no event for it.
                self._remedy(at, record)

    # ------------------------------------------------------------------ text

    def _changed(self, at: float) -> None:
        """Record how the current step changed the trace at the time *at*: the text that was cut, and the new text."""
        transcript = self.core.transcript
        kept = min(transcript.kept_until, self._length)
        if kept < self._length:
            self.number += 1
            tokens = self.tape.cut(self.number, at, kept, self._length - kept)
            number = len(self.tape.cuts) - 1
            still = []
            for place in self._uncut:
                check = self.checks[place]
                if check.span is not None and check.span.end > kept:
                    check.cut = number
                    self._touch("checks", place)
                else:
                    still.append(place)
            self._uncut = still
            self._removed = number, self._length - kept, tokens
        if transcript.length > kept:
            self._inserted_at = len(self.tape.texts)
            self.tape.grow(self.number, at, kept, 0)

    # ------------------------------------------------------------------ facts and orders

    def _fact(self, at: float, fact: Fact) -> None:  # noqa: C901, PLR0912  one case a fact
        match fact:
            case Opened(resume=resume, reason=reason, seconds=seconds):
                remedy = None
                if self.remedies and self.remedies[-1].request is None:
                    remedy = len(self.remedies) - 1
                    self.remedies[remedy].request = len(self.requests)
                    self._touch("remedies", remedy)
                self.requests.append(
                    _Request(
                        len(self.tape.texts),
                        self.core.transcript.length,
                        self.number,
                        sent=at - seconds,
                        accepted=at,
                        resume=resume,
                        reason=reason,
                        remedy=remedy,
                    )
                )
                self._touch("requests", len(self.requests) - 1)
            case Ended():
                self._end_request(at, "ended")
            case Broken(error=error, seconds=seconds):
                if self.requests and not self._is_closed():
                    self._end_request(at, "broken", error)
                else:
                    self.requests.append(
                        _Request(
                            len(self.tape.texts),
                            self.core.transcript.length,
                            self.number,
                            sent=at - seconds,
                            ended=at,
                            how="refused",
                            error=error,
                        )
                    )
                    self._touch("requests", len(self.requests) - 1)
                self._incident(at, "broken", error)
            case Extracted(job=job, seconds=seconds, queued=queued, worker=worker, claims=claims):
                self._end_fork(job, at, seconds, queued, worker, claims=len(claims))
            case Settled(job=job, outcome=outcome, seconds=seconds, queued=queued, worker=worker):
                if job in self._open_forks:
                    self._end_fork(job, at, seconds, queued, worker, outcome=outcome)
                self._fact_times = seconds, queued, worker
            case OutOfTime(seconds=seconds):
                self._incident(at, "out_of_time", f"{seconds:g} s")
            case Idle(seconds=seconds, dead=dead):
                self._incident(at, "idle", f"{seconds:g} s" + (", probably dead" if dead else ""))
            case Abandoned():
                self._incident(at, "abandoned")
            case Resumed():
                if self.requests and not self._is_closed():
                    self._end_request(at, "broken", "the process ended")
                self._incident(at, "resumed")
            case SwitchedOff():
                self._incident(at, "switched_off")

    def _is_closed(self) -> bool:
        return self.requests[-1].how != "open"

    def _end_request(self, at: float, how: Literal["ended", "closed", "broken"], error: str = "") -> None:
        if self.requests and not self._is_closed():
            request = self.requests[-1]
            request.ended, request.how, request.error = at, how, error
            self._touch("requests", len(self.requests) - 1)

    def _end_fork(
        self,
        job: int,
        at: float,
        seconds: float,
        queued: float,
        worker: str,
        *,
        claims: int = 0,
        outcome: Outcome | None = None,
    ) -> None:
        place = self._open_forks.pop(job, None)
        if place is None:
            return
        fork = self.forks[place]
        fork.ended, fork.claims, fork.outcome, fork.worker = at, claims, outcome, worker
        if worker:
            fork.began = at - seconds + queued
        fork.tokens, fork.prompt_tokens, fork.cached_tokens = self._fork_counts
        self._fork_counts = (0, 0, 0)
        self._finding = place
        self._touch("forks", place)

    def _ordered(self, at: float, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Extract(job=job, monitor=monitor, segment=segment, pieces=pieces):
                    if pieces is not None:
                        self._open_forks[job] = len(self.forks)
                        self._touch("forks", len(self.forks))
                        wide = self.tape.u16_span(segment.span)
                        self.forks.append(_Fork(monitor, segment.span, at, self.number, wide))
                case Drop(job=job):
                    place = self._open_forks.pop(job, None)
                    if place is not None:
                        self.forks[place].ended = at
                        self.forks[place].outcome = Cancelled("it is not needed any more")
                        self._touch("forks", place)
                case Close():
                    if self.requests and not self._is_closed():
                        self._end_request(at, "closed")
                        self._closes.append((len(self.requests) - 1, None, at, self.number))
                case Suspend(verifier=verifier, failures=failures):
                    self._incident(at, "suspended" if failures else "restored", verifier)
                case _:
                    pass

    def _incident(self, at: float, what: Any, text: str = "") -> None:
        self._touch("incidents", len(self.incidents))
        self.incidents.append(Incident(at, what, text, number=self.number))

    # ------------------------------------------------------------------ events

    def _check_event(self, at: float, event: Event) -> None:
        match event:
            case CheckStarted(monitor=monitor, key=key, span=span):
                self._start(at, self.numbers[monitor], key, span)
            case CheckSettled(check=check):
                self._settle(at, check)
            case ViolationFound(violation=violation):
                place = self._check_of(violation)
                if place is not None:
                    self.checks[place].interrupted = violation.interrupted
                    self._touch("checks", place)
            case _:
                pass

    def _event(self, at: float, event: Event) -> None:
        match event:
            case FrontierMoved(to=to):
                self.frontier.append((self.number, at, to, self.tape.u16(to)))
            case Remedied(violation=violation):
                self._remedy(at, violation)
            case _:
                pass

    def _start(self, at: float, monitor: int, key: str, span: Span | None) -> _Check:
        place = len(self.checks)
        check = _Check(monitor, key, span, at, self.number, self.tape.model_tokens, fork=self._finding)
        if self.tape.is_wide:
            check.wide = (self.tape.u16_span(span), None)
        self.checks.append(check)
        self._uncut.append(place)
        self._open.setdefault((monitor, key, span), []).append(place)
        self._touch("checks", place)
        return check

    def _settle(self, at: float, record: CheckRecord) -> None:
        monitor = self.numbers[record.monitor]
        places = self._open.get((monitor, record.key, record.span))
        if places:
            place = places.pop(0)
            check = self.checks[place]
            if not places:
                del self._open[monitor, record.key, record.span]
        else:  # a cached verdict, a skipped check, or an extraction that failed
            check = self._start(at, monitor, record.key, record.span)
            place = len(self.checks) - 1
            del self._open[monitor, record.key, record.span]
        check.record, check.segment, check.ended = record, record.segment, at
        check.settled = self.number
        if check.wide is not None:
            check.wide = check.wide[0], self.tape.u16_span(record.segment)
        check.lag = self.tape.model_tokens - check.tokens
        outcome = record.outcome
        if isinstance(outcome, Judged) and outcome.cached:
            check.worker, check.began = "cache", at
        elif self._fact_times is not None and not isinstance(outcome, Skipped | Cancelled):
            seconds, queued, worker = self._fact_times
            if worker or self._workers[monitor] == "inline":
                check.began = max(at - seconds + queued, check.ordered)
                check.worker = worker or ("inline" if self._workers[monitor] == "inline" else "")
        self._touch("checks", place)

    def _check_of(self, violation: ViolationRecord) -> int | None:
        """Return the index of the latest check that found *violation*; ``None`` if there is none."""
        number = self.numbers[violation.monitor]
        for place in range(len(self.checks) - 1, -1, -1):
            check = self.checks[place]
            if check.monitor == number and check.key == violation.key and _is_violation(check.record):
                span = check.span
                if span is None or (span.start <= violation.span.start and violation.span.end <= span.end):
                    return place
        return None

    def _remedy(self, at: float, violation: ViolationRecord) -> None:
        number = len(self.remedies)
        place = self._check_of(violation)
        remedy = _Remedy(violation, place, at, self.number, self.tape.u16_span(violation.span))
        if place is not None:
            check = self.checks[place]
            check.remedy, remedy.number = number, check.settled
            remedy.found = at if check.ended is None else check.ended
            self._touch("checks", place)
        if self._removed is not None:
            cut, removed, tokens = self._removed
            made = self.tape.credit(cut, number)
            remedy.cut, remedy.to, remedy.removed, remedy.removed_tokens = made.at, made.wide, removed, tokens
            self._removed = None
        if violation.inserted:
            remedy.written, remedy.entry = at, self._inserted_at
        if self._closes:
            request, known, closed, ordered = self._closes[-1]
            if known is None and request == len(self.requests) - 1 and ordered >= remedy.number:
                self._closes[-1] = request, number, closed, ordered
                if len(self._closes) <= len(self._latencies):
                    remedy.closed = closed + self._latencies[len(self._closes) - 1]
        self.remedies.append(remedy)
        self._touch("remedies", number)

    # ------------------------------------------------------------------ which entries have changed

    def entries(self, name: str) -> Sequence[object]:
        """Return the list with the name *name*: requests, checks, forks, remedies or incidents."""
        found: Sequence[object] = getattr(self, name)
        return found

    def changed_after(self, changes: int) -> dict[str, list[int]]:
        """Return the sorted indexes of the entries that changed since :attr:`changes` was *changes*, by list."""
        found = {}
        for name, changed_at in self._changed_at.items():
            if numbers := sorted(_above(changes, changed_at)):
                found[name] = numbers
        return found

    def _touch(self, name: str, number: int) -> None:
        self.changes += 1
        changed_at = self._changed_at[name]
        changed_at.pop(number, None)
        changed_at[number] = self.changes
        if name == "requests" and (remedy := self.requests[number].remedy) is not None:
            self._touch("remedies", remedy)  # its story ends with the first token of this request


def _above(least: int, values: dict[int, int]) -> Iterator[int]:
    """Yield the keys whose values are above *least*. The values must ascend."""
    return takewhile(lambda key: values[key] > least, reversed(values))


def _is_violation(record: CheckRecord | None) -> bool:
    return record is not None and isinstance(record.outcome, Judged) and isinstance(record.outcome.verdict, Violation)


def _same(one: ViolationRecord, other: ViolationRecord) -> bool:
    return (one.monitor, one.key, one.span, one.remedy, one.cut) == (
        other.monitor,
        other.key,
        other.span,
        other.remedy,
        other.cut,
    )
