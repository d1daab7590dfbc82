"""Reads timelines: of a whole journal, of one that still grows, and of one that is redacted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import Fact, Order, Resumed
from interwhen._types.errors import JournalError
from interwhen._types.models import Usage
from interwhen._types.results import ViolationRecord
from interwhen._types.segments import Span
from interwhen._types.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Skipped, TimedOut, Unknown, Violation
from interwhen.journal._compact_form import CompactForm, PartMark, called_fields, to_json
from interwhen.journal._files import START, read_preamble
from interwhen.journal._rebuilt_run import (
    Journaled,
    RebuiltRun,
    core_of,
    read_sealed,
    refusing_contradictions,
    sealed_records,
    standing,
)
from interwhen.journal._records import (
    CalledRecord,
    EndRecord,
    FactRecord,
    Header,
    OutlineRecord,
    Record,
    SealRecord,
    SpentRecord,
    recorded_monitors,
)
from interwhen.journal._scribe import UPSERTED, Scribe
from interwhen.journal._settings import Journal
from interwhen.journal._timeline import (
    CheckTimes,
    ForkTimes,
    FrontierStep,
    Incident,
    RemedyTimes,
    RequestTimes,
    TextCut,
    TextShown,
    TextWritten,
    Timeline,
)


def timeline(journal: str | os.PathLike[str] | Journal) -> Timeline:
    """Return the timeline of the run in *journal* (a path or a :class:`Journal`).

    No model, verifier or extractor runs. Raises :class:`~interwhen.JournalError` if the journal cannot be read, has no
    complete header, contradicts itself, or needs another version of interwhen.
    """
    found = read_sealed(journal)
    with refusing_contradictions(found.path):
        if found.header.redacted:
            parts = (part for record in found.records if (part := _part_of(found.header, record)) is not None)
            return _of_outline(found.path, found.header, _joined(parts), found.size, found.left_out)
        scribe = _scribe_of(found.header, found.path)
        _replay_into(scribe, found)
        return _timeline_of(scribe, found.path, found.size, found.left_out)


# From a journal to a scribe.


class _FollowedRun(RebuiltRun):
    """A run that is rebuilt from its journal. Its ``scribe`` records the timeline in memory."""

    __slots__ = ("scribe",)

    def __init__(self, found: Journaled, core: Core, scribe: Scribe) -> None:
        super().__init__(found, core)
        self.scribe = scribe

    def tell(self, at: float, fact: Fact) -> list[Order]:
        """Pass *fact*, which happened at the time *at*, to the core, and record what changes. Return its orders."""
        self.scribe.before()
        orders = super().tell(at, fact)
        self.scribe.after(at, fact, orders)
        self.core.events.clear()
        return orders


def _scribe_of(header: Header, path: str) -> Scribe:
    return Scribe(core_of(header, recorded_monitors(header, path)), header)


def _replay_into(scribe: Scribe, found: Journaled) -> None:
    past = _FollowedRun(found, scribe.core, scribe)
    past.take(scribe.core.begin())
    for record in standing(found.records):
        _read(past, scribe, record)


def _read(past: RebuiltRun, scribe: Scribe, record: Record) -> None:
    if isinstance(record, SpentRecord):
        scribe.spent(record)
    past.read(record)
    if isinstance(record, EndRecord):
        scribe.ended(record.at, record.result)
    elif isinstance(record, CalledRecord):
        scribe.called = record.record


def _timeline_of(scribe: Scribe, path: str, size: int, left_out: int = 0) -> Timeline:
    """Return the timeline of what *scribe* has recorded so far. *size* and *left_out* are bytes of the journal."""
    names = [str(one.fields["name"]) for one in scribe.header.monitors]
    who = [scribe.header.verifiers[one.verifier] for one in scribe.header.monitors]
    requests = tuple(
        RequestTimes(
            one.sent,
            one.accepted,
            one.first,
            one.ended,
            one.how,
            one.error,
            one.resume,
            one.reason,
            one.start,
            one.usage,
            one.remedy,
            number=one.number,
        )
        for one in scribe.requests
    )
    return Timeline(
        path=path,
        header=scribe.header,
        result=scribe.result,
        texts=tuple(scribe.tape.written()),
        cuts=tuple(
            TextCut(one.at, one.to, one.removed, None if one.remedy < 0 else one.remedy, number=one.number)
            for one in scribe.tape.cuts
        ),
        shown=tuple(TextShown(at, None if to < 0 else to, number=number) for number, at, to, _ in scribe.shown),
        frontier=tuple(FrontierStep(at, to, number=number) for number, at, to, _ in scribe.frontier),
        requests=requests,
        checks=tuple(
            CheckTimes(
                names[one.monitor],
                who[one.monitor].name,
                who[one.monitor].version,
                one.key,
                one.span,
                one.segment,
                one.ordered,
                one.began,
                one.ended,
                one.worker,
                one.record.outcome if one.record else None,
                one.record.tries if one.record else 1,
                one.lag,
                one.cut,
                one.remedy,
                one.interrupted,
                one.fork,
                number=one.number,
            )
            for one in scribe.checks
        ),
        forks=tuple(
            ForkTimes(
                names[one.monitor],
                one.segment,
                one.ordered,
                one.began,
                one.ended,
                one.worker,
                one.claims,
                one.outcome,
                one.tokens,
                one.prompt_tokens,
                one.cached_tokens,
                number=one.number,
            )
            for one in scribe.forks
        ),
        remedies=tuple(
            RemedyTimes(
                one.violation,
                one.violation.remedy,
                one.check,
                one.found,
                one.closed,
                one.cut,
                one.written,
                requests[one.request].sent if one.request is not None else None,
                requests[one.request].accepted if one.request is not None else None,
                requests[one.request].first if one.request is not None else None,
                one.request,
                one.removed,
                one.removed_tokens,
                number=one.number,
            )
            for one in scribe.remedies
        ),
        incidents=tuple(scribe.incidents),
        end=scribe.at,
        size=size,
        left_out=left_out,
        compact=to_json(CompactForm(scribe).whole(path, size, left_out)),
    )


# A redacted journal has parts of the compact form in place of text and facts.


def join_parts(first: dict[str, Any], second: Mapping[str, Any]) -> None:
    """Add the part *second* of a timeline to the part *first*, which comes directly before it. Changes *first*.

    *first* must have been joined from an empty object, because its lists are extended in place.
    """
    for name, value in second.items():
        if name == "text":
            first[name] = first.get(name, "") + value
        elif name in _APPENDED:
            first.setdefault(name, []).extend(value)
        elif name in _COLUMNS:
            columns = first.setdefault(name, {})
            for column, values in value.items():
                columns.setdefault(column, []).extend(values)
        elif name in UPSERTED:
            first.setdefault(name, {}).update(value)
        else:
            first[name] = value


_COLUMNS = ("tokens", "frontier", "shown")
_APPENDED = ("numbers", "weights", "styles", "cuts")


def _joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        join_parts(whole, part)
    return whole


def _part_of(header: Header, record: Record) -> dict[str, Any] | None:
    """Return the part of the timeline that *record* of a redacted journal contains; ``None`` if it contains none."""
    if isinstance(record, OutlineRecord):
        part: dict[str, Any] = msgspec.json.decode(record.part)
        return part
    return {"call": called_fields(header, record.record)} if isinstance(record, CalledRecord) else None


def whole_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """Convert *part*, which joins all parts of a timeline so far, to the compact form of the whole timeline."""
    return {
        name: [value[number] for number in sorted(value, key=int)] if name in UPSERTED else value
        for name, value in part.items()
        if name not in ("from", "offset")
    }


def _of_outline(path: str, header: Header, outline: Mapping[str, Any], size: int, left_out: int) -> Timeline:
    """Return the timeline of a redacted journal from the joined parts *outline*."""
    whole = {**whole_of(outline), "path": path, "size": size}
    if left_out:
        whole["left_out"] = left_out
    names = [str(one.fields["name"]) for one in header.monitors]
    who = [header.verifiers[one.verifier] for one in header.monitors]
    requests = tuple(_request(row) for row in whole.get("requests", ()))
    return Timeline(
        path=path,
        header=header,
        result=None,
        texts=tuple(_texts(whole)),
        cuts=tuple(
            TextCut(at / 1e6, to, 0, None if remedy < 0 else remedy, number=number)
            for _, to, at, remedy, number in whole.get("cuts", ())
        ),
        shown=tuple(TextShown(at, None if to < 0 else to, number=number) for number, at, to in _steps(whole, "shown")),
        frontier=tuple(FrontierStep(at, to, number=number) for number, at, to in _steps(whole, "frontier")),
        requests=requests,
        checks=tuple(
            CheckTimes(
                monitor=names[row["monitor"]],
                verifier=who[row["monitor"]].name,
                version=who[row["monitor"]].version,
                key=row.get("sha256", ""),
                span=_span(row.get("span")),
                segment=_span(row.get("segment")),
                ordered=row["ordered"] / 1e6,
                began=_second(row.get("began")),
                ended=_second(row.get("ended")),
                worker=row.get("worker", ""),
                outcome=_outcome(row.get("outcome")),
                tries=row.get("tries", 1),
                lag=row.get("lag", 0),
                cut=row.get("cut"),
                remedy=row.get("remedy"),
                interrupted=row.get("interrupted", False),
                fork=row.get("fork"),
                number=row["numbers"][0],
            )
            for row in whole.get("checks", ())
        ),
        forks=tuple(
            ForkTimes(
                monitor=names[row["monitor"]],
                segment=Span(*row["segment"]),
                ordered=row["ordered"] / 1e6,
                began=_second(row.get("began")),
                ended=_second(row.get("ended")),
                worker=row.get("worker", ""),
                claims=row.get("claims", 0),
                outcome=None if row.get("outcome") == "claims" else _outcome(row.get("outcome")),
                tokens=row.get("tokens", 0),
                prompt_tokens=row.get("prompt_tokens", 0),
                cached_tokens=row.get("cached_tokens", 0),
                number=row["number"],
            )
            for row in whole.get("forks", ())
        ),
        remedies=tuple(
            RemedyTimes(
                violation=ViolationRecord(
                    names[row["monitor"]],
                    who[row["monitor"]].name,
                    "",
                    Span(*row["span"]),
                    "",
                    "",
                    "",
                    interrupted=True,
                    remedy=row.get("kind"),
                    cut=row.get("to"),
                ),
                remedy=row.get("kind"),
                check=row.get("check"),
                found=row["found"] / 1e6,
                closed=_second(row.get("closed")),
                cut=_second(row.get("cut_at")),
                written=_second(row.get("written")),
                sent=_second(row.get("sent")),
                accepted=_second(row.get("accepted")),
                first=_second(row.get("first")),
                request=row.get("request"),
                removed=row.get("cut_chars", 0),
                removed_tokens=row.get("cut_tokens", 0),
                number=row["number"],
            )
            for row in whole.get("remedies", ())
        ),
        incidents=tuple(
            Incident(row["at"] / 1e6, row["what"], row.get("text", ""), number=row["number"])
            for row in whole.get("incidents", ())
        ),
        end=whole.get("end", 0) / 1e6,
        size=size,
        left_out=left_out,
        compact=to_json(whole),
    )


def _texts(whole: Mapping[str, Any]) -> Iterator[TextWritten]:
    tokens = whole.get("tokens", {})
    weights = dict(whole.get("weights", ()))
    styles = {number: (phase, origin) for number, phase, origin in whole.get("styles", ())}
    cuts = {entry: to for entry, to, *_ in whole.get("cuts", ())}
    numbers = dict(whole.get("numbers", ()))
    at = length = order = 0
    style: tuple[Any, Any] = ("answer", "model")
    for number, (chars, gap) in enumerate(zip(tokens.get("chars", ()), tokens.get("gaps", ()), strict=True)):
        at += gap
        length = min(length, cuts.get(number, length))
        style = styles.get(number, style)
        order = numbers.get(number, order + 1)
        yield TextWritten(at / 1e6, length, "", chars, *style, weights.get(number, 1), number=order)
        length += chars


def _steps(whole: Mapping[str, Any], name: str) -> Iterator[tuple[int, float, int]]:
    columns = whole.get(name, {})
    at = 0
    for gap, to, number in zip(*(columns.get(column, ()) for column in ("gaps", "to", "numbers")), strict=True):
        at += gap
        yield number, at / 1e6, to


def _request(row: Mapping[str, Any]) -> RequestTimes:
    counts = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    usage = (
        Usage(**{name: row[name] for name in counts if name in row}) if any(name in row for name in counts) else None
    )
    remedy = row.get("remedy")
    return RequestTimes(
        _second(row.get("sent")),
        _second(row.get("accepted")),
        _second(row.get("first")),
        _second(row.get("ended")),
        row.get("how", "open"),
        row.get("error", ""),
        row.get("resume"),
        row.get("reason", ""),
        row.get("at", 0),
        usage,
        None if remedy is None or remedy < 0 else remedy,
        number=row["number"],
    )


def _second(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6


def _span(pair: Any) -> Span | None:
    return None if pair is None else Span(*pair)


def _outcome(name: str | None) -> Outcome | None:
    """Return the outcome that has the name *name*, without a reason; ``None`` for no or another name."""
    known: dict[str | None, Outcome] = {
        "pass": Judged(Pass()),
        "violation": Judged(Violation(why="")),
        "unknown": Judged(Unknown(why="")),
        "error": Errored(""),
        "timed_out": TimedOut(0.0),
        "cancelled": Cancelled(""),
        "skipped": Skipped(""),
    }
    return known.get(name)


# A journal that still grows.


class TimelineReader:
    """Reads a journal that is still being written, and returns what is new as parts of its timeline in JSON.

    This JSON is the compact form, which the trace page reads. *path* is only a name for errors and for the timeline.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.offset = 0
        """How many bytes of the file are in the timeline: the end of the last complete record."""
        self._data = bytearray()
        """The bytes after ``offset``."""
        self._chain = 0
        self._digest = b""
        self._header: Header | None = None
        self._records: list[Record] = []
        self._scribe: Scribe | None = None
        self._past: _FollowedRun | None = None
        self._outlines: list[dict[str, Any]] = []
        """The parts of a redacted journal."""
        self._form: CompactForm | None = None
        self._mark = PartMark()
        self._restarts = 0
        self._failure = ""
        """Why a record could not be decoded or read; empty if there was no such record."""

    @property
    def is_over(self) -> bool:
        """Whether the last record is the end of the call or, without a call, the end of the run.

        The run may still be resumed later.
        """
        last = next((record for record in reversed(self._records) if not isinstance(record, SealRecord)), None)
        has_call = self._header is not None and self._header.call is not None
        return isinstance(last, CalledRecord) or (isinstance(last, EndRecord) and not has_call)

    def feed(self, data: bytes) -> None:
        """Read *data*, the next bytes of the file. They may end anywhere, also inside a record.

        Raises :class:`~interwhen.JournalError` if they are not those of a journal that this version knows. The timeline
        then ends at ``offset``, before the record that cannot be read, and later calls raise the same error.
        """
        if self._failure:
            raise JournalError(self.path, self._failure)
        self._data += data
        try:
            with refusing_contradictions(self.path):
                self._take_all()
        except JournalError as error:
            # A record that was taken in part must not be taken again, so this reader reads no further.
            self._failure = error.reason
            raise

    def _take_all(self) -> None:
        if not self.offset:
            if len(self._data) < START:
                return
            self._chain = read_preamble(bytes(self._data[:START]), self.path)
            del self._data[:START]
            self.offset = START
        begin = self.offset
        try:
            standing_on = (0, self._chain, self._digest, self._header, self.path)
            for record, end, chain, digest in sealed_records(bytes(self._data), *standing_on):
                known = len(self._records)
                try:
                    self._take(record)
                except Exception:
                    del self._records[known:]
                    raise
                self.offset, self._chain, self._digest = begin + end, chain, digest
        finally:
            # Also after an error: the records before it are in the timeline, and must not be read a second time.
            del self._data[: self.offset - begin]

    def forget_tail(self) -> None:
        """Forget the bytes after ``offset``. The next bytes for :meth:`feed` are those at ``offset``."""
        self._data.clear()

    def part(self, *, everything: bool = False) -> bytes:
        """Return the data that are new since the last part, as JSON. With *everything*, return all data so far.

        The fields ``from`` and ``offset`` are the byte offsets in the file at which the part begins and ends. A part
        whose ``from`` is 0 contains the whole timeline so far.
        """
        if everything:
            self._mark = PartMark()
        return self.part_after(self._mark)

    def part_after(self, mark: PartMark) -> bytes:
        """Return the data that are new since *mark*, as :meth:`part` does, and move *mark* to the present.

        With a new mark, the result is the whole timeline; so is the first result after a resumed run has voided its
        recorded end.
        """
        if mark.restarts != self._restarts:
            for name, value in asdict(PartMark(restarts=self._restarts)).items():
                setattr(mark, name, value)
        begin, mark.offset = mark.offset, self.offset
        with refusing_contradictions(self.path):
            if self._form is not None:
                found = self._form.part(self.path, mark)
            else:
                found = _joined(self._outlines[mark.outlines :])
                mark.outlines = len(self._outlines)
            return to_json({**found, "from": begin, "offset": self.offset})

    def timeline(self) -> Timeline:
        """Return the timeline so far. Raises :class:`JournalError` if the header has not been read yet."""
        if self._header is None:
            raise JournalError(self.path, "its header must be read before its timeline, and is not: feed more bytes")
        with refusing_contradictions(self.path):
            if self._scribe is None:
                return _of_outline(self.path, self._header, _joined(self._outlines), self.offset, len(self._data))
            return _timeline_of(self._scribe, self.path, self.offset, len(self._data))

    def _take(self, record: Record) -> None:
        if self._header is None:
            assert isinstance(record, Header)
            self._header = record
            if not record.redacted:
                self._begin()
            return
        self._records.append(record)
        if self._scribe is None or self._past is None:
            part = _part_of(self._header, record)
            if part is not None:
                self._outlines.append(part)
        elif isinstance(record, FactRecord) and isinstance(record.fact, Resumed) and record.fact.void:
            # The end of the run is void, and so is everything noted after it: begin again without this end.
            self._begin()
            for known in standing(self._records):
                _read(self._past, self._scribe, known)
            self._restarts += 1
        else:
            _read(self._past, self._scribe, record)

    def _begin(self) -> None:
        assert self._header is not None
        self._scribe = _scribe_of(self._header, self.path)
        self._form = CompactForm(self._scribe)
        journaled = Journaled(self.path, self._header, (), 0, 0, 0)
        self._past = _FollowedRun(journaled, self._scribe.core, self._scribe)
        self._past.take(self._scribe.core.begin())
