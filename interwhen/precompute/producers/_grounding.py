"""Checks that a statement says only what its cited lines say, or what follows from them by a checked step.

An equation that holds is no fact about the text: "45 * 4 * 15 = 2700 dollars" is right, whatever the text says about
dollars. So each number of a statement must stand in a cited line with the same thing counted, or be the result of an
equation that a monitor passed; each name and each other word must stand in a cited line, too. The rules are strict:
a statement that they do not understand counts as not grounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from interwhen.toolkit.quantities import read_number

_TOKEN = re.compile(
    r"\d[\d,]*(?:\.\d+)?|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|[$\u20ac\u00a3\u00a5\u20b9\u20ba\u20a9\u20bd\u20b1\u20aa%]"
)
_SIGN = r"[$\u20ac\u00a3\u00a5\u20b9\u20ba\u20a9\u20bd\u20b1\u20aa]"
_NUMBER = r"\d[\d,]*+(?:\.\d++)?+"
_AMOUNT = rf"{_SIGN}?+{_NUMBER}%?+(?:\s(?!x\b)[^\W\d_]++)?+"
_OPERATOR = r"\s*+(?:[-+*/\u2212\u00d7\u00f7]|x\b)\s*+"
_EQUATION = re.compile(rf"(?P<left>{_AMOUNT}(?:{_OPERATOR}{_AMOUNT})++)\s*+=\s*+{_SIGN}?+(?P<result>{_NUMBER})")
_OPERAND = re.compile(
    rf"(?P<number>{_NUMBER}%?+)[^-+*/\u2212\u00d7\u00f7\dx]*+(?P<operator>[-+*/\u2212\u00d7\u00f7x]?+)"
)
_CLAUSE_END = re.compile(r"[.;:!?](?=\s|$)|,\s|\n|\b(?:and|but|while|whereas|or)\b")
_SIGNS = {
    "$": "dollar",
    "\u20ac": "euro",
    "\u00a3": "pound",
    "\u00a5": "yen",
    "\u20b9": "rupee",
    "\u20ba": "lira",
    "\u20a9": "won",
    "\u20bd": "ruble",
    "\u20b1": "peso",
    "\u20aa": "shekel",
    "%": "percent",
}
_NUMBER_WORDS: dict[str, Fraction] = {
    "half": Fraction(1, 2),
    "twice": Fraction(2),
    "double": Fraction(2),
    "dozen": Fraction(12),
    **{
        word: Fraction(value)
        for value, word in enumerate(
            (  # noqa: SIM905
                "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                "seventeen eighteen nineteen twenty"
            ).split()
        )
    },
    **{
        word: Fraction(10 * value)
        for value, word in enumerate("thirty forty fifty sixty seventy eighty ninety hundred".split(), 3)  # noqa: SIM905
    },
}
_FREE = frozenset(
    (  # noqa: SIM905
        "a all altogether an and are as at be by combined each every for from has have in is it its makes of on per "
        "so sum that the their then there these they this to together total was were which with x times plus minus"
    ).split()
)
"""Words that a statement may add to the words of the text: they name no thing and claim nothing alone."""
_PRONOUNS = frozenset("he her hers him his i it its me my she their them they we you your".split())  # noqa: SIM905
_TURNING = frozenset(
    (  # noqa: SIM905
        "not no never none nobody nothing neither nor without except unless if would could might may instead only "
        "false wrong less fewer"
    ).split()
)
"""Words that can turn the meaning of a clause. A statement with one is not grounded, nor is a number from a clause with
one."""


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    text: str
    value: Fraction | None

    @property
    def stem(self) -> str:
        return _stem(self.text)

    @property
    def is_name(self) -> bool:
        return self.value is None and self.text[:1].isupper() and self.text.lower() not in _FREE | _PRONOUNS


@dataclass(frozen=True, slots=True)
class _Clause:
    """A part of a cited line: its words without endings, those of them that are names, and its numbers.

    ``counts`` has each number with each word that may say what it counts, and with an empty string.
    """

    stems: frozenset[str]
    names: frozenset[str]
    counts: frozenset[tuple[Fraction, str]]
    turns: bool
    """Whether a word such as "not" or "if" can turn its meaning."""


def lack_of(said: str, cited: Sequence[str]) -> str:
    """Return why the *cited* lines do not show the statement *said*; an empty string if they do.

    A number after the equals sign of an equation that holds follows from the other numbers of the equation. All other
    numbers must stand in the cited lines.
    """
    words = tuple(_words(said))
    small = frozenset(word.stem for line in cited for word in _words(line) if word.text[:1].islower())
    clauses = tuple(clause for line in cited for clause in _clauses(line, small))
    equations = _equations(said)
    if said.count("=") != len(equations):
        return "it has an equals sign without an equation that holds"
    lacks = (
        *(_lack_of_word(word, clauses) for word in words),
        *(_lack_of_number(words, at, clauses, equations) for at in range(len(words))),
    )
    if first := next(filter(None, lacks), ""):
        return first
    if not any(word.value is not None for word in words):
        return "it has no number from the cited lines, so its words could be put together in a wrong way"
    return ""


def _lack_of_word(word: _Word, clauses: Sequence[_Clause]) -> str:
    if word.text.lower() in _TURNING:
        return f"{word.text!r} can turn what the lines say"
    known = word.value is not None or word.text.lower() in _FREE
    return "" if known or any(word.stem in clause.stems for clause in clauses) else f"{word.text!r} is in no cited line"


def _lack_of_number(words: Sequence[_Word], at: int, clauses: Sequence[_Clause], equations: _Equations) -> str:
    """Return what the word at index *at* lacks, if it is a number."""
    word, counted = words[at], _counted(words, at)
    if word.value is None:
        return ""
    if word.start in equations:
        return _lack_of_result(word, counted, clauses, equations[word.start])
    if not any((word.value, "") in clause.counts for clause in clauses):
        return f"the number {word.text} is in no cited line"
    sources = [clause for clause in clauses if (word.value, counted) in clause.counts]
    if not sources:
        return f"no cited line counts {word.text} {counted}"
    if all(clause.turns for clause in sources):
        return f"a word such as 'not' or 'if' turns the clause with {word.text}"
    # With several names in the lines, the clause of a number must name only those that the statement names. An equation
    # without a name, such as a total, says nothing about one of them.
    names = frozenset(name for clause in clauses for name in clause.names)
    own = names.intersection(other.stem for other in words)
    if len(names) < 2 or (equations and not own) or any(clause.names and clause.names <= own for clause in sources):
        return ""
    return f"the lines do not say for certain to which of {', '.join(sorted(names))} {word.text} belongs"


def _lack_of_result(word: _Word, counted: str, clauses: Sequence[_Clause], terms: _Terms) -> str:
    """Return why the result *word* of an equation does not count *counted*; empty if it does, or says no thing.

    In each product of the sum, one factor must count the same thing, and the clauses of the other factors must not name
    it: 45 dollars a day for 4 days are dollars, and not days; 5 folders for 8 dollars each are not 40 folders.
    """
    if not counted:
        return ""
    for factors in terms:
        for at, factor in enumerate(factors):
            counts = any((factor, counted) in clause.counts for clause in clauses)
            others = (*factors[:at], *factors[at + 1 :])
            names = (clause for clause in clauses if any((other, "") in clause.counts for other in others))
            if counts and not any(counted in clause.stems for clause in names):
                break
        else:
            return f"the equation does not show that {word.text} counts {counted}"
    return ""


_Terms: TypeAlias = tuple[tuple[Fraction, ...], ...]
"""The factors of each product in a sum of products. The factors of a division are among them."""
_Equations: TypeAlias = Mapping[int, _Terms]
"""The left sides of the equations in a statement that hold, by the offset of the result."""


def _equations(said: str) -> _Equations:
    found: dict[int, _Terms] = {}
    for match in _EQUATION.finditer(said):
        result, left = read_number(match["result"].rstrip(",")), _read_sum(match["left"])
        if result is not None and left is not None and left[0] == result:
            found[match.start("result")] = left[1]
    return found


def _read_sum(left: str) -> tuple[Fraction, _Terms] | None:
    """Return the exact value and the terms of a sum such as ``2 * 3 apples - 4``; ``None`` if it cannot be read."""
    total, product, sign, operator = Fraction(0), Fraction(1), 1, "*"
    terms: list[list[Fraction]] = [[]]
    for match in _OPERAND.finditer(left):
        number = read_number(match["number"].rstrip(","))
        if number is None or (operator in "/\u00f7" and not number):
            return None
        if operator in "+-\u2212":
            total += sign * product
            product, sign = Fraction(1), 1 if operator == "+" else -1
            terms.append([])
        product = product / number if operator in "/\u00f7" else product * number
        terms[-1].append(number)
        operator = match["operator"]
    return total + sign * product, tuple(map(tuple, terms))


def _pairs(words: Sequence[_Word], at: int) -> Iterator[tuple[Fraction, str]]:
    """Yield the number at index *at*, if it is one, with an empty string and with each word that may say its things."""
    value = words[at].value
    if value is None:
        return
    yield value, ""
    if at and words[at - 1].text in _SIGNS:
        yield value, words[at - 1].stem
    for word in words[at + 1 : at + 4]:
        if _ends_amount(word):
            return
        yield value, word.stem


def _ends_amount(word: _Word) -> bool:
    """Tell whether *word* cannot say what the number before it counts. A sign such as "$" belongs to the next one."""
    return word.value is not None or word.text.lower() in _FREE or (word.text in _SIGNS and word.text != "%")


def _counted(words: Sequence[_Word], at: int) -> str:
    """Return the stem of the thing that the number at index *at* counts; empty if the statement does not say it."""
    after = words[at + 1] if at + 1 < len(words) else None
    if at and words[at - 1].text in _SIGNS:
        return _SIGNS[words[at - 1].text]
    if after is None or _ends_amount(after):
        return ""
    return after.stem


def _clauses(line: str, small: frozenset[str]) -> Iterator[_Clause]:
    """Yield the clauses of *line*. Words with a stem in *small* are no names: the lines have them in small letters."""
    begun = 0
    ends = [match.span() for match in _CLAUSE_END.finditer(line)]
    for start, end in (*ends, (len(line), len(line))):
        words = list(_words(line[begun:start]))
        begun = end
        if words:
            yield _Clause(
                frozenset(word.stem for word in words),
                frozenset(word.stem for word in words if word.is_name) - small,
                frozenset(pair for at in range(len(words)) for pair in _pairs(words, at)),
                any(word.text.lower() in _TURNING or word.text.lower().endswith(("n't", "n\u2019t")) for word in words),
            )


def _words(text: str) -> Iterator[_Word]:
    for match in _TOKEN.finditer(text):
        value = read_number(match[0].rstrip(",")) if match[0][0].isdigit() else _NUMBER_WORDS.get(match[0].lower())
        yield _Word(match.start(), match[0], value)


def _stem(word: str) -> str:
    """Return *word* without case and common endings, so that "costs" is "cost" and "$" is "dollar"."""
    plain = _SIGNS.get(word, word.casefold().replace("\u2019", "'").removesuffix("'s"))
    for ending in ("ies", "ing", "ed", "es", "s"):
        if plain.endswith(ending) and len(plain) - len(ending) >= 3:
            return plain[: -len(ending)].rstrip("e")
    return plain.rstrip("e") if len(plain) > 3 else plain
