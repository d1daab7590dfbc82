"""Reads premises from a prompt, and judges whether the conclusions of a text follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import pairwise
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers.puzzles._logic.wording import MAX_PROMPT, is_doubtful, sentences, supposes
from interwhen_verifiers.puzzles._statements import FinalAnswer, Spanned

# Classes and their members: "all A are B", "no A are B", "some A are (not) B", "x is a B", decided exactly.
#
# A world is the set of combinations of classes that have a member. "All" and "no" forbid combinations; "some" and a
# name each demand a member in some of them, independently of each other. So the premises are consistent if each demand
# keeps a combination, and a statement follows if its denial is not consistent with them.

Status: TypeAlias = Literal["follows", "contradicts", "open"]
Quantity: TypeAlias = Literal["all", "no", "some", "some not", "is", "is not"]
MOST_CLASSES: Final = 8
"""Premises that name more classes are not read."""
_TERM = r"[a-z][a-z\-]{0,24}(?: [a-z\-]{1,24}){0,2}?"
_FORMS: Final[tuple[tuple[Quantity, re.Pattern[str]], ...]] = (
    ("no", re.compile(rf"no (?P<one>{_TERM}) (?:is|are) (?:an? )?(?P<other>{_TERM})", re.IGNORECASE)),
    (
        "all",
        re.compile(
            rf"(?:all|every|each) (?P<one>{_TERM}) (?:is|are) (?!not )(?:an? )?(?P<other>{_TERM})", re.IGNORECASE
        ),
    ),
    ("some not", re.compile(rf"some (?P<one>{_TERM}) (?:is|are) not (?:an? )?(?P<other>{_TERM})", re.IGNORECASE)),
    ("some", re.compile(rf"some (?P<one>{_TERM}) (?:is|are) (?!not )(?:an? )?(?P<other>{_TERM})", re.IGNORECASE)),
    ("is not", re.compile(rf"(?P<one>[A-Z][a-z]{{1,20}}) (?:is not|isn't) (?:an? )?(?P<other>{_TERM})")),
    ("is", re.compile(rf"(?P<one>[A-Z][a-z]{{1,20}}) is (?!not )(?:an? )?(?P<other>{_TERM})")),
)
_ODD: Final = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "children": "child",
    "mice": "mouse",
    "wolves": "wolf",
}


class ClassStatement(NamedTuple):
    """A statement about classes, such as "all *one* are *other*". In "*one* is *other*", *one* is a person's name."""

    quantity: Quantity
    one: str
    other: str

    @property
    def person(self) -> str | None:
        return self.one if self.quantity in {"is", "is not"} else None

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.one, self.other} - {self.person})


def read_statement(text: str) -> ClassStatement | None:
    said = " ".join(text.strip().rstrip(".?").split())
    for quantity, pattern in _FORMS:
        if len(said) < 200 and (match := pattern.fullmatch(said)):
            one = match["one"] if quantity in {"is", "is not"} else _singular(match["one"])
            return ClassStatement(quantity, one, _singular(match["other"]))
    return None


