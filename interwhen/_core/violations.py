"""The violations of a run: which are to be acted upon, which are answered, and what is told about them.

Why: docs/decisions/0005-earliest-violation.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

import msgspec

from interwhen._core.check_table import Job, Ref, Work
from interwhen._core.messages import Tally
from interwhen._core.release import Kind, fate_of, gates, kind_of, way_of
from interwhen._core.segmenter import Due, Intake
from interwhen._core.transcript import Transcript
from interwhen._types.budgets import Budgets
from interwhen._types.models import Origin
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import (
    Abstain,
    Conclude,
    Feedback,
    FeedbackTemplate,
    Remedy,
    Repair,
    Resample,
    Stop,
    is_writable,
    quote,
)
from interwhen._types.results import RemedyName, UnverifiedReason, ViolationRecord
from interwhen._types.segments import ToolCall
from interwhen._types.spans import Span
from interwhen._types.triggers import EveryChars, Polls
from interwhen._types.verdicts import Outcome, Retry, Violation

# What a check that proved nothing means for the run, and whether it is tried again.


def ends(monitor: Monitor, outcome: Outcome) -> bool:
    """Tell whether *outcome*, which is no pass and no violation, ends the run."""
    return _stops(monitor, kind_of(outcome))


def may_end(monitor: Monitor) -> bool:
    """Tell whether any check of *monitor* that proves nothing could end the run."""
    return _stops(monitor, "unknown") or _stops(monitor, "failure")


def pause_before_next(refs: Iterable[Ref], monitors: Sequence[Monitor], tries: int) -> float | None:
    """Return the pause before a check that failed *tries* times is tried again; ``None``: it is not.

    Of the monitors that wait for it, the most patient one decides.
    """
    policies = [policy for ref in refs if isinstance(policy := monitors[ref.monitor].on_error, Retry)]
    patient = max(policies, key=lambda policy: (policy.times, policy.pause), default=None)
    return patient.before(tries) if patient is not None and tries <= patient.times else None


def _stops(monitor: Monitor, kind: Kind) -> bool:
    fate = fate_of(kind, way_of(monitor.delivery), unproven=monitor.unproven, on_error=monitor.on_error)
    return fate in ("held", "retracted")


# Which violation counts: the earliest in the trace, not the one that was found first.


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that must change the course of the run, at an absolute place of the trace.

    ``violation`` is ``None`` where nothing can be mended: a check ended without a verdict and the release rule holds
    its text back, or a gate refuted a claim that has no place; ``why`` says how.
    """

    span: Span
    ref: Ref
    violation: Violation | None
    why: str

    def order(self, monitors: Sequence[Monitor]) -> tuple[int, int, bool, str, str, str]:
        """Return the key that ranks candidates: by place, then by names, never by time or list order."""
        monitor = monitors[self.ref.monitor]
        return (
            self.span.start,
            self.span.end,
            self.violation is None,
            monitor.verifier.name,
            monitor.name,
            self.ref.claim.key,
        )


def refutation(ref: Ref, violation: Violation) -> Candidate:
    """Return the candidate for the claim of *ref*, refuted by *violation*.

    A wrong part outside the claim cannot be meant: the claim is refuted as a whole then, and no repair fits it.
    """
    span = ref.span
    where = violation.where
    if where is not None and ref.claim.span is not None:
        if where.end <= len(span):
            span = where.shifted(span.start)
        else:
            violation = msgspec.structs.replace(violation, where=None, repair=None)
    return Candidate(span, ref, violation, violation.why)


def earliest(candidates: Iterable[Candidate], monitors: Sequence[Monitor]) -> Candidate:
    """Return the candidate that counts."""
    return min(candidates, key=lambda candidate: candidate.order(monitors))


def must_wait(best: Candidate, jobs: Iterable[Job], monitors: Sequence[Monitor]) -> bool:
    """Tell whether an open job may still bring a candidate that ranks before *best*."""
    return any(_may_precede(best.span.start, job, monitors) for job in jobs)


def _may_precede(start: int, job: Job, monitors: Sequence[Monitor]) -> bool:
    if job.refs is None:
        return monitors[job.monitor].delivery != "observe" and job.segment.span.start <= start
    return any(_may_act(ref, monitors[ref.monitor]) and ref.span.start <= start for ref in job.refs)


def _may_act(ref: Ref, monitor: Monitor) -> bool:
    """Tell whether some outcome could change the course. A claim without a span can only keep a gate shut."""
    acts = monitor.delivery != "observe" and ref.claim.span is not None
    return acts or gates(monitor.delivery) or may_end(monitor)


# From a violation to what is done: where to cut, what to write.

