"""Opens, reads, times and closes the stream of the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
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

# Closing streams and models: shielded, with a time limit, and never an error of the run.

STREAM_SECONDS = 0.5
"""Seconds that closing a stream may take; after that the run goes on without it."""
ABORT_SECONDS = 1.0
MODEL_SECONDS = 5.0


async def close_stream(stream: Stream) -> None:
    """Close *stream*, or give up on it."""
    await _end(stream.aclose, "stream.close", STREAM_SECONDS)


async def abort_stream(stream: Stream) -> None:
    """Ask the server of *stream*, which is closed, to stop generating, if the stream can do that; or give up on it."""
    abort = getattr(stream, "abort", None)
    if abort is not None:
        await _end(abort, "stream.abort", ABORT_SECONDS)


async def close_model(model: Model) -> None:
    """Close *model*, or give up on it."""
    await _end(model.aclose, "model.close", MODEL_SECONDS)


async def _end(call: Callable[[], Awaitable[object]], what: str, seconds: float) -> None:
    """Await *call* for at most *seconds*, whatever is cancelled meanwhile, and log it if it fails."""
    with anyio.move_on_after(seconds, shield=True) as scope:
        try:
            await call()
        except Exception as error:  # noqa: BLE001  (the run does not need the stream or the model any more)
            log_warning(f"{what}_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_own_cancellation():
                raise
            log_warning(f"{what}_failed", error="cancelled within the adapter")
    if scope.cancelled_caught:
        log_warning(f"{what}_timed_out", seconds=seconds)


# The pause before a reconnect.


class Backoff:
    """Computes the pauses between reconnects from the ``retries`` of the model (full jitter, doubling, capped).

    A stream that had brought text is reconnected at once; each further failure without text waits longer. After a
    timeout there is no pause. A time that the server names is used, within the budget of the retries.
    """

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        found = getattr(model, "retries", None)
        self._retries = found if isinstance(found, Retries) else Retries()
        self._clock = clock
        self._failures = 0
        self._asked = 0.0
        self._until = 0.0

    def failed(self, error: ModelError, *, had_text: bool) -> bool:
        """Record a failure; return false if the server asks for a longer pause than the budget allows."""
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
        """Wait until the next try may begin."""
        seconds = self._until - self._clock()
        if seconds > 0:
            log_info("stream.reconnect_delayed", wait=round(seconds, 3))
            await anyio.sleep(seconds)


# Irregularities of the wire, over all streams of a run.


class WireMeter:
    """Adds up the notes of all streams, including those that an earlier process had read."""

    def __init__(self) -> None:
        self.notes: list[StreamNotes] = []
        """One for each stream of this process, if its adapter writes notes."""
        self._pace: Pace | None = None
        self._before = WireReport()
        self._wasted = 0

    def recall(self, report: WireReport | None, wasted: int) -> None:
        """Start from the counts of an earlier process."""
        self._before = report or WireReport()
        self._wasted = wasted

    def keep_pace(
        self, meter: Meter, min_rate: float | None, tokens: Callable[[], int]
    ) -> Callable[[float], float] | None:
        """Measure the rate from now on, if there is a *min_rate*; return the function to call with the time."""
        self._pace = None if min_rate is None else Pace(meter, min_rate, tokens)
        return None if self._pace is None else self._pace.look

    def finish(self, now: float) -> None:
        """Measure the rate up to *now*, for the last time."""
        if self._pace is not None:
            self._pace.finish(now)

    def report(self) -> WireReport:
        """Return the sum up to now."""
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
        """Return how many tokens servers may have generated by *now* for streams that were closed."""
        return self._wasted + sum(note.orphan.wasted(now) for note in self.notes if note.orphan is not None)


RAISED, STEP, HOTTEST = 0.7, 0.1, 1.0
"""The temperature of a greedy stream that is sampled again: at first, its step with each further resample in a row, and
its maximum. With temperature 0 the model would write the refuted text again."""
TWO_READERS = "two tasks read the same run at once"


async def ask_capabilities(model: Model, timeouts: Timeouts, budget: float | None) -> Capabilities | ModelError | float:
    """Return the capabilities of *model*, its error, or the *budget* of seconds if that ran out."""
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


class ModelReader:
    """Keeps at most one stream open. Text goes to the core by *step*, its orders to *do*; other facts go by *tell*."""

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
        """The notes of the streams of this run."""
        self._opening: anyio.CancelScope | None = None
        self._overdue: StreamTimeout | None = None
        self._closed: anyio.Event | None = None
        """Set once the previous stream is closed; ``None``: there was none."""
        self.stream: Stream | None = None
        self.trail: object | None = None
        """What the last stream knows about its tokens."""
        self.wanted: Open | None = None
        """The request that the core has ordered and that is not open yet."""
        self.error: ModelError | None = None
        """The last error there was."""
        self.close_latency: list[float] = []
        self.ended_at: float | None = None
        self._foreseen = 0
        """The count of tokens after the current read of several chunks; 0: there is none."""
        self.behind: Usage | None = None
        """The usage in that read that comes after the current chunk, at which the run may end."""

    @property
    def usages(self) -> tuple[Usage, ...]:
        """The counts of the server, one record for each request."""
        return tuple(self._usages.values())

    @property
    def unread(self) -> int:
        """The tokens of the current read after the current chunk."""
        return max(self._foreseen - self._core.counts.tokens(), 0)

    def recall(
        self, usages: Mapping[int, Usage], close_latency: Sequence[float], ended_at: float | None, unread: int
    ) -> None:
        """Start from the counts of an earlier process; *unread* is of a run that is over."""
        self._foreseen = self._core.counts.tokens() + unread if unread else 0
        self._usages.update(usages)
        self.close_latency.extend(close_latency)
        self.ended_at = ended_at

    # ------------------------------------------------------------------ waiting for the model

    async def receive(self, stream: Stream) -> None:
        """Read once from the model and process the chunks."""
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
        """Process the *chunks* of *stream*: the hot path, a few microseconds for a token."""
        if stream is not self.stream:
            self._take_late(chunks)
            return
        now = self._clock()
        if not chunks:
            self.ended_at = now
            self._release(stream)
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
            if chunk.usage is not None:  # before the step: the run may end at this chunk
                self._count(chunk.usage)
                if chunk.usage is self.behind:
                    self.behind = None
            orders = self._step(chunk)
            if orders:
                self._do(orders)
        self._foreseen = 0

    async def open(self, order: Open) -> None:
        """Send the request of *order*, once the previous stream is closed."""
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
        if scope.cancelled_caught:  # cancelled by the core, or by a timer, which has reported it to the core
            return
        if self.wanted is not order:  # the run ended, or ordered another request, while the server answered
            await close_stream(stream)
            return
        self.wanted = None
        self.stream = stream
        self.trail = getattr(stream, "trail", None)
        if isinstance(notes := getattr(stream, "notes", None), StreamNotes):
            self.wire.notes.append(notes)
        self.ended_at = None
        self._tell(Opened((getattr(stream, "resumed", None) or self._mode) if order.pieces else None))

    # ------------------------------------------------------------------ closing and failing

    def close(self) -> None:
        """Close the stream now, even while it is read; cancel a request."""
        found = self._meter.stopped()
        self.wanted = None
        if self._opening is not None:
            self._opening.cancel()
        if self.stream is not None:
            self._release(self.stream, found)
            if self._core.state == "draining":  # the core has ended the stream
                self.ended_at = found

    def stalled(self, timer: str, seconds: float) -> None:
        """Stop waiting for the model: a timer ran out."""
        error = StreamTimeout(timer, seconds)
        final = timer == "total"
        if final:
            self._overdue = error
        if self._opening is not None:
            self._opening.cancel()
            self.wanted = None
        elif self.stream is not None:
            self._release(self.stream)
        else:
            return
        self.lost(error, final=final)

    def lost(self, error: ModelError, *, final: bool = False) -> None:
        """Report to the core that the stream broke, or did not open; *final*: a reconnect cannot help."""
        self.error = error
        retryable = error.retryable and not final and self._backoff.failed(error, had_text=self._meter.has_text)
        log_warning("stream.broken", error=type(error).__name__, retryable=retryable)
        self._tell(Broken(str(error), retryable=retryable))

    # ------------------------------------------------------------------ counting, closing, sampling

    def _foresee(self, chunks: Sequence[Chunk]) -> None:
        """Count all of *chunks* before the first one is processed, since the run may end at any of them."""
        core = self._core
        self._foreseen = core.counts.tokens()
        for chunk in chunks:
            self._foreseen += chunk.tokens
            if chunk.usage is not None:
                self._foreseen = max(self._foreseen, core.counts.told(chunk.usage))
                self.behind = chunk.usage
                self._count(chunk.usage)

    def _count(self, usage: Usage) -> None:
        """Keep the last count of each request: servers that count continuously repeat the earlier tokens."""
        self._usages[self._core.counts.requests] = usage

    def _take_late(self, chunks: Sequence[Chunk]) -> None:
        """Count the *chunks* of a stream that was closed meanwhile; their text is ignored."""
        for chunk in chunks:
            self._step(msgspec.structs.replace(chunk, finish_reason=None))
            if chunk.usage is not None:
                self._count(chunk.usage)

    def failed(self, stream: Stream, error: ModelError) -> None:
        """Handle the *error* of a read of *stream*."""
        if stream is not self.stream:
            return  # closed by us, and the core knows why
        self._release(stream)
        if isinstance(error, StreamClosed):
            # Not closed by us: a read that the reader cancelled closes the connection, for example.
            error = ConnectError(str(error))
        self.lost(error)

    def _release(self, stream: Stream, found: float | None = None) -> None:
        """Close *stream*: at once if it can, else in a task that a cancellation of the reader does not reach."""
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
