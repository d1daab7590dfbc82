"""Rebuilds a run from its journal: gives the recorded facts to a new core, and collects the unfinished work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, assert_never

import msgspec

from interwhen._core.checks import judge_sha256
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
    Splice,
    Suspend,
)
from interwhen._core.segmenter import offer_for
from interwhen._types.errors import DECODE_ERRORS, JournalError
from interwhen._types.models import Chunk, Piece, Reply, Usage
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result, Verified, prompt_bytes, prompt_sha256
from interwhen._types.segments import Claim
from interwhen.journal._evidence import flaws
from interwhen.journal._files import START, Files, frames_after, read_preamble
from interwhen.journal._records import (
    CalledRecord,
    ChunkRecord,
    EndRecord,
    FactRecord,
    Header,
    OutlineRecord,
    Record,
    SealRecord,
    SpentRecord,
    TextRecord,
    decode,
    link,
    recorded_monitors,
)
from interwhen.journal._settings import Journal

# Reading a journal: its complete records, and how many bytes after them cannot be read.


class Journaled(msgspec.Struct, frozen=True):
    """The contents of a journal file, up to the first incomplete or damaged record."""

    path: str
    header: Header
    records: tuple[Record, ...]
    """The records after the header, in order."""
    size: int
    """How many bytes of the file could be read: those of complete records."""
    left_out: int
    """How many bytes come after these, from the first incomplete or damaged record on."""
    chain: int
    """The checksum of the last complete record."""
    digest: bytes = b""
    """The head of the hash chain after the last complete record: see :class:`SealRecord`."""

    @property
    def result(self) -> Result | None:
        """The result in the last record of the run; the record of a call does not count.

        ``None`` if the journal does not end with the end of the run, or is redacted.
        """
        last = next(
            (record for record in reversed(self.records) if not isinstance(record, CalledRecord | SealRecord)), None
        )
        return last.result if isinstance(last, EndRecord) else None

    @property
    def call(self) -> dict[str, Any] | None:
        """The record of the call, with the fields of a line of the audit file; ``None`` if there is none."""
        last = next((record for record in reversed(self.records) if not isinstance(record, SealRecord)), None)
        return last.record if isinstance(last, CalledRecord) else None


class Sealed(NamedTuple):
    """A record that stands: no verdict and no result, or one with a seal after it."""

    record: Record
    end: int
    chain: int
    digest: bytes


def sealed_records(
    data: bytes, at: int, chain: int, digest: bytes, header: Header | None, path: str
) -> Iterator[Sealed]:
    """Yield the records in *data* from offset *at* on, up to the first damaged one, or the first one without its seal.

    *chain* is the checksum of the record before *at*, *digest* the head of the hash chain there, and *header* the
    header, if it comes before *at*. Raises :class:`JournalError` for a seal that does not fit, and for a record that
    this version does not know.
    """
    held: list[Sealed] = []
    for number, frame in enumerate(frames_after(data, at, chain)):
        try:
            record = decode(frame.payload)
        except (ValueError, *DECODE_ERRORS) as error:
            raise JournalError(
                path,
                f"its record {number} must be one that this version knows, and is not ({error}): use "
                "the version that wrote it",
            ) from error
        if header is None:
            if not isinstance(record, Header):
                raise JournalError(
                    path, f"its first record must be the header, got a {type(record).__name__}: restore it from a copy"
                )
            header = record
        if isinstance(record, SealRecord):
            vet_seal(record, digest, header.signer, path)
        digest = link(digest, frame.payload)
        held.append(Sealed(record, frame.end, frame.chain, digest))
        if isinstance(record, SealRecord) or not _needs_seal(held[0].record):
            yield from held
            held.clear()


def _needs_seal(record: Record) -> bool:
    is_verdict = isinstance(record, FactRecord) and isinstance(record.fact, Settled)
    return is_verdict or isinstance(record, EndRecord | CalledRecord | OutlineRecord)


def vet_seal(seal: SealRecord, digest: bytes, signer: str, path: str) -> None:
    if seal.digest != digest:
        raise JournalError(
            path, "its seals must fit to the records before them, and one does not, so it was changed: use the original"
        )
    if signer:
        from interwhen.journal._signatures import is_signed  # most journals are not signed

        if not is_signed(signer, seal.signature, seal.signed_bytes()):
            raise JournalError(
                path, f"its seals must be signed by {signer:.80}, and one is not, so it was changed: use the original"
            )


@contextmanager
def refusing_contradictions(path: str) -> Iterator[None]:
    # No fact of a real run raises anything in the core. Facts that somebody made up may break any of its assumptions,
    # such as that a job is known or a span is in the text.
    try:
        yield
    except JournalError:
        raise
    except Exception as error:
        raise JournalError(
            path,
            f"its records must fit together, and contradict each other ({type(error).__name__}: {error!s:.200}), so it "
            "was changed, or another version wrote it: use the original, or that version",
        ) from error


def read_journal(journal: str | os.PathLike[str] | Journal) -> Journaled:
    """Return the contents of *journal* (a path or a :class:`Journal`), up to the first incomplete or damaged record.

    A verdict or a result without its seal counts as incomplete. Raises :class:`~interwhen.journal.JournalError` if it
    cannot be read, is not a journal, has a schema or a record that this version does not know, or has no complete
    header; and if it was changed: a seal, a signature, a hash or the certificate contradicts the records, or a verdict
    is for other text.
    """
    journaled = read_sealed(journal)
    if not journaled.header.redacted:
        rebuild(journaled, recorded_monitors(journaled.header, journaled.path))
    return journaled


def read_sealed(journal: str | os.PathLike[str] | Journal) -> Journaled:
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    name = settings.name
    try:
        data = (settings.store or Files()).read(name)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise JournalError(
            name, f"it must be a readable file, and is not ({why}): correct the path or its permissions"
        ) from error
    header: Header | None = None
    records: list[Record] = []
    end = START
    chain = read_preamble(data, name)
    digest = b""
    for sealed in sealed_records(data, START, chain, digest, None, name):
        if header is not None:
            records.append(sealed.record)
        elif isinstance(sealed.record, Header):
            header = sealed.record
        end, chain, digest = sealed.end, sealed.chain, sealed.digest
    if header is None:
        raise JournalError(
            name,
            "it must have a whole header, and was cut within it, so there is nothing to resume: start the run again",
        )
    journaled = Journaled(name, header, tuple(records), end, len(data) - end, chain, digest)
    with refusing_contradictions(name):
        _refuse_changed(journaled)
    return journaled


def _refuse_changed(journaled: Journaled) -> None:
    result, header = journaled.result, journaled.header
    if result is None:
        return
    wrong = list(flaws(result))
    wrong.extend(_judged_otherwise(result, header))
    if not header.redacted and prompt_sha256(header.prompt) != header.prompt_sha256:
        wrong.append("its prompt does not have the hash in its header")
    if isinstance(result, Verified):
        if result.certificate.prompt_sha256 != header.prompt_sha256:
            wrong.append("its certificate is for another prompt")
        seal = next(record for record in reversed(journaled.records) if isinstance(record, SealRecord))
        if result.certificate.chain_sha256 != seal.checks:
            wrong.append("its certificate is for other checks")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise JournalError(
            journaled.path,
            f"its result must agree with itself, and does not, so it was changed: {wrong[0]}{more}; restore "
            "it from a copy",
        )


def _judged_otherwise(result: Result, header: Header) -> Iterator[str]:
    options = {str(one.fields.get("name")): one.options_sha256 for one in header.monitors}
    for check in result.checks:
        known = (check.verifier, check.version, options.get(check.monitor, ""), check.code_sha256)
        if check.judge_sha256 != judge_sha256(header.prompt_sha256, *known):
            yield f"a check of {check.monitor!r} was made by another verifier, or for another prompt"


def refuse_redacted(journaled: Journaled) -> None:
    if journaled.header.redacted:
        raise JournalError(
            journaled.path,
            "it must hold the text to be replayed, resumed or checked again, and it is redacted: use "
            'interwhen.journal.timeline to see what it holds, or record with text = "full"',
        )


class ClaimSource(NamedTuple):
    """A claim and how it was found: its place in what the extraction returned. *reply* is ``None`` for a parser."""

    claim: Claim
    extraction: Extract
    reply: str | Reply | None
    place: int


class ShownSegment(NamedTuple):
    """A segment that an extractor received. *reply* is the reply of the fork; ``None`` for a parser."""

    order: Extract
    reply: str | Reply | None


@dataclass(slots=True)
class RebuiltRun:
    """The state of a run after the records that were read. A resumed run continues with this core."""

    journaled: Journaled
    core: Core
    at: float = 0.0
    """The time of the last fact, or of the end of the run, in seconds since the run began."""
    pending: dict[int, Extract | Check] = field(default_factory=dict)
    """The unfinished extractions and checks, by job number."""
    wanted: Open | None = None
    """The request that the core ordered last, if the model has not accepted it and the core has not closed it."""
    history: list[ShownSegment | Invalidate] = field(default_factory=list)
    """The segments that extractors received and the invalidations of text. Trackers restore their state from them."""
    sources: dict[int, ClaimSource] = field(default_factory=dict)
    """How each recorded claim was found, by its ``id()``."""
    usages: dict[int, Usage] = field(default_factory=dict)
    """The token counts that the server sent, by request number."""
    spent: SpentRecord = field(default_factory=SpentRecord)
    stopped_at: float | None = None
    """When the run closed the stream, most often for a violation; ``None`` if it did not, or if a chunk came after
    that."""
    ended_at: float | None = None
    """When the last stream ended, or the run closed it because it needs no more text."""
    first_text: float | None = None
    """When the first chunk came that the core did not ignore; ``None`` if there was none."""
    summary: RunSummary | None = None
    """``None`` if the run had not ended."""
    finished_at: float = 0.0
    """When the run ended; 0 if it had not."""
    mark: Resumed = field(default_factory=Resumed)
    """The first fact of a resumed run."""

    def read(self, record: Record) -> None:
        match record:
            case FactRecord() | SealRecord():
                self._compare(record)
            case SpentRecord():
                self.spent = record
                if record.behind is not None:
                    self.usages[self.core.counts.requests] = record.behind
            case EndRecord(at=at):
                self.at = at
            case OutlineRecord():
                refuse_redacted(self.journaled)
            case Header():
                raise JournalError(
                    self.journaled.path, "it must have one header, got a second one: restore it from a copy"
                )
            case TextRecord() | ChunkRecord() | CalledRecord():
                pass
            case _:
                assert_never(record)
        for at, fact in facts_of(record):
            self.tell(at, fact)

    def _compare(self, record: FactRecord | SealRecord) -> None:
        journaled, length = self.journaled, self.core.transcript.length
        if isinstance(record, SealRecord):
            if record.checks != self.core.checks.chain:
                raise JournalError(
                    journaled.path,
                    "its verdicts must be for the recorded text, and one is not, so it was changed: use the original",
                )
        elif record.length != length and self.summary is None:
            raise JournalError(
                journaled.path,
                f"its trace must have {record.length} characters here, as in interwhen {journaled.header.interwhen}, "
                f"which wrote it, got {length}: use that version",
            )

    def tell(self, at: float, fact: Fact) -> list[Order]:
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

    def take(self, orders: Iterable[Order]) -> None:  # noqa: C901  one case an order
        for order in orders:
            match order:
                case Extract(job=job) | Check(job=job):
                    self.pending[job] = order
                    if isinstance(order, Extract) and order.pieces is None:
                        self.history.append(ShownSegment(order, None))
                case Invalidate():
                    self.history.append(order)
                case Suspend() | Splice():
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


def core_of(header: Header, monitors: Sequence[Monitor], kind: type[Core] = Core) -> Core:
    return kind(
        monitors,
        budgets=header.budgets,
        template=header.template,
        think_tags=header.think_tags,
        starts_in=header.starts_in,
        max_tokens=header.sampling.max_tokens,
        counts_own_text=header.sampling.counts_own_text,
        context_tokens=header.context_tokens,
        prompt_sha256=header.prompt_sha256,
        prompt_bytes=prompt_bytes(header.prompt),
        resume=header.resume,
        codes=[header.verifiers[record.verifier].code_sha256 for record in header.monitors],
        options=[record.options_sha256 for record in header.monitors],
        min_coverage=header.min_coverage,
        offer=offer_for(monitors, header.prompt, header.sampling.extra),
    )


class TracedCore(Core):
    """A core that keeps the trace from before the first cut of the last fact."""

    __slots__ = ("uncut",)

    uncut: tuple[Piece, ...]
    """The pieces of this trace; empty if the last fact cut nothing."""

    def step(self, fact: Fact) -> list[Order]:
        self.uncut = ()
        return super().step(fact)

    def _cut(self, to: int) -> None:
        # Any fact may cut the trace, also a chunk, whose text is in the trace then. So the trace is copied here.
        self.uncut = self.uncut or self.transcript.pieces()
        super()._cut(to)


def traced(journaled: Journaled) -> tuple[TracedCore, RebuiltRun]:
    core = core_of(journaled.header, recorded_monitors(journaled.header, journaled.path), TracedCore)
    assert isinstance(core, TracedCore)
    past = RebuiltRun(journaled, core)
    past.take(core.begin())
    return core, past


def rebuild(journaled: Journaled, monitors: Sequence[Monitor], *, until: int | None = None) -> RebuiltRun:
    # With `until`, only the first `until` of its `standing` records are used. No verifier or extractor runs.
    refuse_redacted(journaled)
    with refusing_contradictions(journaled.path):
        past = RebuiltRun(journaled, core_of(journaled.header, monitors))
        past.take(past.core.begin())
        for record in standing(journaled.records)[:until]:
            past.read(record)
    return past


def rebuild_to_go_on(journaled: Journaled, monitors: Sequence[Monitor]) -> RebuiltRun:
    # The end of a run whose reader left or whose model failed is ignored, so that the run can be resumed.
    past = rebuild(journaled, monitors)
    records = standing(journaled.records)
    last = next(
        (at for at in range(len(records) - 1, -1, -1) if not isinstance(records[at], _AFTER_END)),
        None,
    )
    if past.summary is None or last is None or not _is_void(records[last]):
        return past
    at, spent = past.at, past.spent
    past = rebuild(journaled, monitors, until=last)
    past.at, past.spent, past.mark = at, spent, Resumed(void=True)
    return past


def standing(records: Sequence[Record]) -> list[Record]:
    # Leaves out each end after which a resumed run continued: the reader had left, or the model had failed. The
    # counters of the engine stay, because they were spent.
    kept: list[Record] = []
    for record in records:
        if isinstance(record, FactRecord) and isinstance(record.fact, Resumed) and record.fact.void:
            spent = []
            while kept and isinstance(kept[-1], _AFTER_END):
                spent.append(kept.pop())
            if kept and _is_void(kept[-1]):
                kept.pop()
            kept.extend(entry for entry in reversed(spent) if isinstance(entry, SpentRecord))
        kept.append(record)
    return kept


_AFTER_END = (EndRecord, SpentRecord, CalledRecord, SealRecord)
"""The records that may follow the last fact of a run."""


def _is_void(record: Record) -> bool:
    return isinstance(record, FactRecord) and isinstance(record.fact, Abandoned | Broken)


def facts_of(record: Record) -> Iterator[tuple[float, Fact]]:
    match record:
        case TextRecord(phase=phase, texts=texts):
            for at, text in zip(record.times(), texts, strict=True):
                yield at, Chunk(text, phase)
        case ChunkRecord(at=at, chunk=chunk):
            yield at, chunk
        case FactRecord(at=at, fact=fact):
            yield at, fact
        case SpentRecord() | EndRecord() | Header() | OutlineRecord() | CalledRecord() | SealRecord():
            pass
        case _:
            assert_never(record)
