"""From complete segments to settled checks: what is ordered, what is recorded, what the outcome means."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from interwhen._core.check_table import Breaker, Job, Loss, Ref, Work, describe, passed
from interwhen._core.messages import Check, Drop, Extract, Extracted, Order, Suspend, Tally
from interwhen._core.release import gates
from interwhen._core.segmenter import Due
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Candidate, Violations, ends, pause_before_next, refutation
from interwhen._types.budgets import Budgets
from interwhen._types.claims import Claim
from interwhen._types.events import CheckSettled, CheckStarted, Event, ViolationFound
from interwhen._types.monitors import Fork, Monitor, tracks
from interwhen._types.remedies import Conclude
from interwhen._types.spans import Span
from interwhen._types.verdicts import Cancelled, Errored, Judged, Outcome, Skipped, TimedOut, Unknown, Violation

UNREAD = Judged(Unknown("this looks like a claim, and it could not be read"))
"""The outcome for what a recognizer found and no claim covers."""
TORN = Judged(Unknown("the text was cut here in the middle of a line"))
"""The outcome for claims in a line that a cut of ours ended: the number may have had more digits."""


class Checks:
    """Follows each segment from its extraction to its verdicts. What must change the course becomes a candidate."""

    def __init__(
        self,
        monitors: Sequence[Monitor],
        transcript: Transcript,
        work: Work,
        violations: Violations,
        budgets: Budgets,
        tally: Tally,
        events: deque[Event],
    ) -> None:
        self._monitors = monitors
        self._transcript = transcript
        self._work = work
        self._violations = violations
        self._budgets = budgets
        self._tally = tally
        self._events = events
        self._breakers = [Breaker(budgets.failures) for _ in monitors]
        """By the number of the verifier: one that several monitors share has one."""
        self._looks: list[tuple[int, Span]] = []
        """The segments that were looked at before the model finished them, with the monitor that looked."""

    def open(self, dues: Iterable[Due]) -> tuple[list[Order], list[Job]]:
        """Return the orders for the extractions, and the jobs that must be skipped.

        These are to be skipped after all that the same text brought is on the books: a run whose last open job
        is settled may be over.
        """
        orders: list[Order] = []
        skipped = []
        for due in dues:
            segment = due.segment
            for number in due.monitors:
                if self._is_moot(number):
                    continue
                losses = self._work.admit(number, segment.span)
                if losses is None:
                    continue
                orders.extend(self._lose(losses))
                job = self._work.extraction(number, segment, torn=due.torn)
                extractor = self._monitors[number].extractor
                if due.torn is not None and (isinstance(extractor, Fork) or tracks(extractor)):
                    skipped.append(job)  # a tracker would go on from half a step, and a fork would cost tokens
                elif not isinstance(extractor, Fork):
                    orders.append(Extract(job.number, number, segment))
                elif self._tally.forks >= self._budgets.forks:
                    skipped.append(job)
                else:
                    self._tally.forks += 1
                    pieces = self._transcript.pieces(segment.span.end)
                    orders.append(Extract(job.number, number, segment, pieces))
        return orders, skipped

    def look(self, dues: Iterable[tuple[Due, int]]) -> list[Order]:
        """Return the orders for a look at segments that the model has not finished, each certain up to its offset."""
        orders: list[Order] = []
        for due, certain in dues:
            for number in due.monitors:
                if isinstance(self._monitors[number].extractor, Fork) or self._is_moot(number):
                    continue
                losses = self._work.admit(number, due.segment.span)
                if losses is None:
                    continue
                orders.extend(self._lose(losses))
                job = self._work.extraction(number, due.segment, certain)
                self._looks.append((number, due.segment.span))
                orders.append(Extract(job.number, number, due.segment))
        return orders

    def withdraw(self) -> list[Order]:
        """Forget the looks at segments that were not finished: the model goes on, or is at its end."""
        if not self._looks:
            return []
        looks, self._looks = self._looks, []
        for number, span in looks:
            self._violations.forget(self._monitors[number].name, span)
        return self._lose(self._work.withdraw(looks))

    def skip(self, job: Job) -> None:
        """Settle a segment that is not read: its last line is torn, or the budget forbids the fork."""
        if job.home.torn is not None:
            self.extracted(Extracted(job.number, (), 0.0, unread=(job.segment.span,)))
            return
        self.settled(job.number, Skipped(f"the budget of {self._budgets.forks} forks is spent"), 0.0)

    def extracted(self, fact: Extracted) -> list[Order]:
        """Take the claims of a segment; return the orders for those that are not known yet."""
        number, claims, unread, seconds = fact.job, fact.claims, fact.unread, fact.seconds
        job = self._work.jobs[number]
        if job.refs is not None:
            return self.settled(number, Errored("claims came where a verdict was awaited"), seconds)
        self._work.close(number)
        orders: list[Order] = []
        certain = job.home.certain
        if certain is not None:
            claims = tuple(claim for claim in claims if claim.span is not None and claim.span.end <= certain)
            unread = ()
        torn = job.home.torn
        if torn is not None:
            doubtful = [claim for claim in claims if claim.span is None or claim.span.end > torn]
            claims = tuple(claim for claim in claims if claim not in doubtful)
            places = (job.segment.span if claim.span is None else claim.span for claim in doubtful)
            unread = tuple(dict.fromkeys((*unread, *places)))
        if claims or unread:
            whole = job.segment.span
            spans = (*(claim.span for claim in claims if claim.span is not None), *unread)
            bad = [span for span in spans if not whole.covers(span)]
            if bad:
                self._failed(job, Errored(f"a claim at {bad[0]!r} lies outside its segment {whole!r}"), seconds)
                return []
            job.home.pending += len(claims) + len(unread)
            for claim in claims:
                self._claim(Ref(job.monitor, claim, job.segment, job.home), orders)
            for span in unread:
                # The verifier is not asked: there is no claim. Its monitor says what follows, as for any Unknown.
                self._judge(
                    Ref(job.monitor, Claim(key="", span=span), job.segment, job.home), self._unread(span, torn), 0.0
                )
        self._work.settle(job.monitor, job.home, passed=True)
        return orders

    def _unread(self, span: Span, torn: int | None) -> Outcome:
        return UNREAD if torn is None or span.end <= torn else TORN

    def settled(self, number: int, outcome: Outcome, seconds: float) -> list[Order]:
        """Take the end of a check, or of an extraction that brought nothing; return what is to be done about it."""
        job = self._work.jobs.get(number)
        if job is None:
            return []
        if job.refs is None:
            wrong = isinstance(outcome, Judged)
            self._work.close(number)
            self._failed(job, Errored("a verdict came where claims were awaited") if wrong else outcome, seconds)
            return []
        orders = self._weigh(job, outcome)
        seconds += job.seconds
        pause = self._pause(job, outcome)
        if pause is not None:
            job.tries += 1
            job.seconds = seconds
            return [*orders, Check(number, job.monitor, job.refs[0].claim, pause, job.segment)]
        self._work.close(number)
        self._work.learn(job, outcome)
        for ref in job.refs:
            self._judge(ref, outcome, seconds, job.tries)
            seconds = 0.0
        return orders

    def cut(self, to: int) -> list[Order]:
        """Forget the text from *to* on; return the orders for what nobody waits for any more."""
        return self._lose(self._work.cut(to))

    def cancel_open(self, why: str = "the run ended first") -> list[Order]:
        """Cancel every open job; its record says *why*."""
        orders: list[Order] = []
        outcome = Cancelled(why)
        for job in list(self._work.jobs.values()):
            self._work.close(job.number)
            orders.append(Drop(job.number))
            if job.refs is None:
                self._events.append(CheckSettled(self._work.record_extraction(job, outcome, 0.0)))
            for ref in job.refs or ():
                self._events.append(CheckSettled(self._work.record(ref, outcome, 0.0)))
        return orders

    def _is_moot(self, monitor: int) -> bool:
        """Tell whether *monitor* could only end the reasoning, which is over, or for which no remedy is left."""
        if not isinstance(self._monitors[monitor].remedy, Conclude):
            return False
        transcript = self._transcript
        is_over = transcript.phase != "reasoning" or bool(transcript.conclusions)
        return is_over or self._tally.remedies >= self._budgets.remedies

    def call_off_concluding(self) -> list[Order]:
        """End what could only end the reasoning: the model has ended by itself."""
        orders: list[Order] = []
        for job in list(self._work.jobs.values()):
            if job.refs is None and isinstance(self._monitors[job.monitor].remedy, Conclude):
                self._work.close(job.number)
                self._work.settle(job.monitor, job.home, passed=False)
                orders.append(Drop(job.number))
                outcome = Cancelled("the model ended first")
                self._events.append(CheckSettled(self._work.record_extraction(job, outcome, 0.0)))
        return orders

    def _lose(self, losses: Iterable[Loss]) -> list[Order]:
        orders: list[Order] = []
        for loss in losses:
            for ref in loss.refs:
                self._events.append(CheckSettled(self._work.describe(ref, Cancelled("its text was cut"), 0.0)))
            if loss.dropped:
                orders.append(Drop(loss.job))
        return orders

    def _weigh(self, job: Job, outcome: Outcome) -> list[Order]:
        """Let the verifier's breaker know; return what is to be told about it."""
        assert job.key is not None
        breaker = self._breakers[job.key[0]]
        if not breaker.takes(outcome):
            return []
        return [Suspend(self._monitors[job.monitor].verifier.name, breaker.failures)]

    def _pause(self, job: Job, outcome: Outcome) -> float | None:
        """Return the pause before another try; ``None``: there is none."""
        assert job.key is not None
        if not job.refs or not isinstance(outcome, Errored | TimedOut) or self._breakers[job.key[0]].is_open:
            return None
        return pause_before_next(job.refs, self._monitors, job.tries)

    def _claim(self, ref: Ref, orders: list[Order]) -> None:
        work, claim = self._work, ref.claim
        question = work.question(ref)
        verdict = work.known(question)
        if verdict is not None:
            self._judge(ref, Judged(verdict, cached=True), 0.0)
            return
        if not work.is_asked(question):
            breaker = self._breakers[question[0]]
            if not breaker.admits():
                name = self._monitors[ref.monitor].verifier.name
                self._judge(ref, Skipped(f"verifier {name!r} failed {breaker.failures} times in a row"), 0.0)
                return
        self._events.append(CheckStarted(self._monitors[ref.monitor].name, claim.key, claim.span))
        job = work.join(ref, question)
        if job is not None:
            orders.append(Check(job.number, ref.monitor, claim, segment=ref.segment))

    def _failed(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Take note of an extraction that brought no claims."""
        self._events.append(CheckSettled(self._work.record_extraction(job, outcome, seconds)))
        claim = Claim(key="", span=job.segment.span)
        if job.home.certain is None:
            self._unproven(Ref(job.monitor, claim, job.segment, job.home), outcome)
        self._work.settle(job.monitor, job.home, passed=False)

    def _judge(self, ref: Ref, outcome: Outcome, seconds: float, tries: int = 1) -> None:
        """Take note of how the check of one claim ended, and of what must follow."""
        self._events.append(CheckSettled(self._work.record(ref, outcome, seconds, tries)))
        is_pass = passed(outcome)
        if not is_pass:
            if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation):
                self._refuted(ref, outcome.verdict)
            elif ref.home.certain is None:  # what a segment comes to is known once it is finished
                self._unproven(ref, outcome, tries)
        self._work.settle(ref.monitor, ref.home, passed=is_pass or self._violations.is_refuted(ref))

    def _unproven(self, ref: Ref, outcome: Outcome, tries: int = 1) -> None:
        monitor = self._monitors[ref.monitor]
        if ends(monitor, outcome) and not self._violations.is_excused(ref):
            self._violations.candidates.append(Candidate(ref.span, ref, None, describe(outcome, tries)))

    def _refuted(self, ref: Ref, violation: Violation) -> None:
        monitor = self._monitors[ref.monitor]
        candidate = refutation(ref, violation)
        if ref.home.certain is not None and self._may_become_right(candidate):
            return
        acts = monitor.delivery != "observe" and ref.claim.span is not None and not self._violations.is_answered(ref)
        acts = acts and not self._is_moot(ref.monitor)
        record = self._violations.record(candidate, interrupted=acts)
        self._events.append(ViolationFound(record))
        if acts:
            self._violations.candidates.append(candidate)
            return
        self._violations.saw(record)
        if ref.claim.span is None and gates(monitor.delivery) and not self._violations.is_answered(ref):
            # It is not known what is wrong in the segment, so nothing can be cut or mended, and nothing released.
            why = f"a claim that has no place was refuted: {violation.why}"
            self._violations.candidates.append(Candidate(ref.span, ref, None, why))

    def _may_become_right(self, candidate: Candidate) -> bool:
        """Tell whether the model may be in the midst of writing the right value: it ends the text, and begins so."""
        violation = candidate.violation
        if violation is None or violation.repair is None or candidate.span.end < candidate.ref.segment.span.end:
            return False
        return violation.repair.startswith(self._violations.text(candidate))
