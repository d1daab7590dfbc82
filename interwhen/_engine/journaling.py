"""Records runs: writes the facts of a run to its journal, builds its result, and resumes it from its journal.

At the end of the file are the observers of supervised calls.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, assert_never

import anyio
import msgspec

from interwhen._core.machine import WRITTEN_AS_TEXT, Core
from interwhen._core.messages import Check, Close, Extract, Extracted, Fact, Finish, Open, Order, RunSummary, Settled
from interwhen._core.violations import RULES
from interwhen._engine.jobs import ForkMeter, Jobs
from interwhen._engine.monitors import Watcher
from interwhen._engine.stream import Meter, ModelReader, ask_capabilities
from interwhen._log import log_info, log_warning
from interwhen._types.errors import JournalError, ModelError, UsageError
from interwhen._types.events import Delta, Event
from interwhen._types.extensions import Task
from interwhen._types.ledger import BlockedLoop, Ledger, Offline, ResumeCost, Timing, WireReport
from interwhen._types.models import Capabilities, Chunk, Model, Prompt, Sampling, Timeouts, Usage
from interwhen._types.results import (
    Abstained,
    CheckRecord,
    Failed,
    JournalState,
    PromptRecord,
    Result,
    Unverified,
    Verified,
    ViolationRecord,
)
from interwhen._types.segments import Claim, Span, quote
from interwhen._types.verdicts import Errored
from interwhen._types.verifiers import is_async
from interwhen._version import __version__
from interwhen.journal._files import SCHEMA, Files, frame, preamble
from interwhen.journal._rebuilding import Journaled, RebuiltRun, ShownSegment
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
    without_secrets,
)
from interwhen.journal._settings import CallJournal, Journal
from interwhen.journal._writer import COMPLETE, JournalWriter, ThreadClerk

_TURNS = (Open, Close, Finish)
"""Orders after which the journal is written without delay, because a crash is most likely near a request or the end."""
_PLAIN = WireReport()
_COLUMN = 128
"""The most items of columns, two for each chunk."""


class Recorder:
    """Passes each fact to the writer of the journal, and then to the core. After the end, only to the core.

    Plain chunks are collected in columns.
    """

    # With hundreds of streams, a separate array of attributes would be a further cache miss for each chunk.
    __slots__ = (
        "_began",
        "_clock",
        "_columns",
        "_core",
        "_forks",
        "_meter",
        "_over",
        "_settings",
        "_spent",
        "_upstream",
        "_writer",
    )

    def __init__(self, settings: Journal, writer: JournalWriter, core: Core) -> None:
        self._settings = settings
        self._writer = writer
        self._core = core
        self._clock: Callable[[], float] = float
        self._began = 0.0
        self._spent = SpentRecord()
        self._over = False
        self._columns = COMPLETE
        """The columns that collect the next plain chunks; ``COMPLETE``: none are open."""

    def begin(self, clock: Callable[[], float], meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
        """Start recording. Times are seconds on *clock* since ``meter.started``.

        The counters of *meter*, *forks* and *upstream* are recorded, too.
        """
        self._clock = clock
        self._began = meter.started
        self._meter, self._forks, self._upstream = meter, forks, upstream
        self._spent = self._count()

    def step(self, fact: Fact) -> list[Order]:
        """Record *fact* and pass it to the core; return the orders of the core."""
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
        if orders:
            for order in orders:
                if type(order) in _TURNS:
                    self._over = self._over or type(order) is Finish
                    self._writer.urge()
            if self._over:
                self._columns = COMPLETE
        return orders

    def _put(self, fact: Fact) -> None:
        """Queue *fact* for the journal. A plain chunk also opens columns that collect the next plain chunks."""
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

    def end(self, result: Result) -> None:
        """Record the final counts and the *result*, and close the writer."""
        self._over, self._columns = True, COMPLETE
        wire = result.wire if result.wire != _PLAIN else None
        upstream = self._upstream
        self._note_spent(unread=upstream.unread, wire=wire, wasted=result.ledger.wasted_tokens, behind=upstream.behind)
        self._writer.put(EndRecord(self._clock() - self._began, result))
        self._writer.close()
        del self._upstream  # breaks a reference cycle

    async def seal(self, result: Result) -> Result:
        """Wait, for a limited time, until the journal is written. Return *result* with the state of the journal."""
        await self._writer.finish()
        state = JournalState(self._settings.name, self._writer.size, self._writer.incomplete)
        return msgspec.structs.replace(result, journal=state)

    def leave(self) -> None:
        """Close the journal without a result, because the run could not start."""
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
        """Record the engine's counters if they have changed. *ending* has those that are known only at the end."""
        spent = self._count()
        if ending:
            spent = msgspec.structs.replace(spent, **ending)
        if spent != self._spent:
            self._spent = spent
            self._put_spent(spent)

    def _put_spent(self, spent: SpentRecord) -> None:
        self._writer.put(spent)


