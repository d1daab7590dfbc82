"""Splits a line that is too long to be read at once into windows of whole sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ENDS = re.compile(r"(?<=[^\W\d][)\]\"'*_])[.!?;] |(?<=[^\W\d]{2})[.!?;] ")
"""The end of a sentence after a word: after a number, a full stop may belong to the number or to a list."""


def windows(text: str, most: int) -> Iterator[tuple[int, int]]:
    # A window holds as many whole sentences as fit into `most` characters; it is longer where a single one does not
    # fit.
    if len(text) <= most:
        yield 0, len(text)
        return
    begun = last = 0
    for ending in _ENDS.finditer(text):
        if ending.end() - begun > most and last > begun:
            yield begun, last
            begun = last
        last = ending.end()
    if len(text) - begun > most and last > begun:
        yield begun, last
        begun = last
    if begun < len(text):
        yield begun, len(text)
