"""Opens, reads, times and closes the stream of the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from interwhen._core.machine import Core
from interwhen._core.messages import Broken, Ended, Fact, Open, Opened, Order, Splice
from interwhen._engine.loop_blocking import is_own_cancellation
from interwhen._types.errors import ConnectError, ModelError, StreamClosed, StreamTimeout, UpstreamError, UsageError
from interwhen._types.ledger import Timing, WireReport
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import (
    WARM,
    Capabilities,
    Chunk,
    Model,
    Prompt,
    Request,
    ResumeMode,
    ResumeWay,
    Retries,
    Sampling,
    Stream,
    Timeouts,
    Usage,
)

if TYPE_CHECKING:
    from interwhen.models._token_stream import StreamNotes


class Meter:
    """Measures when text arrives, for :class:`Timing`. All times are in seconds on *clock*."""

    __slots__ = (
        "_clock",
        "first",
        "largest_gap",
        "last",
        "paused",
        "since",
        "started",
        "stopped_at",
        "waited",
        "waiting",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.first: float | None = None
        self.largest_gap = 0.0
        self.paused = 0.0
        self.waited = 0.0
        """The total time that the reader waited for the model between tokens."""
        self.since = self.started
        """When the current wait for the model began."""
        self.waiting = False
        """Whether the reader is waiting for the model. Only then can the model be late."""
        self.stopped_at: float | None = None
        """When the run closed the stream; ``None`` when text has arrived again."""
        self.last: float | None = None
        """When the current stream last sent text; ``None`` if it has not sent any."""

    def wait(self) -> None:
        self.since = self._clock()
        self.waiting = True

    def stopped(self) -> float:
        now = self._clock()
        if self.stopped_at is None:
            self.stopped_at = now
        return now

    @property
    def has_text(self) -> bool:
        return self.last is not None

    def waited_until(self, now: float) -> float:
        if not self.waiting or self.last is None:
            return self.waited
        return self.waited + now - max(self.last, self.since)

    def timing(self, now: float, ended_at: float | None, close_latency: tuple[float, ...]) -> Timing:
        return Timing(
            total=now - self.started,
            first_token=self.first,
            largest_gap=self.largest_gap,
            tail=now - ended_at if ended_at is not None else 0.0,
            paused=self.paused,
            close_latency=close_latency,
        )

    def begun(self, now: float) -> None:
        # `now` is when the first text of a stream arrived. It ends the pause after a close.
        if self.first is None:
            self.first = now - self.started
        if self.stopped_at is not None:
            self.paused += now - self.stopped_at
            self.stopped_at = None


# Measure how fast the model writes while the reader waits for it. A slow model is logged and reported; it is no error.

WINDOW = 10.0
"""The shortest time between two regular measurements, in seconds."""


class Pace:
    """Compares the model's token rate with *min_rate* (tokens per second), about once in ``WINDOW`` seconds."""

    # Only the time in which the reader waited between two texts counts. `slow_seconds` is the time waited in slow
    # windows, and `slowest` their lowest rate.

    def __init__(self, meter: Meter, min_rate: float, tokens: Callable[[], int]) -> None:
        self._meter = meter
        self._min_rate = min_rate
        self._tokens = tokens
        self._due = meter.since + WINDOW  # not since meter.started: a resumed run began long ago, in another process
        self._waited = 0.0
        self._seen = tokens()
        self.slow_seconds = 0.0
        self.slowest: float | None = None

    def look(self, now: float) -> float:
        # Returns the time of the next call, for `Timers`.
        if now >= self._due:
            self._due = now + WINDOW
            self._judge(self._meter.waited_until(now))
        return self._due

    def finish(self, now: float) -> None:
        self._judge(self._meter.waited_until(now))

    def _judge(self, waited: float) -> None:
        seconds, self._waited = waited - self._waited, waited
        seen = self._tokens()
        tokens, self._seen = seen - self._seen, seen
        # If the reader waited for less than half a window, a single late token would look like a slow model.
        if seconds < WINDOW / 2 or tokens >= self._min_rate * seconds:
            return
        rate = tokens / seconds
        self.slow_seconds += seconds
        self.slowest = rate if self.slowest is None else min(self.slowest, rate)
        log_warning("stream.slow", rate=round(rate, 3), min_rate=self._min_rate, seconds=round(seconds, 3))


# Closing streams and models is shielded from cancellation and has a time limit. Its errors are logged, never raised.

