"""Formulas over sentences that are true or false: read from words or signs, and decided by all cases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Connective: TypeAlias = Literal["not", "and", "or", "either", "if", "iff"]
MOST_ATOMS: Final = 10
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
_FORMS: Final[tuple[tuple[Connective, re.Pattern[str]], ...]] = (
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
    """A sentence, or a connective and what it connects."""

    op: Connective | Literal["atom"]
    name: str = ""
    parts: tuple[Formula, ...] = ()

    @property
    def atoms(self) -> frozenset[str]:
        """The sentences in it."""
        return frozenset({self.name}) if self.op == "atom" else frozenset().union(*(part.atoms for part in self.parts))


def read_formula(text: str) -> Formula | None:
    """Return what *text* says, in words or in signs; ``None``: it is not understood."""
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
    for op, pattern in _FORMS:
        if found := pattern.fullmatch(said):
            parts = tuple(_words(found[group], depth + 1) for group in ("one", "other") if group in pattern.groupindex)
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
    """Return a sentence in a form in which "it rains" and "(does not) rain" are the same."""
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in said.split())


class _Signs:
    """A parser of formulas in signs: one pass, from left to right."""

    _ORDER: Final[tuple[Connective, ...]] = ("iff", "if", "or", "and")

    def __init__(self, said: str) -> None:
        self._tokens = [sign or name for sign, name in _TOKEN.findall(said)]
        self._is_whole = len("".join(self._tokens)) == len(said.replace(" ", ""))
        self._at = 0

    def whole(self) -> Formula | None:
        found = self._binary(0, 0) if self._is_whole else None
        return found if self._at == len(self._tokens) else None

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
        # To the right, as implications are read.
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


@dataclass(frozen=True, slots=True)
class Sentences:
    """What is given, as the cases in which it holds: one bit for each way to make the sentences true or false."""

    atoms: tuple[str, ...]
    cases: int

    def mask(self, formula: Formula) -> int:
        """Return the cases in which *formula* holds."""
        every = (1 << (1 << len(self.atoms))) - 1
        match formula.op, tuple(map(self.mask, formula.parts)):
            case "atom", _:
                return _holds(self.atoms.index(formula.name), len(self.atoms))
            case "not", (one,):
                return every ^ one
            case "and", (one, other):
                return one & other
            case "or", (one, other):
                return one | other
            case "either", (one, other):
                return one ^ other
            case "if", (one, other):
                return (every ^ one) | other
            case _, (one, other):
                return every ^ one ^ other
            case _, parts:
                raise AssertionError(parts)

    def status(self, formula: Formula) -> Literal["follows", "contradicts", "open"]:
        """Tell whether *formula* follows, whether its contrary does, or neither."""
        cases = self.mask(formula)
        if not self.cases & ~cases:
            return "follows"
        return "open" if self.cases & cases else "contradicts"


def _holds(at: int, count: int) -> int:
    """Return the cases in which that sentence is true."""
    return sum(1 << case for case in range(1 << count) if case >> at & 1)


def make_sentences(premises: tuple[Formula, ...]) -> Sentences | None:
    """Return what *premises* allow; ``None``: too many sentences, or they contradict each other."""
    atoms = tuple(sorted(frozenset().union(*(premise.atoms for premise in premises))))
    if not 0 < len(atoms) <= MOST_ATOMS:
        return None
    every = Sentences(atoms, (1 << (1 << len(atoms))) - 1)
    cases = every.cases
    for premise in premises:
        cases &= every.mask(premise)
    return Sentences(atoms, cases) if cases else None
