"""Finds the answer in a text whose task is not known, in a form that can be compared."""

from __future__ import annotations

import re

import msgspec

from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.segments import decode_once
from interwhen.toolkit.quantities import read_number

ANSWER = r"(?:^|\n)\W{0,4}answer\W{0,3}:\s*([^\n]+)"
"""Finds what follows "answer:" at the start of a line, perhaps in marks such as ``**``; to be used without regard to
case.
"""

_LINE = re.compile(ANSWER, re.IGNORECASE)
# The forms of published mathematics tasks: MATH, and GSM8K.
_BOXED = re.compile(r"\\boxed\{([^{}\n]{1,200})\}")
_HASHES = re.compile(r"(?:^|\n)####[ \t]*([^\n]+)")
_OPENED = re.compile(r"(?:^|\n)[ \t]*<think>")
_CLOSED = "</think>"
_WRAPPED = re.compile(r"\\\((.*)\\\)|\\boxed\{([^{}]*)\}")
_DOLLARS = re.compile(r"([-+\u2212] ?)\$")


def normal(answer: str) -> str:
    r"""Return *answer* in a form for comparison: an exact number as text, or else its words in lower case.

    A number such as ``0.5`` becomes a fraction (``1/2``). Marks such as ``$`` and ``*`` at the ends, and
    ``\boxed{...}`` around all of it are removed.
    """
    plain = _plain(answer)
    while wrapped := _WRAPPED.fullmatch(plain):
        plain = _plain(wrapped[1] or wrapped[2] or "")
    plain = _DOLLARS.sub(r"\1", plain, count=1) if _DOLLARS.match(plain) else plain
    value = read_number(plain)
    return " ".join(plain.casefold().split()) if value is None else str(value)


def _plain(answer: str) -> str:
    return answer.strip().lstrip("`*$ ").rstrip("`*$. ")


def outside_thoughts(text: str) -> str:
    # A `<think>` counts only at the start of a line, because an answer may name the tag.
    said = text.rpartition(_CLOSED)[2]
    opened = _OPENED.search(said)
    return said if opened is None else said[: opened.start()]


def without_open_thoughts(text: str) -> str:
    ended, closed, _ = text.rpartition(_CLOSED)
    return ended + closed + outside_thoughts(text)


def read_answer(text: str) -> str | None:
    r"""Find the answer in *text*, and return it in a form for comparison; ``None`` if there is no text to read.

    The answer is the last of these that is not empty: what follows "Answer:" at the start of a line, the content of a
    ``\boxed{...}`` without inner braces, what follows ``####`` at the start of a line. If there is none, it is the last
    line that is not blank. Reasoning (:func:`outside_thoughts`) is ignored.
    """
    said = outside_thoughts(text)
    stated = [match for pattern in (_LINE, _BOXED, _HASHES) for match in pattern.finditer(said)]
    for match in sorted(stated, key=lambda each: each.start(1), reverse=True):
        if answer := normal(match[1]):
            return answer
    lines = said.split("\n")
    return next((normal(line) or line.strip() for line in reversed(lines) if line.strip()), None)


def read_json(text: str) -> str | None:
    # Equal values give equal texts. `None`, too, if a name is twice in one object, which programs read differently.
    said = outside_thoughts(text)
    try:
        value = decode_once(said)
    except (ValueError, *DECODE_ERRORS):
        return None
    return msgspec.json.encode(value, order="deterministic").decode()
