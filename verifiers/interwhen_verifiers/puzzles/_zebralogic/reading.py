"""Reads the statements of a trace about the houses, line by line: sentences, lists, tables and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from interwhen_verifiers.puzzles._statements import Spanned
from interwhen_verifiers.puzzles._zebralogic.clues import MAX_CLUE, HouseRelation, read_relation
from interwhen_verifiers.puzzles._zebralogic.puzzle import HousePuzzle

MAX_LINE = 20_000
"""Longer lines are not read."""
_MAX_COLUMNS = 32

_SUPPOSED = re.compile(
    r"\b(?:suppose|assum\w*|if|let'?s (?:try|say|test|consider|see|put|place)|try(?:ing)?|case \d|case [a-z]\b|"
    r"scenario|option|possibilit\w*|possible|hypothes\w*|what if|perhaps|maybe|"
    r"might|may (?:be|have|not|live|well)|could|would|should|either|"
    r"unless|guess|tentativ\w*|contradict\w*|wrong|mistake|incorrect|wait|alternatively|or|"
    r"then again|not sure|example)\b|\?",
    re.IGNORECASE,
)
"""A line with any of these words may not assert anything."""
_OPENS = re.compile(
    r"\b(?:suppose|assum\w*|let'?s (?:try|say|test|consider|put|place)|try(?:ing)?|case \d|case [a-z]\b|"
    r"scenario|option|possibility|what if|guess|tentativ\w*|if|either|example)\b",
    re.IGNORECASE,
)
"""The lines after one with any of these words may depend on a supposition."""
_FINAL = re.compile(
    r"\b(?:final|complete) (?:answer|solution|arrangement|grid|table|assignment|result)|\bsolution\b[^\n]{0,20}:"
    r"|\bthe (?:answer|solution) is\b|\"solution\"",
    re.IGNORECASE,
)
_JSON = re.compile(r'"((?:[^"\\\n]|\\.){1,80})"\s{0,8}:\s{0,8}(?:"((?:[^"\\\n]|\\.){0,80})"|(\{))', re.IGNORECASE)
_HOUSE = re.compile(r"(?:house|position)[ _#-]{0,3}(\d{1,2})$", re.IGNORECASE)
_LISTED = re.compile(r"[-*\u2022#\s]{0,12}(?:house|position)[ #]{1,2}(\d{1,2})[*_ ]{0,4}[:=-][*_ ]{0,4}", re.IGNORECASE)
_PART = re.compile(r"[^,;|]+")
_LABEL = re.compile(r"([A-Za-z' _*-]{1,40})[:=]")
_CELLS = re.compile(r"[^|\n]+")
_SENTENCE = re.compile(r"[^.;!\n]+[.;!]?")
_BULLET = re.compile(r"[-*\u2022\s]+|\d{1,3}[.)]")
_LEAD = re.compile(
    r"(?:(?:and|but|so|thus|hence|therefore|then|now|also|finally|clearly|this means|this implies|we know|we get|"
    r"we have|it follows|which means|meaning)(?: that)?|"
    r"(?:from |by |using )?clues? #?\d{1,3}(?: says| states| tells us| means)?(?: that)?)[,:]?\s+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stated(Spanned):
    """The statement that *relation* is true."""

    relation: HouseRelation


@dataclass(frozen=True, slots=True)
class ReadingState:
    """What the lines so far tell about the meaning of the next line."""

    puzzle: HousePuzzle
    house: int = 0
    """The house whose JSON object is open; 0 if none is."""
    columns: tuple[str, ...] = ()
    """The header of the table in which the next line may be a row."""
    supposing: bool = False
    """Whether the next line may depend on a supposition."""


def read_line(reading: ReadingState, line: str, *, answer: bool) -> tuple[ReadingState, list[Stated]]:
    """Return the state after *line*, and the statements in the line. Takes time linear in the length of *line*.

    *answer*: the line is in the answer.
    """
    if len(line) > MAX_LINE:
        return reading, []
    final = _FINAL.search(line) is not None
    opens = not final and _OPENS.search(line) is not None
    reading = replace(reading, supposing=not final and (reading.supposing or opens))
    if '"' in line and _JSON.search(line):
        reading, found = _json(reading, line)
        return reading, [] if reading.supposing and not final and not answer else found
    if line.lstrip().startswith("|"):
        reading, found = _table(reading, line)
        return reading, [] if reading.supposing else found
    reading = replace(reading, columns=())
    if reading.supposing or _SUPPOSED.search(line):
        return reading, []
    listed = _LISTED.match(line)
    return reading, list(_list(reading, line, listed) if listed else _sentences(reading, line))


def _placed(reading: ReadingState, label: str, value: str, house: int, span: tuple[int, int]) -> Iterator[Stated]:
    cell = reading.puzzle.phrases.labelled(label, value) if 1 <= house <= reading.puzzle.houses else None
    if cell is not None:
        yield Stated(*span, HouseRelation("house", cell, number=house))


def _json(reading: ReadingState, line: str) -> tuple[ReadingState, list[Stated]]:
    found: list[Stated] = []
    house = reading.house
    for match in _JSON.finditer(line):
        named = _HOUSE.fullmatch(match[1].strip())
        if match[3]:
            house = int(named[1]) if named else 0
        elif house and match[2] is not None:
            found.extend(_placed(reading, match[1], match[2], house, match.span(2)))
    return replace(reading, house=house), found


def _table(reading: ReadingState, line: str) -> tuple[ReadingState, list[Stated]]:
    """Read *line*, a row of a table. Return the state after it, and the statements in it.

    The first row is the header. The houses may be the rows or the columns.
    """
    cells = [(_bare(match[0]), match) for match in _CELLS.finditer(line)][:_MAX_COLUMNS]
    texts = tuple(text for text, _ in cells)
    if not reading.columns:
        return replace(reading, columns=texts), []
    if len(texts) != len(reading.columns):
        return reading, []
    found: list[Stated] = []
    by_column = [_house(text) for text in reading.columns]
    row = _house(texts[0], bare=True)
    for (text, match), label, column in list(zip(cells, reading.columns, by_column, strict=True))[1:]:
        span = _trimmed(match)
        if column and not row:
            found.extend(_placed(reading, texts[0], text, column, span))
        elif row and not any(by_column) and _house(reading.columns[0] + " 1"):
            found.extend(_placed(reading, label, text, row, span))
    return reading, found


def _house(text: str, *, bare: bool = False) -> int:
    match = _HOUSE.fullmatch(text) or (re.fullmatch(r"#?(\d{1,2})", text) if bare else None)
    return int(match[1]) if match else 0


def _bare(text: str) -> str:
    return text.strip(" \t*_`")


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    text = match[0].lstrip(" \t*_`")
    start = match.end() - len(text)
    return start, start + len(_bare(text))


def _list(reading: ReadingState, line: str, listed: re.Match[str]) -> list[Stated]:
    """Read *line*, such as "House 2: Eric, color: red". Return no statement if any part is not understood."""
    found: list[Stated] = []
    for match in _PART.finditer(line, listed.end()):
        start, end = _trimmed(match)
        text = line[start:end].rstrip(".")
        label = _LABEL.match(text)
        value = _bare(text[label.end() :]) if label else text
        stated = list(_placed(reading, label[1] if label else "", value, int(listed[1]), (start, start + len(text))))
        if text and not stated:
            return []
        found.extend(stated)
    return found


def _skip(pattern: re.Pattern[str], line: str, start: int, end: int) -> int:
    """Return the offset after all consecutive matches of *pattern* from *start* on."""
    while found := pattern.match(line, start, end):
        start = found.end()
    return start


def _sentences(reading: ReadingState, line: str) -> Iterator[Stated]:
    for match in _SENTENCE.finditer(line):
        start = _skip(_LEAD, line, _skip(_BULLET, line, match.start(), match.end()), match.end())
        text = line[start : match.end()].rstrip(" .;!*_")
        plain = text.replace("*", "").replace("`", "") if len(text) <= MAX_CLUE else ""
        relation = read_relation(plain, reading.puzzle.phrases, reading.puzzle.houses)
        if relation is not None:
            yield Stated(start, start + len(text), relation)