class CallRecorder(Recorder):
    """Records a call of a client or a gateway, as :class:`Recorder` does.

    There are many such calls at once, so it compares fewer counters at each fact.
    """

    __slots__ = ("_known",)

    def begin(self, clock: Callable[[], float], meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
        """Start recording; see :meth:`Recorder.begin`."""
        super().begin(clock, meter, forks, upstream)
        self._known = self._glance()

    def _note_spent(self, **ending: Any) -> None:
        """Record the engine's counters if one of those that ``_glance`` returns has changed, or with *ending*."""
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

    __slots__ = ("_entries", "_form", "_scribe")

    def __init__(self, settings: Journal, writer: JournalWriter, core: Core, header: Header) -> None:
        # Only redacted journals pay for these modules.
        from interwhen.journal._compact_form import CompactForm
        from interwhen.journal._scribe import Scribe

        super().__init__(settings, writer, core)
        self._scribe = Scribe(core, header, SCHEMA)
        self._form = CompactForm(self._scribe)
        self._entries = 0

    def step(self, fact: Fact) -> list[Order]:
        """Pass *fact* to the core and record what changed in the trace. Return the orders of the core."""
        if self._over:
            return self._core.step(fact)
        is_chunk = type(fact) is Chunk
        if not is_chunk:
            self._note_spent()
        self._scribe.before()
        orders = self._core.step(fact)
        self._scribe.after(self._clock() - self._began, fact, orders)
        self._entries += 1
        self._over = any(type(order) is Finish for order in orders)
        if self._entries >= _OUTLINED or any(type(order) in _TURNS for order in orders):
            self._outline()
        return orders

    def end(self, result: Result) -> None:
        """Record the final counters and the *result* without its text, and close the writer."""
        self._over = True
        self._note_spent(unread=self._upstream.unread, behind=self._upstream.behind)
        self._scribe.ended(self._clock() - self._began, result)
        self._outline()
        self._writer.close()
        del self._upstream, self._scribe, self._form

    def _put_spent(self, spent: SpentRecord) -> None:
        self._scribe.spent(spent)

    def _outline(self) -> None:
        from interwhen.journal._compact_form import to_json

        self._entries = 0
        part = to_json(self._form.part(self._settings.name)).decode()
        self._writer.put(OutlineRecord(self._scribe.at, part))


_OUTLINED = 256
"""After how many facts, at the latest, a part of the outline is written."""


def open_recorder(
    settings: Journal | None,
    past: RebuiltRun | None,
    core: Core,
    model: str,
    prompt: Prompt,
    sampling: Sampling,
    offline: Offline,
    prompt_findings: tuple[PromptRecord, ...] = (),
) -> Recorder | None:
    """Return the recorder of a run; ``None`` if the run has no journal, or if its journal is already finished.

    *settings* say where the journal is. *past* is the run to resume, if any; its journal is continued. The other
    parameters are written to the header of a new journal. Raises :class:`~interwhen.JournalError` if the file cannot be
    opened, and :class:`~interwhen.UsageError` if a setting of the run cannot be written to it.
    """
    if settings is None:
        return None
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
    try:
        header = _header(settings, core, model, prompt, sampling, offline, time.time())
        payload = encode(msgspec.structs.replace(header, prompt_findings=prompt_findings))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            "the settings of a run must be JSON values to be written to a journal, got an error: "
            f"{error}; look at sampling.extra, and at the settings of monitors and budgets"
        ) from error
    head, chain = preamble()
    first, chain = frame(payload, chain)
    return Recorder(settings, _writer(settings, keep=0, found=0, chain=chain, head=head + first), core)


