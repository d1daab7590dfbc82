"""Stands between the engine and the core of a run, and writes down what the core is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from interwhen._core.core import Core
from interwhen._core.messages import Close, Fact, Finish, Open, Order
from interwhen._core.remedying import RULES
from interwhen._engine.forks import ForkMeter
from interwhen._engine.upstream import Upstream
from interwhen._engine.watch import Meter
from interwhen._version import __version__
from interwhen.errors import UsageError
from interwhen.journal._describing import describe, without_secrets
from interwhen.journal._files import Files
from interwhen.journal._framing import frame, preamble
from interwhen.journal._records import Ending, Header, Spent, encode, told
from interwhen.journal._threads import ThreadClerk
from interwhen.journal._writer import JournalWriter
from interwhen.journal.reading import Journaled
from interwhen.journal.rebuilding import Past
from interwhen.journal.settings import Journal
from interwhen.ledger import Offline
from interwhen.models.base import Chunk, Prompt, Sampling
from interwhen.results import JournalState, Result
from interwhen.wire_report import WireReport

_TURNS = (Open, Close, Finish)
"""Orders after which the record should be safe at once: they are what a crash is most likely to be near."""
_PLAIN = WireReport()


class Recorder:
    """Tells the core each fact once it is on its way to the file."""

    def __init__(self, settings: Journal, writer: JournalWriter, core: Core) -> None:
        self._settings = settings
        self._writer = writer
        self._core = core
        self._clock: Callable[[], float] = float
        self._began = 0.0
        self._spent = Spent()
        self._over = False

    def begin(self, clock: Callable[[], float], meter: Meter, forks: ForkMeter, upstream: Upstream) -> None:
        """Take times from *clock*, since the run of *meter* began, and write down what the engine counts, too."""
        self._clock = clock
        self._began = meter.started
        self._meter, self._forks, self._upstream = meter, forks, upstream
        self._spent = self._count()

    def step(self, fact: Fact) -> list[Order]:
        """Advance the core by *fact*."""
        if self._over:  # nothing can change any more
            return self._core.step(fact)
        at = self._clock() - self._began
        if type(fact) is Chunk:
            self._writer.put((at, fact), len(fact.text))
            orders = self._core.step(fact)
            if not orders:
                return orders
        else:
            self._note_spent()
            self._writer.put(told(at, self._core.transcript.length, fact))
            orders = self._core.step(fact)
        for order in orders:
            if type(order) in _TURNS:
                self._over = self._over or type(order) is Finish
                self._writer.urge()
        return orders

    def end(self, result: Result) -> None:
        """Write down how the run ended."""
        self._over = True
        wire = result.wire if result.wire != _PLAIN else None
        upstream = self._upstream
        self._note_spent(unread=upstream.unread, wire=wire, wasted=result.ledger.wasted_tokens, behind=upstream.behind)
        self._writer.put(Ending(self._clock() - self._began, result))
        self._writer.close()
        del self._upstream  # which knows this recorder: a ring would wait for the collector

    async def seal(self, result: Result) -> Result:
        """Wait, for a bounded time, until all is written; return *result* with what became of it."""
        await self._writer.finish()
        state = JournalState(self._settings.name, self._writer.size, self._writer.incomplete)
        return msgspec.structs.replace(result, journal=state)

    def leave(self) -> None:
        """Let the writer end without a word on how the run did."""
        self._over = True
        self._writer.close()

    def _count(self) -> Spent:
        meter, forks, wire = self._meter, self._forks, self._upstream.wire
        report = wire.report()
        return Spent(
            forks.tokens,
            forks.prompt_tokens,
            forks.cached_tokens,
            meter.first,
            meter.largest_gap,
            meter.paused,
            tuple(self._upstream.close_latency),
            wire=report if report != _PLAIN else None,
            wasted=wire.wasted(self._clock()),
        )

    def _note_spent(self, **ending: Any) -> None:
        """Write down what the engine has counted, if that has changed; at the *ending*, as the result has it."""
        spent = self._count()
        if ending:
            spent = msgspec.structs.replace(spent, **ending)
        if spent != self._spent:
            self._spent = spent
            self._writer.put(spent)


def open_recorder(
    settings: Journal | None,
    past: Past | None,
    core: Core,
    model: str,
    prompt: Prompt,
    sampling: Sampling,
    offline: Offline,
) -> Recorder | None:
    """Return the recorder of a run, if it has a journal that is not finished.

    Raises :class:`~interwhen.errors.JournalError` where the file cannot be had, and
    :class:`~interwhen.errors.UsageError` on what cannot be written down.
    """
    if settings is None:
        return None
    if past is None:
        return _first(settings, core, model, prompt, sampling, offline)
    if past.outline is not None and past.journaled.result is not None:
        return None
    return _next(settings, core, past.journaled)


def _first(settings: Journal, core: Core, model: str, prompt: Prompt, sampling: Sampling, offline: Offline) -> Recorder:
    verifiers, monitors = describe(core.monitors, settings.monitors)
    header = Header(
        interwhen=__version__,
        written=time.time(),
        model=model,
        reference=settings.model,
        prompt=prompt,
        prompt_sha256=core.prompt_sha256,
        sampling=replace(sampling, extra=without_secrets(sampling.extra)),
        budgets=core.budgets,
        template=core.template,
        think_tags=core.think_tags,
        context_tokens=core.window.context,
        starts_in=core.starts_in,
        verifiers=verifiers,
        monitors=monitors,
        offline=offline,
        rules=RULES,
        min_coverage=core.min_coverage,
    )
    try:
        payload = encode(header)
    except (TypeError, ValueError) as error:
        raise UsageError(f"this run cannot be put into a journal: {error} (see sampling.extra)") from error
    head, chain = preamble()
    first, chain = frame(payload, chain)
    return Recorder(settings, _writer(settings, keep=0, found=0, chain=chain, head=head + first), core)


def _next(settings: Journal, core: Core, found: Journaled) -> Recorder:
    writer = _writer(settings, keep=found.size, found=found.size + found.left_out, chain=found.chain)
    return Recorder(settings, writer, core)


def _writer(settings: Journal, *, keep: int, found: int, chain: int, head: bytes = b"") -> JournalWriter:
    file = (settings.store or Files()).open(settings.name, keep=keep, found=found)
    clerk = (settings.clerk or ThreadClerk)()
    return JournalWriter(settings, file, clerk, size=keep, chain=chain, head=head)
