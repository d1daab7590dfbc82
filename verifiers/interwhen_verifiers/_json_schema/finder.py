"""Finds JSON in an answer: the answer itself, or blocks between fences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from interwhen_verifiers._json_schema.reader import Reader
from interwhen_verifiers._json_schema.states import State, Text, Wrong

Where = Literal["auto", "answer", "fenced"]
Place = Literal["start", "prose", "inside", "after", "over"]
"""Before any text; in prose; inside a document; after a document (in its block or in the answer); or at the end,
where nothing more is read."""

_FENCE = "```"
_LIKE = re.compile(r"\{\s{0,8}[\"'}\u201c]|\[\s{0,8}[{\"\[\u201c]")
"""Text in prose that looks like the beginning of a document: an object with a key, or a list of objects, texts or
lists."""
_CARRIED = 10
"""The number of characters kept from the end of a piece, to find a beginning that spans two pieces."""
_LINE = 40
"""The number of characters kept from a line, to see whether it opens or closes a block."""


class Found(NamedTuple):
    """What was found: an error in a document, a string with a pattern, a complete document, or a doubt."""

    start: int
    """The offset of its start in the text that was fed; ``end`` is the offset of its end."""
    end: int
    wrong: str = ""
    document: str = ""
    pattern: str = ""
    """The pattern that the string ``value`` must match."""
    value: str = ""
    doubt: str = ""
    """Why text that looks like a document is not read; empty if it is read."""


_START = State()


@dataclass(frozen=True, slots=True)
class Search:
    """The state of the search after a piece of text, from which it continues with the next piece."""

    place: Place = "start"
    fenced: bool = False
    """Whether the document is in a fenced block."""
    line: str = ""
    """The beginning of the current line of prose."""
    reading: State = _START
    pieces: tuple[Any, ...] | None = None
    """The document so far: the last piece, and the pieces before it."""
    carried: str = ""
    """The end of the prose that was searched for documents."""


class Finder:
    """Searches an answer for JSON documents, piece by piece."""

    def __init__(self, reader: Reader, where: Where) -> None:
        self._reader = reader
        self._where = where

    def feed(self, search: Search, text: str) -> tuple[Search, list[Found]]:
        """Search *text*, the next piece of the answer; return the next state and the findings."""
        found: list[Found] = []
        at = 0
        while at < len(text):
            search, at = self._step(search, text, at, found)
        return search, found

    def _step(self, search: Search, text: str, at: int, found: list[Found]) -> tuple[Search, int]:
        match search.place:
            case "start":
                return self._start(search, text, at)
            case "prose":
                return self._prose(search, text, at, found)
            case "inside":
                return self._inside(search, text, at, found)
            case "after":
                return self._after(search, text, at, found)
            case "over":
                return search, len(text)

    def _start(self, search: Search, text: str, at: int) -> tuple[Search, int]:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return search, at
        if self._where == "answer" or (self._where == "auto" and text[at] in "{["):
            return self._opened(fenced=False), at
        return replace(search, place="prose"), at

    def _opened(self, *, fenced: bool) -> Search:
        return Search("inside", fenced=fenced, reading=self._reader.begin())

    def _prose(self, search: Search, text: str, at: int, found: list[Found]) -> tuple[Search, int]:
        end = text.find("\n", at)
        search = _looked_through(search, text, at, len(text) if end < 0 else end + 1, found)
        if end < 0:
            return replace(search, line=(search.line + text[at : at + _LINE])[:_LINE]), len(text)
        line = (search.line + text[at : min(end, at + _LINE)])[:_LINE].strip().lower()
        if line == f"{_FENCE}json":
            return self._opened(fenced=True), end + 1
        return replace(search, line=""), end + 1

    def _inside(self, search: Search, text: str, at: int, found: list[Found]) -> tuple[Search, int]:
        piece = text[at:] if at else text
        texts: list[Text] = []
        reading, read, wrong = self._reader.feed(search.reading, piece, texts)
        found.extend(Found(at + text.start, at + text.end, pattern=text.pattern, value=text.value) for text in texts)
        if wrong is not None:
            found.append(_located(wrong, at))
            return Search("over"), len(text)
        if reading.mode == "lost":
            found.append(Found(at, len(text), doubt="the document holds what cannot be followed"))
            return Search("over"), len(text)
        pieces = (piece[:read], search.pieces)
        if reading.mode == "done":
            found.append(Found(at, at + read, document="".join(reversed(list(_unwound(pieces))))))
            return Search("after", fenced=search.fenced), at + read
        return replace(search, reading=reading, pieces=pieces), len(text)

    def _after(self, search: Search, text: str, at: int, found: list[Found]) -> tuple[Search, int]:
        if search.fenced:
            end = text.find("\n", at)
            search = _looked_through(search, text, at, len(text) if end < 0 else end + 1, found)
            line = (search.line + text[at : len(text) if end < 0 else end])[:_LINE]
            if end < 0:
                return replace(search, line=line), len(text)
            return Search("prose" if line.strip() == _FENCE else "after", fenced=True), end + 1
        while at < len(text) and text[at].isspace():
            at += 1
        if at < len(text):
            if self._where == "answer":
                found.append(Found(at, len(text), wrong="there is text after the JSON document"))
                return Search("over"), len(text)
            return Search("prose"), at
        return search, at


def _looked_through(search: Search, text: str, start: int, end: int, found: list[Found]) -> Search:
    """Search ``text[start:end]``, which is prose, for text that looks like a document; return the next state.

    Documents in prose are not read, so each match is added to *found* as a doubt.
    """
    joined = search.carried + text[start:end]
    base = start - len(search.carried)
    found.extend(
        Found(max(base + match.start(), 0), base + match.end(), doubt="a document may begin here")
        for match in _LIKE.finditer(joined)
        if base + match.end() > start  # otherwise it was found in the piece before
    )
    return replace(search, carried=joined[-_CARRIED:])


def _located(wrong: Wrong, at: int) -> Found:
    return Found(max(wrong.start + at, 0), wrong.end + at, wrong=wrong.why)


def _unwound(pieces: tuple[Any, ...] | None) -> Iterator[str]:
    while pieces is not None:
        yield pieces[0]
        pieces = pieces[1]
