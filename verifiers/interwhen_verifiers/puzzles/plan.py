"""The shipped verifier ``plan``: it carries out the plan in the text, action by action.

See ``docs/verifiers/plan.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from interwhen import (
    Answer,
    Claim,
    Lines,
    Monitor,
    Pass,
    Segment,
    Span,
    Task,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, PhaseFilter, safe_from_data

from interwhen_verifiers._factories import require_choice
from interwhen_verifiers.puzzles._plan.lines import ActionStep, Aside, Doubt, End, Line, corrects, read_line
from interwhen_verifiers.puzzles._plan.pddl import (
    BLOCKSWORLD,
    LONGEST,
    Domain,
    PddlError,
    PlanningProblem,
    State,
    after,
    bind,
    read_domain,
    read_problem,
    read_statement,
    show,
    unmet,
)

# Following a plan: the possible states after its actions, one for each way to read the text.


_MOST = 8
"""The largest number of readings of a text that are followed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the plan has come."""

    # There are several possible states if the plan may have begun again from the start, or if an action may only repeat
    # the one before in other words, or comment on a numbered one.

    states: tuple[State, ...]
    """The possible states, one for each reading."""
    steps: int = 0
    fresh: bool = False
    """Whether other text has come after the last action."""
    numbered: bool = False
    """Whether the text has numbered an action."""
    dropped: bool = False
    """Whether the plan began again before it reached its goal, or may have."""
    ended: bool = False
    """Whether the text says that the plan ends here."""
    last: int | None = None
    """The number of the last action that the text has numbered."""
    before: ActionStep | None = None
    """The last action that was taken."""
    doubt: str = ""
    """Why the state is not known any more."""
    broken: bool = False
    """Whether an action was not possible."""
    changed: bool = False
    """Whether text after the last action, or after the end mark, may change the plan."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An action of the plan, and whether it is possible."""

    step: ActionStep
    place: int
    """The position of the action in the plan, counted from 1."""
    against: tuple[str, ...] = ()
    """Why the action is not possible; empty if it is, and if there is a ``doubt``."""
    doubt: str = ""
    """Why it is not known whether the plan has this action."""


def begin(problem: PlanningProblem) -> Progress:
    return Progress((problem.start,))


def advance(progress: Progress, line: Line, problem: PlanningProblem) -> tuple[Progress, tuple[Taken, ...]]:
    if progress.broken or progress.doubt:
        return progress, ()
    if progress.ended:
        is_quiet = isinstance(line, End) or (isinstance(line, Aside) and line.describes)
        return replace(progress, changed=progress.changed or not is_quiet), ()
    match line:
        case Aside(item=item, describes=describes):
            if item is not None and progress.last is not None and item == progress.last + 1:
                return replace(progress, doubt="an item of the list of actions is not understood"), ()
            changed = progress.steps > 0 and (progress.changed or not describes)
            return replace(progress, fresh=progress.steps > 0, changed=changed), ()
        case Doubt(why=why):
            return replace(progress, doubt=why), ()
        case End():
            return replace(progress, ended=True), ()
    taken = []
    for at, step in enumerate(line):
        again = at == 0 and (progress.fresh or (step.number == 1 and progress.steps > 0))
        progress, one = _take(progress, step, problem, again=again)
        taken.append(one)
        if progress.broken:
            break
    return progress, tuple(taken)


def _take(progress: Progress, step: ActionStep, problem: PlanningProblem, *, again: bool) -> tuple[Progress, Taken]:
    states = progress.states
    if again and problem.start not in states and len(states) < _MOST:
        states = (*states, problem.start)
    place = progress.steps + 1
    if step.fault:
        return replace(progress, broken=True), Taken(step, place, (step.fault,))
    operator = problem.domain.operators[step.action[0]]
    bound = bind(operator, step.action[1:])
    able = [state for state in states if not unmet(operator.needs, state, bound)]
    perhaps = _may_explain(progress, step)
    if not able and not perhaps:
        if step.form == "other words":
            doubt = "an action in other words cannot be done as it is read"
            return replace(progress, doubt=doubt), Taken(step, place, doubt=doubt)
        return replace(progress, broken=True), Taken(step, place, unmet(operator.needs, states[0], bound))
    reached = tuple(dict.fromkeys(after(operator, state, bound) for state in able))
    if perhaps:
        dropped = progress.dropped or (progress.fresh and _says_again(progress, step))
        is_again = progress.before is not None and progress.before.action == step.action
        doubt = "" if able or is_again else "an action that cannot be done may only explain another one"
        return replace(_explained(progress, reached), dropped=dropped), Taken(step, progress.steps, doubt=doubt)
    left = not any(state in able for state in progress.states) and all(
        unmet(problem.goal, state) for state in progress.states
    )
    return Progress(
        reached,
        place,
        numbered=progress.numbered or step.number is not None,
        dropped=progress.dropped or left,
        last=progress.last if step.number is None else step.number,
        before=step,
    ), Taken(step, place)