STREAM_SECONDS = 0.5
ABORT_SECONDS = 1.0
MODEL_SECONDS = 5.0


async def close_stream(stream: Stream) -> None:
    await _end(stream.aclose, "stream.close", STREAM_SECONDS)


async def abort_stream(stream: Stream) -> None:
    # Closing a stream does not make every server stop generating: an adapter of such a server has `abort`.
    abort = getattr(stream, "abort", None)
    if abort is not None:
        await _end(abort, "stream.abort", ABORT_SECONDS)


async def close_model(model: Model) -> None:
    await _end(model.aclose, "model.close", MODEL_SECONDS)


async def _end(call: Callable[[], Awaitable[object]], what: str, seconds: float) -> None:
    # A failed call is only logged: the run continues or ends as if it had succeeded. A cancellation that the adapter
    # itself brought counts as a failure; the run's own is raised.
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


class Backoff:
    """Computes the pauses before reconnects by the :class:`Retries` of the model.

    Without a ``Retry-After`` of the server, there is no pause after a timeout, or if the broken stream had sent text.
    """

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        retries = getattr(model, "retries", None)
        self._retries = retries if isinstance(retries, Retries) else Retries()
        self._clock = clock
        self._failures = 0
        self._asked = 0.0
        self._until = 0.0

    def failed(self, error: ModelError, *, had_text: bool) -> bool:
        """Record a failure, and compute the pause before the next request.

        Returns false if there must be no further request, because the server has asked for more time in total than the
        budget allows.
        """
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
        seconds = self._until - self._clock()
        if seconds > 0:
            log_info("stream.reconnect_delayed", wait=round(seconds, 3))
            await anyio.sleep(seconds)


class WireMeter:
    """Sums up the irregularities of all streams of a run, including those that a process before a resume had read."""

    def __init__(self) -> None:
        self.notes: list[StreamNotes] = []
        """The notes of each stream of this process whose adapter writes notes."""
        self._pace: Pace | None = None
        self._before = WireReport()
        self._wasted = 0

    def recall(self, report: WireReport | None, wasted: int) -> None:
        self._before = report or WireReport()
        self._wasted = wasted

    def keep_pace(
        self, meter: Meter, min_rate: float | None, tokens: Callable[[], int]
    ) -> Callable[[float], float] | None:
        """Start to measure the token rate, and return :meth:`Pace.look`. Without *min_rate*, do neither."""
        self._pace = None if min_rate is None else Pace(meter, min_rate, tokens)
        return None if self._pace is None else self._pace.look

    def finish(self, now: float) -> None:
        if self._pace is not None:
            self._pace.finish(now)

    def report(self) -> WireReport:
        whole = self._before
        for note in self.notes:
            if note.is_odd:
                from interwhen.models._token_stream import KEPT_SAMPLES  # loaded already: it wrote the notes

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

    def mark(self) -> tuple[int, float | None, float]:
        count = 0
        for note in self.notes:
            count += note.skipped_events + note.replaced_events + note.bytes_after_end + (note.orphan is not None)
        pace = self._pace
        return (count, None, 0.0) if pace is None else (count, pace.slowest, pace.slow_seconds)

    def wasted(self, now: float) -> int:
        return self._wasted + sum(note.orphan.wasted(now) for note in self.notes if note.orphan is not None)


RAISED, STEP, HOTTEST = WARM, 0.1, 1.0
"""The temperature of a resample if the run samples with temperature 0: its first value, the step for each further
resample in a row, and the maximum."""
TWO_READERS = "two tasks read the same run at once"


