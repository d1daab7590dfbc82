"""The arithmetic that a text announces, such as a modulus, a base or an order of operations."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from interwhen_verifiers._arithmetic.nodes import (
    Binary,
    Group,
    Node,
    NoValueError,
    Number,
    Operator,
    exact,
    mapped,
    numbers,
    value_of,
)

MOST = 16
"""The most moduli, and bases, that are kept for a text."""
ANY = 0
"""Stands for a modulus that the text does not write as a number."""
_MODULUS = re.compile(
    r"(?:\b[Mm]od(?:ulo|ulus)?\b(?: (?:is|of|=))?|mod\b|\bGF|\\mathbb\s?\{?[FZ]\}?_|\b[FZ]_|\bZ/)"
    r"[\s({$\\]{0,6}(?P<number>[0-9]{1,6})?"
    r"|remainders?\b[^.;\n]{0,60}?\bby \$?(?P<divisor>[0-9]{1,6})"
)
_BASE = re.compile(r"ase[\s$-]{0,3}(?P<number>[0-9]{1,2}|[a-z]+)")
_NAMED = re.compile(r"([Bb]inary|[Oo]ctal|[Hh]exadecimal)(?! operation)|([Bb]oolean|XOR|xor)")
_DEFINED = re.compile(
    r"\b[a-zA-Z]\}?\s?(?P<sign>[-+*/^@#&×·∗⋆∘◦⊕⊗⊙△◇□★]|\\[A-Za-z]+)\s?\{?[a-zA-Z]\b\}?\s{0,2}\$?\s{0,2}(?:=|:=|is|means|be)"
)
_REPLACED = re.compile(r"(?<=.)[-+*/×÷−][\"'”’`$]{0,2}\s(?:means|stands for|denotes|represents)\b")
"""Words that give an ordinary sign another meaning: ``If + means ×``."""
_LET = re.compile(
    r"\b[Ll]et[\s$]{1,3}(?P<one>[a-zA-Z])\s?(?:[-+*/^@#&×·∗⋆∘◦⊕⊗⊙△◇□★]|\\[A-Za-z]+)\s?(?P<two>[a-zA-Z])\b\s?(?::?=)"
    r"(?P<formula>[^=.;,\n]{1,80})"
)
"""A formula for an operation on two letters."""

_MODULAR = ("mod ", "mod{", "mod(", "odul", "GF", "F_", "Z_", "Z/", "mathbb", "remainder")
_NAMES = ("inary", "ctal", "exadecimal", "oolean", "XOR", "xor")
_BASES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "twelve": 12,
    "sixteen": 16,
    "binary": 2,
    "octal": 8,
    "hexadecimal": 16,
}


class Setting(NamedTuple):
    """The moduli, bases and operations that the text announced so far."""

    moduli: frozenset[int] = frozenset()
    bases: frozenset[int] = frozenset()
    defines: bool = False
    """Whether the text defines an operation by a formula."""
    in_order: bool = False
    """Whether the prompt may mean operations from left to right."""

    def marks(self) -> str:
        return f"{sorted(self.moduli)}{sorted(self.bases)}{self.defines}{self.in_order}"


PLAIN = Setting()


def may_set(text: str) -> bool:
    # This runs for each line, so it only searches for parts of words.
    return (
        ("mod" in text or "Mod" in text or "base" in text or "Base" in text or "efine" in text or "peration" in text)
        or ("inary" in text or "ctal" in text or "exadecimal" in text or "oolean" in text or "xor" in text)
        or ("XOR" in text or "GF" in text or "F_" in text or "Z_" in text or "Z/" in text or "mathbb" in text)
        or ("enote" in text or "remainder" in text or "let " in text or "Let " in text)
        or (" means" in text or " stands" in text or " represents" in text)
    )


def setting_of(text: str, before: Setting = PLAIN) -> Setting:
    # Only the smallest `MOST` moduli and bases are kept.
    if not may_set(text):
        return before
    moduli = {int(match["number"] or match["divisor"] or ANY) for match in _found(_MODULUS, text, _MODULAR)}
    bases = {_base(match["number"]) for match in _found(_BASE, text, ("ase",))} - {0, 1, 10}
    for match in _found(_NAMED, text, _NAMES):
        if match[1]:
            bases.add(_BASES[match[1].lower()])
        else:
            moduli.add(2)
    defines = "efine" in text or "peration" in text or "enote" in text
    defines = before.defines or (defines and _DEFINED.search(text) is not None) or _lets(text) or _replaces(text)
    if before.moduli >= moduli and before.bases >= bases and before.defines == defines:
        return before
    return Setting(_some(before.moduli | moduli), _some(before.bases | bases), defines, before.in_order)


def _replaces(text: str) -> bool:
    return any(True for _ in _found(_REPLACED, text, (" means", " stands", " denotes", " represents")))


def _lets(text: str) -> bool:
    return any(
        match["one"] != match["two"] and match["one"] in match["formula"] and match["two"] in match["formula"]
        for match in _found(_LET, text, ("let ", "Let "))
    )


def _found(pattern: re.Pattern[str], text: str, cues: tuple[str, ...]) -> Iterator[re.Match[str]]:
    return pattern.finditer(text) if any(cue in text for cue in cues) else iter(())


def _base(text: str) -> int:
    return int(text) if text.isdigit() else _BASES.get(text, 0)


def _some(candidates: frozenset[int] | set[int]) -> frozenset[int]:
    return frozenset(sorted(candidates)[:MOST])


def in_setting(left: Node, right: Node, setting: Setting) -> str:
    # Numbers of the digits 0 and 1 may be binary or Boolean in any setting.
    if setting.defines and (isinstance(left, Binary) or isinstance(right, Binary)):
        return "the operation may be defined in the text"
    if setting.in_order and value_of(_in_order(left)) == value_of(_in_order(right)) is not None:
        return "the operations may be meant in the order in which they are written"
    difference = _difference(left, right)
    if difference is None:
        return ""
    written = [number for side in (left, right) for number in numbers(side)]
    may_be_modular = difference.denominator == 1 or all(Fraction(number.value).denominator == 1 for number in written)
    for modulus in setting.moduli:
        # A fraction in lowest terms is zero modulo a number that divides its numerator: 4 / 3 is 6 modulo 7.
        if may_be_modular if modulus == ANY else modulus > 1 and difference.numerator % modulus == 0:
            return "the values may be meant modulo a number"
    digits = {number.text for number in written}
    for base in setting.bases | ({2} if all(set(text) <= {"0", "1"} for text in digits) else set()):
        if _agree_in(base, left, right):
            return "the numbers may be written in another base"
    if digits <= {"0", "1"} and (difference % 2 == 0 or min(exact(left), 1) == min(exact(right), 1)):
        return "the values may be Boolean"
    return ""


def _difference(left: Node, right: Node) -> Fraction | None:
    value, other = value_of(left), value_of(right)
    return None if value is None or other is None else Fraction(value - other)


def _agree_in(base: int, left: Node, right: Node) -> bool:
    def change(node: Number | Binary) -> Node:
        return node._replace(value=int(node.text, base)) if isinstance(node, Number) else node

    try:
        return exact(mapped(left, change)) == exact(mapped(right, change))
    except (ValueError, NoValueError):
        return False


def _in_order(node: Node) -> Node:
    (_, result), *rest = _operands(node)
    for operator, operand in rest:
        result = Binary(operator, operator, result, operand)
    return result


def _operands(node: Node) -> list[tuple[Operator, Node]]:
    if isinstance(node, Group):
        return [("+", Group(_in_order(node.inner)))]
    if not isinstance(node, Binary) or node.operator == "^":
        return [("+", node)]
    (_, first), *rest = _operands(node.right)
    return [*_operands(node.left), (node.operator, first), *rest]
