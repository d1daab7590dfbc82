"""Derives the numbers of statements again, in other words, and tells which of them come out the same.

This is weaker than a check: a model may make the same mistake twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from interwhen._types.models import Message
from interwhen.precompute.producers._statements import Statement, is_plain_text
from interwhen.toolkit.quantities import read_number

BLANK = "____"
_NUMBER = r"\d[\d,]*+(?:\.\d++)?+"
_EQUATION = re.compile(rf"[$\u20ac\u00a3]?{_NUMBER}[^=\n]{{1,120}}=\s*+[$\u20ac\u00a3]?(?P<result>{_NUMBER})")
_LAST = re.compile(rf"(?P<result>{_NUMBER})(?!.*\d)")
_LINE = re.compile(r"\A\s{0,8}(?P<number>\d{1,3})\s?[.):]\s*(?P<rest>.*)\Z")
_FOUND = re.compile(_NUMBER)
_PART = re.compile(r"(?:[-\u2212]\s?|[/:.^])\Z")
"""Characters before a number that make it another one: -5, 3/4, 10:30."""

_BLANKS = (
    "You read a text and fill in blanks. For each numbered sentence, calculate the number that belongs in the blank, "
    "from the text alone. Answer each in one line: its number, the calculation, an equals sign, the result. For "
    "example: 1. 30 + 25 = 55. If the text does not say it, write a question mark."
)
_SMUDGES = (
    "Somebody has smudged numbers in sentences about a text. Work out each smudged number again from the text. Write "
    "one line for each: the number of the sentence, a short calculation, and = with the result, such as 1. 7 * 8 = 56. "
    "Write ? if it cannot be known."
)
_QUESTIONS = (
    "Answer each question about the text with one calculation in one line, such as 1. 90 - 40 = 50. Write ? if the "
    "text does not tell."
)
_PHRASINGS = (
    (_BLANKS, "Text:\n{text}\n\nSentences:\n{blanks}"),
    (_SMUDGES, "These are the sentences:\n{blanks}\n\nThis is the text that they are about:\n{text}"),
    (_QUESTIONS, "{text}\n\nWhich number belongs in each place marked with a line?\n{blanks}"),
)
"""Different requests for the same numbers, which are used in turn."""
PHRASINGS = len(_PHRASINGS)


@dataclass(frozen=True, slots=True)
class Blank:
    """A statement with a blank in place of its result, and the value of this result."""

    text: str
    value: Fraction


def blank_of(said: str) -> Blank | None:
    """Return the statement *said* with a blank in place of its result, and the value of the result.

    The result is that of its first equation, which is blanked whole, or else its last number. ``None`` if the statement
    does not fit.
    """
    match = _EQUATION.search(said) or _LAST.search(said)
    value = None if match is None else read_number(match["result"].rstrip(","))
    if match is None or value is None or _PART.search(said[: match.start("result")]):
        return None
    text = f"{said[: match.start()]}{BLANK}{said[match.end() :]}".strip()
    return Blank(text, value) if len(text.replace(BLANK, "").split()) >= 2 else None


def ask_to_derive(source: Sequence[str], blanks: Sequence[Blank], number: int) -> tuple[Message, ...]:
    """Return a chat prompt that asks the model to fill the *blanks* from the lines of *source*.

    *number*, the number of the derivation from 0, selects the wording.
    """
    asked, form = _PHRASINGS[number % len(_PHRASINGS)]
    listed = "\n".join(f"{at}. {blank.text}" for at, blank in enumerate(blanks, 1))
    return Message("system", asked), Message("user", form.format(text="\n".join(source), blanks=listed))


def read_derived(reply: str) -> Mapping[int, Fraction]:
    """Return the number that *reply* gives for each blank, as a mapping from the number of the blank (from 1).

    A blank without one clear result, or with two different ones, is left out.
    """
    found: dict[int, Fraction] = {}
    unclear: set[int] = set()
    for line in reply.splitlines():
        match = _LINE.match(line[:400])
        if match is None or not is_plain_text(line):
            continue
        at, rest = int(match["number"]), match["rest"]
        result = rest.rpartition("=")[2]
        numbers = list(_FOUND.finditer(result))
        is_clear = len(numbers) == 1 and "?" not in rest and not _PART.search(result[: numbers[0].start()])
        value = read_number(numbers[0][0].rstrip(",")) if is_clear else None
        if value is None or found.get(at, value) != value:
            unclear.add(at)
        else:
            found[at] = value
    return {at: value for at, value in found.items() if at not in unclear}


def select_agreed(
    statements: Sequence[Statement], blanks: Sequence[Blank], derived: Sequence[Mapping[int, Fraction]], least: int
) -> list[tuple[Statement, int]]:
    """Return those *statements* whose result occurs in at least *least* of *derived*, with the number of times.

    *blanks* has the blank of each statement, in the same order. A derivation maps the number of a blank (from 1) to a
    result.
    """
    found = []
    for at, (statement, blank) in enumerate(zip(statements, blanks, strict=True), 1):
        votes = sum(each.get(at) == blank.value for each in derived)
        if votes >= least:
            found.append((statement, votes))
    return found
