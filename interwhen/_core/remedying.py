"""What is to be done about a violation, and what is then written into the trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interwhen._core.arbitration import Candidate
from interwhen._core.cuts import Plan, plan
from interwhen._core.intake import Due, Intake
from interwhen._core.tally import Tally
from interwhen._core.trouble import Trouble
from interwhen._core.violations import Violations
from interwhen._core.work import Work
from interwhen.feedback import FeedbackTemplate
from interwhen.monitors import Monitor
from interwhen.remedies import Conclude
from interwhen.tool_calls import ToolCall

RULES = 1
"""The number of the rules by which a core plans remedies; a journal says by which ones its run was."""


class Remedying:
    """Plans remedies within the budgets, and words them."""

    def __init__(
        self,
        monitors: Sequence[Monitor],
        template: FeedbackTemplate,
        intake: Intake,
        work: Work,
        violations: Violations,
        tally: Tally,
        rules: int = RULES,
    ) -> None:
        self._monitors = monitors
        self._template = template
        self._intake = intake
        self._work = work
        self._violations = violations
        self._tally = tally
        self._trouble = Trouble(intake.transcript)
        self._rules = rules
        self._written: dict[tuple[int, str], int] = {}
        """How often the same text was written at one cut: what counted as a repetition by the rules 0."""
        self.resamples = 0
        """How many remedies in a row sampled the text again, up to now."""

    def plan(self, best: Candidate) -> tuple[Plan, str | None]:
        """Return what is to be done about *best*, and which budget forbids it, if any."""
        intake, violations = self._intake, self._violations
        first_call = intake.transcript.first_call
        monitor = self._monitors[best.ref.monitor]
        times = 1
        if self._rules and best.violation is not None and not isinstance(monitor.remedy, Conclude):
            times = self._trouble.met(best)
        todo = plan(
            best, monitor, self._template, violations.text(best), first_call, again=times > 1, cuts=not self._rules
        )
        if not self._rules and todo.goes_on:
            key = (todo.cut, f"{todo.remedy}:{todo.insert}")
            self._written[key] = times = self._written.get(key, 0) + 1
        if todo.ask:
            todo = todo._replace(insert=intake.closing(todo.cut) + todo.insert)
        if todo.answers_segment and violations.is_answered_by_another(best.ref):
            # Two pieces of feedback cannot both follow the segment, and each gate opens for its own only.
            start = best.ref.segment.span.start
            todo = todo._replace(cut=start, insert=todo.insert.lstrip("\n"), answers_segment=False)
        discarded = self._tally.discarded + intake.tokens_from(todo.cut)
        return todo, violations.overspent(todo, self._tally.remedies, discarded, times)

    def begin(self, best: Candidate, todo: Plan) -> None:
        """Count a remedy that goes on. A segment that it answers stays, and stands in nobody's way any more."""
        if todo.answers_segment:
            self._trouble.answered(best.ref.segment.span)
            self._violations.answer(best.ref.segment.span, best.ref.monitor)
            self._work.forgive(self._violations.disavowed())
        self.resamples = self.resamples + 1 if todo.remedy == "resample" else 0
        self._tally.remedies += 1
        self._intake.remedied()

    def cut(self, to: int) -> None:
        """Forget the text behind *to*."""
        self._trouble.cut(to)

    def refused(self, best: Candidate, todo: Plan) -> tuple[ToolCall, ...]:
        """Return the calls that go with *best*, if it is one; to be asked before they are cut."""
        return self._intake.transcript.calls_from(todo.cut) if best.ref.segment.call is not None else ()

    def write(self, todo: Plan, refused: tuple[ToolCall, ...]) -> Iterable[Due]:
        """Write what *todo* says at the end of the trace; return the segments that this made whole."""
        if todo.ask:
            return self._intake.conclude(todo.insert, todo.ask)
        if refused and todo.insert:
            self._intake.refuse(todo.insert, refused)
            return ()
        return self._intake.insert(todo.insert, todo.origin) if todo.insert else ()
