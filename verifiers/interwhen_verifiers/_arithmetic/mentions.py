"""Finds the numbers in a text, in digits and in words, with their values."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from interwhen_verifiers._arithmetic.nodes import Node, Value, numbers, operations
from interwhen_verifiers._arithmetic.vocabulary import LABELS

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: value for value, word in enumerate(_ONES)} | {word: 20 + 10 * at for at, word in enumerate(_TENS)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5} | {
    f"{word}th": below for below, word in ((6, "six"), (7, "seven"), (8, "eigh"), (9, "nin"), (10, "ten"))
}
_TIMES = {"twice": 2, "double": 2, "couple": 2, "pair": 2, "thrice": 3, "triple": 3}
_IMPLIED: dict[str, Value] = {
    f"{word}{ending}": value
    for word, value in ({word: Fraction(1, below) for word, below in _PARTS.items()} | _TIMES).items()
    for ending in ("", "s", "d")
}
"""Words that give a number without naming it."""
LEAST = 3
"""Words for smaller numbers do not count: ``one`` and ``two`` are mostly articles."""
_MAX_DIGITS = 40
_NUMBER = re.compile(
    r"""(?=[\d.\\])(?:
    \\[dt]?frac\s?\{(?P<upper>\d{1,9})\}\s?\{(?P<lower>\d{1,9})\}
  | (?P<clock>\d{1,2}:\d\d)(?!\d)
  | (?P<date>\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4})(?![\d.])
  | (?P<number>\d{1,3}(?:(?:\{,\}|,?\\[,!]|[,'’])\d{3})++(?!\d)(?:\.\d++)? | \d++(?:\.\d++)? | (?<![\w.])\.\d++)
    (?:\s?/\s?(?P<over>\d{1,9})(?![\d.]))?
    (?P<after>\s?\\?% | (?:st|nd|rd|th)\b | [ ](?:dozen|hundred|thousand|million|billion)\b)?
    )""",
    re.VERBOSE,
)
_DIGIT = re.compile(r"\d")
_NOT_A_DIGIT = re.compile(r"[^\d.]")
_LIST_NUMBER = re.compile(r"[\s#>*•-]*+\(?\d{1,3}(?:[.):]|\*\*)(?=[\s*]|$)")
_WORD_BEFORE = re.compile(r"([^\W\d_]+)\.?\s\Z")
_GLUED = re.compile(r"(?<![^\W\d_])([A-Za-zÀ-Ͽ]+)(-?)\Z|_\{?\Z|#\Z|[^\d\s]\^\{?\Z")
_SPELLED = re.compile(r"\b(?:{0})\b(?:[ -](?:and )?(?:{0})\b)*+".format("|".join((*_SMALL, *_SCALES))), re.IGNORECASE)
_FRACTION = re.compile(
    rf"""\b(?:(?P<times>{"|".join(_TIMES)})[sd]?\b
  | (?P<whole>half|halve[sd]?|quarter)\b
  | (?:a|one)[ -](?P<one>{"|".join(_PARTS)})\b(?=\s+of\b|\s*(?:[^\w\s]|$))
  | (?P<over>{"|".join(_ONES[2:10])})[ -](?P<below>{"|".join(_PARTS)})s\b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Multiples and parts in words. A single ``third`` may be the third one."""
_SPELLED_WORDS = _SMALL.keys() | _SCALES.keys()
_FRACTION_WORDS = _IMPLIED.keys() | {"halves"}
_HAN = re.compile("[二三四五六七八九十百千万]+")
_LETTERS = re.compile(r"[a-z]+")
_REACH = 24


class Mention(NamedTuple):
    start: int
    end: int
    values: tuple[Value, ...]
    """Its possible values: a percentage may be given with the sign or as a fraction."""


def mentions(text: str) -> Iterator[Mention]:
    # Plain labels are left out: list and step numbers, ordinals, dates, indices, parts of names, and `100 %`.
    yield from _in_digits(text)
    if may_spell(text):
        for match in _SPELLED.finditer(text):
            value = _spelled(match[0])
            if value >= LEAST:
                yield Mention(match.start(), match.end(), (value,))

    if _may_part(text):
        for match in _FRACTION.finditer(text):
            yield Mention(match.start(), match.end(), _part(match))
    if not text.isascii():
        for match in _HAN.finditer(text):  # the pattern leaves out 一, which may be an article
            yield Mention(match.start(), match.end(), _read_han(match[0]))


def values_in(text: str) -> frozenset[Value]:
    values: set[Value] = set()
    for match in _NUMBER.finditer(text):
        values.update(_values(match))
        values.update(Fraction(part) for part in (match["upper"], match["lower"], match["over"]) if part)
        if match["number"]:
            values.add(_read(match["number"]))
    lower = text.lower()
    values.update(_spelled(match[0]) for match in _SPELLED.finditer(lower))
    for word in _LETTERS.findall(lower):
        value = _SMALL.get(word) or _SCALES.get(word) or _IMPLIED.get(word)
        if value is not None:
            values.add(value)
    return frozenset(values)


def with_parts(values: frozenset[Value]) -> set[Value]:
    all_values = set(values)
    for value in values:
        if value == int(value):
            scales = (10**power for power in range(1, min(len(str(int(value))), _MAX_DIGITS)))
            all_values.update(part for scale in scales for part in (value % scale, value - value % scale))
    return all_values


def may_mention(text: str) -> bool:
    return _DIGIT.search(text) is not None or may_spell(text) or _may_part(text) or not text.isascii()


def parts_of(node: Node) -> Iterator[Value]:
    for number in numbers(node):
        yield number.value
        if number.percent or number.places:
            yield plain(Fraction(number.value) * (Fraction(1, 100) if number.percent else 100))
    for operation in operations(node):
        over, by = list(numbers(operation.left))[-1], next(numbers(operation.right))
        if operation.operator == "/" and by.value:
            yield plain(Fraction(over.value) / by.value)


def plain(value: Value) -> Value:
    return int(value) if value == int(value) else value


def may_spell(text: str) -> bool:
    return not _SPELLED_WORDS.isdisjoint(text.lower().replace("-", " ").split())


def _may_part(text: str) -> bool:
    return not _FRACTION_WORDS.isdisjoint(_LETTERS.findall(text.lower()))


def _in_digits(text: str) -> Iterator[Mention]:
    item = _LIST_NUMBER.match(text)
    for match in _NUMBER.finditer(text, item.end() if item else 0):
        if not (match["date"] or _is_label(text, match)):
            yield Mention(match.start(), match.end(), _values(match))


def _is_label(text: str, match: re.Match[str]) -> bool:
    after = match["after"]
    if after and after[-1] in "tdh" and after[0] != " ":
        return True  # 3rd
    if after and after[-1] == "%" and match["number"] == "100":
        return True
    before = text[max(0, match.start() - _REACH) : match.start()]
    if before[-1:].isspace():
        word = _WORD_BEFORE.search(before)
        return word is not None and word[1].lower() in LABELS
    glued = _GLUED.search(before)
    if glued is not None:
        letters = glued[1]
        if letters is None:
            return True  # an index, or the exponent of a name
        at = glued.start(1)
        is_sign = before[at - 1 : at] == "\\" or (letters in "xX" and before[at - 1 : at].isdigit())
        return not is_sign and (not glued[2] or len(letters) > 1)
    return False


def _values(match: re.Match[str]) -> tuple[Value, ...]:
    if match["date"]:
        return ()
    if match["clock"]:
        hours, _, minutes = match["clock"].partition(":")
        return (int(hours) + Fraction(int(minutes), 60),)
    if match["upper"]:
        below = int(match["lower"])
        return (Fraction(int(match["upper"]), below),) if below else ()
    value: Value = _read(match["number"])
    if match["over"]:
        below = int(match["over"])
        return (Fraction(value) / below,) if below else (value,)
    after = (match["after"] or "").strip()
    if not after:
        return (value,)
    if after.endswith("%"):
        return (value, Fraction(value) / 100)
    return (value * _SCALES.get(after, 1),)


def _part(match: re.Match[str]) -> tuple[Value, ...]:
    if match["times"]:
        return (_TIMES[match["times"].lower()],)
    if match["over"]:
        part = Fraction(_SMALL[match["over"].lower()], _PARTS[match["below"].lower()])
        return (part, 100 * part)
    word = (match["one"] or match["whole"]).lower()
    below = _PARTS[word if word in _PARTS else word[:-1]]
    return (Fraction(1, below), below, Fraction(100, below))


def _read(text: str) -> Value:
    digits = text if text.isdecimal() else _NOT_A_DIGIT.sub("", text)
    return int(digits[:_MAX_DIGITS]) if digits.isdecimal() else Fraction(digits[:_MAX_DIGITS])


def _read_han(text: str) -> tuple[Value, ...]:
    return (int(unicodedata.numeric(text)),) if len(text) == 1 else ()


def _spelled(text: str) -> int:
    total = current = 0
    for word in _LETTERS.findall(text.lower()):
        if word in _SMALL:
            current += _SMALL[word]
        elif word in ("dozen", "hundred"):
            current = (current or 1) * _SCALES[word]
        elif word != "and":
            total += (current or 1) * _SCALES[word]
            current = 0
    return total + current