def _of_call(
    settings: CallJournal, core: Core, model: str, prompt: Prompt, sampling: Sampling, offline: Offline
) -> Recorder:
    """Return the recorder of a call to a client or gateway, whose journal is *settings*.

    The other parameters are written to the header, in a redacted journal without the prompt and ``sampling.extra``.
    """
    assert settings.slot is not None
    redacted = settings.redacted
    make = partial(
        _header,
        settings,
        core,
        model,
        "" if redacted else prompt,
        replace(sampling, extra={}) if redacted else sampling,
        offline,
        time.time(),
    )
    head, chain = preamble()
    slot = settings.slot
    writer = JournalWriter(settings, slot, slot, size=0, chain=chain, head=head, first=make, on_give_up=slot.gave_up)
    return OutlineRecorder(settings, writer, core, make()) if redacted else CallRecorder(settings, writer, core)


def _header(
    settings: Journal, core: Core, model: str, prompt: Prompt, sampling: Sampling, offline: Offline, now: float
) -> Header:
    is_call = isinstance(settings, CallJournal)
    verifiers, monitors = (describe_again if is_call else describe)(core.monitors, settings.monitors)
    call = settings.head if isinstance(settings, CallJournal) else None
    return Header(
        interwhen=__version__,
        written=now,
        model=model,
        reference=settings.model,
        prompt=prompt,
        prompt_sha256=core.prompt_sha256,
        sampling=replace(sampling, extra=without_secrets(sampling.extra)) if sampling.extra else sampling,
        budgets=core.budgets,
        template=core.template,
        think_tags=core.think_tags,
        context_tokens=core.window.context,
        starts_in=core.starts_in,
        verifiers=verifiers,
        monitors=monitors,
        offline=offline,
        rules=RULES,
        resume=core.resume,
        min_coverage=core.min_coverage,
        call=call,
        redacted=isinstance(settings, CallJournal) and settings.redacted,
    )


def _next(settings: Journal, core: Core, found: Journaled) -> Recorder:
    writer = _writer(settings, keep=found.size, found=found.size + found.left_out, chain=found.chain)
    return Recorder(settings, writer, core)


def _writer(settings: Journal, *, keep: int, found: int, chain: int, head: bytes = b"") -> JournalWriter:
    file = (settings.store or Files()).open(settings.name, keep=keep, found=found)
    clerk = (settings.clerk or ThreadClerk)()
    return JournalWriter(settings, file, clerk, size=keep, chain=chain, head=head)


# Build the public result from the summary of the core.


def _cost(request: int, first_token: float | None, usage: Usage | None) -> ResumeCost:
    usage = usage or Usage()
    return ResumeCost(request, usage.prompt_tokens, usage.cached_tokens, first_token)


