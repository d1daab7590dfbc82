"""The checks of a run: from a complete segment to the verdicts on its claims.

:class:`CheckTable` owns everything about them: open segments, jobs, verdicts, records. Start there.
Why a failing verifier is suspended: docs/decisions/0014-when-a-verifier-fails.md.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

from interwhen._core.messages import Check, Drop, Extract, Extracted, Order, Suspend
from interwhen._core.release import Kind, describe, fate_of, gates, kind_of, passed, way_of
from interwhen._core.segmenter import Due
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Candidate, Ref, Violations, refutation
from interwhen._types.budgets import Budgets
from interwhen._types.claims import Claim
from interwhen._types.events import CheckSettled, CheckStarted, Event, ViolationFound
from interwhen._types.monitors import Fork, Monitor, tracks
from interwhen._types.remedies import Conclude
from interwhen._types.results import CheckRecord, sha256
from interwhen._types.segments import Segment
from interwhen._types.spans import Span
from interwhen._types.verdicts import (
    Cancelled,
    Errored,
    Judged,
    Outcome,
    Retry,
    Skipped,
    TimedOut,
    Unknown,
    Verdict,
    Violation,
)

UNREAD = Judged(Unknown("this looks like a claim, and it could not be read"))
"""The outcome for text that a recognizer found and no claim covers."""
TORN = Judged(Unknown("the text was cut here in the middle of a line"))
"""The outcome for claims in a line that a cut ended: the number may have had more digits."""

Question: TypeAlias = tuple[int, str, str]
"""A question to a verifier: its number, the claim's key, and the claim's text. Positions in a verdict are relative to
that text, so a verdict on one spelling does not say where another spelling is wrong."""


class OpenSegment(msgspec.Struct, eq=False):
    """A segment with checks that have not ended."""

    span: Span
    pending: int = 1
    clear: bool = True
    """Whether every check that has ended passed."""
    certain: int | None = None
    """Up to where its words are certain, for a segment that the model has not finished; ``None``: it has."""
    torn: int | None = None
    """Where its last line begins, if a cut ended that line in the middle: no claim is read in it."""

    def await_more(self, checks: int) -> None:
        """Wait for *checks* more checks."""
        self.pending += checks

    def settle(self, *, passed: bool) -> bool:
        """Count the end of one check. Returns whether it was the last one."""
        self.pending -= 1
        self.clear = self.clear and passed
        return self.pending <= 0

    def forgive(self) -> None:
        """Count every check so far as passed: feedback answers the segment."""
        self.clear = True


class PendingRef(Ref, eq=False):
    """A claim that waits for its verdict."""

    home: OpenSegment

    def restore_claim(self, read: Callable[[int, Claim], Claim | None]) -> None:
        """Replace the claim, known by key and place only, by what *read* finds for the monitor; ``None``: keep it."""
        self.claim = read(self.monitor, self.claim) or self.claim


class Job(msgspec.Struct, eq=False):
    """Work that the engine does for the core: one extraction, or one check for all claims that are equal."""

    number: int
    monitor: int
    segment: Segment
    home: OpenSegment
    refs: list[PendingRef] | None = None
    """The claims that wait for the verdict; ``None`` for an extraction. Empty: the segment of the claim is not complete
    any more. Once it is complete again, the verdict is there or on its way."""
    question: Question | None = None
    tries: int = 1
    """How often it has been ordered."""
    seconds: float = 0.0
    """How long the tries took that have ended."""

    def retry(self, seconds: float) -> None:
        """Count one more try, after tries that took *seconds* together."""
        self.tries += 1
        self.seconds = seconds

    def keep(self, refs: list[PendingRef]) -> None:
        """Let only *refs* wait for the verdict."""
        self.refs = refs


class _Loss(NamedTuple):
    """The claims that one job lost because their text was cut."""

    job: int
    refs: tuple[PendingRef, ...]
    dropped: bool
    """Whether the job was closed, since no claim waits for it any more."""


class _MonitorSegments:
    """The standing segments of one monitor. They never overlap, so that they have the same order by start and end.

    A cut touches only the segments that it removes, however many stand before it.
    """

    __slots__ = ("_opened", "_records", "_unclear", "open")

    def __init__(self) -> None:
        self._opened: list[Span] = []
        self._unclear: list[Span] = []
        """Segments without a pass, in order."""
        self._records: dict[Span, dict[tuple[str, Span, bool], CheckRecord]] = {}
        """By segment; then by claim, place, and whether the claim is tied to the place: a claim that is not may have
        another verdict."""
        self.open: dict[Span, OpenSegment] = {}
        """Segments with checks that have not ended, in the order in which they were opened."""

    def has(self, span: Span) -> bool:
        """Tell whether the last segment is at *span*."""
        return bool(self._opened) and self._opened[-1] == span

    def add(self, home: OpenSegment) -> None:
        self._opened.append(home.span)
        self.open[home.span] = home

    def record(self, record: CheckRecord, place: Span) -> None:
        found = self._records.setdefault(record.segment, {})
        found[record.key, place, record.span is not None] = record

    def records(self) -> Iterable[CheckRecord]:
        for found in self._records.values():
            yield from found.values()

    def settle(self, home: OpenSegment, *, passed: bool) -> None:
        if home.settle(passed=passed) and self.open.get(home.span) is home:
            del self.open[home.span]
            if not home.clear:
                insort(self._unclear, home.span)

    def forgive(self, span: Span) -> None:
        first = bisect_left(self._unclear, span.start, key=_start)
        last = bisect_right(self._unclear, span.end, lo=first, key=_end)
        del self._unclear[first:last]
        for home in self.open.values():
            if span.covers(home.span):
                home.forgive()

    def first_open(self) -> int | None:
        # Segments are opened in the order of the text, and again only after they were removed.
        return next((span.start for span in self.open), None)

    def first_unclear(self) -> int | None:
        return self._unclear[0].start if self._unclear else None

    def cut(self, to: int) -> list[Span]:
        """Remove the segments that reach beyond *to*; return them."""
        gone = []
        while self._opened and self._opened[-1].end > to:
            gone.append(self._opened[-1])
            self.remove(self._opened[-1])
        return gone

    def remove(self, span: Span) -> None:
        """Remove the segment at *span*."""
        if self.has(span):
            self._opened.pop()
        self.open.pop(span, None)
        self._records.pop(span, None)
        at = bisect_left(self._unclear, span)
        if self._unclear[at : at + 1] == [span]:
            del self._unclear[at]


class CheckTable:
    """Follows each segment from its extraction to its verdicts.

    A verdict that may change the course of the run becomes a candidate of the :class:`Violations`.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        transcript: Transcript,
        violations: Violations,
        budgets: Budgets,
        events: deque[Event],
        codes: Sequence[str] = (),
    ) -> None:
        """*codes*: the hash of each monitor's verifier, as far as it is known."""
        self.jobs: dict[int, Job] = {}
        self.forks = 0
        """How many forks were ordered."""
        self.changed = True
        """Whether a check of the watched monitor has ended, or text was cut, since :meth:`watch`."""
        self._monitors = monitors
        self._transcript = transcript
        self._violations = violations
        self._budgets = budgets
        self._events = events
        self._breakers = [Breaker(budgets.failures) for _ in monitors]
        """By the number of the verifier: monitors that share a verifier share its breaker."""
        self._looks: list[tuple[int, Span]] = []
        """Segments that were read before the model finished them, with the monitor that read them."""
        self._segments = [_MonitorSegments() for _ in monitors]
        self._watched = -1
        self._verdicts: dict[Question, Verdict] = {}
        self._in_flight: dict[Question, int] = {}
        self._verifier_ids = _number_verifiers(monitors)
        codes = (*codes, *[""] * (len(monitors) - len(codes)))
        self._names = [
            (who.name, who.verifier.name, who.verifier.version, code) for who, code in zip(monitors, codes, strict=True)
        ]
        self._next = 0

    # ------------------------------------------------------------------ what the machine and the gates ask

    @property
    def awaited(self) -> bool:
        """Whether a job is open that a segment waits for."""
        return any(job.refs is None or job.refs for job in self.jobs.values())

    def may_precede(self, start: int) -> bool:
        """Tell whether an open job may still bring a candidate that starts at or before *start*."""
        return any(self._may_precede(start, job) for job in self.jobs.values())

    def watch(self, monitor: int) -> None:
        """Set :attr:`changed` only when something of *monitor* changes: the others cannot move the frontier."""
        self._watched = monitor
        self.changed = False

    def first_open(self, monitor: int) -> int | None:
        """Return where the first segment of *monitor* with open checks starts."""
        return self._segments[monitor].first_open()

    def first_unclear(self, monitor: int) -> int | None:
        """Return where the first standing segment of *monitor* without a pass starts."""
        return self._segments[monitor].first_unclear()

    def records(self) -> tuple[CheckRecord, ...]:
        """Return the records of the standing text, in an order that does not depend on time."""
        return tuple(
            sorted(
                (record for segments in self._segments for record in segments.records()),
                key=lambda record: (
                    record.segment,
                    record.segment if record.span is None else record.span,
                    record.monitor,
                    record.key,
                ),
            )
        )

    # ------------------------------------------------------------------ from segments to orders

    def open(self, dues: Iterable[Due]) -> tuple[list[Order], list[Job]]:
        """Return the orders for the extractions, and the jobs to :meth:`skip`.

        Skip these only after all segments of the same text are open: a run ends when its last open job is settled.
        """
        orders: list[Order] = []
        skipped = []
        for due in dues:
            segment = due.segment
            for number in due.monitors:
                if self._is_moot(number) or not self._admit(number, segment.span, orders):
                    continue
                job = self._extraction(number, segment, torn=due.torn)
                extractor = self._monitors[number].extractor
                if due.torn is not None and (isinstance(extractor, Fork) or tracks(extractor)):
                    skipped.append(job)  # a tracker would go on from half a step, and a fork would cost tokens
                elif not isinstance(extractor, Fork):
                    orders.append(Extract(job.number, number, segment))
                elif self.forks >= self._budgets.forks:
                    skipped.append(job)
                else:
                    self.forks += 1
                    pieces = self._transcript.pieces(segment.span.end)
                    orders.append(Extract(job.number, number, segment, pieces))
        return orders, skipped

    def look(self, dues: Iterable[tuple[Due, int]]) -> list[Order]:
        """Return the orders to read segments that the model has not finished, each certain up to its offset."""
        orders: list[Order] = []
        for due, certain in dues:
            span = due.segment.span
            for number in due.monitors:
                if isinstance(self._monitors[number].extractor, Fork) or self._is_moot(number):
                    continue
                if self._admit(number, span, orders):
                    job = self._extraction(number, due.segment, certain=certain)
                    self._looks.append((number, span))
                    orders.append(Extract(job.number, number, due.segment))
        return orders

    def restore_claims(self, number: int, read: Callable[[int, Claim], Claim | None]) -> None:
        """Replace the claims of job *number*, known by key and place only, by what *read* finds for each of them."""
        for ref in self.jobs[number].refs or ():
            ref.restore_claim(read)

    def withdraw(self) -> list[Order]:
        """Forget the looks at segments that were not finished: the model goes on, or has ended."""
        if not self._looks:
            return []
        looks, self._looks = self._looks, []
        for number, span in looks:
            self._violations.forget(self._monitors[number].name, span)
            self._segments[number].remove(span)
        return self._lose(set(looks), None)

    def cut(self, to: int) -> list[Order]:
        """Forget the text from *to* on; return the orders for jobs that are not needed any more."""
        return self._lose(
            {(number, span) for number, segments in enumerate(self._segments) for span in segments.cut(to)}, to
        )

    def forgive(self, span: Span) -> None:
        """Let the frontier pass over *span*, which feedback answers."""
        self.changed = True
        for segments in self._segments:
            segments.forgive(span)

    # ------------------------------------------------------------------ ends of jobs

    def skip(self, job: Job) -> None:
        """Settle a segment that is not read: its last line is torn, or the budget forbids the fork."""
        if job.home.torn is not None:
            self.extracted(Extracted(job.number, (), 0.0, unread=(job.segment.span,)))
            return
        self.settled(job.number, Skipped(f"the budget of {self._budgets.forks} forks is spent"), 0.0)

    def extracted(self, fact: Extracted) -> list[Order]:
        """Take the claims of a segment; return the orders for those without a known verdict."""
        number, seconds = fact.job, fact.seconds
        job = self.jobs[number]
        if job.refs is not None:
            return self.settled(number, Errored("claims came where a verdict was awaited"), seconds)
        self._close(job)
        claims, unread = _certain(job.home, fact)
        whole = job.segment.span
        spans = (*(claim.span for claim in claims if claim.span is not None), *unread)
        bad = next((span for span in spans if not whole.covers(span)), None)
        if bad is not None:
            self._failed(job, Errored(f"a claim at {bad!r} lies outside its segment {whole!r}"), seconds)
            return []
        orders: list[Order] = []
        job.home.await_more(len(claims) + len(unread))
        for claim in claims:
            self._claim(PendingRef(job.monitor, claim, job.segment, job.home), orders)
        torn = job.home.torn
        for span in unread:
            # The verifier is not asked: there is no claim. Its monitor decides what follows, as for any Unknown.
            ref = PendingRef(job.monitor, Claim(key="", span=span), job.segment, job.home)
            self._judge(ref, UNREAD if torn is None or span.end <= torn else TORN, 0.0)
        self._settle(job.monitor, job.home, passed=True)
        return orders

    def settled(self, number: int, outcome: Outcome, seconds: float) -> list[Order]:
        """Take the end of a check, or of an extraction without claims; return the orders that follow."""
        job = self.jobs.get(number)
        if job is None:
            return []
        if job.refs is None or job.question is None:
            wrong = isinstance(outcome, Judged)
            self._close(job)
            self._failed(job, Errored("a verdict came where claims were awaited") if wrong else outcome, seconds)
            return []
        breaker = self._breakers[job.question[0]]
        orders: list[Order] = []
        if breaker.takes(outcome):
            orders.append(Suspend(self._monitors[job.monitor].verifier.name, breaker.failures))
        seconds += job.seconds
        if isinstance(outcome, Errored | TimedOut) and not breaker.is_open:
            pause = pause_before_next(job.refs, self._monitors, job.tries)
            if pause is not None:
                job.retry(seconds)
                return [*orders, Check(number, job.monitor, job.refs[0].claim, pause, job.segment)]
        self._close(job)
        if isinstance(outcome, Judged):  # errors and timeouts are no knowledge
            self._verdicts[job.question] = outcome.verdict
        for ref in job.refs:
            self._judge(ref, outcome, seconds, job.tries)
            seconds = 0.0
        return orders

    def cancel_open(self, why: str = "the run ended first") -> list[Order]:
        """Cancel every open job; *why* goes into its record."""
        orders: list[Order] = []
        outcome = Cancelled(why)
        for job in list(self.jobs.values()):
            self._close(job)
            orders.append(Drop(job.number))
            if job.refs is None:
                self._record_extraction(job, outcome, 0.0)
            for ref in job.refs or ():
                self._record(ref, outcome, 0.0)
        return orders

    def cancel_concluding(self) -> list[Order]:
        """Cancel the extractions that could only end the reasoning: the model has ended."""
        orders: list[Order] = []
        for job in list(self.jobs.values()):
            if job.refs is None and isinstance(self._monitors[job.monitor].remedy, Conclude):
                self._close(job)
                self._settle(job.monitor, job.home, passed=False)
                orders.append(Drop(job.number))
                self._record_extraction(job, Cancelled("the model ended first"), 0.0)
        return orders

    # ------------------------------------------------------------------ inside

    def _may_precede(self, start: int, job: Job) -> bool:
        if job.refs is None:
            return self._monitors[job.monitor].delivery != "observe" and job.segment.span.start <= start
        return any(_may_act(ref, self._monitors[ref.monitor]) and ref.span.start <= start for ref in job.refs)

    def _is_moot(self, monitor: int) -> bool:
        """Tell whether *monitor* could only end the reasoning, which is over, or for which no remedy is left."""
        if not isinstance(self._monitors[monitor].remedy, Conclude):
            return False
        transcript = self._transcript
        is_over = transcript.phase != "reasoning" or bool(transcript.conclusions)
        return is_over or self._violations.remedies >= self._budgets.remedies

    def _admit(self, number: int, span: Span, orders: list[Order]) -> bool:
        """Make room for the segment of monitor *number* at *span*; return false if it is open or checked already.

        A segment that was complete only because of text that is cut now may have grown into a longer one. It counts
        no more, and *orders* get the jobs that this drops.
        """
        segments = self._segments[number]
        if segments.has(span):
            return False
        gone = segments.cut(span.start)
        if gone:
            orders.extend(self._lose({(number, other) for other in gone}, None))
        return True

    def _extraction(self, number: int, segment: Segment, *, certain: int | None = None, torn: int | None = None) -> Job:
        home = OpenSegment(segment.span, certain=certain, torn=torn)
        self._segments[number].add(home)
        return self._job(number, segment, home)

    def _job(
        self,
        monitor: int,
        segment: Segment,
        home: OpenSegment,
        refs: list[PendingRef] | None = None,
        question: Question | None = None,
    ) -> Job:
        self._next += 1
        job = self.jobs[self._next] = Job(self._next, monitor, segment, home, refs, question)
        return job

    def _close(self, job: Job) -> None:
        del self.jobs[job.number]
        if job.question is not None:
            del self._in_flight[job.question]

    def _claim(self, ref: PendingRef, orders: list[Order]) -> None:
        """Judge the claim of *ref* by a known verdict, or wait for one."""
        monitor = self._monitors[ref.monitor]
        question = self._question(ref)
        verdict = self._verdicts.get(question)
        if verdict is not None:
            self._judge(ref, Judged(verdict, cached=True), 0.0)
            return
        number = self._in_flight.get(question)
        if number is None:
            breaker = self._breakers[question[0]]
            if not breaker.admits():
                why = f"verifier {monitor.verifier.name!r} failed {breaker.failures} times in a row"
                self._judge(ref, Skipped(why), 0.0)
                return
        self._events.append(CheckStarted(monitor.name, ref.claim.key, ref.claim.span))
        if number is None:
            job = self._job(ref.monitor, ref.segment, ref.home, [ref], question)
            self._in_flight[question] = job.number
            orders.append(Check(job.number, ref.monitor, ref.claim, segment=ref.segment))
        else:
            refs = self.jobs[number].refs
            assert refs is not None
            refs.append(ref)

    def _question(self, ref: Ref) -> Question:
        return self._verifier_ids[ref.monitor], ref.claim.key, ref.text

    def _failed(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Record an extraction that failed."""
        self._record_extraction(job, outcome, seconds)
        ref = PendingRef(job.monitor, Claim(key="", span=job.segment.span), job.segment, job.home)
        if job.home.certain is None:
            self._unproven(ref, outcome)
        self._settle(job.monitor, job.home, passed=self._violations.is_refuted(ref))

    def _judge(self, ref: PendingRef, outcome: Outcome, seconds: float, tries: int = 1) -> None:
        """Record how the check of one claim ended, and add the candidate that follows from it."""
        self._record(ref, outcome, seconds, tries)
        is_pass = passed(outcome)
        if not is_pass:
            if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation):
                self._refuted(ref, outcome.verdict)
            elif ref.home.certain is None:  # what a segment comes to is known once it is finished
                self._unproven(ref, outcome, tries)
        self._settle(ref.monitor, ref.home, passed=is_pass or self._violations.is_refuted(ref))

    def _unproven(self, ref: Ref, outcome: Outcome, tries: int = 1) -> None:
        if _stops(self._monitors[ref.monitor], kind_of(outcome)) and not self._violations.is_excused(ref):
            self._violations.add(Candidate(ref.span, ref, None, describe(outcome, tries)))

    def _refuted(self, ref: PendingRef, violation: Violation) -> None:
        violations, monitor = self._violations, self._monitors[ref.monitor]
        candidate = refutation(ref, violation)
        if ref.home.certain is not None and self._may_become_right(candidate):
            return
        acts = monitor.delivery != "observe" and ref.claim.span is not None and not violations.is_answered(ref)
        acts = acts and not self._is_moot(ref.monitor)
        record = violations.record(candidate, interrupted=acts)
        self._events.append(ViolationFound(record))
        if acts:
            violations.add(candidate)
            return
        violations.note(record)
        if ref.claim.span is None and gates(monitor.delivery) and not violations.is_answered(ref):
            # It is not known what is wrong in the segment, so nothing can be cut or mended, and nothing released.
            why = f"a claim that has no place was refuted: {violation.why}"
            violations.add(Candidate(ref.span, ref, None, why))

    def _may_become_right(self, candidate: Candidate) -> bool:
        """Tell whether the model may be in the midst of writing the right value: it ends the text, and begins so."""
        violation = candidate.violation
        if violation is None or violation.repair is None or candidate.span.end < candidate.ref.segment.span.end:
            return False
        return violation.repair.startswith(self._violations.text(candidate))

    def _settle(self, monitor: int, home: OpenSegment, *, passed: bool) -> None:
        if monitor == self._watched:
            self.changed = True
        self._segments[monitor].settle(home, passed=passed)

    def _record(self, ref: Ref, outcome: Outcome, seconds: float, tries: int = 1) -> None:
        record = self._describe(ref, outcome, seconds, tries)
        self._segments[ref.monitor].record(record, ref.span)
        self._events.append(CheckSettled(record))

    def _describe(self, ref: Ref, outcome: Outcome, seconds: float, tries: int = 1) -> CheckRecord:
        """Return the record of the end of one claim's check."""
        name, verifier, version, code = self._names[ref.monitor]
        span = ref.claim.span
        words = "" if span is None else sha256(ref.text)
        return CheckRecord(
            name, verifier, version, ref.claim.key, span, ref.segment.span, outcome, seconds, tries, words, code
        )

    def _record_extraction(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Record an extraction that failed or was cancelled."""
        name, verifier, version, code = self._names[job.monitor]
        place = job.segment.span
        record = CheckRecord(name, verifier, version, "", None, place, outcome, seconds, code_sha256=code)
        self._segments[job.monitor].record(record, place)
        self._events.append(CheckSettled(record))

    def _lose(self, gone: set[tuple[int, Span]], to: int | None) -> list[Order]:
        """Remove the claims of the segments *gone* from their jobs; return the orders to drop jobs not needed any more.

        *to* is where the text is cut; ``None``: it is not cut. A job that loses all its claims goes on if one of them
        stands before the cut: that claim will be read again, and its verdict is still wanted.
        """
        self.changed = True
        orders: list[Order] = []
        if not gone:
            return orders
        for job in list(self.jobs.values()):
            loss = self._lose_of(job, gone, to)
            if loss is None:
                continue
            for ref in loss.refs:
                self._events.append(CheckSettled(self._describe(ref, Cancelled("its text was cut"), 0.0)))
            if loss.dropped:
                orders.append(Drop(loss.job))
        return orders

    def _lose_of(self, job: Job, gone: set[tuple[int, Span]], to: int | None) -> _Loss | None:
        if job.refs is None:
            if (job.monitor, job.segment.span) not in gone:
                return None
            self._close(job)
            return _Loss(job.number, (), dropped=True)
        lost = tuple(ref for ref in job.refs if (ref.monitor, ref.segment.span) in gone)
        if not lost:
            return None
        kept = [ref for ref in job.refs if (ref.monitor, ref.segment.span) not in gone]
        job.keep(kept)
        # A claim that stands before the cut will be read again: its verdict is still wanted.
        wanted = kept or any(ref.claim.span is not None and (to is None or ref.span.end <= to) for ref in lost)
        if not wanted:
            self._close(job)
        return _Loss(job.number, lost, dropped=not wanted)


def _start(span: Span) -> int:
    return span.start


def _end(span: Span) -> int:
    return span.end


def _number_verifiers(monitors: Sequence[Monitor]) -> list[int]:
    """Return a number for each monitor: monitors with the same verifier and preparation share their verdicts."""
    seen: list[tuple[object, object]] = []
    numbers = []
    for monitor in monitors:
        # By identity. What was prepared belongs to the question: with another preparation, it is another verifier.
        verifier, prepare = monitor.verifier, monitor.prepare
        known = (number for number, other in enumerate(seen) if other[0] is verifier and other[1] is prepare)
        number = next(known, len(seen))
        if number == len(seen):
            seen.append((verifier, prepare))
        numbers.append(number)
    return numbers


def _certain(home: OpenSegment, fact: Extracted) -> tuple[tuple[Claim, ...], tuple[Span, ...]]:
    """Return the claims of *fact* that are read in *home*, and the places where a claim could not be read."""
    claims, unread = fact.claims, fact.unread
    if home.certain is not None:
        certain = home.certain
        return tuple(claim for claim in claims if claim.span is not None and claim.span.end <= certain), ()
    if home.torn is not None:
        torn = home.torn
        doubtful = [claim for claim in claims if claim.span is None or claim.span.end > torn]
        places = (home.span if claim.span is None else claim.span for claim in doubtful)
        return tuple(claim for claim in claims if claim not in doubtful), tuple(dict.fromkeys((*unread, *places)))
    return claims, unread


def _stops(monitor: Monitor, kind: Kind) -> bool:
    """Tell whether a check of *monitor* that ended as *kind*, and proved nothing, ends the run."""
    fate = fate_of(kind, way_of(monitor.delivery), unproven=monitor.unproven, on_error=monitor.on_error)
    return fate in ("held", "retracted")


def _may_act(ref: Ref, monitor: Monitor) -> bool:
    """Tell whether some outcome could change the course. A claim without a span can only keep a gate shut."""
    acts = monitor.delivery != "observe" and ref.claim.span is not None
    return acts or gates(monitor.delivery) or _stops(monitor, "unknown") or _stops(monitor, "failure")


def pause_before_next(refs: Iterable[Ref], monitors: Sequence[Monitor], tries: int) -> float | None:
    """Return the pause before the next try of a check that failed *tries* times; ``None``: it is not tried again.

    Of the monitors that wait for the check, the one that allows the most tries decides; of equal ones, the one with the
    longest pause.
    """
    policies = [policy for ref in refs if isinstance(policy := monitors[ref.monitor].on_error, Retry)]
    patient = max(policies, key=lambda policy: (policy.times, policy.pause), default=None)
    return patient.before(tries) if patient is not None and tries <= patient.times else None


# A verifier that keeps failing is suspended, but for a trial now and then.

FIRST_TRIAL = 8
"""How many checks are skipped before one is tried; after each trial that fails, twice as many."""
LAST_TRIAL = 128


@dataclass(slots=True)
class Breaker:
    """Counts the failures in a row of one verifier in one run, for all monitors together. Time plays no part."""

    limit: int | None
    """How many failures open it; ``None``: it never opens."""
    failures: int = 0
    is_open: bool = False
    _skipped: int = 0
    _wait: int = FIRST_TRIAL

    def admits(self) -> bool:
        """Tell whether a check that is due may run, and count it if not."""
        if not self.is_open:
            return True
        if self._skipped < self._wait:
            self._skipped += 1
            return False
        # If the trial is cancelled, the next one comes after the same number of checks: nothing waits for its end.
        self._skipped = 0
        self._wait = min(self._wait * 2, LAST_TRIAL)
        return True

    def takes(self, outcome: Outcome) -> bool:
        """Take the end of a check; tell whether that opened or closed the breaker."""
        was_open = self.is_open
        if isinstance(outcome, Judged):
            self.failures, self.is_open = 0, False
            self._skipped, self._wait = 0, FIRST_TRIAL
        elif isinstance(outcome, Errored | TimedOut):
            self.failures += 1
            self.is_open = self.limit is not None and self.failures >= self.limit
        return self.is_open is not was_open
