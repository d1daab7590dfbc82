"""Reads the statement of a line: a step, an answer, or that there is no solution."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from interwhen_verifiers.puzzles._answers import MAX_LINE, find_answer
from interwhen_verifiers.puzzles._countdown.expressions import (
    Expression,
    ExpressionToken,
    NumberEquation,
    WrittenNumber,
    find_equation,
    read_whole,
    tokenize,
)
from interwhen_verifiers.puzzles._countdown.problem import NumberPuzzle
from interwhen_verifiers.puzzles._statements import Spanned

_LONGEST_CHAIN = 8
_LEFT = re.compile(
    r"[\s,;.:>-]{0,4}+(?:[-=]>|→)?\s?[(\[]?\s?(?:(?:the|now|numbers)\s){0,2}(?:left|remaining|remain)(?:\snumbers)?"
    r"(?:\s(?:are|is))?\s?[:=]?\s?[(\[{]?(-?[0-9]{1,12}(?:[./][0-9]{1,12})?(?:[\s,]{1,3}(?:and\s)?-?[0-9]{1,12}"
    r"(?:[./][0-9]{1,12})?){0,11}+)(?![\w/.]*[\w/])(?![,;]?\s?(?:[&+]|(?:and|plus|new)\b)|[,;]\s?[a-z])",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:[./][0-9]{1,12})?")
_HEAD = re.compile(
    r"[\s>*#_()\-•]*+(?:\(?[0-9]{1,2}[.):]\s)?(?:(?:step|then|next|now|first|second|third|finally"
    r"|so)\b[\s0-9,:.*]{0,8}+(?:[-\u2013\u2014]\s)?)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[\s>*#_]*+step\s?[0-9]{1,2}[\s*_]*+[-\u2013\u2014]\s", re.IGNORECASE)
"""A label with a dash, as in ``Step 1 - 8 + 4 = 12``."""
_TAIL = re.compile(r"[\s.,;:!)*`✓✔✅]*+")
_DENIED = re.compile(
    r"\b(?:not|no|none|cannot|can't|incorrect|wrong|invalid|impossible|sorry|wait|oops|hmm|but|however|try|again)\b"
    r"|n't\b|[?≠✗✘❌]",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"(?:(?:note|sorry|unfortunately|so|therefore|thus|hence)\b[,:]?\s)?(?:"
    r"none|n/a|invalid(?: input)?|impossible|unsolvable|infeasible"
    r"|(?:it is |it's |this is |that is )?(?:not possible|impossible|not solvable)\b.*"
    r"|(?:there (?:is|are) |there's )?no (?:\w+ ){0,2}(?:solutions?|answers?|ways?|combinations?|expressions?"
    r"|operations?)\b.*"
    r"|(?:it |we |i )?(?:cannot|can't|can not|unable|am unable|not able)\b.*"
    r"|(?:solution )?not possible\b.*|invalid\b.*"
    r"|(?:this|these|the)(?: given)? (?:input|combination|set|numbers?|puzzle|game|target)\b[^=]{0,60}?\b"
    r"(?:cannot|can't"
    r"|does not|doesn't|do not|don't|is not|isn't|is impossible|has no)\b.*"
    r"|[0-9]{1,6} (?:cannot|can't|can not)\b.*)[.!]?",
    re.IGNORECASE,
)

_PARTLY = re.compile(
    r"\b(?:only|just|alone|(?:this|that) way|from (?:t?here)|first|yet|so far|without|directly|if|unless|starting"
    r"|remaining|left|already|in this case|path|branch|(?:using|by) [a-z]+)\b",
    re.IGNORECASE,
)
"""Words after which a line may not speak of all ways to make the target."""


@dataclass(frozen=True, slots=True)
class CalculationStep(Spanned):
    """An equation, and the numbers that are left after it according to the line (``None`` if it does not say)."""

    equation: NumberEquation
    listed: tuple[WrittenNumber, ...] | None
    list_start: int
    """The offset in the line at which the list of the numbers left starts; the end of the equation if there is no list.
    """
    is_given_up: bool = False
    """Whether the line itself says that this step leads nowhere."""


@dataclass(frozen=True, slots=True)
class ExpressionAnswer(Spanned):
    """The answer: one expression, or a chain of steps such as ``64 + 29 = 93, 93 - 4 = 89``."""

    sides: tuple[Expression, ...]
    """The expression, and the values that the text equates it with; empty if the answer is a chain."""
    chain: tuple[NumberEquation, ...] = ()
    """The steps of the chain; empty if the answer is one expression."""


@dataclass(frozen=True, slots=True)
class Hopeless(Spanned):
    """The statement that the target cannot be made. ``is_answer``: the line gives this as the answer."""

    is_answer: bool


Said: TypeAlias = CalculationStep | ExpressionAnswer | Hopeless


def read_line(line: str, puzzle: NumberPuzzle, *, answering: bool) -> Said | None:
    """Read the statement of *line*. Return ``None`` if it is not clear.

    *answering*: the line is in the answer. Only there, an expression alone on its line may be the answer, if it has at
    least as many numbers as the puzzle.
    """
    if len(line) > MAX_LINE:
        return None
    if (answer := find_answer(line)) is not None:
        return _final(line, answer.start, answer.end, announced=True)
    label = _LABEL.match(line)
    tokens = _before_list(tokenize(line, label.end() if label else 0)) if "=" in line else []
    found = _equation(line, tokens)
    if found is not None:
        step = _step(line, found[0])
        if step is None or step.listed is not None or len(step.equation.sides[0].numbers) == 2:
            return step
        return _alone(step, puzzle) if answering else None
    if not answering:
        return None
    final = _final(line, len(line) - len(line.lstrip()), len(line.rstrip()), announced=False)
    if isinstance(final, Hopeless) and not _speaks_of_all(line, puzzle):
        return None
    if isinstance(final, ExpressionAnswer) and len(final.sides[0].numbers) < len(puzzle.numbers):
        return None
    return final


def _speaks_of_all(line: str, puzzle: NumberPuzzle) -> bool:
    """Tell whether *line*, a statement that something is impossible, may be about all numbers of *puzzle*."""
    named = sorted(Fraction(number) for number in re.findall(r"[0-9]{1,12}", line))
    for number in (puzzle.target,) if puzzle.target in named else ():
        named.remove(number)
    return not _PARTLY.search(line) and (not named or named == sorted(map(abs, puzzle.numbers)))


def _before_list(tokens: list[ExpressionToken]) -> list[ExpressionToken]:
    """Return *tokens* up to a list of numbers in square brackets after a value: ``50 + 6 = 56 [56]``."""
    has_value = False
    for at, token in enumerate(tokens):
        if token.text == "[" and has_value and tokens[at - 1].kind in {"num", "close"}:
            return tokens[:at] if tokens[at - 1].end < token.start else tokens
        has_value = has_value or token.kind == "equals"
    return tokens


def _equation(line: str, tokens: list[ExpressionToken]) -> tuple[NumberEquation, int] | None:
    """Return the first equation of *line* and the index after it, as :func:`find_equation` does.

    A dash and a space before the *tokens* are a minus sign only if the equation is true with it.
    """
    found = find_equation(tokens)
    if not tokens or tokens[0].text != "-" or line[tokens[0].end : tokens[0].end + 1] != " ":
        return found
    if found is not None and found[0].sides[0].value == found[0].sides[-1].value:
        return found
    return find_equation(tokens[1:])


def _step(line: str, equation: NumberEquation) -> CalculationStep | None:
    if not _HEAD.fullmatch(line, 0, equation.start) or equation.sides[0].is_bare:
        return None
    listed = _LEFT.match(line, equation.end)
    end = listed.end(1) if listed else equation.end
    tail = line[end:]
    is_alone = _TAIL.fullmatch(tail) is not None
    if listed is None and not is_alone:
        # The rest may say anything of the equation: "5 * 1 = 24 (incorrect)".
        return None
    is_given_up = not is_alone and _DENIED.search(tail) is not None
    return CalculationStep(
        equation.start, end, equation, _numbers(line, listed), listed.start(1) if listed else end, is_given_up
    )


def _numbers(line: str, listed: re.Match[str] | None) -> tuple[WrittenNumber, ...] | None:
    if listed is None:
        return None
    found = _NUMBER.finditer(line, *listed.span(1))
    return tuple(WrittenNumber(_fraction(match[0]), *match.span()) for match in found)


def _fraction(text: str) -> Fraction:
    above, _, below = text.partition("/")
    return Fraction(above) / int(below) if below and int(below) else Fraction(above)


def _alone(step: CalculationStep, puzzle: NumberPuzzle) -> Said:
    """Return *step* as an answer if it makes the target from enough numbers; if not, return *step* itself."""
    sides = step.equation.sides
    if sides[-1].value == puzzle.target and len(sides[0].numbers) >= len(puzzle.numbers):
        return ExpressionAnswer(step.start, step.end, sides)
    return step


def _final(line: str, start: int, end: int, *, announced: bool) -> Said | None:
    text = line[start:end]
    if "=" not in text:
        if _NONE.fullmatch(text):
            return Hopeless(start, end, announced)
        expression = read_whole(tokenize(line, start, end)) if _NUMBER.search(text) else None
        if expression is None or len(expression.numbers) < 2:
            return None
        return ExpressionAnswer(expression.start, expression.end, (expression,))
    chain = _chained(line, start, end) if announced else []
    if not chain or _DENIED.search(line, chain[-1].end):
        return None
    is_one = len(chain) == 1
    return ExpressionAnswer(start, chain[-1].end, chain[0].sides if is_one else (), () if is_one else tuple(chain))


def _chained(line: str, start: int, end: int) -> list[NumberEquation]:
    """Return the equations at the start of ``line[start:end]``, separated by commas or semicolons; none if too many."""
    chain: list[NumberEquation] = []
    at = start
    while at < end:
        tokens = tokenize(line, at, end)
        found = find_equation(tokens)
        if found is None or found[0].start != tokens[0].start:
            break
        chain.append(found[0])
        after = tokens[found[1] :]
        if not after or after[0].text not in {",", ";"}:
            break
        at = after[0].end
        if len(chain) > _LONGEST_CHAIN:
            return []
    return chain
