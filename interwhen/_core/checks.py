"""The checks of a run. Start reading at :class:`CheckTable`.

Why a failing verifier is suspended: docs/decisions/failures.md.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import msgspec

from interwhen._core.messages import Check, Drop, Extract, Extracted, Order, Suspend
from interwhen._core.release import Kind, describe, fate_of, gates, kind_of, way_of
from interwhen._core.segmenter import Due
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Candidate, Ref, Violations, refutation
from interwhen._types.budgets import Budgets
from interwhen._types.events import CheckSettled, CheckStarted, Event, ViolationFound
from interwhen._types.monitors import Extractor, Fork, Monitor, Tracker
from interwhen._types.remedies import Conclude
from interwhen._types.results import CheckRecord
from interwhen._types.segments import Claim, Mention, Segment, Span, sha256
from interwhen._types.verdicts import (
    Cancelled,
    Errored,
    Judged,
    Outcome,
    Pass,
    Retry,
    Skipped,
    TimedOut,
    Unknown,
    Violation,
)

UNREAD = Judged(Unknown("this looks like a claim, and it could not be read"))
"""The outcome for text that a recognizer found and no claim covers."""
TORN = Judged(Unknown("the text was cut here in the middle of a line"))

Question: TypeAlias = tuple[int, str, str]
"""Identifies a check, so that equal claims share a verdict: the verifier's number, the claim's key, the claim's text.
The text is empty for a claim without a span."""


class OpenSegment(msgspec.Struct, eq=False):
    """A segment with checks that have not ended."""

    span: Span
    pending: int = 1
    """The extraction of the claims counts as one check."""
    clear: bool = True
    """Whether each check that has ended so far passed, or its claim is in reasoning that feedback answers."""
    certain: int | None = None
    """For a segment that the model has not finished: the offset up to which its words are certain. ``None``: the
    segment is complete."""
    torn: int | None = None
    """As in :class:`Due`, like ``tears``. Claims in a torn line are not checked."""
    tears: tuple[Span, ...] = ()

    def is_torn_at(self, span: Span) -> bool:
        if self.torn is not None and span.end > self.torn:
            return True
        return any(tear.start < span.end <= tear.end for tear in self.tears)

    def await_more(self, checks: int) -> None:
        self.pending += checks

    def settle(self, *, passed: bool) -> bool:
        self.pending -= 1
        self.clear = self.clear and passed
        return self.pending <= 0

    def forgive(self) -> None:
        # Treat all checks that have ended so far as passed, because feedback answers the segment.
        self.clear = True


class PendingRef(Ref, eq=False):
    """A claim that waits for its verdict. ``home`` is the open segment in which it was found."""

    home: OpenSegment

    def restore_claim(self, read: Callable[[int, Claim], Claim | None]) -> None:
        self.claim = read(self.monitor, self.claim) or self.claim


class Job(msgspec.Struct, eq=False):
    """Work that the engine does for the core: one extraction, or one check that all equal claims share."""

    number: int
    monitor: int
    """For a check, the first of the monitors that need it."""
    segment: Segment
    home: OpenSegment
    refs: list[PendingRef] | None = None
    """The claims that wait for the verdict; ``None`` for an extraction. Empty if a cut removed all of them and the
    verdict is still wanted."""
    question: Question | None = None
    """``None`` for an extraction."""
    tries: int = 1
    seconds: float = 0.0

    def retry(self, seconds: float) -> None:
        self.tries += 1
        self.seconds = seconds

    def keep(self, refs: list[PendingRef]) -> None:
        self.refs = refs


class _Answer(NamedTuple):
    outcome: Judged
    text_sha256: str
    code_sha256: str | None = None
    """The hash of the code that judged; ``None``: the present code."""


class _Judge(NamedTuple):
    """What judges the claims of a monitor."""

    monitor: str
    verifier: str
    version: str
    code_sha256: str
    judge_sha256: str


class _Loss(NamedTuple):
    """The claims that one job lost because their segments were removed."""

    job: int
    refs: tuple[PendingRef, ...]
    dropped: bool
    """Whether the job was closed, because nothing needs it any more."""


class _MonitorSegments:
    """The segments of one monitor in the current trace. They do not overlap, so starts and ends have the same order."""

    __slots__ = ("_opened", "_records", "_unclear", "mentions", "open")

    def __init__(self) -> None:
        self._opened: list[Span] = []
        """All segments, in the order of the text."""
        self._unclear: list[Span] = []
        """The segments whose checks have all ended and are not :attr:`~OpenSegment.clear`, sorted."""
        # A list for each segment, not a dict by claim: a long run has a segment for each line, and a list needs a third
        # of the memory.
        self._records: defaultdict[Span, list[CheckRecord]] = defaultdict(list)
        """Of records with the same key and span of a claim, the last one counts."""
        self.mentions: dict[Span, tuple[Mention, ...]] = {}
        self.open: dict[Span, OpenSegment] = {}

    def has(self, span: Span) -> bool:
        return bool(self._opened) and self._opened[-1] == span

    def end_before(self, span: Span) -> bool:
        return not self._opened or self._opened[-1].end < span.start

    def add(self, home: OpenSegment) -> None:
        self._opened.append(home.span)
        self.open[home.span] = home

    def mention(self, segment: Span, mentions: tuple[Mention, ...]) -> None:
        self.mentions[segment] = mentions

    def record(self, record: CheckRecord) -> None:
        self._records[record.segment].append(record)

    def records(self) -> list[CheckRecord]:
        lists = self._records.values()
        if max(map(len, lists), default=0) <= 1:
            return [*chain.from_iterable(lists)]
        return [record for records in lists for record in {(each.key, each.span): each for each in records}.values()]

    def close(self, home: OpenSegment) -> None:
        if self.open.get(home.span) is home:
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
        # The dict is sorted by start: segments are opened in the order of the text.
        return next((span.start for span in self.open), None)

    def first_unclear(self) -> int | None:
        return self._unclear[0].start if self._unclear else None

    def cut(self, to: int) -> list[Span]:
        gone = []
        while self._opened and self._opened[-1].end > to:
            gone.append(self._opened[-1])
            self.remove(self._opened[-1])
        return gone

    def remove(self, span: Span) -> None:
        if self.has(span):
            self._opened.pop()
        self.open.pop(span, None)
        self._records.pop(span, None)
        self.mentions.pop(span, None)
        at = bisect_left(self._unclear, span)
        if self._unclear[at : at + 1] == [span]:
            del self._unclear[at]


def tracks(extractor: Extractor) -> bool:
    return isinstance(extractor.parse if isinstance(extractor, Fork) else extractor, Tracker)


class CheckTable:
    """Tracks each segment from the extraction of its claims to their verdicts."""

    # A verdict or a failure that may interrupt or end the run becomes a candidate of `Violations`.

    def __init__(
        self,
        monitors: Sequence[Monitor],
        transcript: Transcript,
        violations: Violations,
        budgets: Budgets,
        events: deque[Event],
        codes: Sequence[str] = (),
        options: Sequence[str] = (),
        prompt_sha256: str = "",
    ) -> None:
        # `codes` has, for each monitor, the hash of its verifier's source file, and `options` that of its options;
        # missing ones are empty.
        self._chain: Any = None
        self._unchained: list[CheckRecord] = []
        """The last checks that have ended; :attr:`chain` hashes them when it is read."""
        self.jobs: dict[int, Job] = {}
        """The jobs that have not ended, by number."""
        self.forks = 0
        self.changed = True
        """As in :class:`~interwhen._core.release.OpenChecks`."""
        self._monitors = monitors
        self._transcript = transcript
        self._violations = violations
        self._budgets = budgets
        self._events = events
        self._breakers = [Breaker(budgets.failures) for _ in monitors]
        """By the number of the verifier, which several monitors may share."""
        self._looks: list[tuple[int, Span]] = []
        """The unfinished segments that were read while the model was silent, each with its monitor's number."""
        self._segments = [_MonitorSegments() for _ in monitors]
        self._spans: dict[Span | None, Span | None] = {}
        """The spans of claims judged since segments were opened last. The records of several monitors share them."""
        self._watched = -1
        self._answers: dict[Question, _Answer] = {}
        self._in_flight: dict[Question, int] = {}
        self._verifier_ids = _number_verifiers(monitors)
        self._options = (*options, *[""] * (len(monitors) - len(options)))
        self._prompt_sha256 = prompt_sha256
        self.codes: tuple[str, ...] = ("",) * len(monitors)
        self._judges: list[_Judge] = []
        self.use_codes((*codes, *[""] * (len(monitors) - len(codes))))
        self._next = 0

    @property
    def awaited(self) -> bool:
        return any(job.refs is None or job.refs for job in self.jobs.values())

    def may_precede(self, start: int) -> bool:
        return any(self._may_precede(start, job) for job in self.jobs.values())

    def watch(self, monitor: int) -> None:
        self._watched = monitor
        self.changed = False

    def first_open(self, monitor: int) -> int | None:
        return self._segments[monitor].first_open()

    def first_unclear(self, monitor: int) -> int | None:
        return self._segments[monitor].first_unclear()

    def records(self) -> tuple[CheckRecord, ...]:
        return tuple(sorted(chain.from_iterable(map(_MonitorSegments.records, self._segments)), key=_order))

    def mentions(self, monitor: int) -> list[Mention]:
        all_mentions = [each for mentions in self._segments[monitor].mentions.values() for each in mentions]
        return sorted(all_mentions, key=lambda each: each.span)

    def open(self, dues: Iterable[Due]) -> tuple[list[Order], list[Job]]:
        # The caller passes the jobs to `skip`, but only after all segments of the same text are open, because the run
        # may end when its last open job is settled.
        self._spans.clear()
        orders: list[Order] = []
        skipped = []
        for due in dues:
            segment = due.segment
            for number in due.monitors:
                if self._is_moot(number) or not self._admit(number, segment.span, orders):
                    continue
                job = self._extraction(number, segment, torn=due.torn, tears=due.tears)
                extractor = self._monitors[number].extractor
                if due.torn is not None and (isinstance(extractor, Fork) or tracks(extractor)):
                    skipped.append(job)  # a tracker would continue from half a segment, and a fork would cost tokens
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
        """Order extractions from unfinished segments, each with the offset up to which its words are certain."""
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
        """Replace the claims of job *number*, which have only key and span, by the full claims that *read* returns."""
        for ref in self.jobs[number].refs or ():
            ref.restore_claim(read)

    def withdraw_looks(self) -> list[Order]:
        # `look` reads unfinished segments. Its results are out of date once text is added or cut, or the text ends.
        # Records and violations without a remedy are forgotten too. The checks go on, as their claims will probably be
        # found again.
        if not self._looks:
            return []
        looks, self._looks = self._looks, []
        for number, span in looks:
            self._violations.forget(self._monitors[number].name, span)
            self._segments[number].remove(span)
        return self._lose(set(looks), None)

    def cut(self, to: int) -> list[Order]:
        # Cached verdicts stay, so an equal claim in new text is not checked again.
        return self._lose(
            {(number, span) for number, segments in enumerate(self._segments) for span in segments.cut(to)}, to
        )

    def forgive(self, span: Span) -> None:
        """Treat the ended checks in *span*, reasoning that feedback answers, as passed: the frontier may pass it."""
        self.changed = True
        for segments in self._segments:
            segments.forgive(span)

    def skip(self, job: Job) -> None:
        if job.home.torn is not None:
            self.extracted(Extracted(job.number, (), 0.0, unread=(job.segment.span,)))
            return
        self.settled(job.number, Skipped(f"the budget of {self._budgets.forks} forks is spent"), 0.0)

    def extracted(self, fact: Extracted) -> list[Order]:
        number, seconds = fact.job, fact.seconds
        job = self.jobs[number]
        if job.refs is not None:
            return self.settled(number, Errored("expected a verdict, got claims"), seconds)
        self._close(job)
        monitor, segment, home = job.monitor, job.segment, job.home
        claims, unread = _certain(home, fact)
        whole = segment.span
        for span in (*[claim.span for claim in claims], *unread):
            if span is not None and not whole.covers(span):
                self._failed(job, Errored(f"a claim at {span!r} lies outside its segment {whole!r}"), seconds)
                return []
        if fact.mentions:
            self._segments[monitor].mention(whole, fact.mentions)
        if not (claims or unread):
            self._settle(monitor, home, passed=True)
            return []
        orders: list[Order] = []
        # The extraction, which ends here, counted as one check.
        home.await_more(len(claims) + len(unread) - 1)
        if monitor == self._watched:
            self.changed = True
        for claim in claims:
            self._claim(PendingRef(monitor, claim, segment, home), orders)
        for span in unread:
            # There is no claim to ask the verifier about. The monitor's `unproven` decides, as for any Unknown.
            ref = PendingRef(monitor, Claim(key="", span=span), segment, home)
            # A claim without a span comes here with the span of the whole segment (see `_certain`). A torn line, which
            # a cut ended in the middle, may then be anywhere in it.
            is_torn = home.is_torn_at(span) or (span == home.span and bool(home.tears))
            self._judge(ref, TORN if is_torn else UNREAD, 0.0)
        return orders

    def settled(self, number: int, outcome: Outcome, seconds: float) -> list[Order]:
        """Process the *outcome* of job *number*: a check, or an extraction that failed."""
        job = self.jobs.get(number)
        if job is None:
            return []
        if job.refs is None or job.question is None:
            wrong = isinstance(outcome, Judged)
            self._close(job)
            self._failed(job, Errored("expected claims, got a verdict") if wrong else outcome, seconds)
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
        text_sha256 = sha256(job.question[2])
        if isinstance(outcome, Judged):  # an error or a timeout may not happen again
            self._answers[job.question] = _Answer(Judged(outcome.verdict, cached=True), text_sha256)
        for ref in job.refs:
            self._judge(ref, outcome, seconds, job.tries, text_sha256)
            seconds = 0.0
        return orders

    def use_codes(self, codes: Sequence[str]) -> None:
        if len(codes) == len(self.codes):
            for question, answer in self._answers.items():
                if answer.code_sha256 is None:
                    then = self.codes[self._verifier_ids.index(question[0])]
                    self._answers[question] = answer._replace(code_sha256=then)
            self.codes = tuple(codes)
            self._judges = [self._judge_of(number, code) for number, code in enumerate(codes)]

    def cancel_open(self, why: str = "the run ended first") -> list[Order]:
        orders: list[Order] = []
        outcome = Cancelled(why)
        for job in list(self.jobs.values()):
            self._close(job)
            orders.append(Drop(job.number))
            if job.refs is None:
                self._record_extraction(job, outcome, 0.0)
            for ref in job.refs or ():
                self._note(ref.monitor, self._describe(ref, outcome, 0.0))
        return orders

    def cancel_concluding(self, skipped: Sequence[Job]) -> list[Order]:
        # The model has ended, so `Conclude` has no reasoning left to end. Jobs in `skipped` stay, because the engine
        # never received an order for them.
        orders: list[Order] = []
        for job in list(self.jobs.values()):
            if job not in skipped and job.refs is None and isinstance(self._monitors[job.monitor].remedy, Conclude):
                self._close(job)
                self._settle(job.monitor, job.home, passed=False)
                orders.append(Drop(job.number))
                self._record_extraction(job, Cancelled("the model ended first"), 0.0)
        return orders

    def _may_precede(self, start: int, job: Job) -> bool:
        if job.refs is None:
            return self._monitors[job.monitor].delivery != "observe" and job.segment.span.start <= start
        return any(_may_act(ref, self._monitors[ref.monitor]) and ref.span.start <= start for ref in job.refs)

    def _is_moot(self, monitor: int) -> bool:
        # `Conclude` only ends the reasoning early, to save tokens. After the reasoning, or without remedies, it can do
        # nothing.
        if not isinstance(self._monitors[monitor].remedy, Conclude):
            return False
        transcript = self._transcript
        is_over = transcript.phase != "reasoning" or bool(transcript.conclusions)
        return is_over or self._violations.remedies >= self._budgets.remedies

    def _admit(self, number: int, span: Span, orders: list[Order]) -> bool:
        segments = self._segments[number]
        if segments.end_before(span):
            return True
        if segments.has(span):
            return False
        gone = segments.cut(span.start)
        if gone:
            orders.extend(self._lose({(number, other) for other in gone}, None))
        return True

    def _extraction(
        self,
        number: int,
        segment: Segment,
        *,
        certain: int | None = None,
        torn: int | None = None,
        tears: tuple[Span, ...] = (),
    ) -> Job:
        home = OpenSegment(segment.span, certain=certain, torn=torn, tears=tears)
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
        question = self._verifier_ids[ref.monitor], ref.claim.key, ref.text
        answer = self._answers.get(question)
        if answer is not None:
            self._judge(ref, answer.outcome, 0.0, 1, answer.text_sha256, answer.code_sha256)
            return
        monitor = self._monitors[ref.monitor]
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

    def _failed(self, job: Job, outcome: Outcome, seconds: float) -> None:
        self._record_extraction(job, outcome, seconds)
        ref = PendingRef(job.monitor, Claim(key="", span=job.segment.span), job.segment, job.home)
        if job.home.certain is None:
            self._unproven(ref, outcome)
        self._settle(job.monitor, job.home, passed=self._violations.is_refuted(ref))

    def _judge(
        self,
        ref: PendingRef,
        outcome: Outcome,
        seconds: float,
        tries: int = 1,
        text_sha256: str | None = None,
        code_sha256: str | None = None,
    ) -> None:
        verdict = outcome.verdict if isinstance(outcome, Judged) else None
        is_pass = isinstance(verdict, Pass)
        if not is_pass and isinstance(verdict, Violation) and not verdict.sure and self._violations.has_met(ref):
            why = f"the model wrote it again, so something else may be meant: {verdict.why}"
            verdict = Unknown(why, excused=True)
            outcome = Judged(verdict)
        self._note(ref.monitor, self._describe(ref, outcome, seconds, tries, text_sha256, code_sha256))
        if is_pass:
            pass
        elif isinstance(verdict, Violation):
            self._refuted(ref, verdict)
        elif ref.home.certain is None:  # in an unfinished segment, only violations count
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
        acts = acts and not self._is_moot(ref.monitor) and not violations.is_passed_over(ref.monitor)
        record = violations.record(candidate, interrupted=acts)
        self._events.append(ViolationFound(record))
        if acts:
            violations.add(candidate)
            return
        violations.note(record)
        if ref.claim.span is None and gates(monitor.delivery) and not violations.is_answered(ref):
            # The position of the error is not known, so the text can be neither repaired nor released.
            why = f"a claim without a span was refuted: {violation.why}"
            violations.add(Candidate(ref.span, ref, None, why))

    def _may_become_right(self, candidate: Candidate) -> bool:
        # The model may be in the middle of writing the repair, such as `1` of `12`.
        violation = candidate.violation
        if violation is None or violation.repair is None or candidate.span.end < candidate.ref.segment.span.end:
            return False
        return violation.repair.startswith(self._violations.text(candidate))

    def _settle(self, monitor: int, home: OpenSegment, *, passed: bool) -> None:
        if monitor == self._watched:
            self.changed = True
        if home.settle(passed=passed):
            self._segments[monitor].close(home)

    def _note(self, monitor: int, record: CheckRecord) -> None:
        self._segments[monitor].record(record)
        self._events.append(CheckSettled(record))
        self._unchained.append(record)

    @property
    def chain(self) -> str:
        # Covers all checks that have ended. Each record has the hashes of what was judged and of what judged it.
        self._extend_chain()
        return "" if self._chain is None else str(self._chain.hexdigest())

    def _extend_chain(self) -> None:
        if not self._unchained:
            return
        if self._chain is None:
            from hashlib import sha256 as new  # loads OpenSSL, which takes 3 ms

            self._chain = new()
        try:
            data = b"".join(map(_encode, self._unchained))
        except UnicodeEncodeError:
            data = b"".join(map(_encode_escaped, self._unchained))
        self._chain.update(data)
        self._unchained.clear()

    def _judge_of(self, monitor: int, code: str) -> _Judge:
        who = self._monitors[monitor]
        name, version = who.verifier.name, who.verifier.version
        judge = judge_sha256(self._prompt_sha256, name, version, self._options[monitor], code)
        return _Judge(who.name, name, version, code, judge)

    def _describe(
        self,
        ref: Ref,
        outcome: Outcome,
        seconds: float,
        tries: int = 1,
        text_sha256: str | None = None,
        code_sha256: str | None = None,
    ) -> CheckRecord:
        judge = self._judges[ref.monitor] if code_sha256 is None else self._judge_of(ref.monitor, code_sha256)
        name, verifier, version, code, judged_by = judge
        claim = ref.claim
        span = claim.span
        if span is None:
            text_sha256 = ""
        elif text_sha256 is None:
            text_sha256 = sha256(ref.text)
        return CheckRecord(
            name,
            verifier,
            version,
            claim.key,
            self._spans.setdefault(span, span),
            ref.segment.span,
            outcome,
            seconds,
            tries,
            text_sha256,
            code,
            judged_by,
        )

    def _record_extraction(self, job: Job, outcome: Outcome, seconds: float) -> None:
        ref = Ref(job.monitor, Claim(key="", span=None), job.segment)
        self._note(job.monitor, self._describe(ref, outcome, seconds))

    def _lose(self, gone: set[tuple[int, Span]], to: int | None) -> list[Order]:
        # `to` is the offset of the cut; `None`: there was no cut (`withdraw_looks`, or a new segment that replaces
        # older ones).
        self.changed = True
        self._extend_chain()  # so that the records of text that is cut are freed
        orders: list[Order] = []
        if not gone:
            return orders
        why = "its text is read again" if to is None else "its text was cut"
        for job in list(self.jobs.values()):
            loss = self._lose_of(job, gone, to)
            if loss is None:
                continue
            for ref in loss.refs:
                self._events.append(CheckSettled(self._describe(ref, Cancelled(why), 0.0)))
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
        # A claim before the cut will be extracted again, so its verdict is still needed.
        wanted = kept or any(ref.claim.span is not None and (to is None or ref.span.end <= to) for ref in lost)
        if not wanted:
            self._close(job)
        return _Loss(job.number, lost, dropped=not wanted)


