"""Reads one line of a plan: actions, a remark, or text that makes the rest of the plan unclear."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from interwhen_verifiers.puzzles._plan.pddl import Atom, PlanningProblem, misfit, read_telling

LONGEST = 20_000
"""Longer lines are not read."""
_SENTENCE = 200
"""A longer line is not read as an action in English."""


Form = Literal["pddl", "usual words", "other words"]
"""How an action is written: in PDDL, in English with the four verbs of the problem, or with other verbs."""


@dataclass(frozen=True, slots=True)
class ActionStep:
    """An action in a line, from ``start`` to ``end``. ``fault``: why the problem has no such action, or empty."""

    action: Atom
    start: int
    end: int
    fault: str = ""
    form: Form = "pddl"
    number: int | None = None
    """The number of the line, if the text numbers its actions."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A line that is not an action. After it, the plan may begin again from the start."""

    item: int | None = None
    """The number of the line in a list of actions; ``None`` if it has none, or seems to be in another list."""
    describes: bool = False
    """Whether it only describes the plan, its goal or a state, so that it may stand after the plan."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A line after which the state of the plan is not known. ``why`` gives the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class End:
    """The mark ``[PLAN END]``. The text after it is not part of the plan."""


Line: TypeAlias = tuple[ActionStep, ...] | Aside | Doubt | End

_LEAD = re.compile(
    r"[\s>*_`#]*+(?:[-•+][\s*_`]++)?(?:(?:step |action )?(\d{1,4})[*_]{0,3}[.):][\s*_`]*+)?"
    r"(?:action[*_]{0,3}:[\s*_`]*+)?",
    re.IGNORECASE,
)
_BRACKET = re.compile(r"\(([^()]*+)\)[\s,;.`*]*+")
_CALL = re.compile(r"([a-z][\w-]{0,40}+)\(([^()]{0,100}+)\)[\s,;.`*]*+", re.IGNORECASE)
_VERB = re.compile(r"(?:pick|put|stack|unstack)\b", re.IGNORECASE)
_OTHER_WORDS = re.compile(
    r"(?:(?:i|we|you|the (?:arm|hand|robot|gripper))(?: (?:then|now|next|first))? )?"
    r"(pick|put|stack|unstack|place|remove)s?(?= )"
)
_REMARK = re.compile(
    r"(?:[.;,:]? \(?)(?:now|currently|since|because|as|so that|it|this|(?:your |my |the )?hand|the \w+ block is"
    r"|you are|you're|holding|freeing|making|leaving|achieving|to (?:free|clear|ensure|make|keep|expose)) "
)
"""Matches the start of a remark after an action, such as ``(now holding the red block)``."""
_NO_REMARK = re.compile(
    r"(?<!can )\b(?:pick|put|stack|unstack|lift|place|move|take|remove|release|drop)(?:s|ing|ed)?\b"
    r"|\b(?:not|or|if|but|no)\b|n't\b"
)
"""Words which show that a text after an action is more than a remark."""
_WORD = re.compile(r"[\w-]++")
_SOMEBODY = re.compile(
    r"\b(?:i|we|you|it|(?:the )?(?:arm|hand|robot|gripper))(?: (?:then|now|next|will|first)){0,2} "
    r"(?:pick|put|stack|unstack|lift|place|move|take|remove|release|drop)s?\b",
    re.IGNORECASE,
)
"""A clause in which a person or the hand does something to a block."""
_LABELLED = re.compile(r"[^:()]{1,60}:")
_ADVERB = re.compile(
    r"(?:(?:and|then|next|now|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally|lastly|afterwards?|after that"
    r"|subsequently)\b[\s,:]{0,3}+){1,3}+",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:wait|actually|instead|oops|sorry|mistake|wrong|incorrect|correction|corrected|undo|alternatively|retry"
    r"|not (?:correct|valid|possible|work)|cannot|can't|invalid|hypothetical\w*|ignore)\b",
    re.IGNORECASE,
)
_OBJECTION = re.compile(
    r"\baction \d{1,6}, \([^()]{0,100}\), (?:cannot be done|is none): |actions the goal is not reached: "
)
"""Feedback of this verifier, which the text has after the place where the plan was cut."""
_GENERIC = {"a", "an", "another", "any", "one", "the"}
_SPELLINGS = {"pickup": "pick-up", "pick_up": "pick-up", "putdown": "put-down", "put_down": "put-down"}
_APART = re.compile(r"(pick|put)[-_]?(up|down)\b|un[-_]stack\b")
_REMARK_WORDS = """
a after all also although an any are as at based because before being block blocks both but by clear clearly can
current currently each effect effects ending every everything explanation final finally for from goal hand has
have having hence here his how however i if in initial initially is it its let lets more my neither no none not
note nothing now of on once one only or our preconditions reason reasoning remember result resulting see similarly
since so start starting state states step steps still such table that the their them there therefore these they
this those though thus to together under until using was we what when where which while who why will with you your

