"""The scribe of a run: notes what its core does with each fact, and when.

What the core does not know (when a check began in its worker, when a stream was closed) is in the facts and counts of
the engine. The compact form, which the scribe makes for browsers, is described in docs/journal.md.
Why: docs/decisions/0060-times-in-the-journal.md.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import msgspec

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
from interwhen._types.models import Chunk, Origin, ResumeMode, Usage
from interwhen._types.results import CheckRecord, Result, Verified, ViolationRecord
from interwhen._types.segments import Phase, Span, sha256
from interwhen._types.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Skipped, TimedOut, Unknown, Violation
from interwhen.journal._records import Header, SpentRecord
from interwhen.journal._timeline import (
    CheckTimes,
    ForkTimes,
    FrontierStep,
    Incident,
    RemedyTimes,
    RequestTimes,
    TextCut,
    TextShown,
    TextWritten,
    Timeline,
)

VERSION = 1
"""The version of the compact form."""

OutcomeName = Literal["pass", "violation", "unknown", "error", "timed_out", "cancelled", "skipped"]


@dataclass(slots=True)
class _Request:
    entry: int
    start: int
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
    monitor: int
    key: str
    span: Span | None
    ordered: float
    tokens: int
    """The tokens of the model when it was ordered."""
    tape: int | None
    """The offset of the span on the tape."""
    wide: tuple[Span | None, Span | None] | None = None
    """Span and segment in UTF-16 units, if they differ."""
    segment: Span | None = None
    job: int = 0
    began: float | None = None
    ended: float | None = None
    worker: str = ""
    record: CheckRecord | None = None
    lag: int = 0
    cut: int | None = None
    remedy: int | None = None
    interrupted: bool = False
    fork: int | None = None


@dataclass(slots=True)
class _Fork:
    monitor: int
    segment: Span
    ordered: float
    wide: Span | None = None
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
    violation: ViolationRecord
    check: int | None
    found: float
    wide: Span | None = None
    closed: float | None = None
    cut: float | None = None
    to: int | None = None
    written: float | None = None
    request: int | None = None
    removed: int = 0
    removed_tokens: int = 0
    entry: int | None = None


class Scribe:
    """Records in memory what happens in a run: text, cuts, checks, forks, requests and remedies, each with its time.

    Call :meth:`before` and :meth:`after` around each step of the core. This works with the core of a live run, and with
    a core that is rebuilt from a journal. With *redacted*, the compact form contains no text, keys or reasons.
    """

    def __init__(  # noqa: PLR0915  one field a statement
        self, core: Core, header: Header, schema: int, *, redacted: bool = False
    ) -> None:
        self.core = core
        self.header = header
        self.result: Result | None = None
        self.called: Mapping[str, Any] | None = None
        self.at = 0.0
        self._redacted = redacted
        self._schema = schema
        self._numbers = {str(one.fields["name"]): number for number, one in enumerate(header.monitors)}
        self._workers = [header.verifiers[one.verifier].worker for one in header.monitors]
        # The tape: one entry for each text that was added to the trace.
        self._texts: list[str] = []
        self._times: list[float] = []
        self._starts: list[int] = []
        self._tokens: list[int] = []
        self._styles: list[tuple[int, Phase, Origin]] = []
        self._standing: list[tuple[int, int]] = []
        """For each entry of the tape that is in the trace: its index, and how many of its characters stand."""
        self._written = 0
        """The length of the tape."""
        self._tape_starts: list[int] = []
        self._model_tokens = 0
        self._wide: list[int] = []
        """The offsets of the characters of the trace that have two UTF-16 units."""
        self._cuts: list[tuple[int, int, float, int, int, int]] = []
        """Entry, offset, time, remedy (-1: none), removed characters, offset in UTF-16 units."""
        self._frontier: list[tuple[float, int, int]] = []
        self._shown: list[tuple[float, int, int]] = []
        """Time, offset (-1: as the trace), offset in UTF-16 units."""
        self._shows_all = True
        self._last_shown = 0
        self._requests: list[_Request] = []
        self._checks: list[_Check] = []
        self._open: dict[tuple[int, str, Span | None], list[int]] = {}
        self._uncut: list[int] = []
        self._forks: list[_Fork] = []
        self._open_forks: dict[int, int] = {}
        self._remedies: list[_Remedy] = []
        self._incidents: list[Incident] = []
        self._closes: list[tuple[int, int | None, float]] = []
        """For each stream that we closed: the request, the remedy (set later), and the time of the order."""
        self._latencies: tuple[float, ...] = ()
        self._spent = SpentRecord()
        self._fork_counts = (0, 0, 0)
        self._changes = 0
        self._stamps: dict[str, dict[int, int]] = {name: {} for name in UPSERTED}
        """For each list whose entries change: the number of the last change of each entry, the latest one last."""
        self._length = 0
        self._count = 0
        self._owed = 0
        """The tokens of chunks whose text the core has held back so far: it may be half a tag."""
        # What the current step has shown so far.
        self._fact_times: tuple[float, float, str] | None = None
        """Seconds, queued seconds and worker of the job that ended."""
        self._removed: tuple[int, int, int] | None = None
        """The cut, its characters and its tokens."""
        self._cut_to: int | None = None
        """The offset to which the trace was cut."""
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
        self._fact_times = self._removed = self._inserted_at = self._finding = self._cut_to = None

    def after(self, at: float, fact: Fact, orders: Sequence[Order]) -> None:
        """Note, in memory, what the core changed when it processed *fact* at the time *at*: text, checks, remedies.

        *orders* are the orders that the core returned.
        """
        self.at = at
        transcript = self.core.transcript
        if type(fact) is Chunk:
            self._chunk(at, fact)
        else:
            self._fact(at, fact)
            if transcript.kept_until < self._length or transcript.length > self._length:
                self._changed(at)
        if orders:
            self._ordered(at, orders)
        events = self.core.events
        for place in range(self._count, len(events)):
            self._event(at, events[place])
        released = self.core.released
        shows_all = released == transcript.length
        if shows_all is not self._shows_all or (not shows_all and released != self._last_shown):
            self._shows_all, self._last_shown = shows_all, released
            self._shown.append((at, -1 if shows_all else released, -1 if shows_all else self._u16(released)))

    def _chunk(self, at: float, chunk: Chunk) -> None:
        transcript = self.core.transcript
        request = self._requests[-1] if self._requests else None
        if transcript.kept_until < self._length:
            self._changed(at)
        elif transcript.length > self._length:
            self._grown(at, self._length, chunk.tokens)
        elif request is not None and request.how == "open" and chunk.text:
            self._owed += chunk.tokens
        if request is None:
            return
        if chunk.text and request.first is None and request.how == "open":
            request.first = at
            self._touch("requests", len(self._requests) - 1)
        if chunk.usage is not None:
            request.usage = chunk.usage
            self._touch("requests", len(self._requests) - 1)

    def spent(self, record: SpentRecord) -> None:
        """Store the counters that the engine measured, and add the times of closed streams to requests and remedies."""
        self._latencies = record.close_latency
        for place, latency in enumerate(record.close_latency[: len(self._closes)]):
            number, remedy, found = self._closes[place]
            if self._requests[number].ended != found + latency:
                self._requests[number].ended = found + latency
                self._touch("requests", number)
            if remedy is not None and self._remedies[remedy].closed is None:
                self._remedies[remedy].closed = found + latency
                self._touch("remedies", remedy)
        if record.behind is not None and self._requests:
            self._requests[-1].usage = record.behind
            self._touch("requests", len(self._requests) - 1)
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
        """Record the *result* of the run, which ended at the time *at*."""
        self.at = max(self.at, at)
        self.result = result
        for record in result.violations:
            if record.remedy is not None and not any(_same(one.violation, record) for one in self._remedies):
                # The run was given up: the core emits no event for it.
                self._remedy(at, record)

    # ------------------------------------------------------------------ text

    def _grown(self, at: float, start: int, tokens: int) -> None:
        """Record the new text of the trace, which begins at offset *start* and has *tokens* tokens."""
        transcript = self.core.transcript
        if tokens:
            tokens, self._owed = tokens + self._owed, 0
        begun, phase = transcript.phases[-1]
        if tokens and begun <= start and self._styles and self._styles[-1][1:] == (phase, "model"):
            text = transcript.slice(start, transcript.length)  # most chunks: more of the same text of the model
            number = len(self._texts)
            self._texts.append(text)
            self._times.append(at)
            self._starts.append(start)
            self._tape_starts.append(self._written)
            self._tokens.append(tokens)
            self._written += len(text)
            self._standing.append((number, len(text)))
            if not text.isascii():
                self._wide.extend(start + place for place, char in enumerate(text) if char > "\uffff")
            self._model_tokens += tokens
            return
        runs = list(transcript.runs(start, transcript.length))
        for place, run in enumerate(runs):
            text = run.text
            number = len(self._texts)
            self._texts.append(text)
            self._times.append(at)
            self._starts.append(run.start)
            self._tape_starts.append(self._written)
            # One chunk may have several runs, for example a tag and text. Its tokens count once.
            self._tokens.append(tokens if place == len(runs) - 1 and run.origin == "model" else 0)
            self._written += len(text)
            self._standing.append((number, len(text)))
            if not self._styles or self._styles[-1][1:] != (run.phase, run.origin):
                self._styles.append((number, run.phase, run.origin))
            if not text.isascii():
                self._wide.extend(run.start + place for place, char in enumerate(text) if char > "\uffff")
        self._model_tokens += tokens

    def _changed(self, at: float) -> None:
        """Record that the trace was cut, and the text that was written after the cut."""
        transcript = self.core.transcript
        kept = min(transcript.kept_until, self._length)
        if kept < self._length:
            tokens = self._take_back(kept)
            self._cuts.append((len(self._texts), kept, at, -1, self._length - kept, self._u16(kept)))
            number = len(self._cuts) - 1
            still = []
            for place in self._uncut:
                check = self._checks[place]
                if check.span is not None and check.span.end > kept:
                    check.cut = number
                    self._touch("checks", place)
                else:
                    still.append(place)
            self._uncut = still
            self._removed, self._cut_to = (number, self._length - kept, tokens), kept
        if transcript.length > kept:
            self._inserted_at = len(self._texts)
            self._grown(at, kept, 0)

    def _take_back(self, to: int) -> int:
        """Forget the text from offset *to* on, which was cut; return how many tokens this removes.

        The text stays on the tape, which contains all text that was ever added.
        """
        tokens = 0
        while self._standing and self._starts[self._standing[-1][0]] >= to:
            tokens += self._tokens[self._standing.pop()[0]]
        if self._standing:
            number, length = self._standing[-1]
            if self._starts[number] + length > to:
                self._standing[-1] = number, to - self._starts[number]
        while self._wide and self._wide[-1] >= to:
            self._wide.pop()
        return tokens

    def _u16(self, offset: int) -> int:
        """Convert *offset*, a character offset of the trace, to UTF-16 code units."""
        return offset + bisect_left(self._wide, offset) if self._wide else offset

    def _u16_span(self, span: Span | None) -> Span | None:
        return None if span is None else Span(self._u16(span.start), self._u16(span.end)) if self._wide else span

    def _on_tape(self, offset: int) -> int | None:
        """Return the tape position of the character at *offset* of the trace; ``None`` if there is no such character.

        The tape contains all text that was ever added to the trace, including text that was cut later.
        """
        place = bisect_left(self._standing, offset + 1, key=lambda one: self._starts[one[0]]) - 1
        if place < 0:
            return None
        number, length = self._standing[place]
        inside = offset - self._starts[number]
        return self._tape_starts[number] + inside if inside <= length else None

    # ------------------------------------------------------------------ facts and orders

    def _fact(self, at: float, fact: Fact) -> None:  # noqa: C901, PLR0912  one case a fact
        match fact:
            case Opened(resume=resume, reason=reason, seconds=seconds):
                remedy = None
                if self._remedies and self._remedies[-1].request is None:
                    remedy = len(self._remedies) - 1
                    self._remedies[remedy].request = len(self._requests)
                    self._touch("remedies", remedy)
                self._requests.append(
                    _Request(
                        len(self._texts),
                        self.core.transcript.length,
                        sent=self._sent(at, seconds),
                        accepted=at,
                        resume=resume,
                        reason=reason,
                        remedy=remedy,
                    )
                )
                self._touch("requests", len(self._requests) - 1)
            case Ended():
                self._end_request(at, "ended")
            case Broken(error=error, seconds=seconds):
                if self._requests and not self._is_closed():
                    self._end_request(at, "broken", error)
                else:
                    self._requests.append(
                        _Request(
                            len(self._texts),
                            self.core.transcript.length,
                            sent=self._sent(at, seconds),
                            ended=at,
                            how="refused",
                            error=error,
                        )
                    )
                    self._touch("requests", len(self._requests) - 1)
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
                if self._requests and not self._is_closed():
                    self._end_request(at, "broken", "the process ended")
                self._incident(at, "resumed")
            case SwitchedOff():
                self._incident(at, "switched_off")

    def _sent(self, at: float, seconds: float) -> float | None:
        return at - seconds if seconds or self._schema > 1 else None

    def _is_closed(self) -> bool:
        return self._requests[-1].how != "open"

    def _end_request(self, at: float, how: Literal["ended", "closed", "broken"], error: str = "") -> None:
        if self._requests and not self._is_closed():
            request = self._requests[-1]
            request.ended, request.how, request.error = at, how, error
            self._touch("requests", len(self._requests) - 1)

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
        fork = self._forks[place]
        fork.ended, fork.claims, fork.outcome, fork.worker = at, claims, outcome, worker
        if worker:
            fork.began = at - seconds + queued
        elif self._schema == 1:
            fork.began = at - seconds
        fork.tokens, fork.prompt_tokens, fork.cached_tokens = self._fork_counts
        self._fork_counts = (0, 0, 0)
        self._finding = place
        self._touch("forks", place)

    def _ordered(self, at: float, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Extract(job=job, monitor=monitor, segment=segment, pieces=pieces):
                    if pieces is not None:
                        self._open_forks[job] = len(self._forks)
                        self._touch("forks", len(self._forks))
                        self._forks.append(_Fork(monitor, segment.span, at, self._u16_span(segment.span)))
                case Drop(job=job):
                    place = self._open_forks.pop(job, None)
                    if place is not None:
                        self._forks[place].ended = at
                        self._forks[place].outcome = Cancelled("it is not needed any more")
                        self._touch("forks", place)
                case Close():
                    if self._requests and not self._is_closed():
                        self._end_request(at, "closed")
                        self._closes.append((len(self._requests) - 1, None, at))
                case Suspend(verifier=verifier, failures=failures):
                    self._incident(at, "suspended" if failures else "restored", verifier)
                case _:
                    pass

    def _incident(self, at: float, what: Any, text: str = "") -> None:
        self._touch("incidents", len(self._incidents))
        self._incidents.append(Incident(at, what, text))

    # ------------------------------------------------------------------ events

    def _event(self, at: float, event: Event) -> None:
        match event:
            case CheckStarted(monitor=monitor, key=key, span=span):
                self._start(at, self._numbers[monitor], key, span)
            case CheckSettled(check=check):
                self._settle(at, check)
            case ViolationFound(violation=violation):
                place = self._check_of(violation)
                if place is not None:
                    self._checks[place].interrupted = violation.interrupted
                    self._touch("checks", place)
            case FrontierMoved(to=to):
                self._frontier.append((at, to, self._u16(to)))
            case Remedied(violation=violation):
                self._remedy(at, violation)
            case _:
                pass

    def _start(self, at: float, monitor: int, key: str, span: Span | None) -> _Check:
        place = len(self._checks)
        # A check of this step judged text from before the cut of this step: a cached verdict that refuted it.
        to = self._cut_to
        is_cut = to is not None and span is not None and span.end > to
        on_tape = span is not None and (to is None or span.start < to)
        check = _Check(
            monitor,
            key,
            span,
            at,
            self._model_tokens,
            self._on_tape(span.start) if span is not None and on_tape else None,
            cut=len(self._cuts) - 1 if is_cut else None,
            fork=self._finding,
        )
        if self._wide:
            check.wide = (self._u16_span(span), None)
        self._checks.append(check)
        if not is_cut:
            self._uncut.append(place)
        self._open.setdefault((monitor, key, span), []).append(place)
        self._touch("checks", place)
        return check

    def _settle(self, at: float, record: CheckRecord) -> None:
        monitor = self._numbers[record.monitor]
        places = self._open.get((monitor, record.key, record.span))
        if places:
            place = places.pop(0)
            check = self._checks[place]
            if not places:
                del self._open[monitor, record.key, record.span]
        else:  # a cached verdict, a skipped check, or an extraction that failed
            check = self._start(at, monitor, record.key, record.span)
            place = len(self._checks) - 1
            del self._open[monitor, record.key, record.span]
        check.record, check.segment, check.ended = record, record.segment, at
        if check.wide is not None:
            check.wide = check.wide[0], self._u16_span(record.segment)
        check.lag = self._model_tokens - check.tokens
        outcome = record.outcome
        if isinstance(outcome, Judged) and outcome.cached:
            check.worker, check.began = "cache", at
        elif self._fact_times is not None and not isinstance(outcome, Skipped | Cancelled):
            seconds, queued, worker = self._fact_times
            if worker or self._schema == 1 or self._workers[monitor] == "inline":
                check.began = max(at - seconds + queued, check.ordered)
                check.worker = worker or ("inline" if self._workers[monitor] == "inline" else "")
        self._touch("checks", place)

    def _check_of(self, violation: ViolationRecord) -> int | None:
        """Return the index of the latest check that found *violation*; ``None`` if there is none."""
        number = self._numbers[violation.monitor]
        for place in range(len(self._checks) - 1, -1, -1):
            check = self._checks[place]
            if check.monitor == number and check.key == violation.key and _is_violation(check.record):
                span = check.span
                if span is None or (span.start <= violation.span.start and violation.span.end <= span.end):
                    return place
        return None

    def _remedy(self, at: float, violation: ViolationRecord) -> None:
        number = len(self._remedies)
        place = self._check_of(violation)
        found = self._checks[place].ended if place is not None else None
        remedy = _Remedy(violation, place, at if found is None else found, self._u16_span(violation.span))
        if place is not None:
            self._checks[place].remedy = number
            self._touch("checks", place)
        if self._removed is not None:
            cut, removed, tokens = self._removed
            entry, to, when, _, length, wide = self._cuts[cut]
            self._cuts[cut] = (entry, to, when, number, length, wide)
            remedy.cut, remedy.to, remedy.removed, remedy.removed_tokens = when, wide, removed, tokens
            self._removed = None
        if violation.inserted:
            remedy.written, remedy.entry = at, self._inserted_at
        for place in range(len(self._closes) - 1, -1, -1):
            request, known, closed = self._closes[place]
            if known is None and request == len(self._requests) - 1 and closed >= remedy.found:
                self._closes[place] = request, number, closed
                if place < len(self._latencies):
                    remedy.closed = closed + self._latencies[place]
            break
        self._remedies.append(remedy)
        self._touch("remedies", number)

    # ------------------------------------------------------------------ what comes out

    def timeline(self, path: str, size: int, left_out: int = 0) -> Timeline:
        """Return the timeline up to now. *path* is the journal's path.

        *size* is the size of the journal in bytes, and *left_out* how many bytes at its end could not be read.
        """
        names = [str(one.fields["name"]) for one in self.header.monitors]
        who = [self.header.verifiers[one.verifier] for one in self.header.monitors]
        styles = {number: (phase, origin) for number, phase, origin in self._styles}
        texts = []
        style: tuple[Phase, Origin] = ("answer", "model")
        for number, text in enumerate(self._texts):
            style = styles.get(number, style)
            texts.append(
                TextWritten(
                    self._times[number],
                    self._starts[number],
                    text,
                    len(text),
                    *style,
                    self._tokens[number],
                )
            )
        requests = tuple(
            RequestTimes(
                one.sent,
                one.accepted,
                one.first,
                one.ended,
                one.how,
                one.error,
                one.resume,
                one.reason,
                one.start,
                one.usage,
                one.remedy,
            )
            for one in self._requests
        )
        return Timeline(
            path=path,
            header=self.header,
            result=self.result,
            texts=tuple(texts),
            cuts=tuple(
                TextCut(at, to, length, None if remedy < 0 else remedy) for _, to, at, remedy, length, _ in self._cuts
            ),
            shown=tuple(TextShown(at, None if to < 0 else to) for at, to, _ in self._shown),
            frontier=tuple(FrontierStep(at, to) for at, to, _ in self._frontier),
            requests=requests,
            checks=tuple(
                CheckTimes(
                    names[one.monitor],
                    who[one.monitor].name,
                    who[one.monitor].version,
                    one.key,
                    one.span,
                    one.segment,
                    one.ordered,
                    one.began,
                    one.ended,
                    one.worker,
                    one.record.outcome if one.record else None,
                    one.record.tries if one.record else 1,
                    one.lag,
                    one.cut,
                    one.remedy,
                    one.interrupted,
                    one.fork,
                )
                for one in self._checks
            ),
            forks=tuple(
                ForkTimes(
                    names[one.monitor],
                    one.segment,
                    one.ordered,
                    one.began,
                    one.ended,
                    one.worker,
                    one.claims,
                    one.outcome,
                    one.tokens,
                    one.prompt_tokens,
                    one.cached_tokens,
                )
                for one in self._forks
            ),
            remedies=tuple(
                RemedyTimes(
                    one.violation,
                    one.violation.remedy,
                    one.check,
                    one.found,
                    one.closed,
                    one.cut,
                    one.written,
                    requests[one.request].sent if one.request is not None else None,
                    requests[one.request].accepted if one.request is not None else None,
                    requests[one.request].first if one.request is not None else None,
                    one.request,
                    one.removed,
                    one.removed_tokens,
                )
                for one in self._remedies
            ),
            incidents=tuple(self._incidents),
            end=self.at,
            size=size,
            left_out=left_out,
            compact=to_json(self.whole(path, size, left_out)),
        )

    def whole(self, path: str, size: int, left_out: int = 0) -> dict[str, Any]:
        """Return the compact form of the whole timeline up to now, as an object for JSON.

        *path* is the journal's path, *size* its size in bytes, and *left_out* how many bytes at its end could not be
        read.
        """
        found = {"version": VERSION, **self._head(path), **self._columns(PartMark())}
        for name in UPSERTED:
            if rows := [self._row(name, number) for number in range(len(self._rows(name)))]:
                found[name] = rows
        found.update(self._state(size, left_out))
        return found

    def part(self, mark: PartMark, path: str) -> dict[str, Any]:
        """Return what is new in the compact form since *mark*, as an object for JSON, and move *mark* to the present.

        *path* is the journal's path.
        """
        found: dict[str, Any] = {}
        if not mark.begun:
            found = {"version": VERSION, **self._head(path)}
            mark.begun = True
        found.update(self._columns(mark))
        for name in UPSERTED:
            numbers = sorted(self._changed_after(mark, self._stamps[name]))
            if numbers:
                found[name] = {str(number): self._row(name, number) for number in numbers}
        mark.changes = self._changes
        found.update(self._state(0, 0))
        return found

    def _changed_after(self, mark: PartMark, changed: dict[int, int]) -> Iterator[int]:
        return takewhile(lambda number: changed[number] > mark.changes, reversed(changed))

    def _touch(self, name: str, number: int) -> None:
        self._changes += 1
        changed = self._stamps[name]
        changed.pop(number, None)
        changed[number] = self._changes
        if name == "requests" and (remedy := self._requests[number].remedy) is not None:
            self._touch("remedies", remedy)  # its story ends with the first token of this request

    def _rows(self, name: str) -> Sequence[object]:
        rows: dict[str, Sequence[object]] = {
            "requests": self._requests,
            "checks": self._checks,
            "forks": self._forks,
            "remedies": self._remedies,
            "incidents": self._incidents,
        }
        return rows[name]

    def _row(self, name: str, number: int) -> dict[str, Any]:
        makers: dict[str, Any] = {
            "requests": self._request_row,
            "checks": self._check_row,
            "forks": self._fork_row,
            "remedies": self._remedy_row,
            "incidents": self._incident_row,
        }
        row: dict[str, Any] = makers[name](number)
        return row

    def _head(self, path: str) -> dict[str, Any]:
        header = self.header
        redacted = self._redacted or header.redacted
        monitors = []
        for one in header.monitors:
            who = header.verifiers[one.verifier]
            fields = one.fields
            remedy = fields.get("remedy")
            monitors.append(
                _short(
                    name=fields.get("name"),
                    verifier=who.name,
                    version=who.version,
                    delivery=fields.get("delivery"),
                    worker=who.worker,
                    deadline=who.deadline,
                    remedy=remedy.get("type", "").lower() if isinstance(remedy, dict) else remedy,
                    required=fields.get("required"),
                    scope=fields.get("scope"),
                    forks=one.forks,
                )
            )
        return _short(
            path=path,
            interwhen=header.interwhen,
            schema=self._schema,
            call=None if header.call is None else msgspec.to_builtins(header.call),
            written=header.written,
            model=header.model,
            prompt=None if redacted else msgspec.to_builtins(header.prompt),
            prompt_sha256=header.prompt_sha256 if redacted else "",
            redacted=redacted,
            monitors=monitors,
        )

    def _columns(self, mark: PartMark) -> dict[str, Any]:
        """Return the values that were added since *mark* to the lists that only grow, such as texts and cuts.

        This moves *mark* to their ends.
        """
        texts = self._texts[mark.entries :]
        times = [_micros(at) for at in self._times[mark.entries :]]
        tokens = self._tokens[mark.entries :]
        first = mark.entries
        frontier = self._frontier[mark.frontier :]
        shown = self._shown[mark.shown :]
        found = _short(
            text="" if self._redacted else "".join(texts),
            tokens=_short(chars=[_width(text) for text in texts], gaps=_gaps(times, mark.time)),
            weights=[[first + place, weight] for place, weight in enumerate(tokens) if weight != 1],
            styles=[list(style) for style in self._styles[mark.styles :]],
            cuts=[[entry, wide, _micros(at), remedy] for entry, _, at, remedy, _, wide in self._cuts[mark.cuts :]],
            frontier=_short(
                gaps=_gaps([_micros(at) for at, _, _ in frontier], mark.frontier_time), to=[to for _, _, to in frontier]
            ),
            shown=_short(
                gaps=_gaps([_micros(at) for at, _, _ in shown], mark.shown_time), to=[to for _, _, to in shown]
            ),
        )
        mark.entries, mark.styles, mark.cuts = len(self._texts), len(self._styles), len(self._cuts)
        mark.frontier, mark.shown = len(self._frontier), len(self._shown)
        mark.time = times[-1] if times else mark.time
        mark.frontier_time = _micros(frontier[-1][0]) if frontier else mark.frontier_time
        mark.shown_time = _micros(shown[-1][0]) if shown else mark.shown_time
        return found

    def _state(self, size: int, left_out: int) -> dict[str, Any]:
        result = self.result
        found = _short(size=size, left_out=left_out, end=_micros(self.at))
        if self.called is not None:
            found["call"] = called_fields(self.header, self.called)
        if result is None:
            return found
        if self._redacted:
            found["text_sha256"] = sha256(result.text)
        found["status"], found["label"] = result.status, result.label
        said = getattr(result, "reason", "") or getattr(result, "error", "")
        found["result"] = _short(
            finish_reason=result.finish_reason,
            reason="" if self._redacted else said,
            scope=result.certificate.scope if isinstance(result, Verified) else None,
            unverified=[
                _short(
                    monitor=one.monitor,
                    span=self._final(one.span),
                    why="" if self._redacted else one.why,
                    verifier=one.verifier,
                )
                for one in getattr(result, "unverified_reasons", ())
            ],
            insertions=[{"span": self._final(one.span), "origin": one.origin} for one in result.insertions],
            hidden_reasoning=result.hidden_reasoning,
            resume=None if result.resume is None else msgspec.to_builtins(result.resume),
            ledger=msgspec.to_builtins(result.ledger),
            timing=msgspec.to_builtins(result.timing),
            # The samples of skipped events quote what a server sent.
            wire=None if self._redacted or result.wire == type(result.wire)() else msgspec.to_builtins(result.wire),
        )
        if isinstance(result, Verified):
            found["certificate"] = self._certificate(result)
        return found

    def _final(self, span: Span | None) -> list[int] | None:
        wide = self._u16_span(span)
        return None if wide is None else [wide.start, wide.end]

    def _certificate(self, result: Verified) -> dict[str, Any]:
        certificate = result.certificate
        places: dict[tuple[str, str, Span | None], int] = {}
        for number, check in enumerate(self._checks):
            if check.cut is None and check.record is not None:
                places[check.record.monitor, check.key, check.span] = number
        known = [places.get((one.monitor, one.key, one.span)) for one in certificate.checks]
        return _short(
            text_sha256=certificate.text_sha256,
            prompt_sha256=certificate.prompt_sha256,
            model=certificate.model,
            interwhen=certificate.interwhen,
            scope=certificate.scope,
            coverage=certificate.coverage,
            covered=[self._final(span) for span in certificate.covered],
            refuted=[self._final(span) for span in certificate.refuted],
            checks=[number for number in known if number is not None],
            hidden_reasoning=certificate.hidden_reasoning,
        )

    def _request_row(self, number: int) -> dict[str, Any]:
        one = self._requests[number]
        usage = one.usage or Usage()
        uncached = None
        if usage.prompt_tokens is not None and usage.cached_tokens is not None:
            uncached = max(usage.prompt_tokens - usage.cached_tokens, 0)
        row = _times(sent=one.sent, accepted=one.accepted, first=one.first, ended=one.ended)
        row.update(
            _short(
                how=None if one.how == "open" else one.how,
                error="" if self._redacted else one.error,
                resume=one.resume,
                reason=one.reason,
                entry=one.entry,
                at=one.start,
            )
        )
        row.update(
            _present(
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                uncached_tokens=uncached,
                completion_tokens=usage.completion_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                remedy=one.remedy if one.remedy is not None or not number else -1,
            )
        )
        return row

    def _check_row(self, number: int) -> dict[str, Any]:
        one = self._checks[number]
        record, redacted = one.record, self._redacted
        span, segment = (one.span, one.segment) if one.wide is None else one.wide
        outcome, why, verdict = None, "", None
        if record is not None:
            outcome, why = _named(record.outcome)
            verdict = record.outcome.verdict if isinstance(record.outcome, Judged) else None
        row: dict[str, Any] = {"monitor": one.monitor}
        row.update(
            _short(
                key="" if redacted else one.key,
                span=_pair(span),
                segment=_pair(segment),
                tape=None if one.tape is None or span is None else [one.tape, one.tape + len(one.span or ())],
            )
        )
        row.update(_times(ordered=one.ordered, began=one.began, ended=one.ended))
        row.update(_short(worker=one.worker, outcome=outcome, why="" if redacted else why))
        if isinstance(verdict, Violation) and not redacted:
            where = verdict.where
            row.update(_short(witness=verdict.witness, repair=verdict.repair))
            if where is not None and span is not None:
                row["where"] = [span.start + where.start, span.start + where.end]
        if isinstance(verdict, Pass) and verdict.scope != "steps":
            row["scope"] = verdict.scope
        if record is not None and record.tries > 1:
            row["tries"] = record.tries
        if redacted and record is not None:
            row.update(_short(sha256=record.claim_sha256))
        row.update(_short(lag=one.lag, interrupted=one.interrupted))
        row.update(_present(cut=one.cut, remedy=one.remedy, fork=one.fork))
        return row

    def _fork_row(self, number: int) -> dict[str, Any]:
        one = self._forks[number]
        outcome, why = ("claims", "") if one.outcome is None else _named(one.outcome)
        row = {"monitor": one.monitor, "segment": _pair(one.wide or one.segment)}
        row.update(_times(ordered=one.ordered, began=one.began, ended=one.ended))
        row.update(
            _short(
                worker=one.worker,
                outcome=None if one.ended is None else outcome,
                claims=one.claims,
                why="" if self._redacted else why,
                tokens=one.tokens,
                prompt_tokens=one.prompt_tokens,
                cached_tokens=one.cached_tokens,
            )
        )
        return row

    def _remedy_row(self, number: int) -> dict[str, Any]:
        one = self._remedies[number]
        violation, redacted = one.violation, self._redacted
        request = None if one.request is None else self._requests[one.request]
        row = _short(kind=violation.remedy)
        row.update(_present(check=one.check, monitor=self._numbers[violation.monitor]))
        row["span"] = _pair(one.wide or violation.span)
        if not redacted:
            row.update(
                _short(quote=violation.quote, why=violation.why, witness=violation.witness, inserted=violation.inserted)
            )
        row.update(
            _times(
                found=one.found,
                closed=one.closed,
                cut_at=one.cut,
                written=one.written,
                sent=None if request is None else request.sent,
                accepted=None if request is None else request.accepted,
                first=None if request is None else request.first,
            )
        )
        row.update(_present(to=one.to, request=one.request, entry=one.entry))
        row.update(_short(cut_chars=one.removed, cut_tokens=one.removed_tokens))
        return row

    def _incident_row(self, number: int) -> dict[str, Any]:
        one = self._incidents[number]
        return {"at": _micros(one.at), "what": one.what, **_short(text="" if self._redacted else one.text)}


UPSERTED = ("requests", "checks", "forks", "remedies", "incidents")
"""The lists whose entries change after they were added."""


@dataclass(slots=True)
class PartMark:
    """Stores how much of a timeline was already returned as parts: how many entries of each list, and times in µs.

    Each consumer of one timeline has one.
    """

    begun: bool = False
    offset: int = 0
    """The end of the last part in the journal."""
    restarts: int = 0
    """How often the timeline had begun again when the last part was made."""
    outlines: int = 0
    """How many parts of a redacted journal were returned."""
    changes: int = 0
    """The number of the last change that was returned, of entries that change."""
    entries: int = 0
    styles: int = 0
    cuts: int = 0
    frontier: int = 0
    shown: int = 0
    time: int = 0
    frontier_time: int = 0
    shown_time: int = 0


def called_fields(header: Header, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for the compact form that describe the call: *record* and the call data in *header*.

    The lists of *record* are left out, because the form has them in other places.
    """
    known = {} if header.call is None else msgspec.to_builtins(header.call)
    apart = ("checks", "violations", "monitors", "content", "ledger", "timing")
    return {**known, **{name: value for name, value in record.items() if name not in apart}}


