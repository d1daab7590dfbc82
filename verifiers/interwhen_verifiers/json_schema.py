"""The shipped verifier ``json_schema``: it judges structured output while it streams.

A prefix that can no longer become a valid document is a violation at once: for example a wrong type, an unknown key, or
the beginning of a string that no ``enum`` allows. The library ``jsonschema`` (extra ``jsonschema``) judges complete
documents. See ``docs/verifiers/json_schema.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from interwhen import (
    Claim,
    Delivery,
    EveryChars,
    Feedback,
    Level,
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

from interwhen_verifiers._factories import require_choice
from interwhen_verifiers._json_schema.finder import Finder, Found, Search, Where
from interwhen_verifiers._json_schema.reader import Reader
from interwhen_verifiers._json_schema.validator import Judge, read_schema
from interwhen_verifiers._tools.calls import read_calls

Schema = Mapping[str, Any] | str | bool
"""A schema as a mapping, as JSON text, or as the path of a file that ends in ``.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented(Claim):
    """What is judged: a complete document, a string in one, or the range at which a document becomes invalid."""

    document: str = ""
    wrong: str = ""
    """Why no valid document begins like this. Empty: the document, or the string, is complete and must be judged."""
    pattern: str = ""
    """The pattern that the string ``value`` in the document must match. Empty: there is no such string."""
    value: str = ""
    tool: str = ""
    """The name of the tool, if the document is the arguments of a call."""
    untyped: bool = False
    """Whether the call was written in a format that does not distinguish texts from numbers."""
    doubt: str = ""
    """Why it is not read, though it looks like a document. Empty: it is read."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    finder: Finder | None
    """``None`` in a worker process, which judges documents and does not search for them."""
    judge: Judge

    def __reduce__(self) -> tuple[Any, ...]:
        return _Prepared, (None, self.judge)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The state of the tracker in an answer. ``end`` is the offset at which the last segment ended."""

    finder: Finder
    search: Search
    end: int | None = None


def _check(claim: Documented, prepared: Any) -> Verdict:
    if claim.wrong:
        return Violation(why=claim.wrong)
    if claim.doubt:
        return Unknown(claim.doubt)
    judge: Judge | None = prepared.judge if isinstance(prepared, _Prepared) else prepared.get(claim.tool)
    if judge is None:
        return Unknown("there is no schema for this tool")
    found = judge.matches(claim.pattern, claim.value) if claim.pattern else judge.validate(claim.document)
    if claim.untyped and isinstance(found, Violation):
        return Unknown(
            f"the format of the call does not distinguish texts from numbers, so this may be right: {found.why}"
        )
    return found


@verifier(name="json_schema", version="3", deadline=10.0)
def check(claim: Documented, prepared: Any) -> Verdict:
    """Judge *claim*: report the error of a prefix, or judge a complete document."""
    return _check(claim, prepared)


@verifier(name="json_schema", version="3", deadline=10.0, worker="process")
def check_apart(claim: Documented, prepared: Any) -> Verdict:
    """Do the same as :func:`check` in a process that can be killed: matching a pattern may take exponential time."""
    return _check(claim, prepared)


def _step(answer: _Answer, segment: Segment) -> tuple[_Answer, Iterable[Documented]]:
    search = answer.search
    if answer.end is not None and segment.span.start != answer.end and search.place == "inside":
        # A remedy has written text in between, so it is not known where the document continues.
        search, found = Search("over"), [Found(0, len(segment.text), doubt="the document was broken off here")]
    else:
        search, found = answer.finder.feed(search, segment.text)
    claims = [_claim(segment, entry) for entry in found]
    return _Answer(answer.finder, search, segment.span.end), claims


def _claim(segment: Segment, found: Found) -> Documented:
    size = len(segment.text)
    start = min(found.start, max(size - 1, 0))
    span = segment.at(start, min(max(found.end, start + 1), size))
    return Documented(
        key=repr((found.wrong, found.doubt, found.pattern, found.value, found.document)),
        span=span,
        document=found.document,
        wrong=found.wrong,
        pattern=found.pattern,
        value=found.value,
        doubt=found.doubt,
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


def json_schema(
    *,
    schema: Schema | None = None,
    tools: Mapping[str, Any] | str | None = None,
    where: Where = "auto",
    every: int = 16,
    remote: tuple[str, ...] = (),
    level: Level = "witness",
    delivery: Delivery | None = None,
) -> Monitor:
    """Make a monitor that checks JSON by a schema while the model writes it.

    ``schema``: the schema of the answer, as a mapping, JSON text, or the path of a file that ends in ``.json``. Or
    ``tools``: a map from the name of each tool to the schema of its arguments. ``where``: ``answer`` reads the whole
    answer as one document; ``fenced`` reads the code blocks that declare json; ``auto`` is ``answer`` if the answer
    begins with a bracket, and otherwise ``fenced``. ``every``: how many characters are read at a time. ``remote``:
    addresses of schemas that a ``$ref`` may name (a folder ends in ``/``). They are fetched once, when the monitor is
    made. Other addresses are never fetched. ``level`` and ``delivery`` are those of :class:`~interwhen.Monitor`. Raises
    :class:`UsageError` on an unknown option value or an invalid schema.
    """
    require_choice("json_schema", get_args(Where), where=where)
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
            f"json_schema: tools must be a mapping of names to schemas that is not empty, got {tools!r:.100}"
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


def _loaded(schema: Any) -> Any:
    if isinstance(schema, str) and schema.endswith(".json"):
        try:
            return Path(schema).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"json_schema: {schema!r} must be a readable file, got an error: {error}; name another file"
            ) from error
    return schema


__all__ = ["Documented", "check", "json_schema"]
