"""The violations of a run: which one gets the remedy, what the remedy is, and what is recorded.

Why: docs/decisions/verdicts.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, assert_never

import msgspec

from interwhen._core.release import gates
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import Transcript
from interwhen._types.budgets import Budgets
from interwhen._types.models import Origin
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import (
    DEFAULT_TEMPLATE,
    Abstain,
    Auto,
    Conclude,
    Feedback,
    FeedbackTemplate,
    Remedy,
    Repair,
    Resample,
    Rung,
    Stop,
)
from interwhen._types.results import RemedyName, UnverifiedReason, ViolationRecord
from interwhen._types.segments import Claim, Segment, Span, is_writable, quote
from interwhen._types.triggers import EveryChars, Polls
from interwhen._types.verdicts import LEVELS, Level, Violation

# The ladder of the remedy ``Auto``: which remedy follows, from what was tried at the same place. All functions are
# pure: what the choice depends on is in the arguments, so a journal replays to the same choices.
# Why: docs/decisions/remedies.md.

FEEDBACKS = 2
"""How often feedback is given at one place, at most. The second one may say more."""
RESTARTS = 2
"""How often, at most, the text before one place is sampled again from an earlier point."""
FEW = 4
"""How many steps the first restart removes at least, if there are so many."""
BY_TURN = 2
"""How many requests, at most, one mistake costs with a model that continues by an extra turn. Each of them sends the
text again, and such a model often repeats itself."""


class Trouble(NamedTuple):
    """What is known about a refuted claim when the next rung of the ladder is chosen for it."""

    times: int
    """How often in a row the same words were refuted at this place, this time included."""
    tried: tuple[Rung, ...]
    """The rungs used at this place so far, oldest first."""
    at: int
    """The position (from 0) in the order of the ladder that was reached at this place, since the last restart."""
    repairable: bool
    has_earlier_point: bool
    prices: Prices | None = None
    """``None``: they do not count."""

    @property
    def is_too_dear(self) -> bool:
        # Whether this place has cost as much as a new sample up to it. The first remedy at a place never counts as too
        # dear.
        prices = self.prices
        if prices is None or prices.fresh is None or not prices.spent:
            return False
        again = prices.fresh * (prices.spent + prices.resume)
        return again > prices.fresh * prices.prompt + prices.text


class Prices(NamedTuple):
    """What one more remedy at a place costs, and what a new sample costs up to this place, in tokens."""

    resume: int
    """The prompt of the next request, which continues the kept text. The new text is needed in any case."""
    prompt: int
    """The prompt of a request for a new sample."""
    text: int
    """The text that a new sample has to write again."""
    fresh: float | None
    """The share of a prompt that the server does not take from its cache. ``None``: it is not known."""
    spent: int = 0
    """The prompts of the requests after the remedies at this place, since the last restart."""


def next_rung(auto: Auto, trouble: Trouble) -> int | None:
    # The same words, refuted again, move the ladder on by one rung. Other words keep the rung as long as it may be
    # repeated. `None`: the ladder has ended.
    order, at = auto.order, trouble.at
    if trouble.times > 1 and trouble.tried:
        at += 1
    elif trouble.repairable and "repair" in order[: at + 1]:
        return order.index("repair")  # other words have a repair of their own
    rung = next((number for number in range(at, len(order)) if _may_use(auto, order[number], trouble)), None)
    # It is unknown which sample will be right, as in the ski-rental problem: a change at the moment when the price of a
    # new sample is reached costs at most twice the least.
    if trouble.is_too_dear and rung is not None and order[rung] != "repair" and trouble.has_earlier_point:
        return order.index("restart") if "restart" in order else rung
    return rung


def _may_use(auto: Auto, rung: Rung, trouble: Trouble) -> bool:
    used = trouble.tried.count(rung)
    match rung:
        case "repair":
            return trouble.repairable and trouble.times == 1
        case "resample":
            return used < auto.samples
        case "feedback":
            return used < FEEDBACKS
        case "restart":
            return used < RESTARTS and trouble.has_earlier_point


def level_of(most: Level, number: int, *, has_witness: bool) -> Level:
    # `number` feedbacks came before this one. The first says one level less than `most`, so that the next can say more.
    top = LEVELS.index(most if has_witness or most != "witness" else "explain")
    return LEVELS[min(max(top - 1, 0) + number, top)]


# Earlier points of the trace, to which a remedy may cut.


_LINE = re.compile(r"(?m:^)[^\S\n]*+\S[^\n]*+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")


def step_starts(transcript: Transcript, floor: int, end: int) -> list[int]:
    # A step is a line that is not blank. If there is at most one line, its sentences count as steps. Think tags,
    # structured tool calls and feedback are no steps.
    if floor >= end:
        return []
    starts: list[int] = []
    sentences: list[int] = []
    tags = {tag.start for tag in transcript.tags}
    begins = True
    """Whether the text before the next run ends a line."""
    for run in transcript.runs(floor, end):
        if run.start in tags or run.origin == "feedback" or run.call is not None:
            begins = True
            continue
        lines = (line.start() for line in _LINE.finditer(run.text))
        starts += [run.start + at for at in lines if at or begins]
        sentences += [run.start + gap.end() for gap in _SENTENCE.finditer(run.text)]
        begins = run.text.endswith("\n")
    if len(starts) < 2:
        starts = sorted({*starts, *sentences})
    return starts


def back(starts: Sequence[int], steps: int) -> int | None:
    """Return the start of the step *steps* before the end (1: the last), or of the first step if there are fewer."""
    return starts[max(len(starts) - steps, 0)] if starts else None


def premise_start(starts: Sequence[int], premises: Sequence[Span], number: int) -> int | None:
    # Return the start of the step with premise number `number`, counted from the last one (0). `None`: there is none.
    places = sorted({span.start for span in premises}, reverse=True)
    if number >= len(places):
        return None
    return next((start for start in reversed(starts) if start <= places[number]), None)


class Ref(msgspec.Struct, eq=False):
    """A reference to one claim of one monitor, with the segment in which it was found."""

    monitor: int
    claim: Claim
    segment: Segment

    @property
    def span(self) -> Span:
        return self.segment.span if self.claim.span is None else self.claim.span

    @property
    def text(self) -> str:
        span = self.claim.span
        if span is None:
            return ""
        base = self.segment.span.start
        return self.segment.text[span.start - base : span.end - base]


# The violation that gets the remedy is the earliest one in the trace, not the one that was found first.


class Candidate(msgspec.Struct, frozen=True):
    """A violation, or an unproven claim, that may interrupt or end the run. ``span`` is its position in the trace."""

    # `violation` is `None` if no remedy is possible: the check proved nothing, or the refuted claim has no span. `why`
    # gives the reason.

    span: Span
    ref: Ref
    violation: Violation | None
    why: str

    def order(self, monitors: Sequence[Monitor]) -> tuple[int, int, bool, str, str, str]:
        # Independent of time, so that runs are reproducible.
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
    # If `where` is not inside the claim, it is wrong, and so is the place of the repair: both are dropped.
    span = ref.span
    where = violation.where
    if where is not None and ref.claim.span is not None:
        if where.end <= len(span):
            span = where.shifted(span.start)
        else:
            violation = msgspec.structs.replace(violation, where=None, repair=None)
    return Candidate(span, ref, violation, violation.why)


def earliest(candidates: Iterable[Candidate], monitors: Sequence[Monitor]) -> Candidate:
    return min(candidates, key=lambda candidate: candidate.order(monitors))


# Places that stand for many positions of the trace. They are negative, because positions are not.

_ANSWER = -1
"""The place of every refuted answer that rests on reasoning, for the ladder."""
_CALL = -2
"""The place of every tool call that got feedback."""
_ANYWHERE = -3
"""The place of all refuted text, for a model that continues by an extra turn."""

# Plan a remedy for a violation: where to cut, and what to write.

_MORE_DIGITS = re.compile(
    r"(?:[,.'\u2019\u066b\u066c_\u00a0\u2007\u2009\u202f\u2060\u200b]|\{,\}|\\[!,;: ])+[0-9]|[ ][0-9]{3}(?![0-9])"
)
"""Matches the continuation of a number: a decimal point or thousands separator (plain, LaTeX or thin space), digits."""
_REACH = 24


class RemedyPlan(NamedTuple):
    """A planned remedy: cut the trace at offset ``cut``, and then write ``insert``."""

    remedy: RemedyName
    cut: int
    insert: str = ""
    origin: Origin = "feedback"
    answers_segment: bool = False
    """Whether the refuted segment stays in the trace, with the feedback after it."""
    ask: str = ""
    """For the remedy ``conclude``: the text to send, in place of ``insert``, to a model that continues by an extra
    turn. Empty for all other remedies."""
    torn: bool = False
    """Whether ``cut`` is in the middle of a line. Known only for :class:`EveryChars` and :class:`Polls`."""
    heat: int | None = None
    """For a new sample that the ladder orders: how many there were at this place, this one included; 1 if the cut is
    before the refuted segment. ``None``: count the resamples in a row."""

    @property
    def goes_on(self) -> bool:
        return self.remedy not in ("stop", "abstain")


def plan(
    candidate: Candidate,
    monitor: Monitor,
    template: FeedbackTemplate,
    wrong_text: str,
    first_call: int,
    *,
    again: bool,
) -> RemedyPlan:
    """Plan the remedy of *monitor* for *candidate*. Without a violation, it is to abstain.

    ``Auto`` is planned here only for a refuted tool call. *again*: the same words were refuted at this position before.
    A structured tool call is cut with all calls from offset *first_call* on.
    """
    if candidate.ref.segment.call is not None:
        return _plan_call(candidate, monitor, template, wrong_text, first_call)
    segment = candidate.ref.segment.span
    if candidate.violation is None:
        return RemedyPlan("abstain", segment.start)
    remedy = monitor.remedy
    if again and isinstance(remedy, Repair):
        remedy = remedy.otherwise  # the model wrote these words again, or a repair was refuted
    elif isinstance(remedy, Repair) and _is_cut_short(candidate):
        remedy = remedy.otherwise
    return _plan(candidate, candidate.violation, monitor, remedy, template, wrong_text)


def plan_surrender(candidate: Candidate, first_call: int) -> RemedyPlan:
    segment = candidate.ref.segment
    start = segment.span.start
    return RemedyPlan("abstain", start if segment.call is None else min(start, first_call))


def _plan_call(
    candidate: Candidate, monitor: Monitor, template: FeedbackTemplate, wrong_text: str, cut: int
) -> RemedyPlan:
    violation = candidate.violation
    if violation is None:
        return RemedyPlan("abstain", cut)
    # The model cannot continue inside a call. So a call is never repaired, and it does not stay in the trace.
    remedy = monitor.remedy.otherwise if isinstance(monitor.remedy, Repair) else monitor.remedy
    match remedy:
        case Feedback() | Auto():  # without feedback, the model would not know why its call was refused
            return RemedyPlan("feedback", cut, template.render(monitor.level, violation, wrong_text))
        case Resample():
            return RemedyPlan("resample", cut)
        case Stop() | Conclude():  # a call is not part of the reasoning, so Conclude does not apply
            return RemedyPlan("stop", cut)
        case Abstain():
            return RemedyPlan("abstain", cut)
        case _:
            assert_never(remedy)


def _plan(
    candidate: Candidate,
    violation: Violation,
    monitor: Monitor,
    remedy: Remedy,
    template: FeedbackTemplate,
    wrong_text: str,
) -> RemedyPlan:
    segment = candidate.ref.segment.span
    match remedy:
        case Repair(otherwise=otherwise):
            writes = violation.repair is not None and monitor.level == "witness" and is_writable(violation.repair)
            if writes and violation.repair is not None:
                return RemedyPlan("repair", candidate.span.start, violation.repair, "repair")
            return _plan(candidate, violation, monitor, otherwise, template, wrong_text)
        case Auto():
            raise AssertionError("the ladder plans this remedy")
        case Feedback(place=place):
            sentence = template.render(monitor.level, violation, wrong_text)
            # A refuted call does not stay in the answer: an agent that reads calls in the text would make it.
            is_call = candidate.ref.segment.written is not None and candidate.ref.segment.phase == "answer"
            if place == "rewind" or is_call:
                return RemedyPlan("feedback", segment.start, f"{sentence}\n")
            return RemedyPlan("feedback", segment.end, f"\n{sentence}\n", answers_segment=True)
        case Resample():
            return RemedyPlan("resample", segment.start)
        case Conclude(lead=lead, ask=ask):
            return RemedyPlan("conclude", segment.end, lead, ask=ask)
        case Stop():
            return RemedyPlan("stop", segment.start)
        case Abstain():
            return RemedyPlan("abstain", segment.start)
        case _:
            assert_never(remedy)


def _is_new_repair(auto: Auto, position: int | None, tried: Sequence[Rung]) -> bool:
    return position is not None and auto.order[position] == "repair" and "repair" not in tried


def _is_cut_short(candidate: Candidate) -> bool:
    segment = candidate.ref.segment
    start = segment.span.start
    return cuts_short(segment.text, Span(candidate.span.start - start, candidate.span.end - start))


def cuts_short(text: str, where: Span) -> bool:
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
    """Collects candidates, plans the remedy for the earliest one, and records violations and remedies."""

    def __init__(
        self,
        monitors: Sequence[Monitor],
        intake: Intake,
        budgets: Budgets,
        template: FeedbackTemplate = DEFAULT_TEMPLATE,
        *,
        continues_reasoning: bool = False,
    ) -> None:
        """Start without candidates.

        *continues_reasoning*: the model can continue inside the reasoning after a cut.
        """
        self.unproven: list[UnverifiedReason] = []
        """Unproven claims that ended the run. Their spans are offsets of the trace before the cut that followed."""
        self.concluded: list[UnverifiedReason] = []
        """One reason for each position in the trace at which we ended the reasoning (remedy ``conclude``)."""
        self.remedies = 0
        """The number of remedies after which the run continued."""
        self.resamples = 0
        """As in :class:`~interwhen._core.messages.Open`."""
        self._monitors = monitors
        self._intake = intake
        self._transcript = intake.transcript
        self._budgets = budgets
        self._template = template
        self._continues_reasoning = continues_reasoning
        self._goes_back = True
        self._by_turn = False
        self._asked: dict[tuple[int, int | None], int] = {}
        """How many remedies were planned, by monitor and place."""
        self._trouble = RefutationCounts(intake.transcript)
        self._tried: dict[tuple[int, int], list[Rung]] = {}
        """The rungs used so far, by monitor and place."""
        self._streaks: dict[tuple[int, int], tuple[str, int]] = {}
        """The words that were refuted last, and how often in a row, by monitor and place."""
        self._reached: dict[tuple[int, int], int] = {}
        """The position on the ladder since the last restart, by monitor and place."""
        self._restarts = 0
        self._spent: dict[tuple[int, int], int] = {}
        """As :attr:`Prices.spent`, by monitor and place."""
        self._place: int | None = None
        """The place of the last violation that was planned for."""
        self._passed_over: set[int] = set()
        """The monitors that interrupt no more, because no remedy was left for them."""
        self._candidates: list[Candidate] = []
        self._answered: list[tuple[Span, int]] = []
        """The refuted segments that feedback in the trace answers, sorted by their ends, each with the number of the
        monitor that refuted it."""
        self._acted: list[ViolationRecord] = []
        """The violations that got a remedy, in the order of the remedies."""
        self._noted: dict[tuple[str, str, Span], ViolationRecord] = {}
        """The violations that got no remedy, by monitor, key and span."""
        self._ranked: tuple[list[Candidate], int, Candidate | None] = (self._candidates, 0, None)
        """The cache of :meth:`first`: the list it searched, how many entries of it, and the result."""

    def __bool__(self) -> bool:
        return bool(self._candidates)

    def add(self, candidate: Candidate) -> None:
        self._candidates.append(candidate)

    def first(self) -> Candidate | None:
        # Compare only the candidates added since the last call. There may be thousands during one slow check.
        known, count, best = self._ranked
        if known is not self._candidates:
            count, best = 0, None
        new = self._candidates[count:]
        if new:
            best = earliest(new if best is None else [best, *new], self._monitors)
        self._ranked = (self._candidates, len(self._candidates), best)
        return best

    def first_refuted(self) -> dict[int, int]:
        first: dict[int, int] = {}
        for candidate in self._candidates:
            number, start = candidate.ref.monitor, candidate.ref.segment.span.start
            first[number] = min(start, first.get(number, start))
        return first

    def is_answered(self, ref: Ref) -> bool:
        # Tell whether feedback in the trace already answers the text of the claim `ref`. For a gating monitor only its
        # own feedback counts.
        gated = gates(self._monitors[ref.monitor].delivery)
        return any(who == ref.monitor or not gated for _, who in self._answers(ref.span))

    def has_met(self, ref: Ref) -> bool:
        return self._trouble.has_met(ref)

    def is_excused(self, ref: Ref) -> bool:
        return self.is_answered(ref) and not gates(self._monitors[ref.monitor].delivery)

    def is_refuted(self, ref: Ref) -> bool:
        # Tell whether the claim `ref` is in refuted reasoning that feedback answers. Such text is not certified.
        return any(self._is_reasoning(span) for span, _ in self._answers(ref.span))

    def refuted(self) -> list[Span]:
        # A claim inside such a span counts neither for the result of the run nor against it.
        return [span for span, _ in self._answered if self._is_reasoning(span)]

    def _answers(self, place: Span) -> Iterator[tuple[Span, int]]:
        for span, who in reversed(self._answered):  # from the end, because most checked claims are there
            if span.end < place.end:
                return
            if span.covers(place):
                yield span, who

    def _is_answered_by_another(self, segment: Span, monitor: int) -> bool:
        if any(who != monitor for _, who in self._answers(segment)):
            return True
        ends = (who for span, who in self._answered if span.end == segment.end and who != monitor)
        return any(gates(self._monitors[who].delivery) for who in ends)

    def _after_feedback(self, end: int) -> int:
        # If feedback follows the segment that ends at `end`, keep it: its candidate is gone, so without the feedback,
        # the refuted claim would stay with no remedy.
        if any(span.end == end for span, _ in self._answered):
            return next((each.span.end for each in self._transcript.insertions if each.span.start == end), end)
        return end

    def _is_reasoning(self, span: Span) -> bool:
        return self._transcript.phase_at(span.start) == "reasoning"

    def answered(self) -> list[Span]:
        return [span for span, _ in self._answered]

    def plan(
        self, best: Candidate, *, goes_back: bool = True, by_turn: bool = False, prices: Prices | None = None
    ) -> tuple[RemedyPlan, str | None]:
        """Return the plan of the remedy for *best*, and why it must not be carried out; ``None`` if it may be.

        A call may count a refutation and record a rung, so call this once for each remedy. Without *goes_back*, a
        ladder does not cut text before the segment of *best*. *by_turn*: the model continues by an extra turn. Without
        *prices*, a ladder ignores them.
        """
        self._goes_back, self._by_turn = goes_back, by_turn
        intake = self._intake
        monitor = self._monitors[best.ref.monitor]
        times, self._place = 1, None
        if best.violation is not None and not isinstance(monitor.remedy, Conclude):
            times, self._place = self._trouble.met(best)
            anywhere = self._trouble.met_at(best, _ANYWHERE)
            times = max(times, anywhere) if by_turn else times  # a model that starts over also shifts places
        first_call = self._transcript.first_call
        if isinstance(monitor.remedy, Auto) and best.violation is not None and best.ref.segment.call is None:
            climbed, times = self._climb(best, best.violation, monitor.remedy, times, prices)
            if climbed is None:
                return plan_surrender(best, first_call), "not converging: every remedy was tried at the same place"
            todo = climbed
        else:
            todo = plan(best, monitor, self._template, self.text(best), first_call, again=times > 1)
        if todo.ask:
            cut = self._after_feedback(todo.cut)
            todo = todo._replace(cut=cut, insert=intake.closing(cut) + todo.insert)
        segment = best.ref.segment.span
        if todo.answers_segment and self._is_answered_by_another(segment, best.ref.monitor):
            # Feedback of another monitor is already at this place. Two cannot follow a segment, so rewind instead.
            todo = todo._replace(cut=segment.start, insert=todo.insert.lstrip("\n"), answers_segment=False)
        if isinstance(monitor.trigger, EveryChars | Polls):
            todo = todo._replace(torn=intake.tears(todo.cut))  # only these triggers end segments in the middle of lines
        return todo, self._overspent(todo, times) or self._refused_too_often(best, todo) or self._overasked(best, times)

    def _overasked(self, best: Candidate, times: int) -> str | None:
        key = best.ref.monitor, self._place
        self._asked[key] = asked = self._asked.get(key, 0) + 1
        if self._place is None or not self._by_turn or best.ref.segment.call is not None:
            return None
        if max(times, asked) <= BY_TURN:
            return None
        return f"not converging: {BY_TURN} requests, each an extra turn, did not correct this place"

    def _climb(
        self, best: Candidate, violation: Violation, auto: Auto, times: int, prices: Prices | None
    ) -> tuple[RemedyPlan | None, int]:
        # `None`: the ladder has ended. Also return how often the same words were refuted.
        monitor, segment = self._monitors[best.ref.monitor], best.ref.segment.span
        starts = step_starts(self._transcript, self._floor(segment), segment.start)
        rests = self._rests_on_reasoning(segment)
        place = self._place or 0
        if rests:
            # The place of an answer changes with its reasoning, so all answers of the run are one place.
            place, times = _ANSWER, max(times, self._trouble.met_at(best, _ANSWER))
        tried = self._tried.setdefault((best.ref.monitor, place), [])
        streak = self._streak(best, place)
        repair = violation.repair if monitor.level == "witness" else None
        repairable = repair is not None and is_writable(repair) and not _is_cut_short(best)
        at = self._reached.get((best.ref.monitor, place), 0)
        if prices is not None:
            spent = self._spent.get((best.ref.monitor, place), 0)
            self._spent[best.ref.monitor, place] = spent + prices.resume
            prices = prices._replace(spent=spent)
        trouble = Trouble(streak, tuple(tried), at, repairable, bool(starts), prices)
        position = next_rung(auto, trouble)
        if self._by_turn and tried and not _is_new_repair(auto, position, tried) and "feedback" in auto.order:
            position = auto.order.index("feedback")  # the last request for this mistake says what is wrong
        if position is None:
            return None, times
        rung = auto.order[position]
        number = tried.count(rung)
        tried.append(rung)
        self._reached[best.ref.monitor, place] = max(at, position)
        if rung == "restart":
            self._reached.clear()  # what follows is another attempt
            self._spent.clear()
        # If a new sample is cheaper than one more remedy, it is a whole one: the restart removes all steps.
        steps = len(starts) if trouble.is_too_dear else 0
        return self._plan_rung(best, violation, auto, rung, number, streak, starts, steps), times

    def _streak(self, best: Candidate, place: int) -> int:
        key, words = (best.ref.monitor, place), " ".join(best.ref.text.split())
        last, count = self._streaks.get(key, ("", 0))
        count = count + 1 if words == last else 1
        self._streaks[key] = (words, count)
        return count

    def _plan_rung(
        self,
        best: Candidate,
        violation: Violation,
        auto: Auto,
        rung: Rung,
        number: int,
        times: int,
        starts: Sequence[int],
        least: int,
    ) -> RemedyPlan:
        """Plan *rung*, which was tried *number* times before at this place.

        The same words were refuted there *times* times in a row. A restart cuts at least *least* steps.
        """
        match rung:
            case "repair":
                assert violation.repair is not None
                return RemedyPlan("repair", best.span.start, violation.repair, "repair")
            case "resample":
                cut = self._cut_for_sample(best, starts, times)
                # Reasoning that passed its checks is sampled again without more noise than needed.
                return RemedyPlan("resample", cut, heat=number + 1 if cut == best.ref.segment.span.start else 1)
            case "feedback":
                return self._plan_feedback(best, violation, auto, number)
            case "restart":
                self._restarts += 1
                # The second time, all of the text before the place may be wrong. A few steps are cheap to write again.
                steps = max((len(starts) + 1) // 2, FEW) if self._restarts == 1 else len(starts)
                earlier = back(starts, max(steps, least))
                assert earlier is not None
                return RemedyPlan("restart", earlier, heat=1)
            case _:
                assert_never(rung)

    def _cut_for_sample(self, best: Candidate, starts: Sequence[int], times: int) -> int:
        """Return where to sample again: at the segment of *best*, or at a premise in the reasoning before an answer.

        *times*: how often in a row the same words were refuted here. The first time, it is the segment; after that, the
        premises that the claim names, the last one first.
        """
        segment = best.ref.segment.span
        reasoning = [at for at in starts if self._transcript.phase_at(at) == "reasoning"]
        if times < 2 or not self._rests_on_reasoning(segment):
            return segment.start
        at = premise_start(reasoning, best.ref.claim.premises, times - 2)
        return segment.start if at is None else at

    def _plan_feedback(self, best: Candidate, violation: Violation, auto: Auto, number: int) -> RemedyPlan:
        monitor, segment = self._monitors[best.ref.monitor], best.ref.segment.span
        level = level_of(monitor.level, number, has_witness=bool(violation.witness))
        sentence = self._template.render(level, violation, self.text(best), number)
        if self._rests_on_reasoning(segment):
            # Feedback in the answer would be a part of it, so it is written where the model was still thinking.
            cut = self._reasoning_end()
            lead = "" if self._transcript.slice(cut - 1, cut) == "\n" else "\n"
            return RemedyPlan("feedback", cut, f"{lead}{sentence}\n")
        place = auto.place or ("append" if self._is_reasoning(segment) else "rewind")
        # A refuted call does not stay in the answer: an agent that reads calls in the text would make it.
        is_call = best.ref.segment.written is not None and not self._is_reasoning(segment)
        if place == "rewind" or is_call:
            return RemedyPlan("feedback", segment.start, f"{sentence}\n")
        return RemedyPlan("feedback", segment.end, f"\n{sentence}\n", answers_segment=True)

    def _rests_on_reasoning(self, segment: Span) -> bool:
        transcript = self._transcript
        continues = self._continues_reasoning and not self._by_turn
        may_cut = self._goes_back and continues and not transcript.conclusions
        if not may_cut or transcript.phase_at(segment.start) != "answer":
            return False
        return self._reasoning_end() > 0

    def _reasoning_end(self) -> int:
        # Before the closing think tag. If the answer has not begun, it is the end of the trace.
        transcript = self._transcript
        end = next((at for at, phase in reversed(transcript.phases) if phase == "answer"), transcript.length)
        return next((tag.start for tag in transcript.tags if tag.end == end), end)

    def _floor(self, segment: Span) -> int:
        # The ladder does not cut below this offset. Structured tool calls, feedback on refused calls, and reasoning
        # that we ended stay in the trace.
        if not self._goes_back:
            return segment.start
        transcript = self._transcript
        fixed = [span.end for span, _ in transcript.calls if span.end <= segment.start]
        fixed += [span.end for span, _ in (*transcript.refusals, *transcript.conclusions) if span.end <= segment.start]
        if transcript.phase_at(segment.start) == "answer" and not self._continues_reasoning:
            fixed.append(next(at for at, phase in reversed(transcript.phases) if phase == "answer"))
        return max(fixed, default=0)

    def may_pass_over(self, best: Candidate) -> bool:
        # Whether `best`, for which no remedy is left, may stay in the text, so that the run ends as `unverified`.
        monitor = self._monitors[best.ref.monitor]
        ends = isinstance(monitor.remedy, Auto) and monitor.remedy.end == "unverified"
        return ends and best.violation is not None and monitor.delivery == "interrupt"

    def pass_over(self, monitor: int) -> None:
        self._passed_over.add(monitor)
        standing, self._candidates = self._candidates, []
        for other in standing:
            if other.ref.monitor != monitor:
                self._candidates.append(other)
            elif other.violation is not None:
                self.note(self.record(other, interrupted=False))

    def is_passed_over(self, monitor: int) -> bool:
        return monitor in self._passed_over

    def _overspent(self, todo: RemedyPlan, times: int) -> str | None:
        if not todo.goes_on:
            return None
        budgets = self._budgets
        if self.remedies >= budgets.remedies:
            return f"the budget of {budgets.remedies} remedies is spent"
        if self._intake.discarded + self._intake.tokens_from(todo.cut) > budgets.discarded_tokens:
            return f"the budget of {budgets.discarded_tokens} discarded tokens is spent"
        if times > budgets.repeats:
            return f"not converging: the same words were refuted at the same place {times} times"
        return None

    def _refused_too_often(self, best: Candidate, todo: RemedyPlan) -> str | None:
        if best.ref.segment.call is None or todo.remedy != "feedback":
            return None
        # The prompt grows by each refused call, so the run must end before the context is full.
        refused = self._trouble.met_call(best)
        return f"not converging: {refused} tool calls were refused" if refused > self._budgets.repeats else None

    def acted(self, candidate: Candidate, todo: RemedyPlan) -> ViolationRecord:
        # An unproven claim is not a violation, so it is stored as an unverified reason of the result.
        record = self.record(candidate, interrupted=True, todo=todo)
        phase = self._transcript.phase_at(candidate.ref.segment.span.start)
        record = msgspec.structs.replace(record, place=self._place, phase=phase)
        self._place = None
        if candidate.violation is not None:
            self._acted.append(record)
        else:
            self.unproven.append(UnverifiedReason(record.monitor, candidate.span, candidate.why, record.verifier))
        return record

    def begin(self, best: Candidate, todo: RemedyPlan) -> bool:
        # Return whether the segment is reasoning that stays in the trace, so that the frontier may pass it.
        if todo.heat is not None:
            self.resamples = todo.heat
        else:
            self.resamples = self.resamples + 1 if todo.remedy == "resample" else 0
        self.remedies += 1
        if not todo.answers_segment:
            return False
        segment = best.ref.segment.span
        self._trouble.answered(segment)
        self._answered.append((segment, best.ref.monitor))
        standing, self._candidates = self._candidates, []
        for candidate in standing:
            settled = self.is_answered if candidate.violation is not None else self.is_excused
            if not settled(candidate.ref):
                self._candidates.append(candidate)
            elif candidate.violation is not None:
                self.note(self.record(candidate, interrupted=False))
        return self._is_reasoning(segment)

    def conclude(self, candidate: Candidate, at: int) -> None:
        monitor = self._monitors[candidate.ref.monitor]
        why = f"the reasoning was stopped early: {candidate.why}"
        self.concluded.append(UnverifiedReason(monitor.name, Span(at, at), why, monitor.verifier.name))
        self.pass_over_conclusions(but=candidate)

    def pass_over_conclusions(self, *, but: Candidate | None = None) -> None:
        # `acted` has recorded `but`, and an unproven claim is no violation, so neither gets a record.
        standing, self._candidates = self._candidates, []
        for other in standing:
            if not isinstance(self._monitors[other.ref.monitor].remedy, Conclude):
                self._candidates.append(other)
            elif other.violation is not None and other is not but:
                self.note(self.record(other, interrupted=False))

    def cut(self, to: int) -> None:
        # Records of violations stay.
        while self.concluded and (span := self.concluded[-1].span) is not None and span.end >= to:
            self.concluded.pop()
        while self._answered and self._answered[-1][0].end >= to:
            self._answered.pop()
        self._trouble.cut(to)
        self._candidates = [candidate for candidate in self._candidates if candidate.ref.segment.span.end <= to]

    def note(self, record: ViolationRecord) -> None:
        self._noted[record.monitor, record.key, record.span] = record

    def drop(self) -> None:
        # Drop all candidates without a record, because supervision was switched off.
        self._candidates = []

    def note_all(self) -> None:
        # Record the violations of all candidates, because the run ends and their text may be cut.
        for candidate in self._candidates:
            if candidate.violation is not None:
                self.note(self.record(candidate, interrupted=True))

    def forget(self, monitor: str, segment: Span) -> None:
        for key in [key for key in self._noted if key[0] == monitor and segment.covers(key[2])]:
            del self._noted[key]

    def records(self) -> tuple[ViolationRecord, ...]:
        done = {(record.monitor, record.key, record.span) for record in self._acted}
        others = {key: record for key, record in self._noted.items() if key not in done}
        for candidate in self._candidates:
            if candidate.violation is not None:
                record = self.record(candidate, interrupted=True)
                others[record.monitor, record.key, record.span] = record
        ordered = sorted(others.values(), key=lambda record: (record.span, record.monitor, record.key))
        return (*self._acted, *ordered)

    def record(self, candidate: Candidate, *, interrupted: bool, todo: RemedyPlan | None = None) -> ViolationRecord:
        # Only makes the record: `acted` and `note` store it.
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
        return self._transcript.slice(candidate.span.start, candidate.span.end)


class RefutationCounts:
    """Counts how often the same words are refuted at the same position, to detect a model that repeats itself."""

    # The position is the number of characters of the trace before the segment, without white space, feedback, and
    # refuted segments that feedback answers.

    __slots__ = ("_answered", "_marks", "_times", "_transcript")

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._times: dict[tuple[int, int, str], int] = {}
        self._answered: list[Span] = []
        """The refuted segments, sorted by their ends."""
        self._marks: list[tuple[int, int]] = [(0, 0)]
        """A cache, so that no text is counted twice: offsets of the trace, each with its position."""

    def met(self, candidate: Candidate) -> tuple[int, int]:
        # Return how often the same words were refuted at this position, this time included, and the position.
        key = self._key(candidate.ref)
        self._times[key] = times = self._times.get(key, 0) + 1
        return times, key[1]

    def has_met(self, ref: Ref) -> bool:
        return bool(self._times) and self._key(ref) in self._times

    def _key(self, ref: Ref) -> tuple[int, int, str]:
        return ref.monitor, self._place(ref.segment.span.start), " ".join(ref.text.split())

    def met_at(self, candidate: Candidate, place: int) -> int:
        # Like `met`, for a `place` that stands for many positions, such as `_ANSWER`.
        key = (candidate.ref.monitor, place, " ".join(candidate.ref.text.split()))
        self._times[key] = times = self._times.get(key, 0) + 1
        return times

    def met_call(self, candidate: Candidate) -> int:
        # The words of the calls do not count, because each refused call makes the prompt longer.
        key = (candidate.ref.monitor, _CALL, "")
        self._times[key] = times = self._times.get(key, 0) + 1
        return times

    def answered(self, segment: Span) -> None:
        self._answered.append(segment)

    def cut(self, to: int) -> None:
        # The counts stay, so that a model that writes the same words again is recognized.
        while self._marks[-1][0] > to:
            self._marks.pop()
        while self._answered and self._answered[-1].end > to:
            self._answered.pop()

    def _place(self, start: int) -> int:
        while self._marks[-1][0] > start:
            self._marks.pop()
        base, count = self._marks[-1]
        if start > base:
            text = "".join(run.text for run in self._transcript.runs(base, start) if run.origin != "feedback")
            count += _visible(text)
            for span in reversed(self._answered):
                if span.end <= base:
                    break
                if base <= span.start and span.end <= start:
                    count -= _visible(self._transcript.slice(span.start, span.end))
            self._marks.append((start, count))
        return count


def _visible(text: str) -> int:
    return len("".join(text.split()))
