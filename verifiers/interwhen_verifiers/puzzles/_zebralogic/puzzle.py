"""Reads a puzzle of houses: the attributes, their values, and the clues."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interwhen_verifiers.puzzles._zebralogic.clues import (
    Attribute,
    HouseRelation,
    Phrases,
    kind_of,
    read_relation,
    stems,
)

MAX_HOUSES = 12
MAX_ATTRIBUTES = 16
MAX_CLUES = 120
MAX_TEXT = 40_000
"""The most characters of a text that is searched for a puzzle."""

_HOUSES = re.compile(
    r"\bthere are (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten) houses\b(?! between)", re.IGNORECASE
)
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ATTRIBUTE = re.compile(r"[ \t]*[-*\u2022] ([^:\n]{1,200}):[ \t]*([^\n]{1,1000})")
_CLUE = re.compile(r"[ \t]*(\d{1,3})[.)] ?([^\n]+)")
_CLUES = re.compile(r"^[#* \t]*clues?\b[:* \t]*$", re.IGNORECASE | re.MULTILINE)
_END = re.compile(r"^(?:#|===|answer|solution|your task|please)", re.IGNORECASE)
_TICKED = re.compile(r"`([^`\n]{1,80})`")


@dataclass(frozen=True, slots=True)
class Clue:
    """A clue with its number, from 1. *relation* is ``None`` if the clue was not understood."""

    number: int
    text: str
    relation: HouseRelation | None


@dataclass(frozen=True, slots=True)
class HousePuzzle:
    """A puzzle: the number of houses, the values, and the clues. Each attribute has one value for each house."""

    houses: int
    phrases: Phrases
    clues: tuple[Clue, ...]

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes, in the order of the text."""
        return self.phrases.attributes

    @property
    def understood(self) -> tuple[Clue, ...]:
        """The clues that were understood."""
        return tuple(clue for clue in self.clues if clue.relation is not None)


def read_puzzle(text: str) -> HousePuzzle | None:
    """Read the last puzzle in *text*; ``None`` if there is none that can be read, or it exceeds a limit.

    Its attributes must fit the number of houses, and its clues must be numbered from 1.
    """
    starts = list(_HOUSES.finditer(text)) if len(text) <= MAX_TEXT else []
    if not starts:
        return None
    said = starts[-1][1].lower()
    houses = _NUMBERS.index(said) if said in _NUMBERS else int(said)
    body = text[starts[-1].start() :]
    border = _CLUES.search(body)
    if border is None or not 2 <= houses <= MAX_HOUSES:
        return None
    attributes = _attributes(body[: border.start()], houses)
    if attributes is None:
        return None
    phrases = Phrases(tuple(attributes))
    clues = _clues(body[border.end() :], phrases, houses)
    return HousePuzzle(houses, phrases, clues) if clues is not None and len(clues) <= MAX_CLUES else None


def _attributes(text: str, houses: int) -> list[Attribute] | None:
    """Return the attributes in *text*, each with as many values as there are *houses*, or ``None``."""
    found = []
    for match in filter(None, map(_ATTRIBUTE.match, text.splitlines())):
        values = tuple(_TICKED.findall(match[2])) or tuple(map(str.strip, match[2].rstrip(".").split(",")))
        if len(values) != houses or len({tuple(stems(value)) for value in values}) != houses or "" in values:
            return None
        found.append(Attribute(match[1].strip(), kind_of(match[1]), values))
    return found if 1 <= len(found) <= MAX_ATTRIBUTES else None


def _clues(text: str, phrases: Phrases, houses: int) -> tuple[Clue, ...] | None:
    """Return the clues in *text* that are numbered from 1, up to a heading or another number; ``None`` without any."""
    clues: list[Clue] = []
    for line in text.splitlines():
        match = _CLUE.match(line)
        if (match and int(match[1]) != len(clues) + 1) or (match is None and _END.match(line)):
            break
        if match:
            clues.append(Clue(len(clues) + 1, match[2].strip(), read_relation(match[2], phrases, houses)))
    return tuple(clues) or None