def _singular(term: str) -> str:
    *head, last = term.casefold().split()
    if last in _ODD:
        last = _ODD[last]
    elif last.endswith("ies") and len(last) > 4:
        last = f"{last[:-3]}y"
    elif last.endswith(("ses", "xes", "ches", "shes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return " ".join([*head, last])


_CONTRARIES: Final[dict[Quantity, Quantity]] = {
    "all": "some not",
    "some not": "all",
    "no": "some",
    "some": "no",
    "is": "is not",
    "is not": "is",
}


# Formulas over sentences that are true or false: read from words or signs, and decided by all cases.

Connective: TypeAlias = Literal["not", "and", "or", "either", "if", "iff"]
MOST_ATOMS: Final = 10
"""Premises with more atomic sentences are not read."""
_LONGEST = 240
_DEEPEST = 24
_SIGNS: Final[dict[str, str]] = {
    "\u00ac": "not",
    "~": "not",
    "!": "not",
    "\u2227": "and",
    "&": "and",
    "&&": "and",
    "\u2228": "or",
    "|": "or",
    "||": "or",
    "\u2192": "if",
    "->": "if",
    "=>": "if",
    "\u21d2": "if",
    "\u2194": "iff",
    "<->": "iff",
    "<=>": "iff",
}
_TOKEN = re.compile(r"\s*(?:(<->|<=>|->|=>|&&|\|\||[\u00ac~!\u2227&\u2228|\u2192\u21d2\u2194()])|([A-Za-z]\w{0,19}))")
_IS_SIGNS = re.compile(r"[\u00ac~\u2227&\u2228|\u2192\u21d2\u2194]|->|=>|^\(*[A-Z]\)*$")
_SHORT = {"isn't": "is not", "aren't": "are not", "wasn't": "was not", "doesn't": "does not", "don't": "do not"}
_NEGATED = re.compile(r"\b(?P<aux>is|are|was|were|does|do|did|can|will|has|have) ?not\b ?")
_QUANTIFIED = re.compile(r"\b(?:all|every|each|some|any|no|none|nobody|most|few|both|neither|nor|unless|because)\b")
_FORMULA_FORMS: Final[tuple[tuple[Connective, re.Pattern[str]], ...]] = (
    ("iff", re.compile(r"(?P<one>.+?) (?:if and only if|iff|exactly when) (?P<other>.+)")),
    ("if", re.compile(r"(?:if|whenever|when) (?P<one>.+?),? then (?P<other>.+)")),
    ("if", re.compile(r"(?:if|whenever|when) (?P<one>[^,]+), (?P<other>[^,]+)")),
    ("if", re.compile(r"(?P<one>.+?) (?:only if|implies(?: that)?) (?P<other>.+)")),
    ("if", re.compile(r"(?P<other>.+?),? (?:if|whenever) (?P<one>.+)")),
    ("either", re.compile(r"(?:either )?(?P<one>.+?),? or (?P<other>.+?),? but not both")),
    ("or", re.compile(r"(?:either )?(?P<one>.{1,100}?),? or (?P<other>.+)")),
    ("and", re.compile(r"(?:both )?(?P<one>.{1,100}?),? (?:and|but) (?P<other>.+)")),
    ("not", re.compile(r"(?:it is not (?:the case|true) that|it is false that|not) (?P<one>.+)")),
    ("not", re.compile(r"(?P<one>.+) is false")),
)


class Formula(NamedTuple):
    """A formula: an atomic sentence with its ``name`` (``op`` is ``atom``), or a connective and its parts."""

    # The first part of an `if` is the condition. `either` means one of both, but not both.

    op: Connective | Literal["atom"]
    name: str = ""
    parts: tuple[Formula, ...] = ()

    @property
    def person(self) -> str:
        return ""

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.name}) if self.op == "atom" else frozenset().union(*(part.names for part in self.parts))


def read_formula(text: str) -> Formula | None:
    said = " ".join(text.strip().rstrip(".").split())
    if not said or len(said) > _LONGEST:
        return None
    if _IS_SIGNS.search(said):
        return _Signs(said).whole()
    said = said.casefold().replace("\u2019", "'")
    for short, long in _SHORT.items():
        said = said.replace(short, long)
    return _words(said, 0)


def _words(said: str, depth: int) -> Formula | None:
    said = re.sub(r" is true$", "", said.strip(" ,"))
    if depth > _DEEPEST or not said:
        return None
    for op, pattern in _FORMULA_FORMS:
        if match := pattern.fullmatch(said):
            parts = tuple(_words(match[group], depth + 1) for group in ("one", "other") if group in pattern.groupindex)
            known = tuple(part for part in parts if part is not None)
            return Formula(op, "", known) if len(known) == len(parts) else None
    if _QUANTIFIED.search(said) or "," in said:
        return None
    negated = _NEGATED.search(said)
    if negated is None:
        return Formula("atom", _name(said))
    aux = "" if negated["aux"] in {"does", "do", "did"} else f"{negated['aux']} "
    positive = Formula("atom", _name(f"{said[: negated.start()]}{aux}{said[negated.end() :]}"))
    return None if _NEGATED.search(positive.name) else Formula("not", "", (positive,))


def _name(said: str) -> str:
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in said.split())


