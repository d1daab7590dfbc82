"""Writes the facts of a run to its journal, or to the journal of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import Close, Fact, Finish, Open, Order, Settled
from interwhen._engine.jobs import ForkMeter
from interwhen._engine.stream import Meter, ModelReader
from interwhen._types import __version__
from interwhen._types.errors import JournalError, UsageError
from interwhen._types.ledger import Offline, WireReport
from interwhen._types.models import Chunk, Prompt, Sampling
from interwhen._types.results import (
    JournalState,
    PromptRecord,
    Result,
)
from interwhen.journal._files import Files, frame, preamble
from interwhen.journal._rebuilt_run import Journaled, RebuiltRun
from interwhen.journal._records import (
    ChunkRecord,
    EndRecord,
    Header,
    OutlineRecord,
    SpentRecord,
    describe,
    describe_again,
    encode,
    fact_record,
    is_plain,
    link,
    without_secrets,
)
from interwhen.journal._settings import CallJournal, Journal
from interwhen.journal._writer import COMPLETE, JournalWriter, ThreadClerk

if TYPE_CHECKING:
    from interwhen.journal._signatures import Signer

_TURNS = (Open, Close, Finish)
"""Orders after which the journal is written without delay, because a crash is most likely near a request or the end."""
_PLAIN = WireReport()
_COLUMN = 128
"""How many items the text columns of a record may have. Each chunk adds two: its text and its time."""


class Recorder:
    """Passes each fact to the writer of the journal, and then to the core. After the end, only to the core."""

    # Plain chunks are collected in columns, without a record for each.

    # With hundreds of streams, a separate `__dict__` would be a further cache miss for each chunk.
    __slots__ = (
        "_began",
        "_clock",
        "_columns",
        "_core",
        "_forks",
        "_meter",
        "_over",
        "_settings",
        "_signer",
        "_spent",
        "_upstream",
        "_writer",
    )

    def __init__(self, settings: Journal, writer: JournalWriter, core: Core, signer: Signer | None = None) -> None:
        self._settings = settings
        self._writer = writer
        self._core = core
        self._signer = signer
        self._clock: Callable[[], float] = float
        self._began = 0.0
        self._spent = SpentRecord()
        self._over = False
        self._columns = COMPLETE
        """The columns that collect the next plain chunks; ``COMPLETE``: none are open."""

    def begin(self, clock: Callable[[], float], meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
        self._clock = clock
        self._began = meter.started
        self._meter, self._forks, self._upstream = meter, forks, upstream
        self._spent = self._count()

    def step(self, fact: Fact) -> list[Order]:
        columns = self._columns
        # The hot path, once per token: is_plain and a method of the writer, inlined.
        if (
            type(fact) is Chunk
            and fact.phase == columns.phase
            and fact.tokens == 1
            and fact.finish_reason is None
            and fact.usage is None
            and fact.logprob is None
            and fact.call is None
            and len(columns.items) < _COLUMN
        ):
            columns.items.extend((fact.text, self._clock()))
            if not columns.is_awake:
                columns.is_awake = True
                self._writer.wake()
        elif self._over:  # the core ignores facts after the end, so they are not recorded
            return self._core.step(fact)
        else:
            self._put(fact)
        orders = self._core.step(fact)
        if type(fact) is Settled:
            self._writer.seal(self._core.checks.chain)
        if orders:
            for order in orders:
                if type(order) in _TURNS:
                    self._over = self._over or type(order) is Finish
                    self._writer.urge()
            if self._over:
                self._columns = COMPLETE
        return orders

    def _put(self, fact: Fact) -> None:
        now = self._clock()
        at = now - self._began
        writer = self._writer
        self._columns = COMPLETE
        if type(fact) is not Chunk:
            self._note_spent()
            writer.put(fact_record(at, self._core.transcript.length, fact))
        elif is_plain(fact):
            columns = self._columns = writer.open_columns(fact.phase, self._began)
            if columns is not COMPLETE:
                columns.items.extend((fact.text, now))
                columns.is_awake = True
                writer.wake()
        else:
            writer.put(ChunkRecord(at, fact))

    def end(self, result: Result) -> Result:
        self._over, self._columns = True, COMPLETE
        if self._signer is not None:
            result = self._signer.certify(result)
        wire = result.wire if result.wire != _PLAIN else None
        upstream = self._upstream
        self._note_spent(unread=upstream.unread, wire=wire, wasted=result.ledger.wasted_tokens, behind=upstream.behind)
        self._writer.put(EndRecord(self._clock() - self._began, result))
        self._writer.seal(self._core.checks.chain)
        self._writer.close()
        del self._upstream  # breaks a reference cycle
        return result

    async def seal(self, result: Result) -> Result:
        # The wait has a limit; if it is reached, the journal stays incomplete.
        await self._writer.finish()
        state = JournalState(self._settings.name, self._writer.size, self._writer.incomplete)
        return msgspec.structs.replace(result, journal=state)

    def leave(self) -> None:
        # The run could not start, so there is no result to record.
        self._over, self._columns = True, COMPLETE
        self._writer.close()

    def _count(self) -> SpentRecord:
        meter, forks, wire = self._meter, self._forks, self._upstream.wire
        report = wire.report()
        return SpentRecord(
            forks.tokens,
            forks.prompt_tokens,
            forks.cached_tokens,
            meter.first,
            meter.largest_gap,
            meter.paused,
            tuple(self._upstream.close_latency),
            wire=report if report != _PLAIN else None,
            wasted=wire.wasted(self._clock()),
            resumes=self._upstream.resumes,
            probe_tokens=self._upstream.probe_tokens,
        )

    def _note_spent(self, **ending: Any) -> None:
        # `ending` has the counters that are known only at the end of the run.
        spent = self._count()
        if ending:
            spent = msgspec.structs.replace(spent, **ending)
        if spent != self._spent:
            self._spent = spent
            self._put_spent(spent)

    def _put_spent(self, spent: SpentRecord) -> None:
        self._writer.put(spent)


class CallRecorder(Recorder):
    """Records a call of a client or a gateway, as :class:`Recorder` does."""

    # There are many such calls at once, so it compares fewer counters at each fact.

    __slots__ = ("_known",)

    def begin(self, clock: Callable[[], float], meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
        super().begin(clock, meter, forks, upstream)
        self._known = self._glance()

    def _note_spent(self, **ending: Any) -> None:
        known = self._glance()
        if ending or known != self._known:
            self._known = known
            super()._note_spent(**ending)

    def _glance(self) -> tuple[object, ...]:
        forks, upstream = self._forks, self._upstream
        return (
            forks.tokens,
            forks.prompt_tokens,
            self._meter.first,
            len(upstream.close_latency),
            upstream.resumes,
            upstream.probe_tokens,
            upstream.wire.mark(),
        )


class OutlineRecorder(CallRecorder):
    """Records an outline of the run in place of its text and facts: lengths, times, hashes and verdicts."""

    __slots__ = ("_entries", "_mark", "_scribe")

    def __init__(
        self, settings: CallJournal, writer: JournalWriter, core: Core, header: Header, signer: Signer | None
    ) -> None:
        # Only redacted journals pay for these modules.
        from interwhen.journal._scribe import Scribe
        from interwhen.journal._timeline import PartMark

        super().__init__(settings, writer, core, signer)
        self._scribe = Scribe(core, header, keyed=settings.keyed)
        self._mark = PartMark()
        self._entries = 0

    def step(self, fact: Fact) -> list[Order]:
        if self._over:
            return self._core.step(fact)
        is_chunk = type(fact) is Chunk
        if not is_chunk:
            self._note_spent()
        self._scribe.before()
        orders = self._core.step(fact)
        # Whole microseconds, because they are short in JSON.
        self._scribe.after(round(self._clock() - self._began, 6), fact, orders)
        self._entries += 1
        self._over = any(type(order) is Finish for order in orders)
        if self._entries >= _OUTLINED or any(type(order) in _TURNS for order in orders):
            self._outline()
        return orders

    def end(self, result: Result) -> Result:
        self._over = True
        if self._signer is not None:
            result = self._signer.certify(result)
        self._note_spent(unread=self._upstream.unread, behind=self._upstream.behind)
        self._scribe.ended(self._clock() - self._began, result)
        self._outline()
        self._writer.close()
        del self._upstream, self._scribe
        return result

    def _put_spent(self, spent: SpentRecord) -> None:
        self._scribe.spent(spent)

    def _outline(self) -> None:
        from interwhen.journal._compact_form import to_json

        self._entries = 0
        part = self._scribe.recording.since(self._mark)
        self._writer.put(OutlineRecord(part.end, to_json(part).decode()))
        self._writer.seal(self._settings.keyed(self._core.checks.chain))


_OUTLINED = 256
"""After how many facts, at the latest, a part of the outline is written."""


def open_recorder(
    settings: Journal,
    past: RebuiltRun | None,
    core: Core,
    model: str,
    prompt: Prompt,
    sampling: Sampling,
    offline: Offline,
    prompt_findings: tuple[PromptRecord, ...] = (),
) -> Recorder | None:
    """Return the recorder of a run; ``None`` if its journal is already finished.

    *past* is the run to resume, whose journal is continued. Raises :class:`~interwhen.journal.JournalError` if the file
    cannot be opened, and :class:`~interwhen.UsageError` if a setting of the run cannot be written to it.
    """
    if past is None:
        return _first(settings, core, model, prompt, sampling, offline, prompt_findings)
    if past.summary is not None and past.journaled.result is not None:
        return None
    return _next(settings, core, past.journaled)


def _first(
    settings: Journal,
    core: Core,
    model: str,
    prompt: Prompt,
    sampling: Sampling,
    offline: Offline,
    prompt_findings: tuple[PromptRecord, ...],
) -> Recorder:
    if isinstance(settings, CallJournal):
        return _of_call(settings, core, model, prompt, sampling, offline)
    signer = settings.signer()
    try:
        header = _header(settings, core, model, prompt, sampling, offline, time.time(), signer)
        payload = encode(msgspec.structs.replace(header, prompt_findings=prompt_findings))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            "the settings of a run must be JSON values to be written to a journal, got an error: "
            f"{error}; look at sampling.extra, and at the settings of monitors and budgets"
        ) from error
    head, chain = preamble()
    first, chain = frame(payload, chain)
    writer = _writer(settings, signer, keep=0, size=0, chain=chain, digest=link(b"", payload), head=head + first)
    return Recorder(settings, writer, core, signer)


def _of_call(
    settings: CallJournal, core: Core, model: str, prompt: Prompt, sampling: Sampling, offline: Offline
) -> Recorder:
    redacted, signer = settings.redacted, settings.signer()
    make = partial(
        _header,
        settings,
        core,
        model,
        "" if redacted else prompt,
        replace(sampling, extra={}) if redacted else sampling,
        offline,
        time.time(),
        signer,
    )
    head, chain = preamble()
    slot = settings.slot
    writer = JournalWriter(
        settings, slot, slot, size=0, chain=chain, head=head, first=make, signer=signer, on_give_up=slot.gave_up
    )
    if redacted:
        return OutlineRecorder(settings, writer, core, make(), signer)
    return CallRecorder(settings, writer, core, signer)


def _header(
    settings: Journal,
    core: Core,
    model: str,
    prompt: Prompt,
    sampling: Sampling,
    offline: Offline,
    now: float,
    signer: Signer | None,
) -> Header:
    is_call = isinstance(settings, CallJournal)
    verifiers, monitors = (describe_again if is_call else describe)(core.monitors, settings.monitors)
    call = settings.head if isinstance(settings, CallJournal) else None
    return Header(
        interwhen=__version__,
        written=now,
        model=model,
        untrusted_model=settings.model,
        prompt=prompt,
        prompt_sha256=settings.keyed(core.prompt_sha256),
        sampling=replace(sampling, extra=without_secrets(sampling.extra)) if sampling.extra else sampling,
        budgets=core.budgets,
        template=core.template,
        think_tags=core.think_tags,
        context_tokens=core.window.context,
        starts_in=core.starts_in,
        verifiers=verifiers,
        monitors=monitors,
        offline=offline,
        resume=core.resume,
        min_coverage=core.min_coverage,
        call=call,
        redacted=isinstance(settings, CallJournal) and settings.redacted,
        signer="" if signer is None else signer.public,
    )


def _next(settings: Journal, core: Core, journaled: Journaled) -> Recorder:
    signer, public = settings.signer(), journaled.header.signer
    if public != ("" if signer is None else signer.public):
        raise JournalError(
            journaled.path,
            f"its run must continue with the key that signed it, {public:.80}, got another one: give sign_with=..."
            if public
            else "it is not signed, so its run must continue without sign_with=...: leave it out",
        )
    writer = _writer(
        settings,
        signer,
        keep=journaled.size,
        size=journaled.size + journaled.left_out,
        chain=journaled.chain,
        digest=journaled.digest,
    )
    return Recorder(settings, writer, core, signer)


def _writer(
    settings: Journal, signer: Signer | None, *, keep: int, size: int, chain: int, digest: bytes, head: bytes = b""
) -> JournalWriter:
    file = (settings.store or Files()).open(settings.name, keep=keep, size=size)
    clerk = (settings.clerk or ThreadClerk)()
    return JournalWriter(settings, file, clerk, size=keep, chain=chain, digest=digest, head=head, signer=signer)
