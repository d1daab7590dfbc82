"""The model's side of a run: opening, reading, timing and closing its stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as replaced

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from interwhen._core.machine import Core
from interwhen._core.messages import Broken, Ended, Fact, Open, Opened, Order
from interwhen._engine.timers import Meter, Pace, is_own_cancellation
from interwhen._log import log_info, log_warning
from interwhen._types.errors import ConnectError, ModelError, StreamClosed, StreamTimeout, UpstreamError, UsageError
from interwhen._types.ledger import WireReport
from interwhen._types.models import Capabilities, Chunk, Model, Prompt, Request, ResumeMode, Sampling, Stream, Usage
from interwhen.models._exchange import Retries
from interwhen.models._token_stream import KEPT_SAMPLES, StreamNotes
from interwhen.models._transport import Timeouts

# Closing what belongs to the model: shielded, bounded, and never a reason for a run to fail.

STREAM_SECONDS = 0.5
"""How long closing a stream may take before we go on without it."""
ABORT_SECONDS = 1.0
MODEL_SECONDS = 5.0


async def close_stream(stream: Stream) -> None:
    """Close *stream*, or give up on it."""
    with anyio.move_on_after(STREAM_SECONDS, shield=True) as scope:
        try:
            await stream.aclose()
        except Exception as error:  # noqa: BLE001  (the run needs nothing more from this stream)
            log_warning("stream.close_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_own_cancellation():
                raise
            log_warning("stream.close_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("stream.close_timed_out", seconds=STREAM_SECONDS)


async def abort_stream(stream: Stream) -> None:
    """Have the server of *stream*, which is closed, told to stop, where the stream can do that; or give up on it."""
    abort = getattr(stream, "abort", None)
    if abort is None:
        return
    with anyio.move_on_after(ABORT_SECONDS, shield=True) as scope:
        try:
            await abort()
        except Exception as error:  # noqa: BLE001  (the run needs nothing more from this stream)
            log_warning("stream.abort_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_own_cancellation():
                raise
            log_warning("stream.abort_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("stream.abort_timed_out", seconds=ABORT_SECONDS)


async def close_model(model: Model) -> None:
    """Close *model*, or give up on it."""
    with anyio.move_on_after(MODEL_SECONDS, shield=True) as scope:
        try:
            await model.aclose()
        except Exception as error:  # noqa: BLE001  (the result stands, whatever becomes of the model)
            log_warning("model.close_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_own_cancellation():
                raise
            log_warning("model.close_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("model.close_timed_out", seconds=MODEL_SECONDS)


# How long to wait before a broken stream is taken up again.


class Backoff:
    """Spaces the reconnects of a run by the waits of its model's ``retries`` (full jitter, doubling, capped).

    A stream that had brought text is taken up at once; each further failure without text in between waits longer. A
    timer that ran out has waited enough. Where the server names a time it is obeyed, within the retries' budget.
    """

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        found = getattr(model, "retries", None)
        self._retries = found if isinstance(found, Retries) else Retries()
        self._clock = clock
        self._failures = 0
        self._asked = 0.0
        self._until = 0.0

    def failed(self, error: ModelError, *, had_text: bool) -> bool:
        """Take note of a failure; false where the server asks for more patience than there is."""
        if had_text:
            self._failures = 0
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        if asked is not None:
            self._asked += asked
            if self._asked > self._retries.budget:
                return False
        if asked is None and (had_text or isinstance(error, StreamTimeout)):
            pause = 0.0
        else:
            pause = self._retries.pause(self._failures, error)
            self._failures += 1
        self._until = self._clock() + pause
        return True

    async def wait(self) -> None:
        """Wait until the next try is due."""
        seconds = self._until - self._clock()
        if seconds > 0:
            log_info("stream.reconnect_delayed", wait=round(seconds, 3))
            await anyio.sleep(seconds)


# What was odd about the way to the model, over all streams of a run.


class WireMeter:
    """Adds up what the streams noticed, those included that a killed process had read."""

    def __init__(self) -> None:
        self.notes: list[StreamNotes] = []
        """One for each stream of this process, where its adapter takes notes."""
        self._pace: Pace | None = None
        self._before = WireReport()
        self._wasted = 0

    def recall(self, report: WireReport | None, wasted: int) -> None:
        """Go on from what was counted before this process took the run over."""
        self._before = report or WireReport()
        self._wasted = wasted

    def keep_pace(
        self, meter: Meter, min_rate: float | None, tokens: Callable[[], int]
    ) -> Callable[[float], float] | None:
        """Judge the pace from now on, if a *min_rate* is asked for; return what is to be told the time for that."""
        self._pace = None if min_rate is None else Pace(meter, min_rate, tokens)
        return None if self._pace is None else self._pace.look

    def finish(self, now: float) -> None:
        """Judge the pace up to *now*, for the last time."""
        if self._pace is not None:
            self._pace.finish(now)

    def report(self) -> WireReport:
        """Return what there is up to now."""
        whole = self._before
        for note in self.notes:
            if note.is_odd:
                whole = replace(
                    whole,
                    skipped_events=whole.skipped_events + note.skipped_events,
                    skipped=(*whole.skipped, *note.skipped)[:KEPT_SAMPLES],
                    replaced_events=whole.replaced_events + note.replaced_events,
                    bytes_after_end=whole.bytes_after_end + note.bytes_after_end,
                )
        slowest = None if self._pace is None else self._pace.slowest
        if self._pace is None or slowest is None:
            return whole
        if whole.slowest_rate is not None:
            slowest = min(slowest, whole.slowest_rate)
        return replace(whole, slow_seconds=whole.slow_seconds + self._pace.slow_seconds, slowest_rate=slowest)

    def wasted(self, now: float) -> int:
        """Return how many tokens may have been generated for nobody by *now*."""
        return self._wasted + sum(note.orphan.wasted(now) for note in self.notes if note.orphan is not None)


RAISED, STEP, HOTTEST = 0.7, 0.1, 1.0
"""The temperature at which a greedy stream goes on that is sampled again, how much it rises each time in a row, and its
limit. With temperature 0 the model would write the refuted text again."""
TWO_READERS = "two tasks read the same run at once"


async def ask_capabilities(model: Model, timeouts: Timeouts, budget: float | None) -> Capabilities | ModelError | float:
    """Return what *model* can do, why that cannot be said, or the *budget* of seconds, which ran out."""
    timers = (("first_token", timeouts.first_token), ("total", timeouts.total), ("", budget))
    timer, seconds = min(
        ((name, limit) for name, limit in timers if limit is not None),
        key=lambda entry: entry[1],
        default=("", float("inf")),
    )
    with anyio.move_on_after(seconds):
        try:
            return await model.capabilities()
        except ModelError as error:
            return error
    return StreamTimeout(timer, seconds) if timer else seconds


class StreamReader:
    """Keeps at most one stream open. Facts go to the core by *tell*; those of text by *step*, and orders to *do*."""

    __slots__ = (
        "_backoff",
        "_clock",
        "_closed",
        "_core",
        "_do",
        "_foreseen",
        "_group",
        "_meter",
        "_mode",
        "_model",
        "_opening",
        "_overdue",
        "_prompt",
        "_sampling",
        "_step",
        "_tell",
        "_usages",
        "behind",
        "close_latency",
        "ended_at",
        "error",
        "stream",
        "trail",
        "wanted",
        "wire",
    )

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        sampling: Sampling,
        mode: ResumeMode,
        core: Core,
        group: TaskGroup,
        meter: Meter,
        *,
        step: Callable[[Fact], list[Order]],
        do: Callable[[list[Order]], None],
        tell: Callable[[Fact], None],
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._sampling = sampling
        self._mode: ResumeMode = mode
        self._core = core
        self._step = step
        self._group = group
        self._meter = meter
        self._do = do
        self._tell = tell
        self._clock = clock
        self._usages: dict[int, Usage] = {}
        self._backoff = Backoff(model, clock)
        self.wire = WireMeter()
        """What the streams of this run noticed."""
        self._opening: anyio.CancelScope | None = None
        self._overdue: StreamTimeout | None = None
        self._closed: anyio.Event | None = None
        """Set once the stream before is closed; ``None``: there was none."""
        self.stream: Stream | None = None
        self.trail: object | None = None
        """What the last stream knew about its tokens."""
        self.wanted: Open | None = None
        """The request that the core has ordered and that is not open yet."""
        self.error: ModelError | None = None
        """The last error there was."""
        self.close_latency: list[float] = []
        self.ended_at: float | None = None
        self._foreseen = 0
        """How many tokens will have come once the read that is being taken in is; 0: no such read."""
        self.behind: Usage | None = None
        """What the server counts in that read, behind the chunk that is being taken in: the run may end at it."""

    @property
    def usages(self) -> tuple[Usage, ...]:
        """What the server counted, a record a request."""
        return tuple(self._usages.values())

    @property
    def unread(self) -> int:
        """Tokens of the read that is being taken in, behind the chunk that is."""
        return max(self._foreseen - self._core.counts.tokens(), 0)

    def recall(
        self, usages: Mapping[int, Usage], close_latency: Sequence[float], ended_at: float | None, unread: int
    ) -> None:
        """Go on from what was counted before this process took the run over; *unread* is that of a run that is over."""
        self._foreseen = self._core.counts.tokens() + unread if unread else 0
        self._usages.update(usages)
        self.close_latency.extend(close_latency)
        self.ended_at = ended_at

    # ------------------------------------------------------------------ waiting for the model

    async def receive(self, stream: Stream) -> None:
        """Read once from the model and take in what comes."""
        meter = self._meter
        if meter.waiting:
            raise UsageError(TWO_READERS)
        meter.wait()
        try:
            chunks = await stream.receive()
        except ModelError as error:
            self.failed(stream, error)
            return
        finally:
            meter.waiting = False
        self.take(stream, chunks)

    def take(self, stream: Stream, chunks: Sequence[Chunk]) -> None:
        """Take in what *stream* brought: the hot path, a few microseconds for a token."""
        if stream is not self.stream:
            self._take_late(chunks)
            return
        now = self._clock()
        if not chunks:
            self.ended_at = now
            self._part(stream)
            self._tell(Ended())
            return
        meter = self._meter
        last = meter.last
        if last is None:
            meter.begun(now)
        else:
            gap = now - (last if last > meter.since else meter.since)
            meter.waited += gap
            if gap > meter.largest_gap:
                meter.largest_gap = gap
        meter.last = now
        if len(chunks) > 1:
            self._foresee(chunks)
        for chunk in chunks:
            if chunk.usage is not None:  # first: the run may end at this chunk
                self._count(chunk.usage)
                if chunk.usage is self.behind:
                    self.behind = None
            orders = self._step(chunk)
            if orders:
                self._do(orders)
        self._foreseen = 0

    async def open(self, order: Open) -> None:
        """Send the request of *order*, once the stream before it is closed."""
        if self._closed is not None and not self._closed.is_set():
            with anyio.move_on_after(STREAM_SECONDS):
                await self._closed.wait()
            if self.wanted is not order:
                return
        if self._overdue is not None:
            self.wanted = None
            self.lost(self._overdue, final=True)
            return
        meter = self._meter
        meter.opened()
        request = Request(self._prompt, order.pieces, self._sampling_for(order), trail=self.trail)
        with anyio.CancelScope() as scope:
            self._opening = scope
            try:
                if order.after:
                    await anyio.sleep(order.after)
                await self._backoff.wait()
                meter.wait()
                stream = await self._model.stream(request)
            except ModelError as error:
                if self.wanted is order:
                    self.wanted = None
                    self.lost(error)
                return
            finally:
                self._opening = None
                meter.waiting = False
        if scope.cancelled_caught:  # called off: by the core, or by a timer, which has told the core
            return
        if self.wanted is not order:  # the run ended or changed its mind while the server made up its own
            await close_stream(stream)
            return
        self.wanted = None
        self.stream = stream
        self.trail = getattr(stream, "trail", None)
        if isinstance(notes := getattr(stream, "notes", None), StreamNotes):
            self.wire.notes.append(notes)
        self.ended_at = None
        self._tell(Opened((getattr(stream, "resumed", None) or self._mode) if order.pieces else None))

    # ------------------------------------------------------------------ what others decide

    def close(self) -> None:
        """Close the stream now, whoever is reading it; call off a request."""
        found = self._meter.stopped()
        self.wanted = None
        if self._opening is not None:
            self._opening.cancel()
        if self.stream is not None:
            self._part(self.stream, found)
            if self._core.state == "draining":  # the core called it the end
                self.ended_at = found

    def stalled(self, timer: str, seconds: float) -> None:
        """Give up waiting for the model: a timer ran out."""
        error = StreamTimeout(timer, seconds)
        final = timer == "total"
        if final:
            self._overdue = error
        if self._opening is not None:
            self._opening.cancel()
            self.wanted = None
        elif self.stream is not None:
            self._part(self.stream)
        else:
            return
        self.lost(error, final=final)

    def lost(self, error: ModelError, *, final: bool = False) -> None:
        """Tell the core that the stream, or the way to it, broke; *final*: trying again is of no use."""
        self.error = error
        retryable = error.retryable and not final and self._backoff.failed(error, had_text=self._meter.has_text)
        log_warning("stream.broken", error=type(error).__name__, retryable=retryable)
        self._tell(Broken(str(error), retryable=retryable))

    # ------------------------------------------------------------------ particulars

    def _foresee(self, chunks: Sequence[Chunk]) -> None:
        """Know before the first of *chunks* what all of them bring: the run may end in their midst."""
        core = self._core
        self._foreseen = core.counts.tokens()
        for chunk in chunks:
            self._foreseen += chunk.tokens
            if chunk.usage is not None:
                self._foreseen = max(self._foreseen, core.counts.told(chunk.usage))
                self.behind = chunk.usage
                self._count(chunk.usage)

    def _count(self, usage: Usage) -> None:
        """Keep the last count of each request: servers that count as they go repeat what they had counted."""
        self._usages[self._core.counts.requests] = usage

    def _take_late(self, chunks: Sequence[Chunk]) -> None:
        """Count what still came from a stream that was closed meanwhile; its text is not looked at."""
        for chunk in chunks:
            self._step(msgspec.structs.replace(chunk, finish_reason=None))
            if chunk.usage is not None:
                self._count(chunk.usage)

    def failed(self, stream: Stream, error: ModelError) -> None:
        """Take note that reading *stream* raised *error*."""
        if stream is not self.stream:
            return  # we closed it, and whoever did has told the core why
        self._part(stream)
        if isinstance(error, StreamClosed):
            # Not by us: a read that the reader cancelled has taken the connection with it, for example.
            error = ConnectError(str(error))
        self.lost(error)

    def _part(self, stream: Stream, found: float | None = None) -> None:
        """Part with *stream*: at once, or in a task of its own, which no cancellation of the reader reaches."""
        self.stream = None
        settle = getattr(stream, "settle", None)
        if settle is not None and settle():
            self._closed = None
            if found is not None:
                self.close_latency.append(self._clock() - found)
            return
        self._closed = closed = anyio.Event()

        async def close() -> None:
            await close_stream(stream)
            if found is not None:
                self.close_latency.append(self._clock() - found)
            closed.set()
            await abort_stream(stream)

        self._group.start_soon(close, name="close")

    def _sampling_for(self, order: Open) -> Sampling:
        sampling = self._sampling
        changes: dict[str, float] = {}
        if sampling.max_tokens is not None:
            left = max(sampling.max_tokens - order.spent, 1)
            changes["max_tokens"] = left if order.room is None else min(left, order.room)
        if sampling.seed is not None and order.attempt:
            changes["seed"] = sampling.seed + order.attempt
        if order.resamples and sampling.temperature == 0:
            changes["temperature"] = min(RAISED + STEP * (order.resamples - 1), HOTTEST)
        return replaced(sampling, **changes) if changes else sampling  # type: ignore[arg-type]