_MORE_DIGITS = re.compile(
    r"(?:[,.'\u2019\u066b\u066c_\u00a0\u2007\u2009\u202f\u2060\u200b]|\{,\}|\\[!,;: ])+[0-9]|[ ][0-9]{3}(?![0-9])"
)
"""What goes on with a number: a point or a separator of thousands, as text, as LaTeX, or as a thin space."""
_REACH = 24


class Plan(NamedTuple):
    """Cut the trace at ``cut``, then write ``insert``; ``goes_on`` says whether the model continues."""

    remedy: RemedyName
    cut: int
    insert: str = ""
    origin: Origin = "feedback"
    goes_on: bool = True
    answers_segment: bool = False
    """Whether the refuted segment stays in the trace, answered by the feedback behind it."""
    ask: str = ""
    """What is said in place of ``insert`` to a model that goes on by turns only; given where the reasoning ends."""
    torn: bool = False
    """Whether ``cut`` falls in the middle of a line."""


def plan(
    candidate: Candidate,
    monitor: Monitor,
    template: FeedbackTemplate,
    wrong_text: str,
    first_call: int,
    *,
    again: bool = False,
    cuts: bool = False,
) -> Plan:
    """Return what the monitor's remedy does about *candidate*; *again*: the same words were refuted here before.

    With *cuts*, a repair may cut a number or a name short, as in runs of earlier versions.

    A refuted tool call goes with all calls of its turn, from *first_call* on: what is done is asked for again as a
    whole, so that no call is made twice.
    """
    if candidate.ref.segment.call is not None:
        return _plan_call(candidate, monitor, template, wrong_text, first_call)
    segment = candidate.ref.segment.span
    if candidate.violation is None:
        return Plan("abstain", segment.start, goes_on=False)
    remedy = monitor.remedy
    if again and isinstance(remedy, Repair):
        remedy = remedy.otherwise  # the model came back to these words, or our own ones were refuted in turn
    if isinstance(remedy, Repair) and not cuts and _is_cut_short(candidate):
        remedy = remedy.otherwise
    return _plan(candidate, candidate.violation, monitor, remedy, template, wrong_text)


def plan_surrender(candidate: Candidate, first_call: int) -> Plan:
    """Return what is left where nothing can be done about *candidate*: the text before its segment, or its turn."""
    segment = candidate.ref.segment
    start = segment.span.start
    return Plan("abstain", start if segment.call is None else min(start, first_call), goes_on=False)


def _plan_call(candidate: Candidate, monitor: Monitor, template: FeedbackTemplate, wrong_text: str, cut: int) -> Plan:
    violation = candidate.violation
    if violation is None:
        return Plan("abstain", cut, goes_on=False)
    # A call cannot be gone on with from within, so there is no repair in place, and it does not stay in the trace.
    remedy = monitor.remedy.otherwise if isinstance(monitor.remedy, Repair) else monitor.remedy
    match remedy:
        case Feedback():
            return Plan("feedback", cut, template.render(monitor.level, violation, wrong_text))
        case Resample():
            return Plan("resample", cut)
        case Stop() | Conclude():  # a call is no reasoning, and nothing is concluded in it
            return Plan("stop", cut, goes_on=False)
        case Abstain():
            return Plan("abstain", cut, goes_on=False)
        case _:
            assert_never(remedy)


def _plan(
    candidate: Candidate,
    violation: Violation,
    monitor: Monitor,
    remedy: Remedy,
    template: FeedbackTemplate,
    wrong_text: str,
) -> Plan:
    segment = candidate.ref.segment.span
    match remedy:
        case Repair(otherwise=otherwise):
            writes = violation.repair is not None and monitor.level == "witness" and is_writable(violation.repair)
            if writes and violation.repair is not None:
                return Plan("repair", candidate.span.start, violation.repair, "repair")
            return _plan(candidate, violation, monitor, otherwise, template, wrong_text)
        case Feedback(place=place):
            sentence = template.render(monitor.level, violation, wrong_text)
            if place == "rewind":
                return Plan("feedback", segment.start, f"{sentence}\n")
            return Plan("feedback", segment.end, f"\n{sentence}\n", answers_segment=True)
        case Resample():
            return Plan("resample", segment.start)
        case Conclude(lead=lead, ask=ask):
            return Plan("conclude", segment.end, lead, ask=ask)
        case Stop():
            return Plan("stop", segment.start, goes_on=False)
        case Abstain():
            return Plan("abstain", segment.start, goes_on=False)
        case _:
            assert_never(remedy)