class _Signs:
    """A one-pass parser of formulas in logical signs, such as ``A & ~B``."""

    _ORDER: Final[tuple[Connective, ...]] = ("iff", "if", "or", "and")

    def __init__(self, said: str) -> None:
        self._tokens = [sign or name for sign, name in _TOKEN.findall(said)]
        self._is_whole = len("".join(self._tokens)) == len(said.replace(" ", ""))
        self._at = 0

    def whole(self) -> Formula | None:
        formula = self._binary(0, 0) if self._is_whole else None
        return formula if self._at == len(self._tokens) else None

    def _binary(self, level: int, depth: int) -> Formula | None:
        if depth > _DEEPEST:
            return None
        if level == len(self._ORDER):
            return self._unary(depth)
        op = self._ORDER[level]
        left = self._binary(level + 1, depth)
        if left is None or _SIGNS.get(self._peek()) != op:
            return left
        self._at += 1
        # The right side takes all that follows: `a -> b -> c` is `a -> (b -> c)`, as implications are read.
        right = self._binary(level, depth + 1)
        return None if right is None else Formula(op, "", (left, right))

    def _unary(self, depth: int) -> Formula | None:
        sign = self._peek()
        self._at += 1
        if _SIGNS.get(sign) == "not":
            inner = self._unary(depth + 1) if depth < _DEEPEST else None
            return None if inner is None else Formula("not", "", (inner,))
        if sign == "(":
            inner = self._binary(0, depth + 1)
            closes = self._peek() == ")"
            self._at += 1
            return inner if closes else None
        return Formula("atom", sign) if sign[:1].isalpha() else None

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""


Premise: TypeAlias = ClassStatement | Formula
_CONNECTED: Final[dict[str, Callable[..., int]]] = {
    "not": lambda every, one: every ^ one,
    "and": lambda _every, one, other: one & other,
    "or": lambda _every, one, other: one | other,
    "either": lambda _every, one, other: one ^ other,
    "if": lambda every, one, other: (every ^ one) | other,
    "iff": lambda every, one, other: every ^ one ^ other,
}
"""For each connective, the cases in which a formula is true: from all cases, and those of its parts."""


@dataclass(frozen=True, slots=True)
class World:
    """Premises about classes, or about atomic sentences, which are true or false."""

    # A case is a set of classes, or of true sentences: one bit. A thing is in the case of all the classes that contain
    # it. The premises allow some cases, and require that some cases have a member.

    names: tuple[str, ...]
    """The classes, or the atomic sentences."""
    allowed: int
    """The allowed cases, one bit for each case."""
    people: tuple[tuple[str, int], ...]
    """For each person's name: the cases that the premises about this person leave. Formulas are about the person ""."""
    demands: tuple[int, ...] = ()
    """For each premise such as "some A are B": the cases of which one must have a member."""

    def mask(self, premise: Premise) -> int:
        match premise:
            case Formula(op="atom", name=name):
                return self._within(name)
            case Formula(op=op, parts=parts):
                return _CONNECTED[op]((1 << (1 << len(self.names))) - 1, *map(self.mask, parts))
            case ClassStatement("all" | "some not", one, other):
                return self._within(one) & ~self._within(other)
            case ClassStatement("no" | "some", one, other):
                return self._within(one) & self._within(other)
            case ClassStatement(quantity, _, other):
                return self._within(other) if quantity == "is" else ~self._within(other)

    def _within(self, name: str) -> int:
        return _cases_with(self.names.index(name), len(self.names))

    def read(self, text: str) -> Premise | None:
        people = dict(self.people)
        premise: Premise | None = read_formula(text) if "" in people else read_statement(text)
        is_known = premise and premise.names <= set(self.names) and (premise.person is None or premise.person in people)
        return premise if is_known else None

    def status(self, premise: Premise, *, are_peopled: bool = False) -> Status:
        """Tell whether *premise* follows. *are_peopled*: assume that each class has a member."""
        denied: Premise = (
            Formula("not", "", (premise,))
            if isinstance(premise, Formula)
            else premise._replace(quantity=_CONTRARIES[premise.quantity])
        )
        if not self.with_premise(denied).is_consistent(are_peopled=are_peopled):
            return "follows"
        return "open" if self.with_premise(premise).is_consistent(are_peopled=are_peopled) else "contradicts"

    def is_consistent(self, *, are_peopled: bool = False) -> bool:
        members = map(self._within, self.names) if are_peopled else ()
        return all(self.allowed & each for each in (*self.demands, *dict(self.people).values(), *members))

    def with_premise(self, premise: Premise) -> World:
        # All names in `premise` must be known.
        cases = self.mask(premise)
        if premise.person is not None:
            people = dict(self.people)
            people[premise.person] &= cases
            return replace(self, people=tuple(people.items()))
        if isinstance(premise, ClassStatement) and premise.quantity in {"all", "no"}:
            return replace(self, allowed=self.allowed & ~cases)
        return replace(self, demands=(*self.demands, cases))


