"""The relations between values and houses that clues state, and the grammar that reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from interwhen_verifiers._zebralogic.phrases import Cell, Phrases

Kind = Literal["same", "beside", "directly_left", "left", "between", "house"]
MAX_CLUE = 300
"""A longer sentence is not read."""


class Relation(NamedTuple):
    """What holds of the houses of one or two values.

    ``same``, ``beside``, ``directly_left`` (*one* is left of *other*), ``left``, ``between`` (*number* houses are
    between them), ``house`` (*one* is in house *number*). With ``denied``, it does not hold.
    """

    kind: Kind
    one: Cell
    other: Cell | None = None
    number: int = 0
    denied: bool = False

    def holds(self, one: int, other: int) -> bool:
        """Tell whether it holds where the values are in the houses *one* and *other*."""
        match self.kind:
            case "same":
                found = one == other
            case "beside":
                found = abs(one - other) == 1
            case "directly_left":
                found = one + 1 == other
            case "left":
                found = one < other
            case "between":
                found = abs(one - other) == self.number + 1
            case "house":
                found = one == self.number
        return found is not self.denied


_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINAL = rf"(?P<ordinal>{'|'.join(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|leftmost|rightmost|middle|last)"
_AT = (
    rf"(?:in|at|living in|occupies|lives in) (?:the )?(?:{_ORDINAL} (?:house|position)"
    r"|(?:house|position)(?: number| no\.?)? #?(?P<digit>\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten))"
)
_WHERE = (
    re.compile(rf"(?: is| are| lives| must be| has to be)? (?P<not>not )?(?:located |living )?{_AT}$"),
    re.compile(rf" (?:does|do|can) ?(?P<not>not )(?:live|be) {_AT}$"),
    re.compile(rf" cannot (?P<not>)be {_AT}$"),
)
_OCCUPANT = re.compile(
    rf"(?:(?:the )?(?:person|one) )?(?P<where>{_AT}) (?:is|has|=) (?P<not>not )?(?P<who>.*)$", re.DOTALL
)
_HOUSE_FIRST = re.compile(r"(?:the )?(?:\w+ )?(?:house|position)\b")
_BETWEEN = re.compile(
    rf"there (?:is|are) (?:exactly )?(?P<count>{'|'.join(_NUMBERS[:8])}|no|\d{{1,2}}) houses? between (?P<rest>.*)$",
    re.DOTALL,
)
_TOGETHER = re.compile(
    r" (?:are|live) (?P<not>not )?"
    r"(?:(?:directly |immediately )?next to each other|adjacent|neighbou?rs)$"
)
_SIDE = re.compile(
    r" (?:is|lives|stays) (?P<not>not )?(?P<near>directly |immediately |just )?(?:somewhere |anywhere )?"
    r"(?:to |on )?(?:the )?(?P<immediate>immediate )?(?P<side>left|right)(?: side)? of ",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r" (?:is|lives|stays) (?P<not>not )?(?:directly |immediately |right )?(?:next to|beside|adjacent to) ",
    re.IGNORECASE,
)
_COPULA = re.compile(r" (?:is|are|=|==) (?P<not>not )?(?:the same (?:person )?as )?", re.IGNORECASE)
_AND = re.compile(r" and ", re.IGNORECASE)


def read_relation(text: str, phrases: Phrases, houses: int) -> Relation | None:
    """Read one sentence. ``None`` where any of it is not understood, or where it can be read in two ways."""
    plain = " ".join(text.split()).rstrip(".!").strip()
    if not plain or len(plain) > MAX_CLUE:
        return None
    for reader in (_read_between, _read_house, _read_together, _read_side, _read_beside, _read_occupant):
        matched, relation = reader(plain, phrases, houses)
        if matched:
            return relation
    return _read_copula(plain, phrases)


_Read = tuple[bool, Relation | None]
"""Whether the sentence has this form, and what it says if all of it is understood."""


def _read_between(text: str, phrases: Phrases, _houses: int) -> _Read:
    match = _BETWEEN.match(text.lower())
    if match is None:
        return False, None
    count = match["count"]
    number = 0 if count == "no" else _NUMBERS.index(count) + 1 if count in _NUMBERS else int(count)
    pair = _pair(text[match.start("rest") :], _AND, phrases)
    return True, Relation("between", *pair[0], number=number) if pair else None


def _read_house(text: str, phrases: Phrases, houses: int) -> _Read:
    lower = text.lower()
    for pattern in _WHERE:
        match = pattern.search(lower)
        if match is None:
            continue
        one = phrases.find(text[: match.start()])
        number = _house_number(match, houses)
        if one is None or number is None:
            return True, None
        return True, Relation("house", one, number=number, denied=match["not"] is not None)
    return False, None


def _read_occupant(text: str, phrases: Phrases, houses: int) -> _Read:
    lower = text.lower()
    match = _OCCUPANT.match(f"in {lower}" if _HOUSE_FIRST.match(lower) else lower)
    if match is None:
        return False, None
    one = phrases.find(text[len(text) - len(match["who"]) :])
    number = _house_number(match, houses)
    if one is None or number is None:
        return True, None
    return True, Relation("house", one, number=number, denied=match["not"] is not None)


def _house_number(match: re.Match[str], houses: int) -> int | None:
    digit, ordinal = match["digit"], match["ordinal"]
    if digit:
        return _NUMBERS.index(digit) + 1 if digit in _NUMBERS else int(digit)
    if ordinal in _ORDINALS:
        return _ORDINALS.index(ordinal) + 1
    if ordinal == "leftmost":
        return 1
    if ordinal in {"rightmost", "last"}:
        return houses
    if ordinal == "middle":
        return houses // 2 + 1 if houses % 2 else None
    return int(ordinal.rstrip("stndrh"))


def _read_together(text: str, phrases: Phrases, _houses: int) -> _Read:
    match = _TOGETHER.search(text.lower())
    if match is None:
        return False, None
    pair = _pair(text[: match.start()], _AND, phrases)
    return True, Relation("beside", *pair[0], denied=match["not"] is not None) if pair else None


def _read_side(text: str, phrases: Phrases, _houses: int) -> _Read:
    pair = _pair(text, _SIDE, phrases)
    if pair is None:
        return _SIDE.search(text) is not None, None
    (one, other), match = pair
    if match["side"].lower() == "right":
        one, other = other, one
    kind: Kind = "directly_left" if match["near"] or match["immediate"] else "left"
    return True, Relation(kind, one, other, denied=match["not"] is not None)


def _read_beside(text: str, phrases: Phrases, _houses: int) -> _Read:
    pair = _pair(text, _BESIDE, phrases)
    if pair is None:
        return _BESIDE.search(text) is not None, None
    (one, other), match = pair
    return True, Relation("beside", one, other, denied=match["not"] is not None)


def _read_copula(text: str, phrases: Phrases) -> Relation | None:
    pair = _pair(text, _COPULA, phrases)
    if pair is None:
        return None
    (one, other), match = pair
    return Relation("same", one, other, denied=match["not"] is not None)


def _pair(text: str, between: re.Pattern[str], phrases: Phrases) -> tuple[tuple[Cell, Cell], re.Match[str]] | None:
    """Return the two values around a match of *between*; ``None`` unless there is one way to read it."""
    # "Eric is the person who is tall" can be parted at either "is", and says the same.
    found = {
        (pair, match["not"] if "not" in between.groupindex else None): match
        for pair, match in _splits(text, between, phrases)
    }
    if len(found) != 1:
        return None
    (((pair, _), match),) = found.items()
    return pair, match


def _splits(text: str, between: re.Pattern[str], phrases: Phrases) -> Iterator[tuple[tuple[Cell, Cell], re.Match[str]]]:
    for match in between.finditer(text):
        one = phrases.find(text[: match.start()])
        other = phrases.find(text[match.end() :]) if one is not None else None
        if one is not None and other is not None:
            yield (one, other), match
