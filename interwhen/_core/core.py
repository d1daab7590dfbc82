"""The pure core of a run: facts go in, orders and events come out.

Sans-I/O in the way of h11: no await, clock, randomness, log or network, and the same facts in the same order
always give the same orders and events. The object is mutable because copying a trace for each token would
make every run quadratic; nobody but its owner may touch it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, assert_never

from interwhen._core.arbitration import Candidate, earliest, must_wait
from interwhen._core.certify import certificate, doubts
from interwhen._core.cuts import Ending, Plan, plan
from interwhen._core.gates import Gates
from interwhen._core.intake import Due, Intake
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Check,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Fact,
    Finish,
    Open,
    Opened,
    Order,
    Outline,
    OutOfTime,
    Settled,
)
from interwhen._core.tally import Tally
from interwhen._core.work import Job, Ref, Work, describe, passed
from interwhen.budgets import Budgets
from interwhen.claims import Claim
from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Delta,
    Event,
    Remedied,
    Retracted,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen.feedback import FeedbackTemplate, quote
from interwhen.models.base import Chunk, FinishReason, ResumeMode
from interwhen.monitors import Fork, Monitor
from interwhen.results import CheckRecord, Doubt, ViolationRecord
from interwhen.segments import Phase
from interwhen.spans import Span
from interwhen.verdicts import Cancelled, Errored, Judged, Outcome, Skipped, Violation

State = Literal["opening", "streaming", "deciding", "draining", "done"]
"""``deciding``: a violation stands, the stream is closed, earlier checks are awaited. ``draining``: the model
ended, open checks are awaited."""

_OVERRUN = 64
"""How many tokens beyond ``max_tokens`` are taken from a server that ignores it, before we end the stream."""


class Core:
    """One run, from its first fact to its end."""

    def __init__(
        self,
        monitors: Sequence[Monitor] = (),
        *,
        budgets: Budgets | None = None,
        template: FeedbackTemplate | None = None,
        think_tags: tuple[str, str] | None = None,
        starts_in: Phase = "answer",
        max_tokens: int | None = None,
        prompt_sha256: str = "",
    ) -> None:
        self.monitors = tuple(monitors)
        self.budgets = budgets or Budgets()
        self.template = template or FeedbackTemplate()
        self.max_tokens = max_tokens
        self.prompt_sha256 = prompt_sha256
        self.events: deque[Event] = deque()
        """Events for the reader, oldest first; the owner takes them out."""
        self.state: State = "opening"
        self.tally = Tally()
        self.intake = Intake(
            self.monitors,
            tags=think_tags,
            phase=starts_in,
            eager=any(monitor.delivery == "gate" for monitor in self.monitors),
        )
        self.transcript = self.intake.transcript
        self.work = Work(self.monitors)
        self.gates = Gates(self.monitors, self.intake, self.work)
        self._live = not self.gates.holding
        self._orders: list[Order] = []
        self._candidates: list[Candidate] = []
        self._answered: list[Span] = []
        """Segments that were refuted and stay in the trace, with feedback behind them."""
        self._violations: list[ViolationRecord] = []
        self._written: dict[tuple[int, str], int] = {}
        self._finish_reason: FinishReason | None = None
        self._resume: ResumeMode | None = None

    # ------------------------------------------------------------------ facts

    def begin(self) -> list[Order]:
        """Return the first orders."""
        return [Open((), 0, 0)]

    def step(self, fact: Fact) -> list[Order]:
        """Advance by one fact; return what is to be done now, in order. Facts after the end are ignored."""
        orders: list[Order] = []
        self._orders = orders
        if type(fact) is Chunk:
            self._chunk(fact)
        elif self.state != "done":
            self._rare(fact)
        return orders

    def _rare(self, fact: Fact) -> None:
        match fact:
            case Extracted(job, claims, seconds):
                self._extracted(job, claims, seconds)
            case Settled(job, outcome, seconds):
                self._settled(job, outcome, seconds)
            case Opened(resume):
                self._opened(resume)
            case Ended():
                self._ended()
            case Broken(error, retryable):
                self._broken(error, retryable=retryable)
            case OutOfTime(seconds):
                self._end("abstained", f"the time budget of {seconds:g} s is spent")
            case Abandoned():
                self._end("unverified", "the reader left before the end")
            case Chunk():
                self._chunk(fact)
            case _:
                assert_never(fact)

    def _chunk(self, chunk: Chunk) -> None:
        if chunk.finish_reason is not None:
            self._finish_reason = chunk.finish_reason
        text = chunk.text
        if self.state != "streaming":
            self.tally.late += chunk.tokens
            return
        if not text:
            return
        intake = self.intake
        start = self.transcript.length
        dues = intake.feed(text, chunk.tokens, chunk.phase)
        if self._live:
            if intake.plain:
                self.events.append(Delta(text, start, intake.phase))
                self.gates.released = start + len(text)
            else:
                self._release()
        if dues:
            self._due(dues)
        if not self._live:
            self._release()
        if self.max_tokens is not None and self.transcript.kept_tokens > self.max_tokens + _OVERRUN:
            self._orders.append(Close())
            self._finish_reason = "length"
            self._ended()

    def _opened(self, resume: ResumeMode | None) -> None:
        if self.state != "opening":
            return
        self.state = "streaming"
        self.tally.requests += 1
        self._resume = resume or self._resume
        self.events.append(StreamStarted(self.tally.remedies, resume))

    def _ended(self) -> None:
        if self.state not in ("streaming", "opening"):
            return
        self.state = "draining"
        self._finish_reason = self._finish_reason or "truncated"
        start = self.gates.released
        self._due(self.intake.end())
        if self._live and self.transcript.length > start:
            self._release()
        self.events.append(StreamEnded(self._finish_reason))
        self._release()
        self._finish_if_settled()

    def _broken(self, error: str, *, retryable: bool) -> None:
        if self.state not in ("streaming", "opening"):
            return
        if not retryable or self.tally.reconnects >= self.budgets.reconnects:
            self.events.append(StreamBroken(error, "fail"))
            self._end("failed", error)
            return
        self.events.append(StreamBroken(error, "reconnect"))
        self.tally.reconnects += 1
        self._reopen()

    # ------------------------------------------------------------------ segments, claims, checks

    def _due(self, dues: Iterable[Due]) -> None:
        for due in dues:
            for number in due.monitors:
                job = self.work.extraction(number, due.segment)
                if not isinstance(self.monitors[number].extractor, Fork):
                    self._orders.append(Extract(job.number, number, due.segment))
                elif self.tally.forks >= self.budgets.forks:
                    self._settled(job.number, Skipped(f"the budget of {self.budgets.forks} forks is spent"), 0.0)
                else:
                    self.tally.forks += 1
                    pieces = self.transcript.pieces(due.segment.span.end)
                    self._orders.append(Extract(job.number, number, due.segment, pieces))

    def _extracted(self, number: int, claims: tuple[Claim, ...], seconds: float) -> None:
        job = self.work.close(number)
        if job is None:
            return
        bad = [claim for claim in claims if claim.span is not None and claim.span.end > self.transcript.length]
        if bad:
            self._extraction_failed(job, Errored(f"a claim lies outside the trace: {bad[0].span!r}"), seconds)
            return
        job.home.pending += len(claims)
        for claim in claims:
            self._claim(Ref(job.monitor, claim, job.segment, job.home))
        self.work.settle(job.monitor, job.home, passed=True)
        self._after_settling()

    def _claim(self, ref: Ref) -> None:
        verdict = self.work.known(ref)
        if verdict is not None:
            self._judge(ref, Judged(verdict, cached=True), 0.0)
            return
        self.events.append(CheckStarted(self.monitors[ref.monitor].name, ref.claim.key, ref.claim.span))
        job = self.work.join(ref)
        if job is not None:
            self._orders.append(Check(job.number, ref.monitor, ref.claim))

    def _settled(self, number: int, outcome: Outcome, seconds: float) -> None:
        job = self.work.close(number)
        if job is None:
            return
        if job.refs is None:
            self._extraction_failed(job, outcome, seconds)
            return
        self.work.learn(job, outcome)
        for ref in job.refs:
            self._judge(ref, outcome, seconds)
            seconds = 0.0
        self._after_settling()

    def _extraction_failed(self, job: Job, outcome: Outcome, seconds: float) -> None:
        record = self.work.record_extraction(job, outcome, seconds)
        self.events.append(CheckSettled(record))
        if self.monitors[job.monitor].unproven == "closed" and self.monitors[job.monitor].delivery != "observe":
            claim = Claim(key="", span=job.segment.span)
            ref = Ref(job.monitor, claim, job.segment, job.home)
            self._candidate(Candidate(job.segment.span, ref, None, describe(outcome)))
        self.work.settle(job.monitor, job.home, passed=False)
        self._after_settling()

    def _judge(self, ref: Ref, outcome: Outcome, seconds: float) -> None:
        """Take note of how the check of one claim ended, and of what must follow."""
        monitor = self.monitors[ref.monitor]
        self.events.append(CheckSettled(self.work.record(ref, outcome, seconds)))
        if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation):
            self._refuted(ref, outcome.verdict)
        elif not passed(outcome) and monitor.unproven == "closed" and monitor.delivery != "observe":
            span = ref.claim.span or ref.segment.span
            self._candidate(Candidate(span, ref, None, describe(outcome)))
        self.work.settle(ref.monitor, ref.home, passed=passed(outcome) or self._is_answered(ref))

    def _is_answered(self, ref: Ref) -> bool:
        return any(answered.covers(ref.segment.span) for answered in self._answered)

    def _refuted(self, ref: Ref, violation: Violation) -> None:
        monitor = self.monitors[ref.monitor]
        base = ref.claim.span or ref.segment.span
        span = base if violation.where is None else violation.where.shifted(base.start)
        candidate = Candidate(span, ref, violation, violation.why)
        acts = monitor.delivery != "observe" and ref.claim.span is not None and not self._is_answered(ref)
        self.events.append(ViolationFound(self._violation_record(candidate, interrupted=acts)))
        if acts:
            self._candidate(candidate)
        else:
            self._violations.append(self._violation_record(candidate, interrupted=False))

    # ------------------------------------------------------------------ interrupts

    def _candidate(self, candidate: Candidate) -> None:
        """Stop the stream at once; where to cut is decided when earlier checks are settled."""
        self._candidates.append(candidate)
        if self.state in ("streaming", "opening"):
            self._orders.append(Close())
        self.state = "deciding"

    def _after_settling(self) -> None:
        if self.state == "deciding":
            best = earliest(self._candidates, self.monitors)
            if not must_wait(best, self.work.jobs.values(), self.monitors):
                self._apply(best)
            return
        if not self._live:
            self._release()
        self.gates.advance(self.events)
        self._finish_if_settled()

    def _apply(self, best: Candidate) -> None:
        monitor = self.monitors[best.ref.monitor]
        wrong = self.transcript.slice(best.span.start, best.span.end)
        todo = plan(best, monitor, self.template, wrong)
        record = self._violation_record(best, interrupted=True, todo=todo)
        if best.violation is not None:
            self._violations.append(record)
        spent = self._overspent(todo)
        if spent is not None:
            # What is given up on is not shown either: the text before the wrong segment is all that stands.
            self._cut(best.ref.segment.span.start)
            self._end("abstained", spent)
            return
        if todo.answers_segment:
            self._answered.append(best.ref.segment.span)
        self._cut(todo.cut)
        if not todo.goes_on:
            self.events.append(Remedied(record, self.tally.remedies))
            why = f"{monitor.name}: {best.why}"
            self._end("abstained" if todo.remedy == "abstain" else "unverified", why)
            return
        self.tally.remedies += 1
        self.events.append(Remedied(record, self.tally.remedies))
        dues = list(self.intake.insert(todo.insert, todo.origin)) if todo.insert else []
        if todo.answers_segment:
            self.work.forgive(best.ref.segment.span)
        self.state = "opening" if not self._candidates else "deciding"
        self._due(dues)
        self._release()
        if self.state == "deciding":  # another violation stands in the text that was kept
            self._after_settling()
        elif self.state == "opening":
            self._reopen()

    def _overspent(self, todo: Plan) -> str | None:
        """Return which budget forbids *todo*, if any."""
        if not todo.goes_on:
            return None
        budgets = self.budgets
        if self.tally.remedies >= budgets.remedies:
            return f"the budget of {budgets.remedies} remedies is spent"
        if self.tally.discarded > budgets.discarded_tokens:
            return f"the budget of {budgets.discarded_tokens} discarded tokens is spent"
        key = (todo.cut, f"{todo.remedy}:{todo.insert}")
        self._written[key] = times = self._written.get(key, 0) + 1
        if times > budgets.repeats:
            return f"not converging: the same {todo.remedy} at the same place for the {times}th time"
        return None

    def _cut(self, to: int) -> None:
        self.tally.discarded += self.intake.cut(to)
        self._answered = [span for span in self._answered if span.end <= to]
        self._candidates = [
            candidate
            for candidate in self._candidates
            if candidate.ref.segment.span.end <= to and not self._is_answered(candidate.ref)
        ]
        for job, lost in self.work.cut(to):
            for ref in lost:
                record = self.work.record(ref, Cancelled("its text was cut"), 0.0)
                self.events.append(CheckSettled(record))
            if not job.refs:
                self._orders.append(Drop(job.number))
        # Records of what was cut are for the reader only.
        self.work.records = {key: record for key, record in self.work.records.items() if key[2].end <= to}
        if self.gates.released > to:
            self.gates.released = to
            self.events.append(Retracted(to))
        self.gates.frontier = min(self.gates.frontier, to)

    def _reopen(self) -> None:
        kept = self.transcript.kept_tokens
        self._finish_reason = None
        if self.max_tokens is not None and kept >= self.max_tokens:
            self.state = "streaming"
            self._finish_reason = "length"
            self._ended()
            return
        self.state = "opening"
        self._orders.append(Open(self.transcript.pieces(), kept, self.tally.remedies))

    # ------------------------------------------------------------------ the reader's side and the end

    def _release(self) -> None:
        self.gates.release(self.events, ended=False)

    def _finish_if_settled(self) -> None:
        if self.state != "draining" or self.work.jobs:
            return
        found = doubts(self._records(), self.monitors, self._disavowed(), self._finish_reason)
        self._end("unverified" if found else "verified", "")

    def _end(self, status: Ending, reason: str) -> None:
        if self.state in ("streaming", "opening"):
            self._orders.append(Close())
        self.state = "done"
        for job in list(self.work.jobs.values()):
            self.work.close(job.number)
            self._orders.append(Drop(job.number))
            for ref in job.refs or ():
                self.events.append(CheckSettled(self.work.record(ref, Cancelled("the run ended first"), 0.0)))
            if job.refs is None:
                self.work.record_extraction(job, Cancelled("the run ended first"), 0.0)
        if status in ("verified", "unverified"):
            self.gates.release(self.events, ended=True)
        self._orders.append(Finish(self._outline(status, reason)))

    def _outline(self, status: Ending, reason: str) -> Outline:
        records = self._records()
        found = doubts(records, self.monitors, self._disavowed(), self._finish_reason)
        if reason and status == "unverified":
            found = (Doubt("", None, reason), *found)
        certified = (
            certificate(self.transcript, records, self._disavowed(), self.prompt_sha256)
            if status == "verified"
            else None
        )
        return Outline(
            status=status,
            text=self.transcript.slice(0, self.transcript.length),
            reasoning=self.transcript.text_of("reasoning"),
            answer=self.transcript.text_of("answer"),
            finish_reason=self._finish_reason,
            checks=records,
            violations=tuple(self._violations),
            insertions=tuple(self.transcript.insertions),
            resume=self._resume,
            doubts=found,
            certificate=certified,
            reason=reason,
            kept=self.transcript.kept_tokens,
            discarded=self.tally.discarded + self.tally.late,
            late=self.tally.late,
            remedies=self.tally.remedies,
            reconnects=self.tally.reconnects,
            forks=self.tally.forks,
        )

    def _disavowed(self) -> list[Span]:
        """Return the answered segments that are reasoning: an answer with a refuted claim is never verified."""
        return [span for span in self._answered if self.transcript.phase_at(span.start) == "reasoning"]

    def _records(self) -> tuple[CheckRecord, ...]:
        return tuple(
            sorted(
                self.work.records.values(),
                key=lambda record: (record.segment, record.span or record.segment, record.monitor, record.key),
            )
        )

    def _violation_record(
        self, candidate: Candidate, *, interrupted: bool, todo: Plan | None = None
    ) -> ViolationRecord:
        monitor = self.monitors[candidate.ref.monitor]
        violation = candidate.violation
        return ViolationRecord(
            monitor=monitor.name,
            verifier=monitor.verifier.name,
            key=candidate.ref.claim.key,
            span=candidate.span,
            quote=quote(self.transcript.slice(candidate.span.start, candidate.span.end)),
            why=candidate.why,
            witness=violation.witness if violation is not None else "",
            interrupted=interrupted,
            remedy=todo.remedy if todo is not None else None,
            cut=todo.cut if todo is not None else None,
            inserted=todo.insert if todo is not None else "",
        )