@cache
def _cases_with(at: int, count: int) -> int:
    # The cases (see `World`) that have name number `at` of `count`, one bit for each case.
    return sum(1 << case for case in range(1 << count) if case >> at & 1)


def make_world(premises: Sequence[Premise]) -> World | None:
    names = tuple(sorted(frozenset().union(*(premise.names for premise in premises))))
    most = MOST_ATOMS if any(isinstance(premise, Formula) for premise in premises) else MOST_CLASSES
    if not 0 < len(names) <= most:
        return None
    every = (1 << (1 << len(names))) - 1
    people = dict.fromkeys((premise.person for premise in premises if premise.person is not None), every)
    world = reduce(World.with_premise, premises, World(names, every, tuple(people.items())))
    return world if world.is_consistent() else None


_GIVEN = re.compile(
    r"\b(?:premises?|facts|given|rules|statements|(?:is|are)(?: all)? true|known)\b[^:\n.?]{0,60}:", re.IGNORECASE
)
_ASKED = re.compile(
    r"\b(?:does it (?:logically )?follow|what can (?:we|be)|can (?:we|it be) conclude|is it true|which of|question\s?:"
    r"|conclusion\s?:|hypothesis\s?:|options?\s?:|prove\b|determine\b|decide\b)[^?\n]{0,60}",
    re.IGNORECASE,
)
_QUERY = re.compile(
    r"\b(?P<kind>does it (?:logically )?follow(?: that)?|is it true that|can (?:we|it be) conclude(?:d)?"
    r"(?: that)?)\s?:?\s{1,3}(?P<query>[^?\n]{2,200})\?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\bwhat can (?:we|be) conclude", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:^|\n)[ .]{0,3}(?:[\-*\u2022]|\(?\d{1,2}[.):])[ ]{1,3}")
