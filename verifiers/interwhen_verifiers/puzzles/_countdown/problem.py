"""Reads the puzzle of a prompt: the numbers, the target, and whether all numbers must be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Use = Literal["all", "some", "unclear"]
"""Whether each number must be used (``all``), may be left out (``some``), or the text does not say (``unclear``)."""

MAX_PROMPT = 20_000
"""Only so many characters at the end of a prompt are read."""
_MOST = 8
_N = r"-?[0-9]{1,6}"
_LIST = rf"{_N}(?:(?:\s?[,;]\s?(?:and\s)?|\sand\s|\s){_N}){{1,11}}"
_GIVEN = re.compile(
    rf"(?:\b(?:input|numbers|digits|using|use|combine|with|from|are|these|given"
    rf"|of)\b[ \t]*[:=]?\s{{0,2}})[\[({{]?({_LIST})(?![\w/%])",
    re.IGNORECASE,
)
_INPUT = re.compile(rf"^[ \t>*]{{0,8}}input[ \t]*:[ \t]*({_LIST})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_TARGET = re.compile(
    rf"(?:\b(?:make|makes|obtain|obtains|reach|reaches|get|gets|equals?|equal to|evaluates? to|results? in|total of"
    rf"|calculate|value(?: of)?|goal(?: is)?|target(?: number| value)?(?: is| of)?)"
    rf"\b[ \t]{{0,4}}:?[ \t]{{0,4}}(?:exactly |precisely )?"
    rf"(?:the (?:target )?(?:number |value |target )?(?:of )?)?)({_N})(?![\w%]|\.[0-9]|[ \t]*,[ \t]*[0-9])",
    re.IGNORECASE,
)
_GAME = re.compile(r"\bgame of 24\b|\b24[ -](?:point )?game\b|\bsolve 24\b", re.IGNORECASE)
_HINT = re.compile(
    r"\bonce\b|\btarget\b|\bcountdown\b|\bsome or all of\b|\ball of these numbers\b"
    r"|\b(?:use|using|combine|combining)\b[^.\n]{0,40}\bnumbers\b"
    r"|^\W{0,8}use [0-9 ,and]{3,60} to (?:make|get|obtain|reach) [0-9]+\W*$"
    r"|\ban? (?:arithmetic |mathematical |math )?(?:expression|equation) (?:that|which|with|whose)\b"
    r"|\bcombine\b[^.\n]{0,60}\bto (?:make|get|reach|obtain)\b|\bgoal\b ?:"
    r"|\b(?:make|get|obtain|reach|calculate) [0-9]+ (?:using|from|with)\b",
    re.IGNORECASE | re.MULTILINE,
)
_SIGNS = re.compile(r"\+|arithmetic|operation", re.IGNORECASE)
_SOME = re.compile(
    r"some or all|(?:some|any) of (?:the|these) (?:\w+ )?numbers|not (?:all|every|necessar)"
    r"|need not|(?:do|does)(?: not|n't) (?:have|need) to use (?:all|every|each)",
    re.IGNORECASE,
)
_AT_MOST = re.compile(r"at most once|no more than once", re.IGNORECASE)
_ALL = re.compile(
    r"\b(?:each|every|all)\b[^.\n]{0,40}\bexactly once|\bexactly once\b|\b(?:all|every one) (?:of )?(?:the "
    r"|these |your )?"
    r"(?:\w+ )?numbers?\b|\bevery number\b|each (?:number )?(?:used )?once\b|uses? each (?:\w+ )?(?:number )?once\b"
    r"|two of the remaining numbers",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NumberPuzzle:
    """The numbers, the target that must be made from them, and whether all of them must be used."""

    numbers: tuple[Fraction, ...]
    target: Fraction
    use: Use
    """``all``: all must be used; ``some``: numbers may be left out; ``unclear``: the text does not say."""

    @property
    def listed(self) -> str:
        """The numbers as text, with blanks between them."""
        return " ".join(map(str, self.numbers))


def read_puzzle(prompt: str, target: int | None = None) -> NumberPuzzle | None:
    """Read the puzzle of *prompt*; *target* is used if the prompt names no target.

    Return ``None`` if there is no clear puzzle, if it has more than eight numbers, or if there is no target.
    """
    text = prompt[-MAX_PROMPT:]
    numbers = _numbers(text)
    wanted = _target(text, target)
    if numbers is None or wanted is None or not _is_puzzle(text):
        return None
    return NumberPuzzle(numbers, Fraction(wanted), _use(text))


def _is_puzzle(text: str) -> bool:
    """Tell whether *text* asks for a calculation with numbers, and does not only mention numbers."""
    if _INPUT.search(text) and _SIGNS.search(text):
        return True
    return (_HINT.search(text) or _GAME.search(text)) is not None


def _numbers(text: str) -> tuple[Fraction, ...] | None:
    """Return the only list of numbers in *text*, or the list in the last line "Input: ...", if there is one.

    Return ``None`` if it is not clear which list is meant, or if it is too long.
    """
    inputs = _INPUT.findall(text)
    lists = {tuple(map(int, re.findall(_N, found))) for found in (inputs[-1:] or _GIVEN.findall(text))}
    if len(lists) != 1:
        return None
    numbers = tuple(map(Fraction, lists.pop()))
    return numbers if len(numbers) <= _MOST else None


def _target(text: str, meant: int | None) -> int | None:
    named = set(map(int, _TARGET.findall(text)))
    if not named and _GAME.search(text):
        named = {24}
    if not named and meant is not None:
        named = {meant}
    return named.pop() if len(named) == 1 else None


def _use(text: str) -> Use:
    if _SOME.search(text):
        return "some"
    if _ALL.search(text) or _GAME.search(text):
        return "all"
    return "some" if _AT_MOST.search(text) else "unclear"