def _may_explain(progress: Progress, step: ActionStep) -> bool:
    is_below = step.form != "pddl" and progress.numbered
    return step.number is None and (is_below or _says_again(progress, step))


def _says_again(progress: Progress, step: ActionStep) -> bool:
    before = progress.before
    return before is not None and step.action == before.action and step.form != before.form


def _explained(progress: Progress, reached: Iterable[State]) -> Progress:
    """Return the progress after an action that may have been taken, or may only explain another action."""
    states = tuple(dict.fromkeys((*progress.states, *reached)))
    if len(states) > _MOST:
        return replace(progress, doubt="the text can be read in too many ways")
    return replace(progress, states=states)


def objection(taken: Taken) -> str:
    if taken.step.fault:
        return f"action {taken.place}, {show(taken.step.action)[:100]}, is none: {taken.step.fault}"
    return f"action {taken.place}, {show(taken.step.action)}, cannot be done: {' and '.join(taken.against)}"


def left_open(progress: Progress, problem: PlanningProblem) -> tuple[str, ...] | None:
    # The result is `None` if only some of the states meet the goal.
    lacking = [unmet(problem.goal, state) for state in progress.states]
    if all(lacking):
        return lacking[0]
    return None if any(lacking) else ()


# From the prompt to the problem: PDDL in the prompt, PDDL of the options, or blocksworld in English.

_DEFINITION = re.compile(r"\(\s*+define\s*+\(\s*+(domain|problem)\b", re.IGNORECASE)
_BRACKET = re.compile(r"[()]|;[^\n]*+")


def problem_of(text: str, domain: Domain, *, in_words: bool) -> PlanningProblem | None:
    # With `in_words`, it may be a blocksworld problem in English.
    starts = {match[1].lower(): match.start() for match in _DEFINITION.finditer(text)}
    if "problem" not in starts:
        return read_statement(text) if in_words and not starts else None
    try:
        own = read_domain(_definition(text, starts["domain"])) if "domain" in starts else domain
        return read_problem(_definition(text, starts["problem"]), own)
    except PddlError:
        return None


def _definition(text: str, at: int) -> str:
    depth = 0
    for match in _BRACKET.finditer(text, at, at + LONGEST):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return text[at : match.end()]
    raise PddlError(f"each '(' must be closed, got one that is not in {text[at : at + 60]!r}; write a ')' for it")


