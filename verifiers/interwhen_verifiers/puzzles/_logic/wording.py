"""What the logic problems share: final answers, ordinals, sentences, and words that weaken an assertion."""

# ruff: noqa: RUF001 (apostrophes of both kinds are read here)

from __future__ import annotations

import re
from typing import Final

from interwhen_verifiers.puzzles._statements import FinalAnswer, find_answer

MAX_LINE: Final = 6000
"""Longer lines are not read."""
MAX_PROMPT: Final = 20_000
"""Longer prompts are not read."""

ORDINALS: Final = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"),
    *("twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth"),
)
ORDINAL: Final = rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th))"
_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}
NUMBERS: Final = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}

_DOUBT = re.compile(
    r"\?(?!\s?\")|[\u2717\u2718\u274c]"
    r"|\b(?:if|unless|whether|not|never|cannot|maybe|perhaps|might|could|would|should|suppos\w{1,5}|assum\w{1,5}"
    r"|imagine|seems?|probably|likely|wait|hmm|unclear|unsure|wrong|incorrect\w{0,2}|mistake\w{0,2}|actually|however"
    r"|but|instead|false|contradict\w{0,6}|impossible|let|case|try|trying|say|question|options?|asks?|asked"
    # Denials in other words, the claims of others, and statements on some of the things alone.
    r"|untrue|fails?|failed|hardly|rul(?:es?|ed|ing) out|exclud\w{1,3}|reject\w{0,3}|refut\w{1,3}|disprov\w{1,3}"
    r"|claims?|claimed|statement|believes?|thinks?|among|remaining|without|ignor\w{1,3}|remov\w{1,3}"
    r"|of (?:the|these|those) two|mirror\w{0,3}|viewed|revers\w{0,3}|backwards?)\b"
    r"|^\W{0,4}of (?:the|these|those) [^,.;]{1,60},"
    r"|n['’]t\b|[.;!:\-(]\s{0,2}no\b(?!\s\w)",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(r"\b(?:suppos\w{1,5}|assum\w{1,5}|imagine|cases? \w|scenario|hypothe\w{1,6})\b", re.IGNORECASE)
_PERHAPS = re.compile(r"\b(?:if|unless|try|trying|let|say|guess)\b", re.IGNORECASE)
_SENTENCE = re.compile(
    r"[^.;!?\n]*(?:[.;!?]+(?=[\s\"')*]|$)|[.;!?\n]|$)"
    r"(?:[\s*:(\-]{1,6}(?:[\u2717\u2718\u274c]|(?:false|incorrect|wrong|no)\b(?!\s\w)))?",
    re.IGNORECASE,
)
"""A sentence, and a word or mark after it that denies it: ``A is the oldest. False.``"""


_SO = re.compile(r"\b(?:so|thus|therefore|hence),? the (?:final |correct )?answer is:?\s{1,3}(?=\S)", re.IGNORECASE)


def read_final(line: str) -> FinalAnswer | None:
    if matches := list(_SO.finditer(line)):
        start = matches[-1].end()
        text = line[start:].rstrip().rstrip(".").rstrip()
        return FinalAnswer(start, start + len(text), text) if text else None
    return find_answer(line)


def ordinal(word: str) -> int:
    low = word.lower()
    return ORDINALS.index(low) + 1 if low in ORDINALS else int(low[:-2])


def spelled(number: int) -> str:
    if 0 < number <= len(ORDINALS):
        return ORDINALS[number - 1]
    return f"{number}{'th' if number % 100 in (11, 12, 13) else _ENDINGS.get(number % 10, 'th')}"


def is_doubtful(text: str) -> bool:
    return _DOUBT.search(text) is not None


def supposes(text: str, *, is_about: bool) -> bool:
    """Tell whether *text* may begin an assumption, on which later statements depend.

    *is_about*: *text* is about the problem, so that weaker words such as "if" are a sign of an assumption.
    """
    return _SUPPOSED.search(text) is not None or (is_about and _PERHAPS.search(text) is not None)


def sentences(line: str) -> list[tuple[int, int]]:
    return [match.span() for match in _SENTENCE.finditer(line) if match[0].strip()]
