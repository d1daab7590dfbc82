"""The shipped verifier ``json_schema``: it judges structured output while it streams.

Without the extra ``jsonschema``, importing this module raises :class:`~interwhen.toolkit.MissingExtraError`. See
``docs/verifiers/json_schema.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from interwhen import (
    Claim,
    Feedback,
    Monitor,
    Resample,
    Segment,
    Task,
    ToolCalls,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, Level, safe_from_data
from interwhen.triggers import EveryChars

from interwhen_verifiers._factories import require_choice, require_positive, require_texts
from interwhen_verifiers._json_schema.reader import Reader, State, Text
from interwhen_verifiers._json_schema.validator import Judge, has_few_patterns, read_schema
from interwhen_verifiers._tools.calls import read_calls

# Finding JSON in an answer: the answer itself, or blocks between fences.


Where = Literal["auto", "answer", "fenced"]
Place = Literal["start", "prose", "inside", "after", "over"]
"""``start``: before any text; ``over``: nothing more is read."""

_FENCE = "```"
_LIKE = re.compile(r"\{\s{0,8}[\"'}\u201c]|\[\s{0,8}[{\"\[\u201c]")
"""Text in prose that looks like the beginning of a document: an object with a key, or a list of objects, texts or
lists."""
_CARRIED = 10
"""The number of characters kept from the end of a piece, to find a beginning that spans two pieces."""
_LINE = 40
"""The number of characters kept from a line, to see whether it opens or closes a block."""


class Found(NamedTuple):
    """What was found: an error in a document, a string with a pattern, a complete document, or a doubt.

    *start* and *end* are offsets in the text that was fed. The other fields are those of :class:`Documented`.
    """

    start: int
    end: int
    wrong: str = ""
    document: str = ""
    pattern: str | None = None
    value: str = ""
    doubt: str = ""


_START = State()


class Search(NamedTuple):
    """The state of the search after a piece of text."""

    place: Place = "start"
    fenced: bool = False
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
        entries: list[Found] = []
        at = 0
        while at < len(text):
            search, at = self._step(search, text, at, entries)
        return search, entries

    def _step(self, search: Search, text: str, at: int, entries: list[Found]) -> tuple[Search, int]:
        match search.place:
            case "start":
                return self._start(search, text, at)
            case "prose":
                return self._prose(search, text, at, entries)
            case "inside":
                return self._inside(search, text, at, entries)
            case "after":
                return self._after(search, text, at, entries)
            case "over":
                return search, len(text)

    def _start(self, search: Search, text: str, at: int) -> tuple[Search, int]:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return search, at
        if self._where == "answer" or (self._where == "auto" and text[at] in "{["):
            return self._opened(fenced=False), at
        return search._replace(place="prose"), at

    def _opened(self, *, fenced: bool) -> Search:
        return Search("inside", fenced=fenced, reading=self._reader.begin())

    def _prose(self, search: Search, text: str, at: int, entries: list[Found]) -> tuple[Search, int]:
        end = text.find("\n", at)
        search = _looked_through(search, text, at, len(text) if end < 0 else end + 1, entries)
        if end < 0:
            return search._replace(line=(search.line + text[at : at + _LINE])[:_LINE]), len(text)
        line = (search.line + text[at : min(end, at + _LINE)])[:_LINE].strip().lower()
        if line == f"{_FENCE}json":
            return self._opened(fenced=True), end + 1
        return search._replace(line=""), end + 1

    def _inside(self, search: Search, text: str, at: int, entries: list[Found]) -> tuple[Search, int]:
        piece = text[at:] if at else text
        texts: list[Text] = []
        reading, read, wrong = self._reader.feed(search.reading, piece, texts)
        entries.extend(Found(at + text.start, at + text.end, pattern=text.pattern, value=text.value) for text in texts)
        if wrong is not None:
            entries.append(Found(max(wrong.start + at, 0), wrong.end + at, wrong=wrong.why))
            return Search("over"), len(text)
        if reading.mode == "lost":
            entries.append(Found(at, len(text), doubt="the document holds what cannot be followed"))
            return Search("over"), len(text)
        pieces = (piece[:read], search.pieces)
        if reading.mode == "done":
            entries.append(Found(at, at + read, document="".join(reversed(list(_unwound(pieces))))))
            return Search("after", fenced=search.fenced), at + read
        return Search("inside", search.fenced, reading=reading, pieces=pieces), len(text)

    def _after(self, search: Search, text: str, at: int, entries: list[Found]) -> tuple[Search, int]:
        if search.fenced:
            end = text.find("\n", at)
            stop = len(text) if end < 0 else end
            line = (search.line + text[at:stop]).lstrip()[:_LINE]
            if line.strip().strip("`"):
                entries.append(Found(at, stop, doubt="there is text after the JSON document in its block"))
            if end < 0:
                return search._replace(line=line), len(text)
            return Search("prose" if line.strip() == _FENCE else "after", fenced=True), end + 1
        while at < len(text) and text[at].isspace():
            at += 1
        if at < len(text):
            if self._where == "answer":
                entries.append(Found(at, len(text), wrong="there is text after the JSON document"))
                return Search("over"), len(text)
            return Search("prose"), at
        return search, at


def _looked_through(search: Search, text: str, start: int, end: int, entries: list[Found]) -> Search:
    # Documents in prose are not read: each match is added to `entries` as a doubt.
    joined = search.carried + text[start:end]
    base = start - len(search.carried)
    entries.extend(
        Found(max(base + match.start(), 0), base + match.end(), doubt="a document may begin here")
        for match in _LIKE.finditer(joined)
        if base + match.end() > start  # otherwise it was found in the piece before
    )
    return search._replace(carried=joined[-_CARRIED:])


def _unwound(pieces: tuple[Any, ...] | None) -> Iterator[str]:
    while pieces is not None:
        yield pieces[0]
        pieces = pieces[1]


Schema = Mapping[str, Any] | str | bool
"""A schema as a mapping or Boolean, as JSON text, or as the path of a file that ends in ``.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented(Claim):
    """What is judged: a complete document, a string in one, or the range at which a document becomes invalid."""

    document: str = ""
    """The complete document."""
    wrong: str = ""
    """Why no valid document begins like this."""
    pattern: str | None = None
    """The pattern that the string ``value`` in the document must match."""
    value: str = ""
    tool: str = ""
    """The tool, if the document is the arguments of a call."""
    untyped: bool = False
    """Whether the call was written in a format that does not distinguish texts from numbers."""
    doubt: str = ""
    """Why it is not read, though it looks like a document."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    finder: Finder | None
    """``None`` in a worker process, which judges documents and does not search for them."""
    judge: Judge

    def __reduce__(self) -> tuple[Any, ...]:
        return _Prepared, (None, self.judge)


class _Answer(NamedTuple):
    """The state of the tracker in an answer."""

    finder: Finder
    search: Search
    end: int | None = None
    """The end of the last segment in the trace; ``None`` before the first segment."""


def _check(claim: Documented, prepared: Any) -> Verdict:
    if claim.wrong:
        return Violation(why=claim.wrong)
    if claim.doubt:
        return Unknown(claim.doubt)
    judge: Judge | None = prepared.judge if isinstance(prepared, _Prepared) else prepared.get(claim.tool)
    if judge is None:
        return Unknown("there is no schema for this tool")
    verdict = judge.validate(claim.document) if claim.pattern is None else judge.matches(claim.pattern, claim.value)
    if claim.untyped and isinstance(verdict, Violation):
        return Unknown(
            f"the format of the call does not distinguish texts from numbers, so this may be right: {verdict.why}"
        )
    return verdict


@verifier(name="json_schema", version="3", deadline=10.0)
def check(claim: Documented, prepared: Any) -> Verdict:
    """Judge *claim*: a wrong prefix is a violation, and a complete document or string is judged by its schema."""
    return _check(claim, prepared)


@verifier(name="json_schema", version="3", deadline=10.0, worker="process")
def check_apart(claim: Documented, prepared: Any) -> Verdict:
    """Do the same as :func:`check` in a worker process, which can be killed."""
    return _check(claim, prepared)


def _step(answer: _Answer, segment: Segment) -> tuple[_Answer, Iterable[Documented]]:
    search = answer.search
    if answer.end is not None and segment.span.start != answer.end and search.place == "inside":
        # A remedy has written text in between, so it is not known where the document continues.
        search, entries = Search("over"), [Found(0, len(segment.text), doubt="the document was broken off here")]
    else:
        search, entries = answer.finder.feed(search, segment.text)
    claims = [_claim(segment, entry) for entry in entries]
    return _Answer(answer.finder, search, segment.span.end), claims


def _claim(segment: Segment, entry: Found) -> Documented:
    size = len(segment.text)
    start = min(entry.start, max(size - 1, 0))
    span = segment.at(start, min(max(entry.end, start + 1), size))
    return Documented(
        key=repr((entry.wrong, entry.doubt, entry.pattern, entry.value, entry.document)),
        span=span,
        document=entry.document,
        wrong=entry.wrong,
        pattern=entry.pattern,
        value=entry.value,
        doubt=entry.doubt,
    )


def _of_calls(segment: Segment, prepared: Mapping[str, Any]) -> Iterator[Documented]:
    for call, read in zip(segment.calls, read_calls(segment), strict=False):
        if call.name not in prepared or not read.name:
            doubt = "there is no schema for this tool" if read.name else read.problem
            yield Documented(key=f"{call.name} {doubt}", span=segment.span, doubt=doubt)
        elif call.kind == "code":
            yield Documented(key=call.text, span=segment.span, tool=call.name, doubt=read.problem)
        elif segment.call is not None:
            base = call.arguments_at
            span = segment.at(base, base + len(call.arguments))
            key = f"{call.name} {call.arguments}"
            yield Documented(key=key, span=span, document=call.arguments or "{}", tool=call.name)
        else:
            untyped = segment.written is not None and segment.written.untyped
            key = f"{call.name} {call.arguments} {untyped}"
            yield Documented(key=key, span=segment.span, document=call.arguments, tool=call.name, untyped=untyped)


def _is_safe(schema: Any) -> bool:
    return schema is None or (not _is_path(schema) and has_few_patterns(read_schema(schema)))


@safe_from_data(schema=_is_safe, tools=_is_safe, remote=lambda remote: not remote)
def json_schema(
    *,
    schema: Schema | None = None,
    tools: Mapping[str, Any] | str | None = None,
    where: Where = "auto",
    every: int = 64,
    remote: tuple[str, ...] = (),
    level: Level = "witness",
    delivery: Delivery | None = None,
) -> Monitor:
    """Make a monitor that checks JSON by a schema while the model writes it.

    ``schema``: the schema of the answer, as a mapping, JSON text, or the path of a file that ends in ``.json``. Or
    ``tools``, in the same forms: a map from the name of each tool to the schema of its arguments. ``where``: ``answer``
    reads the whole answer as one document; ``fenced`` reads the code blocks that declare json; ``auto`` is ``fenced``,
    but also reads a document that the answer begins with. ``every``: how many characters are read at a time.
    ``remote``: addresses of schemas that a ``$ref`` may name (a folder ends in ``/``). They are fetched when the
    monitor is made. A ``$ref`` to any other address is an error. ``level`` and ``delivery`` are those of
    :class:`~interwhen.Monitor`; the delivery is ``interrupt`` by default, and ``gate_tools`` with ``tools``. Raises
    :class:`UsageError` on a wrong option value, and if a schema is invalid or cannot be read or fetched.
    """
    require_choice("json_schema", get_args(Where), where=where)
    require_positive("json_schema", every=every)
    require_texts("json_schema", remote=remote)
    if (schema is None) == (tools is None):
        raise UsageError(
            "json_schema: needs schema or tools and not both, got "
            f"{'both' if tools is not None else 'neither'}; give one of them"
        )
    if tools is not None:
        return _calls_monitor(tools, remote, level, delivery)
    read = read_schema(_loaded(schema))
    judge = Judge(read, remote)
    prepared = _Prepared(Finder(Reader(read), where), judge)
    return Monitor(
        name="json_schema",
        trigger=EveryChars(every),
        extractor=Tracker(_begin, _step),
        verifier=check_apart if judge.apart else check,
        prepare=_always(prepared),
        delivery=delivery or "interrupt",
        remedy=Resample(),  # feedback inside a document would spoil it
        level=level,
        phase="answer",
    )


def _begin(prepared: _Prepared) -> _Answer:
    assert prepared.finder is not None
    return _Answer(prepared.finder, Search())


def _always(value: Any) -> Callable[[Task], Any]:
    return lambda _task: value


def _calls_monitor(
    tools: Mapping[str, Any] | str, remote: tuple[str, ...], level: Level, delivery: Delivery | None
) -> Monitor:
    named = read_schema(_loaded(tools))
    if not isinstance(named, dict) or not named:
        raise UsageError(
            f"json_schema: tools must be a mapping of names to schemas that is not empty, got "
            f"{tools!r:.100}; give each tool a schema"
        )
    judges = {name: Judge(read_schema(inner), remote) for name, inner in named.items()}
    return Monitor(
        name="json_schema",
        trigger=ToolCalls(),
        extractor=_of_calls,
        verifier=check_apart if any(judge.apart for judge in judges.values()) else check,
        prepare=_always(judges),
        delivery=delivery or "gate_tools",
        remedy=Feedback(),
        level=level,
    )


def _is_path(schema: Any) -> bool:
    return isinstance(schema, str) and schema.endswith(".json")


def _loaded(schema: Any) -> Any:
    if _is_path(schema):
        try:
            return Path(schema).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # also a name with a NUL character
            raise UsageError(
                f"json_schema: {schema!r} must be a readable file, got an error: {error}; name another file"
            ) from error
    return schema


__all__ = ["Documented", "check", "json_schema"]
