"""Where a line gives the final answer of a multiple-choice or a free question."""

from __future__ import annotations

import re
from typing import NamedTuple

from interwhen_verifiers.puzzles._answers import find_answer

_SO = re.compile(r"\b(?:so|thus|therefore|hence),? the (?:final |correct )?answer is:?\s{1,3}(?=\S)", re.IGNORECASE)
_LETTER = re.compile(r"[\s*$]{0,4}\(?([A-H])\)?[\s.*$]{0,4}$")


class FinalAnswer(NamedTuple):
    """The answer that a line gives."""

    text: str
    start: int
    end: int

    @property
    def letter(self) -> str:
        """The option that it names; empty: none."""
        found = _LETTER.match(self.text)
        return found[1] if found else ""


def read_final(line: str) -> FinalAnswer | None:
    """Return the final answer in *line*; ``None``: it gives none. Linear in its length."""
    found = list(_SO.finditer(line))
    if found:
        text = line[found[-1].end() :].rstrip().rstrip(".").rstrip()
        return FinalAnswer(text, found[-1].end(), found[-1].end() + len(text)) if text else None
    answer = find_answer(line)
    return FinalAnswer(*answer) if answer else None