async def ask_capabilities(model: Model, timeouts: Timeouts, budget: float | None) -> Capabilities | ModelError | float:
    # An error is returned, not raised. A number is the `budget` of the run, in seconds, which ran out first.
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
    """Reads at most one stream at a time."""

    # It passes chunks to the core with `step`, and the core's orders to `do`. `tell` gets all other facts.

    __slots__ = (
        "_asked_at",
        "_backoff",
        "_clock",
        "_closed",
        "_core",
        "_do",
        "_foreseen",
        "_group",
        "_has_begun",
        "_meter",
        "_mode",
        "_model",
        "_opening",
        "_overdue",
        "_prompt",
        "_resumes",
        "_sampling",
        "_step",
        "_tell",
        "_usages",
        "_was_retried",
        "behind",
        "close_latency",
        "delivers_at_end",
        "ended_at",
        "error",
        "probe_tokens",
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
        self._resumes: dict[int, float | None] = {}
        self._asked_at = 0.0
        self._has_begun: anyio.Event | None = None
        self.probe_tokens = 0
        self._backoff = Backoff(model, clock)
        self._was_retried = False
        """Whether the current request is a second try beyond the budget of reconnects."""
        self.delivers_at_end = False
        self.wire = WireMeter()
        self._opening: anyio.CancelScope | None = None
        self._overdue: StreamTimeout | None = None
        self._closed: anyio.Event | None = None
        """This event is set when the previous stream is closed; ``None`` if there is nothing to wait for."""
        self.stream: Stream | None = None
        self.trail: object | None = None
        self.wanted: Open | None = None
        """The request that the core has ordered and that the server has not accepted yet."""
        self.error: ModelError | None = None
        self.close_latency: list[float] = []
        self.ended_at: float | None = None
        """The time at which the last stream ended, or the core ended it. ``None``: a stream is open, the last one broke
        or was interrupted, or there was none."""
        self._foreseen = 0
        """The token count after all chunks of the current read; 0 if no read with several chunks is being processed."""
        self.behind: Usage | None = None
        """The ``usage`` of a later chunk of the current read. The run may end before that chunk is processed."""

    @property
    def usages(self) -> Mapping[int, Usage]:
        return self._usages

    @property
    def resumes(self) -> tuple[tuple[int, float | None], ...]:
        # For each request that continues kept text: the seconds to its first text, or `None` if it has sent none.
        return tuple(self._resumes.items())

    @property
    def unread(self) -> int:
        return max(self._foreseen - self._core.counts.tokens(), 0)

    def recall(
        self,
        usages: Mapping[int, Usage],
        resumes: Sequence[tuple[int, float | None]],
        probe_tokens: int,
        close_latency: Sequence[float],
        ended_at: float | None,
        unread: int,
    ) -> None:
        """Set the counts to those that a journal has of the process before a resume.

        *unread* is the number of tokens that came after the end of the run; 0 unless the run has ended.
        """
        self._foreseen = self._core.counts.tokens() + unread if unread else 0
        self._usages.update(usages)
        self._resumes.update(resumes)
        self.probe_tokens = probe_tokens
        self.close_latency.extend(close_latency)
        self.ended_at = ended_at

    async def receive(self, stream: Stream) -> None:
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
        # No chunks mean the end of the stream.
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
            self._begun(now)
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

    def _begun(self, now: float) -> None:
        self._meter.begun(now)
        self._was_retried = False
        if self._has_begun is not None:
            self._has_begun.set()
        request = self._core.counts.requests
        if request in self._resumes:
            self._resumes[request] = now - self._asked_at

    def start_probe(self) -> None:
        # The probe finds out how the endpoint continues kept text, in parallel with the first stream.
        if getattr(self._model, "needs_proof", False):
            self._has_begun = anyio.Event()
            self._group.start_soon(self._prove, self._has_begun, name="probe")

    async def _prove(self, has_begun: anyio.Event) -> None:
        # Before the first text, a probe could delay it: a server may have only one slot.
        await has_begun.wait()
        try:
            self.probe_tokens += await self._model.prove()  # type: ignore[attr-defined]
        except ModelError as error:
            log_warning("probe.failed", error=type(error).__name__)

    async def open(self, order: Open) -> None:
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
        meter.last = None  # the time before its first text is no gap between texts
        request = Request(self._prompt, order.pieces, self._sampling_for(order), trail=self.trail)
        with anyio.CancelScope() as scope:
            self._opening = scope
            try:
                if order.after:
                    await anyio.sleep(order.after)
                await self._backoff.wait()
                meter.wait()
                self._asked_at = meter.since
                stream = await self._model.stream(request)
            except ModelError as error:
                if self.wanted is order:
                    self.wanted = None
                    self.lost(error, seconds=self._clock() - self._asked_at)
                return
            finally:
                self._opening = None
                meter.waiting = False
        if scope.cancelled_caught:  # cancelled by the core, or by a timer, which has reported it to the core
            return
        if self.wanted is not order:  # the run ended, or ordered another request, while the server answered
            await close_stream(stream)
            return
        self._accepted(order, stream)

    def _accepted(self, order: Open, stream: Stream) -> None:
        self.wanted = None
        self.error = None
        self.stream = stream
        self.trail = getattr(stream, "trail", None)
        if (notes := getattr(stream, "notes", None)) is not None:
            from interwhen.models._token_stream import StreamNotes  # here, because a model may read no bytes

            if isinstance(notes, StreamNotes):
                self.wire.notes.append(notes)
        self.ended_at = None
        seconds = self._clock() - self._asked_at
        if not order.pieces:
            self._tell(Opened(None, seconds=seconds))
            return
        self._resumes[self._core.counts.requests + 1] = None
        way = getattr(stream, "way", None)
        if isinstance(way, ResumeWay):
            self._tell(Opened(way.mode, way.reason, way.reasoning, seconds))
        else:
            self._tell(Opened(self._mode, "the model states this mode", seconds=seconds))

    def close(self) -> None:
        decided_at = self._meter.stopped()
        self.wanted = None
        if self._opening is not None:
            self._opening.cancel()
        if self.stream is not None:
            self._release(self.stream, decided_at)
            if self._core.state == "draining":  # the core has ended the stream
                self.ended_at = decided_at

    def splice(self, order: Splice) -> None:
        splice = getattr(self.stream, "splice", None)
        if splice is not None:
            splice(order.start, order.dropped, order.to)

    def stalled(self, timer: str, seconds: float) -> None:
        # The timeout `timer`, of `seconds`, ran out. The core may reconnect, except after `total`.
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

    def lost(self, error: ModelError, *, final: bool = False, seconds: float = 0.0) -> None:
        # With `final`, the core must not reconnect. `seconds` is the time from the request to its failure.
        self.error = error
        had_text = self._meter.has_text
        retryable = error.retryable and not final and self._backoff.failed(error, had_text=had_text)
        # The request after a remedy is ours: the caller did not ask for it, so its failure must not cost the answer.
        earlier = self._core.counts.requests - (self._core.state == "streaming")
        is_resume = earlier > 0 and not had_text and not final
        again = is_resume and retryable and not self._was_retried and not isinstance(error, StreamTimeout)
        self._was_retried = self._was_retried or again
        status = error.status if isinstance(error, UpstreamError) else None
        named = {} if status is None else {"upstream_status": status}
        log_warning("stream.broken", error=type(error).__name__, retryable=retryable, **named)
        keeps = is_resume and not self.delivers_at_end and self._core.has_shown
        self._tell(Broken(str(error), retryable, seconds, again=again, keeps_text=keeps, status=status))

    def _foresee(self, chunks: Sequence[Chunk]) -> None:
        # Count the tokens of all `chunks`, and store their `usage`, because the run may end at any of them.
        core = self._core
        self._foreseen = core.counts.tokens()
        for chunk in chunks:
            self._foreseen += chunk.tokens
            if chunk.usage is not None:
                self._foreseen = max(self._foreseen, core.counts.reported(chunk.usage))
                self.behind = chunk.usage
                self._count(chunk.usage)

    def _count(self, usage: Usage) -> None:
        self._usages[self._core.counts.requests] = usage

    def _take_late(self, chunks: Sequence[Chunk]) -> None:
        # Count the tokens of `chunks` that arrived on a stream after the run had closed it. Their text is ignored.
        for chunk in chunks:
            self._step(msgspec.structs.replace(chunk, finish_reason=None))
            if chunk.usage is not None:
                self._count(chunk.usage)

    def failed(self, stream: Stream, error: ModelError) -> None:
        if stream is not self.stream:
            return  # we closed it, on an order of the core
        self._release(stream)
        if isinstance(error, StreamClosed):
            # The adapter closed it: for example, it closes the connection if the reader cancels a read.
            error = ConnectError(str(error))
        self.lost(error)

    def _release(self, stream: Stream, decided_at: float | None = None) -> None:
        """Close *stream*: at once if this needs no waiting, otherwise in a task.

        *decided_at*: when the run decided to close it, if it did.
        """
        self.stream = None
        settle = getattr(stream, "settle", None)
        if settle is not None and settle():
            self._closed = None
            if decided_at is not None:
                self.close_latency.append(self._clock() - decided_at)
            return
        self._closed = closed = anyio.Event()

        async def close() -> None:
            await close_stream(stream)
            if decided_at is not None:
                self.close_latency.append(self._clock() - decided_at)
            closed.set()
            await abort_stream(stream)

        self._group.start_soon(close, name="close")

    def _sampling_for(self, order: Open) -> Sampling:
        # The core asks for no more text when the tokens are spent. Without `max_tokens`, the server limits the text.
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
