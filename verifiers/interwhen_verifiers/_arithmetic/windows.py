"""A long text on one line, cut between sentences into windows that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ENDS = re.compile(r"(?<=[^\W\d][)\]\"'*_])[.!?;] |(?<=[^\W\d]{2})[.!?;] ")
"""The end of a sentence whose last word is a word: behind a number, a full stop may be a part of it or of a list."""


def windows(text: str, most: int) -> Iterator[tuple[int, int]]:
    """Yield where the windows of *text* begin and end: as long as possible up to *most*, without gaps.

    One is longer where it is a single sentence.
    """
    if len(text) <= most:
        yield 0, len(text)
        return
    begun = last = 0
    for found in _ENDS.finditer(text):
        if found.end() - begun > most and last > begun:
            yield begun, last
            begun = last
        last = found.end()
    if len(text) - begun > most and last > begun:
        yield begun, last
        begun = last
    if begun < len(text):
        yield begun, len(text)
