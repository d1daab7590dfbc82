"""Finds other meanings of an equation that does not hold, from its values and the text around it."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

from interwhen_verifiers._arithmetic import vocabulary
from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Node,
    Number,
    Value,
    bare,
    magnitude,
    numbers,
    ungrouped,
    value_of,
)
from interwhen_verifiers._arithmetic.vocabulary import stem

CYCLES = frozenset((7, 10, 12, 24, 60, 360, *(2**power for power in (4, 8, 16, 32, 64))))
"""Moduli that texts use without naming them: days, digits, hours, minutes, degrees, machine words."""
_WORD = re.compile(r"[^\W\d_]+")
_BEGINNING = 4
"""So many letters of two words are compared: ``ordered`` is a form of ``order``."""
_SENTENCE_END = re.compile(r"[.!?;|](?=\s|$)|\n")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def _beginning(word: str) -> str:
    return stem(word.lower())[:_BEGINNING]


_PLAIN = {
    _beginning(word)
    for words in (
        vocabulary.VERBS,
        vocabulary.LEADS,
        vocabulary.TOTALS,
        vocabulary.LABELS,
        vocabulary.EACH,
        vocabulary.NOT_UNITS,
        vocabulary.FAMILY,
        vocabulary.RELATING,
        vocabulary.BEFORE_SIGN,
        vocabulary.words_of(
            "a an his her their our my your its there here these those them us me him who in into out up down off over "
            "under after before during first second third last final finally next lastly together both all only just "
            "more less much many remaining left additional extra new current other answer result solution value values "
            "add sum product quotient difference multiply divide subtract combine do did does let "
            "compute total totals overall altogether number numbers how what"
        ),
    )
    for word in words
}
"""Words that leave the meaning of an operation alone. Any other word may change it."""


def other_arithmetic(left: Node, right: Node, value: Value, other: Value, around: frozenset[Value]) -> str:
    """Return why the sides may be equal in other arithmetic; empty if not.

    *around* are the numbers of the text around the equation: one of them may be a modulus.
    """
    if value == -other:
        return "the sign may be left to the words"
    if _digits_of(left, right) or _digits_of(right, left):
        return "digits may be meant, and not numbers"
    if not (Fraction(value).denominator == Fraction(other).denominator == 1):
        match ungrouped(left):
            case Binary(operator="/", left=above, right=below) if (over := bare(above)) and (by := bare(below)):
                if by.value and other == over.value % by.value:
                    return "it may be the remainder of a division"
        return ""
    if any(_agree_modulo(value, other, modulus) for modulus in (*CYCLES, *around)):
        return "the values may be meant modulo a number"
    return ""


def _agree_modulo(value: Value, other: Value, modulus: Value) -> bool:
    return modulus > 1 and 0 <= other < modulus and not 0 <= value < modulus and (value - other) % modulus == 0


def _digits_of(number: Node, digits: Node) -> bool:
    whole = bare(number)
    return whole is not None and bare(digits) is None and "".join(part.text for part in numbers(digits)) == whole.text


def may_be_other_operation(left: Node, right: Node, around: frozenset[Value]) -> bool:
    value, other = value_of(left), value_of(right)
    if value is None or other is None or value == other:
        return False
    if other in around or abs(value - other) in around:
        return True
    if value and other:
        ratio = Fraction(other) / value
        if ratio in around or 1 / ratio in around or abs(ratio - 1) * 100 in around:
            return True
    return _is_result_of_other(left, other)


def _is_result_of_other(left: Node, other: Value) -> bool:
    node = ungrouped(left)
    if not (isinstance(node, Binary) and isinstance(node.left, Number) and isinstance(node.right, Number)):
        return False
    one, two = node.left.value, node.right.value
    results: list[Value] = [one, two, magnitude(one - two), one + two, one * two]
    if isinstance(one, int) and isinstance(two, int):
        results += [math.gcd(one, two), math.lcm(one, two), one ^ two, one | two, one & two]
        if node.operator == "-":  # the numbers from the one to the other
            results += [one - two + 1, one - two - 1]
    return other in results


def is_plain(text: str, start: int, end: int, before: str, prompt: str) -> bool:
    # Tell whether the words around `text[start:end]` leave the meaning of an operation alone. They do if each word of
    # its sentence is common in calculations or stands in `prompt`. `before` is the line before, which counts if it
    # introduces this one.
    begun = max((match.end() for match in _SENTENCE_END.finditer(text, 0, start)), default=0)
    ends = _SENTENCE_END.search(text, end)
    around = text[begun:start] + " " + text[end : ends.start() if ends else len(text)]
    if not begun and before.rstrip().endswith((":", ",")):
        around += " " + before
    words = {_beginning(word) for word in _WORD.findall(_COMMAND.sub(" ", around)) if len(word) > 1} - _PLAIN
    return not words or words <= _beginnings(prompt)


@lru_cache(maxsize=4)
def _beginnings(text: str) -> frozenset[str]:
    return frozenset(map(_beginning, _WORD.findall(text)))