"""
_REMARKS = frozenset(_REMARK_WORDS.split())
"""Words with which remarks begin. A line that begins with another word and names an object may be an action."""
_DESCRIBING_WORDS = """
a above achieve achieved achieves achieving action actions adhering after all and any applicable are arranged as
because been being block blocks by can completes completing conditions configuration constraints current
currently desired directly each effect effects ensures final follow following follows given goal hand has have
having hence here holding i in is it its meet meets my now of on onto our per plan preconditions reach reached
reaches rearranges reason reasoning respecting restrictions result resulting results rules satisfied satisfies
satisfy sequence since so solution specified state stated steps successfully table that the therefore these this
thus to top valid we where which while will with within you your

"""
_DESCRIBING = frozenset(_DESCRIBING_WORDS.split())
"""The words that may stand after a plan. With the names of objects, they describe; no text of them tells an action."""
_STATIVE = re.compile(r"\b(?:is|are|being|becomes?|have|having|has|holding|results? in|configuration:)(?=\W)")
_CONDITION = re.compile(r"\b(?:is|are|being|becomes?)(?: now| currently| no longer)? (?:clear|empty)\b|'(?:ve|ll)\b")
"""A condition of a block or the hand, whose words alone may tell to bring it about: ``clear the table``."""
_DESCRIPTION = re.compile(r"[A-Za-z\s.,:;*_`()'#\-]++")
_TRAILING = " \t.,;:*_`\r\\"


def corrects(text: str, at: int = 0) -> bool:
    return _CORRECTION.search(text, at) is not None


def read_line(text: str, problem: PlanningProblem) -> Line:
    if len(text) > LONGEST:
        return Doubt(f"a line of more than {LONGEST:,} characters is not read")
    if text.strip(_TRAILING).lower() == "[plan end]":
        return End()
    lead = _LEAD.match(text)
    assert lead is not None  # it matches nothing, too
    number = int(lead[1]) if lead[1] else None
    for reader in (_bracketed, _called, _bare, _told):
        line = reader(text, lead.end(), number, problem)
        if line is not None:
            return line
    if corrects(text) and not _OBJECTION.search(text):
        return Doubt("the text corrects itself, or speaks of a plan that fails")
    return Aside() if _OBJECTION.search(text) else _unread(text, lead.end(), number, problem)


def _bracketed(
    text: str, at: int, number: int | None, problem: PlanningProblem
) -> tuple[ActionStep, ...] | Doubt | None:
    steps: list[ActionStep] = []
    end = len(text.rstrip(_TRAILING))
    while at < end:
        match = _BRACKET.match(text, at)
        if match is None:
            # After a semicolon, PDDL has a comment.
            is_comment = steps and ";" in text[steps[-1].end : at] and "(" not in text[at:] and not corrects(text, at)
            return tuple(steps) if is_comment else None
        step = _step(tuple(match[1].lower().split()), match.start(), match.end(1) + 1, number, problem)
        if not isinstance(step, ActionStep):
            return step
        steps.append(step)
        at = match.end()
    return tuple(steps) or None


def _called(text: str, at: int, number: int | None, problem: PlanningProblem) -> tuple[ActionStep, ...] | Doubt | None:
    match = _CALL.fullmatch(text, at)
    if match is None:
        return None
    words = (match[1].lower(), *(part.strip() for part in match[2].lower().split(",")))
    if any(" " in word for word in words) and _name(words, problem) in problem.domain.operators:
        return Doubt("an action that is written as a call is not understood")
    step = _step(words, at, match.end(2) + 1, number, problem)
    return (step,) if isinstance(step, ActionStep) else step


def _bare(text: str, at: int, number: int | None, problem: PlanningProblem) -> tuple[ActionStep, ...] | None:
    # Read an action in PDDL without its brackets, such as `stack a b`.
    end = len(text.rstrip(_TRAILING))
    step = _step(tuple(text[at:end].lower().split()), at, end, number, problem) if end - at <= _SENTENCE else None
    return (step,) if isinstance(step, ActionStep) and not step.fault else None


def _step(words: Atom, start: int, end: int, number: int | None, problem: PlanningProblem) -> ActionStep | Doubt | None:
    name = _name(words, problem)
    if name not in problem.domain.operators:
        known = len(words) <= 1 or name in problem.domain.predicates
        return None if known else Doubt(f"{name[:40]!r} is no action of this problem")
    values = tuple(word if word in problem.objects else problem.aliases.get(word, word) for word in words[1:])
    return ActionStep((name, *values), start, end, misfit(problem, name, values), number=number)


def _name(words: Atom, problem: PlanningProblem) -> str:
    name = words[0] if words else ""
    return _SPELLINGS.get(name, name) if name not in problem.domain.operators else name


def _told(
    text: str, at: int, number: int | None, problem: PlanningProblem
) -> tuple[ActionStep, ...] | Doubt | Aside | None:
    said = " ".join(text[at : at + 2 * _SENTENCE].lower().replace("*", "").split())
    if apart := _APART.match(said):
        said = f"{apart[1]} {apart[2]}{said[apart.end() :]}" if apart[1] else f"unstack{said[apart.end() :]}"
    is_usual = _VERB.match(said) is not None
    other = None if is_usual else _OTHER_WORDS.match(said)
    if not problem.in_words or not (is_usual or other):
        return None
    end = len(text.rstrip(_TRAILING))
    if end - at > _SENTENCE:
        return Doubt("a line that begins with an action continues")
    action = _read_action(f"{other[1]}{said[other.end() :]}" if other else said)
    if action is None:
        return Doubt("a line that begins with an action is not understood") if is_usual else None
    if not _GENERIC.isdisjoint(action[1:]):
        return Aside()
    if any(value not in problem.objects for value in action[1:]):
        return Doubt("a line names something that is no block of the problem")
    return (ActionStep(action, at, end, form="usual words" if is_usual else "other words", number=number),)


def _read_action(said: str) -> Atom | None:
    action = read_telling(said.rstrip(_TRAILING))
    remark = _REMARK.search(said)
    if action is not None or remark is None or _NO_REMARK.search(said, remark.end()) or corrects(said, remark.end()):
        return action
    return read_telling(said[: remark.start()])


def _unread(text: str, at: int, number: int | None, problem: PlanningProblem) -> Aside | Doubt:
    operators = problem.domain.operators
    brackets = [match[1].lower().split()[:1] for match in _BRACKET.finditer(text, at)]
    if any(_name(tuple(words), problem) in operators for words in brackets):
        return Doubt("a line with an action in brackets says more than that")
    is_labelled = _LABELLED.match(text, at) is not None
    adverb = _ADVERB.match(text, at)
    first = _WORD.search(text, adverb.end() if adverb else at)
    word = first[0].lower() if first else ""
    opens = _name((word,), problem) in operators or (not is_labelled and _is_verb(word, problem))
    told = problem.in_words and _SOMEBODY.search(text, at) is not None
    if (opens or told) and _names_object(text, at, problem):
        return Doubt("a line that may tell an action is not understood")
    return Aside(None if is_labelled else number, describes=_describes(text, problem))


def _describes(text: str, problem: PlanningProblem) -> bool:
    # A word that is not known may tell an action, so a text with one does not count as a description.
    said = text.lower()
    names = problem.objects.keys() | problem.aliases.keys()
    words = {match[0] for match in re.finditer(r"[a-z]++", _CONDITION.sub(" ", said))}
    if _DESCRIPTION.fullmatch(text) is None or not words <= _DESCRIBING | names:
        return False
    return (words - {"a", "i"}).isdisjoint(names) or _STATIVE.search(said) is not None


def _is_verb(word: str, problem: PlanningProblem) -> bool:
    return (
        word[:1].isalpha() and word not in _REMARKS and word not in problem.objects and not word.endswith(("ing", "'s"))
    )


def _names_object(text: str, at: int, problem: PlanningProblem) -> bool:
    words = [match[0].lower() for match in _WORD.finditer(text, at, at + LONGEST)]
    # "a" and "i" may be names of objects, but are also English words of any line.
    return any(
        word in problem.objects and (word not in {"a", "i"} or following in {"from", "on", "onto", "to"})
        for word, following in zip(words, [*words[1:], "to"], strict=True)
    )