def judge_sha256(prompt: str, verifier: str, version: str, options: str, code: str) -> str:
    # `prompt`, `options` and `code` are hashes; empty ones are unknown.
    return sha256(f"{prompt}\n{verifier}\n{version}\n{options}\n{code}")


def _order(record: CheckRecord) -> tuple[int, int, int, int, str, str]:
    # Plain numbers: a long run sorts thousands of records, and comparing spans takes several times as long.
    segment = record.segment
    span = segment if record.span is None else record.span
    return segment.start, segment.end, span.start, span.end, record.monitor, record.key


def plain(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a recorded value must have a JSON form, got a {type(value).__name__}: convert it to plain values")


_encode = msgspec.msgpack.Encoder(enc_hook=plain).encode


def _encode_escaped(record: CheckRecord) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return repr(msgspec.to_builtins(record, enc_hook=plain)).encode("utf-8", "surrogatepass")


def _start(span: Span) -> int:
    return span.start


def _end(span: Span) -> int:
    return span.end


def _number_verifiers(monitors: Sequence[Monitor]) -> list[int]:
    # Monitors that share verdicts get the same number.
    seen: list[tuple[object, object]] = []
    numbers = []
    for monitor in monitors:
        # Compare by identity. The prepared value may change the verdict, so `prepare` must be the same too.
        verifier, prepare = monitor.verifier, monitor.prepare
        known = (number for number, other in enumerate(seen) if other[0] is verifier and other[1] is prepare)
        number = next(known, len(seen))
        if number == len(seen):
            seen.append((verifier, prepare))
        numbers.append(number)
    return numbers


def _certain(home: OpenSegment, fact: Extracted) -> tuple[tuple[Claim, ...], tuple[Span, ...]]:
    # Words after `certain` may change when the model continues. A claim in a torn line (a line that a cut ended in the
    # middle) may be incomplete.
    claims, unread = fact.claims, fact.unread
    if home.certain is not None:
        certain = home.certain
        return tuple(claim for claim in claims if claim.span is not None and claim.span.end <= certain), ()
    if home.torn is not None or home.tears:
        doubtful = [claim for claim in claims if claim.span is None or home.is_torn_at(claim.span)]
        places = (home.span if claim.span is None else claim.span for claim in doubtful)
        return tuple(claim for claim in claims if claim not in doubtful), tuple(dict.fromkeys((*unread, *places)))
    return claims, unread


def _stops(monitor: Monitor, kind: Kind) -> bool:
    # Tell whether a check of `monitor` that ended as `kind` (`unknown` or `failure`) may end the run. It may if the
    # release rule then holds or retracts the text.
    fate = fate_of(kind, way_of(monitor.delivery), unproven=monitor.unproven, on_error=monitor.on_error)
    return fate in ("held", "retracted")


def _may_act(ref: Ref, monitor: Monitor) -> bool:
    # Whether the check of `ref` may interrupt or end the run. A refuted claim without a span may do so only in a gating
    # monitor.
    acts = monitor.delivery != "observe" and ref.claim.span is not None
    return acts or gates(monitor.delivery) or _stops(monitor, "unknown") or _stops(monitor, "failure")


def pause_before_next(refs: Iterable[Ref], monitors: Sequence[Monitor], tries: int) -> float | None:
    # One check serves all `refs`, so the most patient `Retry` of their monitors decides.
    policies = [policy for ref in refs if isinstance(policy := monitors[ref.monitor].on_error, Retry)]
    patient = max(policies, key=lambda policy: (policy.times, policy.pause), default=None)
    return patient.before(tries) if patient is not None and tries <= patient.times else None


# A verifier that keeps failing is suspended. From time to time, one check runs as a trial.

FIRST_TRIAL = 8
"""How many checks are skipped before the first trial. The number doubles with each trial, until there is a verdict."""
LAST_TRIAL = 128
"""The largest number of checks that are skipped between two trials."""


class Breaker(msgspec.Struct):
    """A circuit breaker for one verifier in one run. It counts failures in a row, not time."""

    limit: int | None
    """The number of failures in a row that opens the breaker; ``None``: it never opens."""
    failures: int = 0
    is_open: bool = False
    _skipped: int = 0
    _wait: int = FIRST_TRIAL

    def admits(self) -> bool:
        if not self.is_open:
            return True
        if self._skipped < self._wait:
            self._skipped += 1
            return False
        # The counters are set now, not at the end of the trial, because the trial may be cancelled.
        self._skipped = 0
        self._wait = min(self._wait * 2, LAST_TRIAL)
        return True

    def takes(self, outcome: Outcome) -> bool:
        # Return whether the breaker opened or closed. Cancelled and skipped checks say nothing about the verifier.
        was_open = self.is_open
        if isinstance(outcome, Judged):
            self.failures, self.is_open = 0, False
            self._skipped, self._wait = 0, FIRST_TRIAL
        elif isinstance(outcome, Errored | TimedOut):
            self.failures += 1
            self.is_open = self.limit is not None and self.failures >= self.limit
        return self.is_open is not was_open