def to_json(value: object) -> bytes:
    """Return *value* as JSON. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _gaps(times: Sequence[int], before: int) -> list[int]:
    found = []
    for at in times:
        found.append(at - before)
        before = at
    return found


def _width(text: str) -> int:
    """Return the length of *text* in UTF-16 code units."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)


def _pair(span: Span | None) -> list[int] | None:
    return None if span is None else [span.start, span.end]


def _short(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that have an empty value: ``None``, an empty text or list, zero or false."""
    return {name: value for name, value in fields.items() if value or value is True}


def _present(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that are ``None``. Zeros stay, because here they have a meaning."""
    return {name: value for name, value in fields.items() if value is not None}


def _times(**fields: float | None) -> dict[str, Any]:
    return {name: _micros(at) for name, at in fields.items() if at is not None}


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


def _named(outcome: Outcome) -> tuple[OutcomeName, str]:
    """Return the name of *outcome* and its reason."""
    match outcome:
        case Judged(verdict=Pass(evidence=why)):
            return "pass", why
        case Judged(verdict=Violation(why=why)):
            return "violation", why
        case Judged(verdict=Unknown(why=why)):
            return "unknown", why
        case Errored(error=why):
            return "error", why
        case TimedOut(deadline=deadline):
            return "timed_out", f"after {deadline:g} s"
        case Cancelled(why=why):
            return "cancelled", why
        case Skipped(why=why):
            return "skipped", why
    raise AssertionError(outcome)
