"""What one line of the text says: actions, something else, or something that leaves the plan in doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from interwhen_verifiers._plan.blocksworld import read_telling
from interwhen_verifiers._plan.model import Atom, Problem, misfit

LONGEST = 20_000
"""A longer line is not read."""
_SENTENCE = 200
"""A longer line tells no action in English."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action at a place of the line. ``fault`` says why it is none of the problem's; empty: it is one."""

    action: Atom
    start: int
    end: int
    fault: str = ""
    told: bool = False
    """Whether it is told in English."""
    number: int | None = None
    """The number of the line in its list, at the first action of the line."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Text that is no action: behind it, the plan may begin anew."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Text behind which it is not known what the plan is."""

    why: str


@dataclass(frozen=True, slots=True)
class End:
    """The mark ``[PLAN END]``: what follows is no part of the plan."""


Line: TypeAlias = tuple[Step, ...] | Aside | Doubt | End

_LEAD = re.compile(
    r"[\s>*_`#]*+(?:(?:step )?(\d{1,4})[.):][\s*_`]*+|[-•+][\s*_`]++)?(?:action:[\s*_`]*+)?", re.IGNORECASE
)
_BRACKET = re.compile(r"\(([^()]*+)\)[\s,;.`*]*+")
_VERB = re.compile(r"(?:pick|put|stack|unstack)\b", re.IGNORECASE)
_CORRECTION = re.compile(
    r"\b(?:wait|actually|instead|oops|sorry|mistake|wrong|incorrect|correction|corrected|undo|alternatively|retry"
    r"|not (?:correct|valid|possible|work)|cannot|can't|invalid|hypothetical\w*|ignore)\b",
    re.IGNORECASE,
)
_OBJECTION = re.compile(
    r"\baction \d{1,6}, \([^()]{0,100}\), (?:cannot be done|is none): |actions the goal is not reached: "
)
"""What this verifier says of a plan: it stands in the text as feedback, where the plan was cut."""
_GENERIC = {"a", "an", "another", "any", "one", "the"}
_SPELLINGS = {"pickup": "pick-up", "pick_up": "pick-up", "putdown": "put-down", "put_down": "put-down"}
_TRAILING = " \t.,;:*_`\r"


def corrects(text: str, at: int = 0) -> bool:
    """Tell whether *text* takes something back behind *at*, or speaks of what does not work."""
    return _CORRECTION.search(text, at) is not None


def read_line(text: str, problem: Problem) -> Line:
    """Return what the line *text* says in *problem*. Linear in its length."""
    if len(text) > LONGEST:
        return Doubt(f"a line of more than {LONGEST:,} characters is not read")
    if text.strip(_TRAILING).lower() == "[plan end]":
        return End()
    lead = _LEAD.match(text)
    assert lead is not None  # it matches nothing, too
    number = int(lead[1]) if lead[1] else None
    steps = _bracketed(text, lead.end(), number, problem)
    if steps is not None:
        return steps
    if problem.in_words:
        told = _told(text, lead.end(), number, problem)
        if told is not None:
            return told
    if _OBJECTION.search(text):
        return Aside()
    if corrects(text):
        return Doubt("the text corrects itself, or speaks of a plan that fails")
    return Aside()


def _bracketed(text: str, at: int, number: int | None, problem: Problem) -> tuple[Step, ...] | Doubt | None:
    steps: list[Step] = []
    end = len(text.rstrip(_TRAILING))
    while at < end:
        match = _BRACKET.match(text, at)
        if match is None:
            return None
        words = tuple(match[1].lower().split())
        step = _step(words, match.start(), match.end(1) + 1, problem)
        if not isinstance(step, Step):
            return step
        steps.append(Step(step.action, step.start, step.end, step.fault, number=None if steps else number))
        at = match.end()
    return tuple(steps) or None


def _step(words: Atom, start: int, end: int, problem: Problem) -> Step | Doubt | None:
    """Return the action that *words* are; ``None``: a fact, or a remark."""
    operators = problem.domain.operators
    name = _name(words, problem)
    if name not in operators:
        known = not words or name in problem.domain.predicates or len(words) == 1
        return None if known else Doubt(f"{name[:40]!r} is no action of this problem")
    values = tuple(word if word in problem.objects else problem.aliases.get(word, word) for word in words[1:])
    return Step((name, *values), start, end, misfit(problem, name, values))


def _name(words: Atom, problem: Problem) -> str:
    name = words[0] if words else ""
    return _SPELLINGS.get(name, name) if name not in problem.domain.operators else name


def _told(text: str, at: int, number: int | None, problem: Problem) -> tuple[Step, ...] | Doubt | Aside | None:
    if not _VERB.match(text, at):
        return None
    end = len(text.rstrip(_TRAILING))
    if end - at > _SENTENCE:
        return Doubt("a line that begins with an action goes on")
    action = read_telling(" ".join(text[at:end].lower().replace("*", "").split()))
    if action is None:
        return Doubt("a line that begins with an action is not understood")
    if not _GENERIC.isdisjoint(action[1:]):
        return Aside()
    if any(value not in problem.objects for value in action[1:]):
        return Doubt("a line names something that is no block of the problem")
    return (Step(action, at, end, told=True, number=number),)
