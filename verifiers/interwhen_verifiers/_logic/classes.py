"""Classes and who belongs to them: "all A are B", "no A are B", "some A are (not) B", "x is a B", decided exactly.

What matters of a world is which combinations of classes somebody belongs to. "All" and "no" forbid combinations; "some"
and a name each ask for somebody in some of them, independently of each other. So the premises can hold together if each
such demand is left a combination, and what follows is what cannot be denied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Quantity: TypeAlias = Literal["all", "no", "some", "some not", "is", "is not"]
MOST_CLASSES: Final = 8
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


class Statement(NamedTuple):
    """So much of *one* is *other*; in "is" and "is not", *one* is a name."""

    quantity: Quantity
    one: str
    other: str

    @property
    def classes(self) -> frozenset[str]:
        """The classes in it."""
        return frozenset({self.other} if self.quantity in {"is", "is not"} else {self.one, self.other})


def read_statement(text: str) -> Statement | None:
    """Return what *text* says; ``None``: it is not of these forms."""
    said = " ".join(text.strip().rstrip(".?").split())
    for quantity, pattern in _FORMS:
        if len(said) < 200 and (found := pattern.fullmatch(said)):
            one = found["one"] if quantity in {"is", "is not"} else _singular(found["one"])
            return Statement(quantity, one, _singular(found["other"]))
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


@dataclass(frozen=True, slots=True)
class Classes:
    """What is given: the combinations of classes that are allowed, and the demands for somebody in some of them."""

    names: tuple[str, ...]
    allowed: int
    """The combinations, one bit each."""
    demands: tuple[int, ...]
    people: tuple[tuple[str, int], ...]
    """For each name: the combinations that are left for it."""
    peopled: tuple[int, ...] = ()
    """More demands, in the tradition in which a class that is spoken of has somebody in it."""

    def within(self, term: str) -> int:
        """Return the combinations with that class."""
        at = self.names.index(term)
        return sum(1 << case for case in range(1 << len(self.names)) if case >> at & 1)

    def knows(self, statement: Statement) -> bool:
        """Tell whether all that *statement* speaks of is given."""
        is_named = statement.quantity not in {"is", "is not"} or statement.one in dict(self.people)
        return is_named and statement.classes <= set(self.names)

    def status(self, statement: Statement, *, are_peopled: bool = False) -> Literal["follows", "contradicts", "open"]:
        """Tell whether *statement* follows, whether its contrary does, or neither."""
        if not self._can_hold(_denied(statement), are_peopled=are_peopled):
            return "follows"
        return "open" if self._can_hold(statement, are_peopled=are_peopled) else "contradicts"

    def _can_hold(self, statement: Statement, *, are_peopled: bool) -> bool:
        allowed, people = self.allowed, dict(self.people)
        demands = [*self.demands, *(self.peopled if are_peopled else ())]
        match statement.quantity:
            case "all" | "no":
                allowed &= ~self._forbidden(statement)
            case "some" | "some not":
                demands.append(self._forbidden(statement))
            case "is" | "is not":
                people[statement.one] &= self._forbidden(statement)
        return all(allowed & demand for demand in [*demands, *people.values()])

    def _forbidden(self, statement: Statement) -> int:
        """Return the combinations that "all" and "no" rule out, and that "some" and a name ask for."""
        other = self.within(statement.other)
        match statement.quantity:
            case "all" | "some not":
                return self.within(statement.one) & ~other
            case "no" | "some":
                return self.within(statement.one) & other
            case "is":
                return other
            case "is not":
                return ~other


def _denied(statement: Statement) -> Statement:
    contraries: dict[Quantity, Quantity] = {
        "all": "some not",
        "some not": "all",
        "no": "some",
        "some": "no",
        "is": "is not",
        "is not": "is",
    }
    return statement._replace(quantity=contraries[statement.quantity])


def make_classes(premises: tuple[Statement, ...]) -> Classes | None:
    """Return what *premises* allow; ``None``: too many classes, or they contradict each other."""
    names = tuple(sorted(frozenset().union(*(premise.classes for premise in premises))))
    if not 0 < len(names) <= MOST_CLASSES:
        return None
    every = (1 << (1 << len(names))) - 1
    named = {premise.one: every for premise in premises if premise.quantity in {"is", "is not"}}
    found = Classes(names, every, (), tuple(named.items()))
    for premise in premises:
        cases = found._forbidden(premise)  # noqa: SLF001 (it is made here)
        match premise.quantity:
            case "all" | "no":
                found = Classes(names, found.allowed & ~cases, found.demands, found.people)
            case "some" | "some not":
                found = Classes(names, found.allowed, (*found.demands, cases), found.people)
            case "is" | "is not":
                named[premise.one] &= cases
                found = Classes(names, found.allowed, found.demands, tuple(named.items()))
    peopled = tuple(found.within(name) for name in names)
    left = [*found.demands, *named.values()]
    return (
        Classes(names, found.allowed, found.demands, found.people, peopled)
        if all(found.allowed & each for each in left)
        else None
    )