_BULLET = re.compile(r"[\s*\-]{0,4}(?:\d{1,2}[.)]\s)?")
_CONNECTIVE = re.compile(
    r"(?:and|so|therefore|thus|hence|consequently|then|now|because|since|this means that|this means|it follows that"
    r"|we (?:can |may |must )?(?:conclude|know|infer|deduce) that|we (?:can |may |must )?(?:conclude|know|have)"
    r"|from this),?\s",
    re.IGNORECASE,
)
_MOST_CONNECTIVES = 4
_PARTS = re.compile(r",\s(?=(?:so|therefore|thus|hence)\s)|;\s", re.IGNORECASE)
_MOST = 40
_YES = re.compile(
    r"\W{0,3}(?P<word>yes|true|no|false|unknown|uncertain|undetermined|cannot be determined)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Concluded(Spanned):
    """States that *conclusion* is true."""

    conclusion: Premise


@dataclass(frozen=True, slots=True)
class Premises:
    """A problem about premises: the premises, and the question about them."""

    world: World
    query: Premise | None = None
    """The statement that the question asks about; ``None`` if there is none that is understood."""
    asked: Literal["", "follows", "true", "conclude"] = ""
    """Empty: the question was not understood."""

    start: ClassVar[bool] = False
    """Before the first line, the text is not inside an assumption."""
    lost: ClassVar[bool] = True
    """A line that is too long to read may begin an assumption."""

    def read(self, is_supposed: bool, line: str) -> tuple[bool, list[Concluded]]:  # noqa: FBT001 (a state)
        """Return whether the text is inside an assumption after *line*, and the conclusions in *line*."""
        conclusions: list[Concluded] = []
        for start, end in [] if is_supposed else sentences(line):
            some = _concluded(self, line, start, end)
            conclusions += some
            if not some and supposes(line[start:end], is_about=True):
                return True, conclusions
        return is_supposed, conclusions

    def judge(self, said: Concluded | FinalAnswer) -> Verdict:
        if isinstance(said, FinalAnswer):
            return _judge_reply(self, said)
        # A conclusion is wrong if its contrary follows, and unknown if neither does.
        match self.world.status(said.conclusion):
            case "follows":
                return Pass("it follows from the premises")
            case "contradicts":
                return Violation(why="that contradicts the premises: the contrary follows from them")
            case "open":
                return Unknown("the premises leave it open")


def read_premises(prompt: str) -> Premises | None:
    # All premises must be about classes, such as "all A are B" or "Anna is tall", or else all must be formulas.
    # Contradictory ones are not read.
    markers = list(_GIVEN.finditer(prompt)) if len(prompt) <= MAX_PROMPT else []
    if not markers:
        return None
    rest = prompt[markers[-1].end() :]
    end = _ASKED.search(rest)
    told = _NUMBERED.sub("\n", rest[: end.start()] if end else rest)
    # A full stop, a line, or the next number ends a premise.
    cuts = [0, *(match.end() for match in re.finditer(r"\.(?=\s|$)|\n|;", told)), len(told)]
    world = _world([told[low:high] for low, high in pairwise(cuts) if told[low:high].strip(" .\n")])
    if world is None:
        return None
    if _CONCLUDES.search(rest):
        return Premises(world, asked="conclude")
    query = _QUERY.search(rest)
    asked = world.read(query["query"]) if query else None
    if query is None or asked is None:
        return Premises(world)
    return Premises(world, asked, "true" if "true" in query["kind"].lower() else "follows")


def _world(parts: list[str]) -> World | None:
    if not 0 < len(parts) <= _MOST:
        return None
    statements = [read_statement(part) for part in parts]
    if all(statements):
        return make_world([each for each in statements if each])
    formulas = [None if "?" in part else read_formula(part) for part in parts]
    known = [each for each in formulas if each]
    # Sentences that nothing connects need no logic.
    return make_world(known) if len(known) == len(parts) and any(each.parts for each in known) else None


def _concluded(problem: Premises, line: str, start: int, end: int) -> list[Concluded]:
    conclusions: list[Concluded] = []
    cuts = [start, *(match.end() for match in _PARTS.finditer(line, start, end)), end]
    for low, high in pairwise(cuts):
        text = line[low:high].rstrip(" .,;!*")
        skip = _beginning(text)
        content = None if text.endswith("?") else problem.world.read(text[skip:])
        if content is not None:
            conclusions.append(Concluded(low + skip, low + len(text), content))
        elif is_doubtful(text):
            # "If" and "not" are words of formulas. They are a sign of doubt only where there is no formula.
            return []
    return conclusions


def _beginning(text: str) -> int:
    bullet = _BULLET.match(text)
    at = bullet.end() if bullet else 0
    for _ in range(_MOST_CONNECTIVES):
        if (connective := _CONNECTIVE.match(text, at)) is None:
            break
        at = connective.end()
    return at


def _judge_reply(problem: Premises, said: FinalAnswer) -> Verdict:
    if problem.asked == "conclude":
        content = problem.world.read(said.text)
        if content is None:
            return Unknown("the answer was not understood")
        follows = problem.world.status(content) == "follows"
        return Pass("it follows") if follows else Violation(why="that does not follow from the premises")
    word = _YES.match(said.text)
    if problem.query is None or word is None:
        return Unknown("the question or the answer was not understood")
    # Whether each class that is named has a member is left open: both traditions must agree.
    statuses = {problem.world.status(problem.query, are_peopled=peopled) for peopled in (False, True)}
    return _replied(problem, word["word"].lower(), statuses)


def _replied(problem: Premises, word: str, statuses: set[Status]) -> Verdict:
    kinds = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
    rights: dict[Status, str] = {
        "follows": "yes",
        "contradicts": "no",
        "open": "no" if problem.asked == "follows" else "unknown",
    }
    said, right = kinds.get(word, "unknown"), {rights[status] for status in statuses}
    if problem.asked == "follows" and said == "unknown" and "open" in statuses:
        return Unknown("the question asks for yes or no")
    if said in right:
        differ = Unknown("schools of logic differ on whether it follows")
        return Pass("so the premises say") if len(right) == 1 else differ
    return Violation(why="the premises do not say so")