Judge: TypeAlias = Literal["steps", "whole"]
MAX_ANSWER = 200_000
"""Longer answers are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Claim):
    """The claim that one action is possible, with the fields of :class:`Taken`."""

    against: str
    place: int
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePlan(Claim):
    """The claim for a whole answer, whose plan must reach the goal."""

    text: str


Followed: TypeAlias = tuple[PlanningProblem, Progress]


def _follow(state: Followed, segment: Segment) -> tuple[Followed, Iterable[Action]]:
    problem, progress = state
    progress, taken = advance(progress, read_line(segment.text, problem), problem)
    claims = []
    for one in taken:
        against = objection(one) if one.against else ""
        span = segment.at(one.step.start, one.step.end)
        key = f"{one.place}: {against}{one.doubt}"
        claims.append(Action(key=key, span=span, against=against, place=one.place, doubt=one.doubt))
    return (problem, progress), claims


@verifier(name="plan", version="2-steps", deadline=1.0, worker="inline")
def check_step(claim: Action, _problem: PlanningProblem) -> Verdict:
    if claim.doubt:
        return Unknown(claim.doubt)
    return Violation(why=claim.against) if claim.against else Pass(f"the preconditions of action {claim.place} hold")


def _whole(segment: Segment, _problem: PlanningProblem) -> Iterable[WholePlan]:
    yield WholePlan(key=segment.text, span=segment.span, text=segment.text)


@verifier(name="plan", version="3-whole", deadline=5.0, worker="thread")
def check_whole(claim: WholePlan, problem: PlanningProblem) -> Verdict:
    """Carry out the plan from the initial state, and test whether the goal holds at the end."""
    if len(claim.text) > MAX_ANSWER:
        return Unknown(f"an answer of more than {MAX_ANSWER:,} characters is not carried out")
    progress, at = begin(problem), 0
    for line in claim.text.split("\n"):
        if line.strip():
            progress, taken = advance(progress, read_line(line, problem), problem)
            if progress.broken:
                return _broken(claim.text, at, taken[-1])
        at += len(line) + 1
    return _ending(progress, problem, blank=progress.ended or not claim.text.strip())


def _broken(text: str, at: int, taken: Taken) -> Verdict:
    if corrects(text, at + taken.step.end):
        return Unknown("the plan fails, and the text after it may say so itself", excused=True)
    return Violation(why=objection(taken), where=Span(at + taken.step.start, at + taken.step.end))


def _ending(progress: Progress, problem: PlanningProblem, *, blank: bool) -> Verdict:
    if progress.doubt:
        return Unknown(progress.doubt)
    if not progress.steps and not blank:
        return Unknown("the answer holds no action that is understood")
    lacking = left_open(progress, problem)
    if lacking is None:
        return Unknown("the plan can be read in several ways, and not all reach the goal")
    if lacking:
        return Violation(why=f"after the last of {progress.steps} actions the goal is not reached: {lacking[0]}")
    if progress.dropped:
        return Unknown("one plan fails, and another that reaches the goal can be read after it")
    if progress.changed:
        return Unknown("the text after the plan may change it")
    return Pass(f"all {progress.steps} actions can be done, and the goal holds after them", scope="answer")


@safe_from_data()
def plan(
    *,
    judge: Judge = "whole",
    domain: str = "blocksworld",
    problem: str = "",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "answer",
) -> Monitor:
    """Make a monitor that carries out a plan action by action. Raises :class:`UsageError` on wrong options or PDDL.

    ``judge``: ``whole`` carries out the plan of the answer and tests the goal; ``steps`` tests the actions of each
    complete line, and does not test the goal. ``domain``: ``blocksworld``, or a domain in PDDL for prompts without one.
    ``problem``: a problem in PDDL; without it, the problem is read from the prompt. The monitor does nothing if it can
    read none. ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`; ``whole`` ignores ``phase``.
    """
    require_choice("plan", get_args(Judge), judge=judge)
    require_choice("plan", get_args(PhaseFilter), phase=phase)
    for name, text in (("domain", domain), ("problem", problem)):
        if not isinstance(text, str):
            raise UsageError(f"plan: {name} must be a text in PDDL, got {text!r:.100}; give its text")
    return Monitor(
        name="plan" if judge == "whole" else "plan_steps",
        trigger=Lines() if judge == "steps" else Answer(),
        extractor=Tracker(lambda problem: (problem, begin(problem)), _follow) if judge == "steps" else _whole,
        verifier=check_step if judge == "steps" else check_whole,
        delivery=delivery,
        phase=phase if judge == "steps" else "answer",
        prepare=_make_reader(domain, problem),
        scope="steps" if judge == "steps" else "answer",
    )


def _make_reader(domain: str, problem: str) -> Callable[[Task], PlanningProblem | None]:
    in_words = domain == "blocksworld"
    try:
        known: Domain = BLOCKSWORLD if in_words else read_domain(domain)
        fixed = read_problem(problem, known) if problem else None
    except PddlError as error:
        raise UsageError(
            f"plan: domain and problem must be PDDL that is supported, got an error: {error}; correct it"
        ) from error
    return lambda task: fixed or problem_of(task.text, known, in_words=in_words)
