"""One supervised call: a run in a task of its own, and what its reader gets."""

from __future__ import annotations

from interwhen.events import Event, Finished, StreamStarted
from interwhen.monitors import GATING, Delivery
from interwhen.results import Result
from interwhen.running import Run, run
from interwhen.wrapping.arrivals import Tap
from interwhen.wrapping.calls import Call
from interwhen.wrapping.composing import Composer
from interwhen.wrapping.facts import Part
from interwhen.wrapping.hosting import Host
from interwhen.wrapping.responses_composing import ResponsesComposer
from interwhen.wrapping.responses_tap import ResponsesTap
from interwhen.wrapping.settings import Settings
from interwhen.wrapping.tool_format import tool_format
from interwhen.wrapping.upstream import CallModel, Endpoint, Wire, make_tap

HOLDING: tuple[Delivery, ...] = (*GATING, "final")
"""Deliveries under which a reader gets nothing that was not checked, and so no text that no monitor reads."""


class Supervised:
    """The answer to one call, chunk by chunk. Make it with :func:`supervise`; close it, or read it to its end."""

    def __init__(self, inner: Run, model: CallModel, composer: Composer, settings: Settings) -> None:
        self._settings = settings
        self._run = inner
        self._model = model
        self._composer = composer
        self._host = Host(inner)
        self._waiting: list[Event] = []
        self._over = False
        self._told = False
        """Whether the reader has been told of the error that ended the run."""

    async def start(self, *, ahead: bool, seconds: float | None) -> None:
        """Send the request and wait until the server has accepted it. Raises as :meth:`parts` does.

        *ahead*: the run is made while the server, which is given *seconds* for that, reads the request.
        """
        try:
            self._host.begin()
            if ahead:
                await self._model.send_ahead(seconds)
            await self._host.entered()
            while not any(isinstance(event, StreamStarted | Finished) for event in self._waiting):
                batch = await self._run.batch()
                if not batch:
                    break
                self._waiting += batch
        except BaseException:
            self.leave()
            raise
        finally:
            await self._model.forget()
        failed = next((e.result for e in self._waiting if isinstance(e, Finished)), None)
        if failed is not None and failed.status == "failed":
            await self.aclose()
            self._raise()

    async def parts(self) -> list[Part]:
        """Wait for the next chunks and return them, at least one; none at the end.

        Raises the :class:`~interwhen.errors.ModelError` that ended the stream, once what came before it was read.
        """
        while not self._over:
            events, self._waiting = self._waiting, []
            if not events:
                try:
                    events = await self._run.batch()
                except BaseException:
                    self.leave()
                    raise
            parts = self._composer.take(events)
            if not events or isinstance(events[-1], Finished):
                self._over = True
                await self.aclose()
                if events and isinstance(events[-1], Finished) and self._settings.demotion is not None:
                    self._settings.demotion.saw(self._settings.monitors, events[-1].result)
            if parts:
                return parts
        if not self._told:
            self._raise()
        return []

    @property
    def result(self) -> Result | None:
        """How the run ended, once it has."""
        result = self._host.result
        return None if result is None else self._composer.judged(result)

    @property
    def is_cut(self) -> bool:
        """Whether the answer just ended: the server gave neither a finish reason nor an end mark, and we did not."""
        result = self._host.result
        return result is not None and result.status == "unverified" and result.finish_reason == "truncated"

    def leave(self) -> None:
        """Let the run end soon; may be called by any thread."""
        self._host.leave()

    async def aclose(self) -> None:
        """End the run: its stream is closed and no task of it is left."""
        await self._host.aclose()

    def _raise(self) -> None:
        """Raise the error that ended the run, if one did."""
        result = self._host.result
        if result is not None and result.status == "failed" and self._run.error is not None:
            self._told = True
            raise self._run.error


async def supervise(call: Call, settings: Settings, wire: Wire, endpoint: Endpoint) -> Supervised:
    """Send *call* over *wire*, supervised as *settings* say; return once the server has accepted it.

    A call that does not stream is composed at its end, from the text that stands then. Raises
    :class:`~interwhen.errors.ModelError` where the server refuses or cannot be reached.
    """
    monitors = settings.deliveries(structured=call.is_structured)
    tap = make_tap(call, holds=any(monitor.delivery in HOLDING for monitor in monitors))
    model = CallModel(call, wire, endpoint, tap, resume=settings.resume)
    if settings.tools and call.api != "completions" and call.tools:
        monitors = (*monitors, tool_format(call.tools))
    inner = run(
        model,
        call.prompt,
        monitors=monitors,
        sampling=call.sampling,
        budgets=settings.budgets,
        feedback=settings.feedback,
        starts_in=settings.starts_in,
        min_coverage=settings.min_coverage,
        workers=settings.workers,
        threads=settings.threads,
        processes=settings.processes,
        allocator=settings.allocator,
    )
    has_gates = any(monitor.delivery in GATING for monitor in monitors)
    supervised = Supervised(inner, model, _composer(call, settings, tap, inner, splits=has_gates), settings)
    # A run with gates opens its stream itself, at once: nobody may do so beside it.
    await supervised.start(ahead=not has_gates, seconds=None if settings.budgets is None else settings.budgets.seconds)
    return supervised


def _composer(call: Call, settings: Settings, tap: Tap, inner: Run, *, splits: bool) -> Composer:
    hold = not call.streams
    if isinstance(tap, ResponsesTap):
        return ResponsesComposer(tap, lambda: inner.text, hold=hold, splits=splits, correction=settings.correction)
    return Composer(
        tap,
        lambda: inner.text,
        chat=call.api == "chat",
        hold=hold,
        splits=splits,
        wants_usage=call.wants_usage or hold,
        correction=settings.correction,
    )