def _is_cut_short(candidate: Candidate) -> bool:
    segment = candidate.ref.segment
    start = segment.span.start
    return cuts_short(segment.text, Span(candidate.span.start - start, candidate.span.end - start))


def cuts_short(text: str, where: Span) -> bool:
    """Tell whether the word or the number at *where* goes on behind it: a repair would leave its rest in the text."""
    if where.start == where.end:
        return False
    last, rest = text[where.end - 1], text[where.end : where.end + _REACH]
    if not rest:
        return False
    if last.isdigit():
        return rest[0].isdigit() or _MORE_DIGITS.match(rest) is not None
    if not last.isalpha():
        return False
    return rest[0].isalnum() or rest[0] == "_" or (rest[0] in "-\u2010\u2011" and rest[1:2].isalpha())


class Violations:
    """Keeps the candidates that may change the course, and remembers what was done about earlier ones."""

    def __init__(self, monitors: Sequence[Monitor], transcript: Transcript, budgets: Budgets) -> None:
        self.candidates: list[Candidate] = []
        self.unproven: list[UnverifiedReason] = []
        """What ended the run though it is no violation; its span is of the trace as it stood then."""
        self.concluded: list[UnverifiedReason] = []
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

    def is_refuted(self, ref: Ref) -> bool:
        """Tell whether the text of this claim is no part of what may be certified."""
        return any(span.covers(ref.span) for span in self.refuted())

    def refuted(self) -> list[Span]:
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
        self.concluded.append(UnverifiedReason(monitor.name, Span(end, end), why, monitor.verifier.name))
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
            self.unproven.append(UnverifiedReason(record.monitor, candidate.span, candidate.why, record.verifier))
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


# Counts how often the same words are refuted at one place of the model's own text, whatever was done about them.


class Trouble:
    """Remembers what was refuted where.

    A place is how many characters of the model's own text, without white space, stand before the segment. What we wrote
    does not count, nor does a refuted segment that feedback answers: both would move the place of a model that only
    repeats itself. Samples that differ are refuted for other words, and are no repetition.
    """

    __slots__ = ("_answered", "_marks", "_times", "_transcript")

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._times: dict[tuple[int, int, str], int] = {}
        self._answered: list[Span] = []
        self._marks: list[tuple[int, int]] = [(0, 0)]
        """Offsets of the trace, and the characters that count before each: no text is counted again and again."""

    def met(self, candidate: Candidate) -> int:
        """Count *candidate*; return how often its monitor refuted its words at its place, this time included.

        Another monitor may refute the very same words of the model: that is no repetition.
        """
        ref = candidate.ref
        key = (ref.monitor, self._place(ref.segment.span.start), " ".join(ref.text.split()))
        self._times[key] = times = self._times.get(key, 0) + 1
        return times

    def answered(self, segment: Span) -> None:
        """Take note that *segment* stays in the trace, refuted, with feedback behind it."""
        self._answered.append(segment)

    def cut(self, to: int) -> None:
        """Forget the text behind *to*."""
        while self._marks[-1][0] > to:
            self._marks.pop()
        self._answered = [span for span in self._answered if span.end <= to]

    def _place(self, start: int) -> int:
        while self._marks[-1][0] > start:
            self._marks.pop()
        base, count = self._marks[-1]
        if start > base:
            text = "".join(run.text for run in self._transcript.runs(base, start) if run.origin != "feedback")
            count += _visible(text)
            for span in self._answered:
                if base <= span.start and span.end <= start:
                    count -= _visible(self._transcript.slice(span.start, span.end))
            self._marks.append((start, count))
        return count


def _visible(text: str) -> int:
    return len("".join(text.split()))


# What is to be done about a violation, and what is then written into the trace.

RULES = 2
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
        if self._rules > 1 and isinstance(monitor.trigger, EveryChars | Polls):
            todo = todo._replace(torn=intake.tears(todo.cut))  # only these have segments that end anywhere
        discarded = self._tally.discarded + intake.tokens_from(todo.cut)
        return todo, violations.overspent(todo, self._tally.remedies, discarded, times)

    def begin(self, best: Candidate, todo: Plan) -> None:
        """Count a remedy that goes on. A segment that it answers stays, and stands in nobody's way any more."""
        if todo.answers_segment:
            self._trouble.answered(best.ref.segment.span)
            self._violations.answer(best.ref.segment.span, best.ref.monitor)
            self._work.forgive(self._violations.refuted())
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
            return self._intake.conclude(todo.insert, todo.ask, torn=todo.torn)
        if refused and todo.insert:
            self._intake.refuse(todo.insert, refused)
            return ()
        return self._intake.insert(todo.insert, todo.origin, torn=todo.torn) if todo.insert else ()