def build_result(
    summary: RunSummary,
    *,
    model: str,
    requests: int,
    usages: Mapping[int, Usage],
    resumes: Sequence[tuple[int, float | None]],
    probe_tokens: int,
    unread: int,
    forks: ForkMeter,
    timing: Timing,
    blocked_loop: tuple[BlockedLoop, ...],
    wire: WireReport,
    wasted: int,
    offline: Offline,
) -> Result:
    """Return the public result for *summary*, with the ledger, the timing and the report about the connection.

    *usages* has the server's token counts by request number. *resumes* has the number of each request that continued
    text, and the seconds until its first text. *unread* is the number of tokens after the end of the run, in the same
    read.
    """
    common: dict[str, Any] = {
        name: getattr(summary, name)
        for name in ("text", "reasoning", "answer", "finish_reason", "checks", "violations", "insertions", "resume")
    }
    common["hidden_reasoning"] = summary.hidden_reasoning
    common["ledger"] = Ledger(
        kept=summary.kept,
        discarded=summary.discarded + unread,
        late=summary.late + unread,
        fork_tokens=forks.tokens,
        fork_prompt_tokens=forks.prompt_tokens,
        prompt_tokens=sum(usage.prompt_tokens or 0 for usage in usages.values()),
        estimated_prompt_tokens=summary.estimated_prompt_tokens,
        cached_tokens=sum(usage.cached_tokens or 0 for usage in usages.values()) + forks.cached_tokens,
        reasoning_tokens=sum(usage.reasoning_tokens or 0 for usage in usages.values()),
        requests=requests,
        forks=summary.forks,
        remedies=summary.remedies,
        reconnects=summary.reconnects,
        wasted_tokens=wasted,
        inserted_chars=sum(len(insertion.span) for insertion in summary.insertions),
        offline_tokens=offline.tokens,
        offline_share=offline.share,
        probe_tokens=probe_tokens,
        resumes=tuple(_cost(number, seconds, usages.get(number)) for number, seconds in resumes),
    )
    common["precomputed"], common["context"] = offline.items, offline.context
    common["timing"] = msgspec.structs.replace(
        timing, checking=sum(record.seconds for record in summary.checks), blocked_loop=blocked_loop
    )
    common["wire"] = wire
    match summary.status:
        case "verified":
            assert summary.certificate is not None
            assert not summary.unverified_reasons
            certificate = msgspec.structs.replace(summary.certificate, model=model, interwhen=__version__)
            return Verified(**common, certificate=certificate)
        case "unverified":
            return Unverified(**common, unverified_reasons=summary.unverified_reasons)
        case "abstained":
            return Abstained(**common, reason=summary.reason, unverified_reasons=summary.unverified_reasons)
        case "failed":
            return Failed(**common, error=summary.reason, unverified_reasons=summary.unverified_reasons)
        case _:
            assert_never(summary.status)


PARSER_HINT = "start the server with the tool call parser of the model, or pass no tools"


def log_result(result: Result) -> None:
    """Log how the run with *result* ended: its label and numbers, without the content of the trace.

    If tool calls were written as text that no parser read, log a warning, too.
    """
    log_info(
        "run.finished",
        status=result.label,
        characters=len(result.text),
        checks=len(result.checks),
        remedies=result.ledger.remedies,
        kept=result.ledger.kept,
        discarded=result.ledger.discarded,
        forks=result.ledger.forks,
        seconds=round(result.timing.total, 3),
    )
    reasons = result.unverified_reasons if isinstance(result, Unverified | Abstained | Failed) else ()
    misplaced = sum(reason.why.startswith(WRITTEN_AS_TEXT) for reason in reasons)
    if misplaced:
        log_warning("tool_call.written_as_text", calls=misplaced, hint=PARSER_HINT)


# Resume a run from its journal.


async def capabilities_for(
    model: Model, timeouts: Timeouts, budget: float | None, past: RebuiltRun | None
) -> Capabilities | ModelError | float:
    """Ask *model* for its capabilities, within *timeouts* and the time *budget* (in seconds) of the run.

    Return the capabilities, the error, or the budget if it ran out. If *past* is a finished run, the result is a
    placeholder. If an unfinished run is resumed and the model fails, this raises the :class:`ModelError`, so that the
    run can be resumed later.
    """
    if past is not None and past.summary is not None:
        return Capabilities(resume="prefix")
    able = await ask_capabilities(model, timeouts, budget)
    if past is not None and isinstance(able, ModelError):
        raise able
    return able


async def restore_watchers(past: RebuiltRun | None, task: Task, watchers: Sequence[Watcher]) -> None:
    """Prepare all *watchers* of the resumed run *past* with *task*. Does nothing for a new or finished run.

    Trackers read their segments again. When the time budget of the run is spent, the preparation stops.
    """
    if past is None or past.summary is not None:
        return
    budget = past.journaled.header.budgets.seconds
    with anyio.move_on_after(None if budget is None else max(budget - past.at, 0.0)):
        async with anyio.create_task_group() as group:
            for watcher in watchers:
                if not watcher.is_ready:
                    group.start_soon(watcher.prepare, task)
    for entry in past.history:
        if isinstance(entry, ShownSegment):
            watchers[entry.order.monitor].revive(entry.order, entry.reply)
        else:
            for watcher in watchers:
                watcher.forget(entry)


