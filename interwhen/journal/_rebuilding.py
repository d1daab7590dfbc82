"""Rebuilds a run from its journal: the same core over the same facts, and the work that was still open."""

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

# Reading a journal: its longest whole prefix, and how many bytes were left out.


@dataclass(frozen=True, slots=True)
class Journaled:
    """The contents of a journal."""

    path: str
    header: Header
    """The settings of the run."""
    records: tuple[Record, ...]
    """The records after the header, in order."""
    size: int
    """The size of the whole part of the file in bytes."""
    left_out: int
    """How many bytes follow that: torn by a crash, or damaged."""
    chain: int
    """The checksum that the next record continues."""

    @property
    def result(self) -> Result | None:
        """The result; ``None`` if the run had not ended."""
        last = self.records[-1] if self.records else None
        return last.result if isinstance(last, EndRecord) else None


def read_journal(journal: str | os.PathLike[str] | Journal) -> Journaled:
    """Return the contents of *journal* (or the one at that path), up to its first torn or damaged byte.

    Raises :class:`~interwhen.JournalError` if it cannot be read, is not a journal, was written by a newer version,
    lacks a whole first record, or has a result that contradicts its certificate.
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
            raise JournalError(
                name, f"record {len(records)} is whole, but this version cannot read it: {error}"
            ) from error
        if header is not None:
            records.append(record)
        elif isinstance(record, Header):
            header = record
        else:
            raise JournalError(name, f"its first record is a {type(record).__name__}, not the header")
        end, chain = found.end, found.chain
    if header is None:
        raise JournalError(name, "it was cut within its first record: there is nothing to resume")
    journaled = Journaled(name, header, tuple(records), end, len(data) - end, chain)
    _refuse_changed(journaled)
    return journaled


def _refuse_changed(found: Journaled) -> None:
    """Raise :class:`JournalError` if the recorded result contradicts itself, which shows that it was changed."""
    result, header = found.result, found.header
    if result is None:
        return
    wrong = list(flaws(result))
    if prompt_sha256(header.prompt) != header.prompt_sha256:
        wrong.append("its prompt does not have the hash in its header")
    if isinstance(result, Verified) and result.certificate.prompt_sha256 != header.prompt_sha256:
        wrong.append("its certificate is for another prompt")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise JournalError(found.path, f"its result contradicts itself, so it was changed: {wrong[0]}{more}")


class ClaimSource(NamedTuple):
    """How a claim was found: the extraction, the reply of a fork, and its index among the claims found there."""

    claim: Claim
    extraction: Extract
    reply: str | Reply | None
    place: int


class ShownSegment(NamedTuple):
    """A segment that an extractor got, with the reply of a fork."""

    order: Extract
    reply: str | Reply | None


@dataclass(slots=True)
class RebuiltRun:
    """A run as its journal left it. A resumed run takes over its core."""

    journaled: Journaled
    core: Core
    at: float = 0.0
    """The seconds since the run began."""
    pending: dict[int, Extract | Check] = field(default_factory=dict)
    """The open extractions and checks, by job."""
    wanted: Open | None = None
    """The request that was ordered and is not accepted yet."""
    history: list[ShownSegment | Invalidate] = field(default_factory=list)
    """The segments that trackers got and the spans they had to forget, in order."""
    sources: dict[int, ClaimSource] = field(default_factory=dict)
    """Keyed by the ``id`` of a recorded claim."""
    usages: dict[int, Usage] = field(default_factory=dict)
    """The token counts of the server, by request."""
    spent: SpentRecord = field(default_factory=SpentRecord)
    stopped_at: float | None = None
    """When a violation stopped the model, if it has not continued since."""
    ended_at: float | None = None
    """When the last stream ended."""
    first_text: float | None = None
    summary: RunSummary | None = None
    """The end of the run, if it was reached."""
    finished_at: float = 0.0
    mark: Resumed = field(default_factory=Resumed)
    """The first fact of a resumed run."""

    def read(self, record: Record) -> None:
        """Apply *record*. Raises :class:`JournalError` if that gives another trace than the recorded one."""
        match record:
            case FactRecord(length=length):
                if self.core.transcript.length != length and self.summary is None:
                    raise JournalError(
                        self.journaled.path,
                        f"interwhen {self.journaled.header.interwhen} wrote it, with a trace of {length} characters "
                        f"where this version has {self.core.transcript.length}: use that version",
                    )
            case SpentRecord():
                self.spent = record
                if record.behind is not None:
                    self.usages[self.core.counts.requests] = record.behind
            case EndRecord(at=at):
                self.at = at
            case Header():
                raise JournalError(self.journaled.path, "it has a second header: restore it from a copy")
            case TextRecord() | ChunkRecord():
                pass
            case _:
                assert_never(record)
        for at, fact in facts_of(record):
            self.tell(at, fact)

    def tell(self, at: float, fact: Fact) -> list[Order]:
        """Give *fact* to the core, and record its orders."""
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
            self.usages[self.core.counts.requests] = fact.usage
        self.take(orders)
        return orders

    def take(self, orders: Iterable[Order]) -> None:
        """Record the orders of the core."""
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
    """Return the run of *found* after its last standing record, or after the first *until* of them.

    The functions of *monitors* are not called. Raises :class:`~interwhen.JournalError` if this version of the core
    makes another trace of the same facts.
    """
    past = RebuiltRun(found, core_of(found.header, monitors))
    past.take(past.core.begin())
    for record in standing(found.records)[:until]:
        past.read(record)
    return past


def rebuild_to_go_on(found: Journaled, monitors: Sequence[Monitor]) -> RebuiltRun:
    """Return the run of *found*, ready to be resumed.

    A run that its reader left, or in which the model failed, is not over: the fact that ended it is void.
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
    """Return *records* without those that a later record declares void."""
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
