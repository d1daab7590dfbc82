"""The violations of a run: which are to be acted upon, which are answered, and what is told about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interwhen._core.arbitration import Candidate, earliest, must_wait
from interwhen._core.cuts import Plan
from interwhen._core.release import gates
from interwhen._core.transcript import Transcript
from interwhen._core.work import Job, Ref
from interwhen.budgets import Budgets
from interwhen.feedback import quote
from interwhen.monitors import Monitor
from interwhen.remedies import Conclude
from interwhen.results import Doubt, ViolationRecord
from interwhen.spans import Span


class Violations:
    """Keeps the candidates that may change the course, and remembers what was done about earlier ones."""

    def __init__(self, monitors: Sequence[Monitor], transcript: Transcript, budgets: Budgets) -> None:
        self.candidates: list[Candidate] = []
        self.unproven: list[Doubt] = []
        """What ended the run though it is no violation; its span is of the trace as it stood then."""
        self.concluded: list[Doubt] = []
        """Where the reasoning that stands was ended by us."""
        self._monitors = monitors
        self._transcript = transcript
        self._budgets = budgets
        self._answered: list[tuple[Span, int]] = []
        """Segments that were refuted and stay in the trace, with feedback behind them, and the monitor that refuted
        each."""
        self._acted: list[ViolationRecord] = []
        self._seen: dict[tuple[str, str, Span], ViolationRecord] = {}
        """Violations that changed nothing."""
        self._ranked: tuple[list[Candidate], int, Candidate | None] = (self.candidates, 0, None)
        """The list that was ranked last, how much of it, and the candidate that counts."""

    def decided(self, jobs: Iterable[Job]) -> Candidate | None:
        """Return the candidate that counts; ``None`` while an open job may bring an earlier one."""
        best = self.first()
        return None if best is None or must_wait(best, jobs, self._monitors) else best

    def first(self) -> Candidate | None:
        """Return the candidate that counts as far as is known now."""
        # Only what came since the last call is compared: thousands may come while an earlier check is awaited.
        known, count, best = self._ranked
        if known is not self.candidates:
            count, best = 0, None
        new = self.candidates[count:]
        if new:
            best = earliest(new if best is None else [best, *new], self._monitors)
        self._ranked = (self.candidates, len(self.candidates), best)
        return best

    def is_answered(self, ref: Ref) -> bool:
        """Tell whether the trace already says that the text of this claim is wrong.

        A gate is opened by the feedback of its own monitor only: what another one said is about something else.
        """
        gated = gates(self._monitors[ref.monitor].delivery)
        return any(span.covers(ref.span) and (who == ref.monitor or not gated) for span, who in self._answered)

    def is_excused(self, ref: Ref) -> bool:
        """Tell whether it does not matter that the check of this claim proved nothing."""
        return self.is_answered(ref) and not gates(self._monitors[ref.monitor].delivery)

    def is_answered_by_another(self, ref: Ref) -> bool:
        """Tell whether feedback of another monitor follows the segment of this claim."""
        return any(span.covers(ref.segment.span) and who != ref.monitor for span, who in self._answered)

    def is_disavowed(self, ref: Ref) -> bool:
        """Tell whether the text of this claim is no part of what may be certified."""
        return any(span.covers(ref.span) for span in self.disavowed())

    def disavowed(self) -> list[Span]:
        """Return the answered segments that are reasoning: an answer with a refuted claim is never verified."""
        return [span for span, _ in self._answered if self._transcript.phase_at(span.start) == "reasoning"]

    def answer(self, span: Span, monitor: int) -> None:
        """Take note that feedback of *monitor* follows the segment at *span*, which stays."""
        self._answered.append((span, monitor))
        standing, self.candidates = self.candidates, []
        for candidate in standing:
            settled = self.is_answered if candidate.violation is not None else self.is_excused
            if not settled(candidate.ref):
                self.candidates.append(candidate)
            elif candidate.violation is not None:
                self.saw(self.record(candidate, interrupted=False))

    def conclude(self, candidate: Candidate) -> None:
        """Take note that the reasoning was ended behind the segment of *candidate*, which is right for all we know."""
        monitor = self._monitors[candidate.ref.monitor]
        end = candidate.ref.segment.span.end
        why = f"the reasoning was stopped early: {candidate.why}"
        self.concluded.append(Doubt(monitor.name, Span(end, end), why, monitor.verifier.name))
        self.pass_over_conclusions(but=candidate)

    def pass_over_conclusions(self, *, but: Candidate | None = None) -> None:
        """Act upon no candidate that could only end the reasoning."""
        standing, self.candidates = self.candidates, []
        for other in standing:
            if not isinstance(self._monitors[other.ref.monitor].remedy, Conclude):
                self.candidates.append(other)
            elif other.violation is not None and other is not but:
                self.saw(self.record(other, interrupted=False))

    def cut(self, to: int) -> None:
        """Forget what stood behind *to*. Feedback begins where the segment that it answers ends."""
        self.concluded = [doubt for doubt in self.concluded if doubt.span is not None and doubt.span.end < to]
        self._answered = [(span, who) for span, who in self._answered if span.end < to]
        self.candidates = [candidate for candidate in self.candidates if candidate.ref.segment.span.end <= to]

    def acted(self, candidate: Candidate, todo: Plan) -> ViolationRecord:
        """Take note that *todo* is done about *candidate*, and say so.

        An unproven claim is no violation: it ends the run as a doubt.
        """
        record = self.record(candidate, interrupted=True, todo=todo)
        if candidate.violation is not None:
            self._acted.append(record)
        else:
            self.unproven.append(Doubt(record.monitor, candidate.span, candidate.why, record.verifier))
        return record

    def file(self) -> None:
        """Keep the violations that were not acted upon, since the run ends and their text may go."""
        for candidate in self.candidates:
            if candidate.violation is not None:
                self.saw(self.record(candidate, interrupted=True))

    def saw(self, record: ViolationRecord) -> None:
        """Take note of a violation that changes nothing."""
        self._seen[record.monitor, record.key, record.span] = record

    def forget(self, monitor: str, segment: Span) -> None:
        """Forget what *monitor* saw in *segment*, which was not finished."""
        for key in [key for key in self._seen if key[0] == monitor and segment.covers(key[2])]:
            del self._seen[key]

    def all(self) -> tuple[ViolationRecord, ...]:
        """Return those acted upon in the order of the acts, then all others in the order of the text."""
        done = {(record.monitor, record.key, record.span) for record in self._acted}
        others = {key: record for key, record in self._seen.items() if key not in done}
        for candidate in self.candidates:
            record = self.record(candidate, interrupted=True)
            if candidate.violation is not None:
                others[record.monitor, record.key, record.span] = record
        ordered = sorted(others.values(), key=lambda record: (record.span, record.monitor, record.key))
        return (*self._acted, *ordered)

    def overspent(self, todo: Plan, remedies: int, discarded: int, times: int = 1) -> str | None:
        """Return which budget forbids *todo*, if any. *discarded*: the tokens lost by then, its own cut included.

        *times*: how often the same words were refuted at this place by now.
        """
        if not todo.goes_on:
            return None
        budgets = self._budgets
        if remedies >= budgets.remedies:
            return f"the budget of {budgets.remedies} remedies is spent"
        if discarded > budgets.discarded_tokens:
            return f"the budget of {budgets.discarded_tokens} discarded tokens is spent"
        if times > budgets.repeats:
            return f"not converging: the same words were refuted at the same place {times} times"
        return None

    def record(self, candidate: Candidate, *, interrupted: bool, todo: Plan | None = None) -> ViolationRecord:
        """Say what is wrong, and what is done about it."""
        monitor = self._monitors[candidate.ref.monitor]
        violation = candidate.violation
        return ViolationRecord(
            monitor=monitor.name,
            verifier=monitor.verifier.name,
            key=candidate.ref.claim.key,
            span=candidate.span,
            quote=quote(self.text(candidate)),
            why=candidate.why,
            witness=violation.witness if violation is not None else "",
            interrupted=interrupted,
            remedy=todo.remedy if todo is not None else None,
            cut=todo.cut if todo is not None else None,
            inserted=todo.insert if todo is not None else "",
        )

    def text(self, candidate: Candidate) -> str:
        """Return the wrong text."""
        return self._transcript.slice(candidate.span.start, candidate.span.end)