def restore_meters(past: RebuiltRun, meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
    """Set all meters to the values that the journal has for the run *past*.

    The time between the end of the old process and now is not included in any time of the run.
    """
    spent = past.spent
    meter.started = meter.since - past.at
    meter.first = past.first_text if spent.first_token is None else spent.first_token
    meter.largest_gap = spent.largest_gap
    meter.paused = spent.paused
    meter.stopped_at = None if past.stopped_at is None else meter.started + past.stopped_at
    _count_forks(past, forks)
    ended_at = None if past.ended_at is None else meter.started + past.ended_at
    # In an unfinished run, each chunk of the last read is in the journal, or the model will send its text again.
    unread = spent.unread if past.summary is not None else 0
    upstream.recall(past.usages, spent.resumes, spent.probe_tokens, spent.close_latency, ended_at, unread)
    upstream.wire.recall(spent.wire, spent.wasted)


def unfinished(past: RebuiltRun, jobs: Jobs) -> tuple[list[Order], list[Settled]]:
    """Return the orders of the resumed run *past* that are not done yet, and facts for the checks that cannot be done.

    A check cannot be done if the extractor (in *jobs*) does not find its claim again.
    """
    orders: list[Order] = []
    facts = []
    for order in list(past.pending.values()):
        if isinstance(order, Extract):
            orders.append(order)
            continue
        # The journal has only the key and span of a claim. Restore all claims of the job, because a retry may use any.
        past.core.checks.restore_claims(order.job, partial(_read_again, past, jobs=jobs))
        claim = _read_again(past, order.monitor, order.claim, jobs)
        if claim is None:
            name = jobs.watchers[order.monitor].monitor.name
            facts.append(
                Settled(order.job, Errored(f"the extractor of {name!r} does not find this claim in the recorded text"))
            )
        else:
            orders.append(Check(order.job, order.monitor, claim, segment=order.segment))
    if past.wanted is not None:
        orders.append(past.wanted)
    if past.summary is not None:
        orders.append(Finish(past.summary))
    return orders, facts


def known_result(past: RebuiltRun) -> Result | None:
    """Return the result that the journal of *past* contains; ``None`` if the run has not ended or has no result.

    Raises :class:`JournalError` if the recorded result differs from the one that the recorded facts give.
    """
    result = past.journaled.result
    if past.summary is None or result is None:
        return None
    ours = result_of(past)
    if ours is None or type(ours) is not type(result) or (ours.text, _shown(ours)) != (result.text, _shown(result)):
        raise JournalError(
            past.journaled.path,
            (
                "the recorded result must be the one that its facts give, and it differs: the file was "
                "changed after it was written; use the original"
            ),
        )
    return msgspec.structs.replace(result, journal=JournalState(past.journaled.path, past.journaled.size))


def _shown(result: Result) -> list[tuple[str, str, str, Span | None]]:
    """Return monitor, verifier, key and span of each check in the certificate of *result*, to compare two results."""
    checks = result.certificate.checks if isinstance(result, Verified) else ()
    return [(check.monitor, check.verifier, check.key, check.span) for check in checks]


def result_of(past: RebuiltRun) -> Result | None:
    """Return the result of *past*, computed from its recorded facts; ``None`` if the run has not ended.

    It has no ``journal``, ``timing.blocked_loop`` and ``timing.cluster_away``.
    """
    if past.summary is None:
        return None
    spent = past.spent
    forks = ForkMeter()
    _count_forks(past, forks)
    first = past.first_text if spent.first_token is None else spent.first_token
    tail = past.finished_at - past.ended_at if past.ended_at is not None else 0.0
    header, recorded = past.journaled.header, past.journaled.result
    # A client learns the host of its server with the first response, so the header of a call may lack it.
    learned = recorded.certificate.model if header.call is not None and isinstance(recorded, Verified) else ""
    result = build_result(
        past.summary,
        model=learned or header.model,
        requests=past.core.counts.requests,
        usages=past.usages,
        resumes=spent.resumes,
        probe_tokens=spent.probe_tokens,
        unread=spent.unread,
        forks=forks,
        timing=Timing(past.finished_at, first, spent.largest_gap, tail, spent.paused, 0.0, spent.close_latency),
        blocked_loop=(),
        wire=spent.wire or WireReport(),
        wasted=spent.wasted,
        offline=header.offline,
    )
    return msgspec.structs.replace(result, prompt_findings=header.prompt_findings)


def _count_forks(past: RebuiltRun, forks: ForkMeter) -> None:
    forks.tokens = past.spent.fork_tokens
    forks.prompt_tokens = past.spent.fork_prompt_tokens
    forks.cached_tokens = past.spent.fork_cached_tokens


def _read_again(past: RebuiltRun, monitor: int, known: Claim, jobs: Jobs) -> Claim | None:
    """Run the extractor of monitor number *monitor* again, and return the full claim for *known*.

    ``None``: the extractor does not find this claim, or *past* does not say where it was found.
    """
    source = past.sources.get(id(known))
    if source is None:
        return None
    fact = jobs.watchers[monitor].read_again(source.extraction, source.reply)
    if not isinstance(fact, Extracted) or len(fact.claims) <= source.place:
        return None
    claim = fact.claims[source.place]
    return claim if (claim.key, claim.span) == (known.key, known.span) else None


# Observe supervised calls. A context variable holds the listeners of a context. A call takes them when it begins, so
# that it is collected wherever its tasks and threads run. Why: docs/decisions/0051-callbacks-and-context.md.

_SHOWN = 3
"""How many violations a line names."""


def result_line(result: Result) -> str:
    """Format *result* as one line without control characters: label, checks, violations, reason and tokens.

    Long texts and lists are shortened.
    """
    parts = [f"{len(result.checks)} checks"]
    found = [
        f"{one.monitor}: {quote(one.why, 100)} ({one.remedy or ('not interrupted', 'no remedy')[one.interrupted]})"
        for one in result.violations[:_SHOWN]
    ]
    if len(result.violations) > _SHOWN:
        found.append(f"{len(result.violations) - _SHOWN} more")
    reason = getattr(result, "reason", "") or getattr(result, "error", "")
    if not reason and isinstance(result, Unverified) and result.unverified_reasons:
        reason = result.unverified_reasons[0].why
    if found:
        parts.append(f"{len(result.violations)} violations: {'; '.join(found)}")
    if reason:
        parts.append(f"because {quote(reason, 100)}")
    parts.append(f"{result.ledger.total_tokens} tokens")
    return f"{result.label}, {', '.join(parts)}"


CallSource: TypeAlias = Literal["run", "wrap", "gateway", "guard"]
"""What supervised a call: :func:`interwhen.run`, a wrapped client, the gateway, or a guarded function."""


class SupervisedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised call that has ended. ``str()`` formats it as one readable line."""

    call_id: str
    """The id of the call, as in its log event and in the audit file."""
    source: CallSource
    """What supervised the call."""
    api: str = ""
    """``chat``, ``completions`` or ``responses``; empty for a run and for a guarded function."""
    model: str
    """The name of the model; for ``guard``, the name of the function."""
    result: Result | None
    """The result; ``None`` if the call ended before its run began."""
    events: tuple[Event, ...] = ()
    """The events of the call, without those for text. Only calls inside :func:`interwhen.watching` have them."""

    @property
    def label(self) -> str:
        """The label of the result, such as ``steps verified``; ``failed`` if there is no result."""
        return "failed" if self.result is None else self.result.label

    @property
    def text(self) -> str:
        """The text of the result; empty if there is no result."""
        return "" if self.result is None else self.result.text

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        """All violations of the call, including those in text that was cut; empty if there is no result."""
        return () if self.result is None else self.result.violations

    @property
    def checks(self) -> tuple[CheckRecord, ...]:
        """The records of the checks on the text that was returned; empty if there is no result."""
        return () if self.result is None else self.result.checks

    def __str__(self) -> str:
        line = "failed" if self.result is None else result_line(self.result)
        return f"{self.source} {self.model[:80]!r}: {line} [{self.call_id}]"

    def __repr__(self) -> str:
        return f"SupervisedCall({self.label}, {len(self.violations)} violations, {self.call_id})"


class Listener(Protocol):
    """Receives the events of calls, and each call when it ends. Its methods must return at once and must not raise."""

    wants_events: bool
    """Whether :meth:`saw` is to be called."""

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        """Receive *events* of the running call *call_id*. Text events are left out."""
        ...

    def ended(self, call: SupervisedCall) -> None:
        """Receive *call*, which has ended. The field for its events is empty."""
        ...


LISTENERS: ContextVar[tuple[Listener, ...] | None] = ContextVar("interwhen_listeners", default=())
"""The listeners of this context. ``None``: a part of a larger call is being made."""
EVERYWHERE: list[Listener] = []
"""The listeners to the calls of all contexts."""
ENDED: deque[SupervisedCall] = deque(maxlen=1)
"""The call that ended last in this process, except those of the gateway."""


def last() -> SupervisedCall | None:
    """Return the supervised call of this process that ended most recently; ``None`` before the first one.

    Use this in notebooks, not in a server with many calls at one time. Calls of the gateway are not included.
    """
    return ENDED[-1] if ENDED else None


class WatchedCalls(Sequence[SupervisedCall]):
    """The supervised calls that began inside a :func:`watching` block and have ended, in the order of their ends."""

    wants_events = True

    def __init__(self) -> None:
        self._calls: list[SupervisedCall] = []
        self._events: dict[str, list[Event]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: Any) -> Any:
        return self._calls[index]

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        """The violations of all calls in this sequence."""
        return tuple(violation for call in tuple(self._calls) for violation in call.violations)

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        """Store *events* of the running call *call_id*."""
        with self._lock:
            self._events.setdefault(call_id, []).extend(events)

    def ended(self, call: SupervisedCall) -> None:
        """Add *call*, which has ended, with the events that were stored for it."""
        with self._lock:
            events = tuple(self._events.pop(call.call_id, ()))
            self._calls.append(msgspec.structs.replace(call, events=events) if events else call)

    def __str__(self) -> str:
        return "\n".join(map(str, self._calls)) or "no supervised calls"

    def __repr__(self) -> str:
        return f"WatchedCalls({len(self)} calls, {len(self.violations)} violations)"


@contextmanager
def watching(*, everywhere: bool = False) -> Iterator[WatchedCalls]:
    """Collect the supervised calls that begin inside the ``with`` block, whichever library makes them.

    The block gets a sequence of :class:`~interwhen.clients.SupervisedCall`. A call is added when it ends, even after
    the block. The sequence has the calls of the current context, and of tasks and threads that inherited a copy of it;
    a plain ``threading.Thread`` usually inherits none. With *everywhere*, it has the calls of the whole process.
    """
    seen = WatchedCalls()
    if everywhere:
        EVERYWHERE.append(seen)
        try:
            yield seen
        finally:
            EVERYWHERE.remove(seen)
        return
    token = LISTENERS.set((*(LISTENERS.get() or ()), seen))
    try:
        yield seen
    finally:
        LISTENERS.reset(token)


def without_text(events: Iterable[Event]) -> list[Event]:
    """Return *events* without the text events."""
    return [event for event in events if type(event) is not Delta]


class Observation:
    """Passes the events and the result of one run to the listeners of its context and to the caller's functions."""

    __slots__ = ("_is_over", "call_id", "listeners", "model", "source")

    def __init__(self, call_id: str, source: CallSource, model: str, listeners: tuple[Listener, ...]) -> None:
        self.call_id = call_id
        self.source: CallSource = source
        self.model = model
        self.listeners = listeners
        self._is_over = False

    def saw(self, events: Iterable[Event]) -> None:
        """Pass *events*, except text events, to the listeners. After the end of the run this does nothing."""
        found = without_text(events)
        if found and not self._is_over:
            for listener in self.listeners:
                if listener.wants_events:
                    listener.saw(self.call_id, found)

    def end(self, result: Result | None) -> None:
        """Pass the *result* of the run to the listeners, as a :class:`SupervisedCall`, which :func:`last` then returns.

        *result* is ``None`` if the call ended before its run began.
        """
        self._is_over = True
        call = SupervisedCall(call_id=self.call_id, source=self.source, model=self.model, result=result)
        ENDED.append(call)
        for listener in self.listeners:
            listener.ended(call)


# The caller's functions run in a thread, because a function that waits would stop the event loop that reads streams.

ResultCallback: TypeAlias = Callable[[SupervisedCall], object]
EventCallback: TypeAlias = Callable[[Event, str], object]

_QUEUED = 10_000
"""The most jobs that wait for the functions of one caller. Further ones are dropped."""
_IDLE_SECONDS = 1.0
"""How long a thread waits for another job before it ends."""
_EXIT_SECONDS = 5.0
"""How long the exit of the process waits for the functions."""


def vet_callback(label: str, function: object) -> None:
    """Raise :class:`UsageError` if *function* is not callable or is async. *label* is the option that set it."""
    if not callable(function) or is_async(function):
        raise UsageError(
            f"{label} must be a function that is not async, got {function!r:.200}: it runs in a thread, so write "
            "def, and start async work with asyncio.run_coroutine_threadsafe"
        )


class Callbacks:
    """Calls *on_event* and *on_result* for one call. They run in a thread, with the context in which the call began."""

    def __init__(self, on_result: ResultCallback | None, on_event: EventCallback | None) -> None:
        self._on_result = on_result
        self._on_event = on_event
        self.wants_events = on_event is not None
        self._context = copy_context()

    def saw(self, call_id: str, events: Sequence[Event]) -> None:
        """Queue a call of *on_event* for each of *events*, with *call_id*."""
        if self._on_event is not None:
            for event in events:
                self._put(self._on_event, event, call_id)

    def ended(self, call: SupervisedCall) -> None:
        """Queue a call of *on_result* with *call*."""
        if self._on_result is not None:
            self._put(self._on_result, call)

    def _put(self, function: Callable[..., object], *arguments: object) -> None:
        key = (id(self._on_result), id(self._on_event))
        _CallbackThread.put(key, (self._context, function, arguments))


_Job: TypeAlias = tuple[Context, Callable[..., object], tuple[object, ...]]


class _CallbackThread:
    """Runs the queued calls of one caller's ``on_result`` and ``on_event`` in order, in a thread."""

    known: ClassVar[dict[tuple[int, int], _CallbackThread]] = {}
    """The running threads, by the ids of the two callbacks."""
    changed: ClassVar[threading.Condition] = threading.Condition()
    """Guards the queues of all threads. It is notified when a job is queued, and when a queue becomes empty."""

    def __init__(self, key: tuple[int, int]) -> None:
        self._key = key
        self.jobs: deque[_Job] = deque()
        self.dropped = 0
        threading.Thread(target=self._run, name="interwhen callbacks", daemon=True).start()

    @classmethod
    def put(cls, key: tuple[int, int], job: _Job) -> None:
        """Queue *job*, a call of one of the two callbacks whose ids are *key*. It is dropped if too many wait."""
        with cls.changed:
            found = cls.known.get(key)
            if found is None:
                if not cls.known:
                    atexit.register(cls.finish)
                found = cls.known[key] = cls(key)
            if len(found.jobs) >= _QUEUED:
                found.dropped += 1
                if found.dropped == 1:
                    log_warning("callback.dropped", function=_name(job[1]), waiting=_QUEUED)
                return
            found.jobs.append(job)
            cls.changed.notify_all()

    @classmethod
    def finish(cls) -> None:
        """Wait until the queued calls of all callbacks are done, for at most five seconds."""
        deadline = time.monotonic() + _EXIT_SECONDS
        with cls.changed:
            cls.changed.wait_for(lambda: not any(one.jobs for one in cls.known.values()), deadline - time.monotonic())

    @classmethod
    def forget(cls) -> None:
        """Drop the references to all threads, because a forked process has none of its parent's threads."""
        cls.changed = threading.Condition()
        cls.known.clear()

    def _run(self) -> None:
        cls = type(self)
        while True:
            with cls.changed:
                if not cls.changed.wait_for(lambda: self.jobs, _IDLE_SECONDS):
                    cls.known.pop(self._key, None)
                    if not cls.known:
                        atexit.unregister(cls.finish)
                    return
                context, function, arguments = self.jobs[0]
            try:
                context.copy().run(function, *arguments)
            except BaseException as error:  # noqa: BLE001  a failed function costs its own call only
                log_warning("callback.failed", function=_name(function), error=type(error).__name__)
            with cls.changed:
                # Removed only now, so that the exit of the process also waits for the job that runs.
                self.jobs.popleft()
                if not self.jobs:
                    cls.changed.notify_all()


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CallbackThread.forget)
