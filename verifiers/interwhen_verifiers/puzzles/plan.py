"""The shipped verifier ``plan``: it carries out the plan in the text, action by action.

Problems are in a small part of PDDL or, for the built-in domain ``blocksworld``, in English. See
``docs/verifiers/plan.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from interwhen import (
    Answer,
    Claim,
    Delivery,
    Lines,
    Monitor,
    Pass,
    PhaseFilter,
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

from interwhen_verifiers._factories import require_choice
from interwhen_verifiers.puzzles._plan.lines import corrects, read_line
from interwhen_verifiers.puzzles._plan.model import Domain, PlanningProblem
from interwhen_verifiers.puzzles._plan.pddl import BLOCKSWORLD, PddlError, read_domain, read_problem
from interwhen_verifiers.puzzles._plan.replay import Progress, Taken, advance, begin, left_open, objection, problem_of

Judge: TypeAlias = Literal["steps", "whole"]
MAX_ANSWER = 200_000
"""Longer answers are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Claim):
    """The claim that one action is possible. ``against`` says why it is not; empty if it is."""

    against: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePlan(Claim):
    """The claim for a whole answer, whose plan must reach the goal."""

    text: str


@dataclass(frozen=True, slots=True)
class TrackerState:
    """The state of the tracker: the problem, and the progress of the plan."""

    problem: PlanningProblem
    progress: Progress


def _start(problem: PlanningProblem) -> TrackerState:
    return TrackerState(problem, begin(problem))


def _follow(state: TrackerState, segment: Segment) -> tuple[TrackerState, Iterable[Action]]:
    line = read_line(segment.text, state.problem)
    progress, taken = advance(state.progress, line, state.problem)
    claims = []
    for one in taken:
        against = objection(one) if one.against else ""
        span = segment.at(one.step.start, one.step.end)
        claims.append(Action(key=f"{one.place}: {against}", span=span, against=against, place=one.place))
    return TrackerState(state.problem, progress), claims


@verifier(name="plan", version="2-steps", deadline=1.0, worker="inline")
def check_step(claim: Action, _problem: PlanningProblem) -> Verdict:
    """Judge whether the action can be done in the state that the plan has reached."""
    return Violation(why=claim.against) if claim.against else Pass(f"the preconditions of action {claim.place} hold")


def _whole(segment: Segment, _problem: PlanningProblem) -> Iterable[WholePlan]:
    yield WholePlan(key=segment.text, span=segment.span, text=segment.text)


@verifier(name="plan", version="2-whole", deadline=5.0, worker="thread")
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
    """Return the violation for *taken*, an action that is not possible and whose line begins at *at*.

    The verdict is ``Unknown`` if the text after the action may take it back.
    """
    if corrects(text, at + taken.step.end):
        return Unknown("the plan fails, and the text after it may say so itself")
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
    return Pass(f"all {progress.steps} actions can be done, and the goal holds after them", scope="answer")


def plan(
    *,
    judge: Judge = "whole",
    domain: str = "blocksworld",
    problem: str = "",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "answer",
) -> Monitor:
    """Make a monitor that carries out a plan action by action. Raises :class:`UsageError` on wrong options or PDDL.

    ``judge``: ``whole`` carries out the complete plan of the answer and tests the goal; ``steps`` tests each action as
    soon as it is written, and does not test the goal. ``domain``: ``blocksworld``, or a domain in PDDL for prompts
    without one. ``problem``: a problem in PDDL; without it, the problem is read from the prompt. ``delivery`` and
    ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    require_choice("plan", get_args(Judge), judge=judge)
    return Monitor(
        name="plan" if judge == "whole" else "plan_steps",
        trigger=Lines() if judge == "steps" else Answer(),
        extractor=Tracker(_start, _follow) if judge == "steps" else _whole,
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
