"""From a record back to the run: the same core, told the same facts, and what was still to be done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Check,
    Close,
    Drop,
    Ended,
    Extract,
    Extracted,
    Fact,
    Finish,
    Invalidate,
    Open,
    Opened,
    Order,
    Resumed,
    RunSummary,
    Settled,
    Suspend,
)
from interwhen._types.claims import Claim
from interwhen._types.errors import JournalError
from interwhen._types.models import Chunk, Reply, Usage
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result, Verified, prompt_sha256
from interwhen.journal._evidence import flaws
from interwhen.journal._files import START, Files, frames
from interwhen.journal._records import (
    ChunkRecord,
    EndRecord,
    FactRecord,
    Header,
    Record,
    SpentRecord,
    TextRecord,
    decode,
)
from interwhen.journal._settings import Journal

# Reading a journal back: the longest prefix that is whole, and how much had to be left out.


@dataclass(frozen=True, slots=True)
class Journaled:
    """What a journal holds."""

    path: str
    header: Header
    """What the run was asked to do."""
    records: tuple[Record, ...]
    """All that was recorded after that, in order."""
    size: int
    """How many bytes of the file are whole."""
    left_out: int
    """How many bytes at its end are not: torn by a crash, or damaged."""
    chain: int
    """The checksum that the next record goes on from."""

    @property
    def result(self) -> Result | None:
        """How the run ended; ``None``: it had not yet."""
        last = self.records[-1] if self.records else None
        return last.result if isinstance(last, EndRecord) else None


def read_journal(journal: str | os.PathLike[str] | Journal) -> Journaled:
    """Return what *journal* (or the one at that path) holds, up to its first byte that is torn or damaged.

    Raises :class:`~interwhen.JournalError` where it cannot be read, is no journal, was written by a newer
    version, holds not even its first record, or has a result that contradicts its own certificate.
    """
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    name = settings.name
    try:
        data = (settings.store or Files()).read(name)
    except OSError as error:
        raise JournalError(name, f"it cannot be read ({error.strerror})") from error
    header: Header | None = None
    records: list[Record] = []
    end, chain = START, 0
    for found in frames(data, name):
        try:
            record = decode(found.payload)
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalError(name, f"record {len(records)} is whole, but not of this version: {error}") from error
        if header is not None:
            records.append(record)
        elif isinstance(record, Header):
            header = record
        else:
            raise JournalError(name, f"its first record is {type(record).__name__!r}, not what the run was asked")
        end, chain = found.end, found.chain
    if header is None:
        raise JournalError(name, "it was cut before its first record was whole: there is nothing to go on from")
    journaled = Journaled(name, header, tuple(records), end, len(data) - end, chain)
    _refuse_changed(journaled)
    return journaled


def _refuse_changed(found: Journaled) -> None:
    """Raise :class:`JournalError` where what was recorded of the end contradicts itself: somebody changed it."""
    result, header = found.result, found.header
    if result is None:
        return
    wrong = list(flaws(result))
    if prompt_sha256(header.prompt) != header.prompt_sha256:
        wrong.append("its prompt is not the one that its header names by its hash")
    if isinstance(result, Verified) and result.certificate.prompt_sha256 != header.prompt_sha256:
        wrong.append("its certificate is for another prompt")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise JournalError(found.path, f"its result contradicts itself, so it was changed: {wrong[0]}{more}")


class ClaimSource(NamedTuple):
    """Where a claim was read: its segment, what a fork said, and which of the claims found there it is."""

    claim: Claim
    extraction: Extract
    reply: str | Reply | None
    place: int


class ShownSegment(NamedTuple):
    """A segment that an extractor was shown, and what a fork had said of it."""

    order: Extract
    reply: str | Reply | None


@dataclass(slots=True)
class RebuiltRun:
    """A run as its journal left it. Whoever goes on with it owns its core."""

    journaled: Journaled
    core: Core
    at: float = 0.0
    """How long the run had been going, in seconds."""
    pending: dict[int, Extract | Check] = field(default_factory=dict)
    """The extractions and checks that somebody still waits for, by job."""
    wanted: Open | None = None
    """The request that was ordered and not accepted yet."""
    history: list[ShownSegment | Invalidate] = field(default_factory=list)
    """What trackers were shown, and what they were told to forget, in order."""
    sources: dict[int, ClaimSource] = field(default_factory=dict)
    """By the identity of a recorded claim."""
    usages: dict[int, Usage] = field(default_factory=dict)
    """What the server counted, by request."""
    spent: SpentRecord = field(default_factory=SpentRecord)
    stopped_at: float | None = None
    """When a violation was found that the model has not gone on from."""
    ended_at: float | None = None
    """When the stream ended that no other one followed."""
    first_text: float | None = None
    summary: RunSummary | None = None
    """How the run ended, if it had."""
    finished_at: float = 0.0
    mark: Resumed = field(default_factory=Resumed)
    """The fact to be told before all others, by whoever goes on."""

    def read(self, record: Record) -> None:
        """Take in what *record* says. Raises :class:`JournalError` where the trace is not what it was."""
        match record:
            case FactRecord(length=length):
                if self.core.transcript.length != length and self.summary is None:
                    raise JournalError(
                        self.journaled.path,
                        f"interwhen {self.journaled.header.interwhen} wrote it, whose trace was {length} characters "
                        f"long where that of this version is {self.core.transcript.length}: use that version",
                    )
            case SpentRecord():
                self.spent = record
                if record.behind is not None:
                    self.usages[self.core.tally.requests] = record.behind
            case EndRecord(at=at):
                self.at = at
            case Header():
                raise JournalError(self.journaled.path, "it has a second header")
            case TextRecord() | ChunkRecord():
                pass
            case _:
                assert_never(record)
        for at, fact in facts_of(record):
            self.tell(at, fact)

    def tell(self, at: float, fact: Fact) -> list[Order]:
        """Tell the core *fact*, and keep the books of what it orders."""
        self.at = at
        match fact:
            case Chunk():
                self._chunk(at)
            case Extracted(job=job, claims=claims, reply=reply):
                self._extracted(self.pending.pop(job, None), claims, reply)
            case Settled(job=job):
                self.pending.pop(job, None)
            case Opened():
                self.wanted = self.ended_at = None
            case Ended():
                self.ended_at = at
            case _:
                pass
        orders = self.core.step(fact)
        if isinstance(fact, Chunk) and fact.usage is not None:
            self.usages[self.core.tally.requests] = fact.usage
        self.take(orders)
        return orders

    def take(self, orders: Iterable[Order]) -> None:
        """Keep the books of what the core ordered."""
        for order in orders:
            if isinstance(order, Invalidate):
                self.history.append(order)
            elif isinstance(order, Extract) and order.pieces is None:
                self.history.append(ShownSegment(order, None))
            self._take(order)

    def _chunk(self, at: float) -> None:
        if self.core.state == "streaming":
            if self.first_text is None:
                self.first_text = at
            self.stopped_at = None

    def _extracted(self, order: Extract | Check | None, claims: tuple[Claim, ...], reply: str | Reply | None) -> None:
        if isinstance(order, Extract):
            if order.pieces is not None:
                self.history.append(ShownSegment(order, reply))
            for place, claim in enumerate(claims):
                self.sources[id(claim)] = ClaimSource(claim, order, reply, place)

    def _take(self, order: Order) -> None:
        match order:
            case Extract(job=job) | Check(job=job):
                self.pending[job] = order
            case Suspend() | Invalidate():
                pass
            case Drop(job=job):
                self.pending.pop(job, None)
            case Open():
                self.wanted = order
            case Close():
                self.wanted = None
                if self.stopped_at is None:
                    self.stopped_at = self.at
                if self.core.state == "draining":
                    self.ended_at = self.at
            case Finish(summary=summary):
                self.summary = summary
                self.finished_at = self.at
            case _:
                assert_never(order)


def core_of(header: Header, monitors: Sequence[Monitor]) -> Core:
    """Return the core of the run that *header* describes, before its first fact."""
    return Core(
        monitors,
        budgets=header.budgets,
        template=header.template,
        think_tags=header.think_tags,
        starts_in=header.starts_in,
        max_tokens=header.sampling.max_tokens,
        context_tokens=header.context_tokens,
        prompt_sha256=header.prompt_sha256,
        rules=header.rules,
        codes=[header.verifiers[record.verifier].code_sha256 for record in header.monitors],
        min_coverage=header.min_coverage,
    )


def rebuild(found: Journaled, monitors: Sequence[Monitor], *, until: int | None = None) -> RebuiltRun:
    """Return the run of *found* as its last record (or the first *until* of its standing ones) left it.

    Nothing is asked of *monitors* but what they are. Raises :class:`~interwhen.JournalError` where this version
    of the core makes another trace of the same facts.
    """
    past = RebuiltRun(found, core_of(found.header, monitors))
    past.take(past.core.begin())
    for record in standing(found.records)[:until]:
        past.read(record)
    return past


def rebuild_to_go_on(found: Journaled, monitors: Sequence[Monitor]) -> RebuiltRun:
    """Return the run of *found* as it can be gone on with.

    A run that the reader left, or whose model failed, is not over: the fact that ended it is void.
    """
    past = rebuild(found, monitors)
    records = standing(found.records)
    last = next(
        (at for at in range(len(records) - 1, -1, -1) if not isinstance(records[at], EndRecord | SpentRecord)), None
    )
    if past.summary is None or last is None or not _is_void(records[last]):
        return past
    at, spent = past.at, past.spent
    past = rebuild(found, monitors, until=last)
    past.at, past.spent, past.mark = at, spent, Resumed(void=True)
    return past


def standing(records: Sequence[Record]) -> list[Record]:
    """Return *records* without those that a later one declares void."""
    kept: list[Record] = []
    for record in records:
        if isinstance(record, FactRecord) and isinstance(record.fact, Resumed) and record.fact.void:
            spent = []
            while kept and isinstance(kept[-1], EndRecord | SpentRecord):
                spent.append(kept.pop())
            if kept and _is_void(kept[-1]):
                kept.pop()
            kept.extend(entry for entry in reversed(spent) if isinstance(entry, SpentRecord))
        kept.append(record)
    return kept


def _is_void(record: Record) -> bool:
    return isinstance(record, FactRecord) and isinstance(record.fact, Abandoned | Broken)


def facts_of(record: Record) -> Iterator[tuple[float, Fact]]:
    """Yield the facts in *record*, each with its time."""
    match record:
        case TextRecord(at=at, phase=phase, texts=texts, gaps=gaps):
            micros = 0
            for text, gap in zip(texts, (0, *gaps), strict=True):
                micros += gap
                yield at + micros / 1e6, Chunk(text, phase)
        case ChunkRecord(at=at, chunk=chunk):
            yield at, chunk
        case FactRecord(at=at, fact=fact):
            yield at, fact
        case SpentRecord() | EndRecord() | Header():
            pass
        case _:
            assert_never(record)
