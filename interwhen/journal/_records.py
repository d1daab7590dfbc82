"""What a journal holds, record by record.

Every time is in seconds since the run began, without any between the end of one process and the start of the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec

from interwhen._core.messages import (
    Abandoned,
    Broken,
    Ended,
    Extracted,
    Fact,
    Idle,
    Opened,
    OutOfTime,
    Resumed,
    Settled,
)
from interwhen.budgets import Budgets
from interwhen.claims import Claim
from interwhen.feedback import FeedbackTemplate
from interwhen.journal.settings import ModelReference
from interwhen.ledger import Offline
from interwhen.models.base import Chunk, Prompt, Sampling, Usage
from interwhen.results import Result
from interwhen.segments import Phase
from interwhen.verifier import Worker
from interwhen.wire_report import WireReport

RareFact: TypeAlias = Opened | Ended | Broken | Extracted | Settled | OutOfTime | Idle | Abandoned | Resumed


class VerifierRecord(msgspec.Struct, frozen=True):
    """Which verifier judged."""

    name: str
    version: str
    deadline: float
    worker: Worker
    code_sha256: str = ""
    """The hash of its module file, as it was when the run began."""


class MonitorRecord(msgspec.Struct, frozen=True):
    """What the core must know of a monitor."""

    verifier: int
    """Its verifier, by number: monitors that share one share its verdicts."""
    forks: bool
    """Whether its extractor is a fork."""
    fields: dict[str, Any]
    """All that is data in the monitor, by name."""
    code: tuple[str, ...] = ()
    """What else in it is a function, by name."""
    spec: str | dict[str, Any] | None = None
    """By what name and options it was asked for; ``None``: it was given as an object, or with something secret."""


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header", kw_only=True):
    """What the run was asked to do. Always the first record."""

    interwhen: str
    written: float
    """When, in seconds since 1970 (UTC)."""
    model: str
    reference: ModelReference | None
    prompt: Prompt
    prompt_sha256: str
    sampling: Sampling
    budgets: Budgets
    template: FeedbackTemplate
    think_tags: tuple[str, str] | None
    context_tokens: int | None
    starts_in: Phase
    verifiers: tuple[VerifierRecord, ...]
    monitors: tuple[MonitorRecord, ...]
    offline: Offline = Offline()
    """What the run used that was prepared before; *prompt* has it in it."""
    rules: int = 0
    """By which rules the core planned remedies; 0: those of versions that did not say."""
    min_coverage: float = 0.0
    """The share of the text that checked claims must cover."""


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """Chunks of plain text that came one after the other."""

    at: float
    """When the first one came."""
    phase: Phase
    texts: tuple[str, ...]
    gaps: tuple[int, ...]
    """For each but the first one, how long after the one before it came, in microseconds."""


class Came(msgspec.Struct, frozen=True, array_like=True, tag="came"):
    """A chunk with more to it than text."""

    at: float
    chunk: Chunk


class Told(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """Any other fact that the core was told."""

    at: float
    length: int
    """How long the trace was then, in characters: whoever rebuilds it must arrive at the same."""
    fact: RareFact


class Spent(msgspec.Struct, frozen=True, array_like=True, tag="spent"):
    """What the engine has counted so far, which the core does not see."""

    fork_tokens: int = 0
    fork_prompt_tokens: int = 0
    fork_cached_tokens: int = 0
    first_token: float | None = None
    largest_gap: float = 0.0
    paused: float = 0.0
    close_latency: tuple[float, ...] = ()
    unread: int = 0
    """Tokens that came behind the end; known with the last record of this kind."""
    wire: WireReport | None = None
    """``None``: nothing was odd."""
    wasted: int = 0
    behind: Usage | None = None
    """What the server counted behind the end, in the read that brought it; known with the last record, too."""


class Ending(msgspec.Struct, frozen=True, array_like=True, tag="ending"):
    """How the run ended."""

    at: float
    result: Result


class Escaped(msgspec.Struct, frozen=True, array_like=True, tag="escaped"):
    """A record with text that is no valid Unicode (lone surrogates), as JSON of ASCII characters."""

    json: str


Record: TypeAlias = Header | Text | Came | Told | Spent | Ending
"""A closed union."""


def encode(record: Record) -> bytes:
    """Return *record* as it is framed."""
    try:
        return msgspec.msgpack.encode(record, enc_hook=_plain)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(record, enc_hook=_plain), default=_plain)
        return msgspec.msgpack.encode(Escaped(text))


def decode(payload: bytes) -> Record:
    """Return the record in *payload*. Raises :class:`msgspec.MsgspecError`."""
    found = _decoder().decode(payload)
    if isinstance(found, Escaped):
        record: Record = msgspec.convert(json.loads(found.json), Record)
        return record
    return found


def as_records(items: Iterable[tuple[float, Chunk] | Record]) -> Iterator[Record]:
    """Yield *items* as records, plain chunks in a row as one."""
    texts: list[str] = []
    times: list[float] = []
    phase: Phase = "answer"
    for item in items:
        if type(item) is tuple:
            at, chunk = item
            if _is_plain(chunk):
                if texts and chunk.phase != phase:
                    yield _text(times, phase, texts)
                    texts, times = [], []
                phase = chunk.phase
                texts.append(chunk.text)
                times.append(at)
                continue
        if texts:
            yield _text(times, phase, texts)
            texts, times = [], []
        yield Came(*item) if type(item) is tuple else item  # type: ignore[misc]
    if texts:
        yield _text(times, phase, texts)


def told(at: float, length: int, fact: Fact) -> Told:
    """Return the record of *fact*, which is no chunk. Of claims it keeps what the core looks at."""
    assert not isinstance(fact, Chunk)
    if isinstance(fact, Extracted):
        claims = tuple(Claim(key=str(claim.key), span=claim.span) for claim in fact.claims)
        fact = msgspec.structs.replace(fact, claims=claims)
    return Told(at, length, fact)


def _text(times: list[float], phase: Phase, texts: list[str]) -> Text:
    marks = [round((at - times[0]) * 1e6) for at in times]
    gaps = tuple(later - earlier for earlier, later in pairwise(marks))
    return Text(times[0], phase, tuple(texts), gaps)


def _is_plain(chunk: Chunk) -> bool:
    return (
        chunk.tokens == 1
        and chunk.finish_reason is None
        and chunk.usage is None
        and chunk.logprob is None
        and chunk.call is None
    )


def _plain(value: object) -> str:
    """Take a subclass of ``str``, as some libraries return them, for what it is."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a {type(value).__name__} cannot be written to a journal")


@cache
def _decoder() -> msgspec.msgpack.Decoder[Record | Escaped]:
    return msgspec.msgpack.Decoder(Record | Escaped)
