"""The streams of model adapters, and base classes for such streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from interwhen._types.errors import DECODE_ERRORS, ConnectError, MalformedEvent, ModelError, StreamClosed
from interwhen._types.ledger import SkippedEvent
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Chunk, Completion, FinishReason, ResumeWay, Stream, Usage
from interwhen.models._chunks import Decode, Decoded, EndMark, slots_decoder
from interwhen.models._orphans import OrphanedStream, OrphanedStreams
from interwhen.models._sse import DEFAULT_LIMIT, SseDecoder, SseEvent
from interwhen.models._transport import REMEMBERED_SECONDS, HttpResponse

# Base classes of streams for model adapters. A task may close such a stream while another task reads it.


class GuardedStream:
    """A base class for a :class:`~interwhen.models.Stream`. A subclass only has to implement :meth:`fetch`.

    :meth:`aclose` cancels a pending :meth:`fetch`. This needs a cancel scope for each read (about 3 µs).
    """

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False

    async def fetch(self) -> Sequence[Chunk]:
        """Wait for text and return it as chunks; empty at the end of the stream. A subclass implements this.

        It raises :class:`~interwhen.models.ModelError` if the stream breaks.
        """
        raise NotImplementedError

    async def release(self) -> None:
        """Release the resources of the stream. :meth:`aclose` calls this at most once. The default does nothing."""

    async def receive(self) -> Sequence[Chunk]:
        """Return the result of :meth:`fetch`, or raise its error.

        Raises :class:`StreamClosed` if the stream was closed before, or if :meth:`aclose` ends the wait.
        """
        if not self._is_closed:
            with anyio.CancelScope() as self._scope:
                return await self.fetch()
        raise StreamClosed

    async def aclose(self) -> None:
        """Close the stream and release its resources. A second call does nothing.

        A pending :meth:`receive` is cancelled, and raises :class:`StreamClosed`.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()
        await self.release()


class IteratorStream(GuardedStream):
    """A stream of the *texts* of an async iterator.

    After the last text, the stream ends with the finish reason ``stop``. After the iterator has raised, or a read was
    cancelled, the next read raises :class:`~interwhen.models.ConnectError`.
    """

    def __init__(self, texts: AsyncIterator[str]) -> None:
        super().__init__()
        self._texts = texts
        self._over = False
        self._is_whole = True

    async def fetch(self) -> Sequence[Chunk]:
        """Return the next text as one chunk. After the last text, return a chunk with the finish reason, then nothing.

        An error of the iterator is raised; later calls raise :class:`~interwhen.models.ConnectError`.
        """
        if self._over:
            return ()
        if not self._is_whole:
            raise ConnectError("the iterator of chunks was interrupted before its end: open the stream again")
        try:
            return (Chunk(await anext(self._texts)),)
        except StopAsyncIteration:
            self._over = True
            return (Chunk("", tokens=0, finish_reason="stop"),)
        except BaseException:
            # After an exception a generator raises StopAsyncIteration, which does not mean that the text is complete.
            self._is_whole = False
            raise

    async def release(self) -> None:
        """Close the iterator of texts, if it has ``aclose``, has not ended, and no task reads it."""
        close = getattr(self._texts, "aclose", None)
        if close is not None and not self._over:
            try:
                await close()
            except RuntimeError:
                # Another task reads the generator. The cancellation of that read ends the generator.
                return


KEPT_SAMPLES = 16
"""How many skipped events of a stream are kept as samples. All skipped events are counted."""


@dataclass(slots=True)
class StreamNotes:
    """Counts the irregularities of one stream, such as skipped events, for ``result.wire``."""

    skipped_events: int = 0
    skipped: list[SkippedEvent] = field(default_factory=list)
    replaced_events: int = 0
    """How many events were used after their invalid UTF-8 was replaced."""
    bytes_after_end: int = 0
    """About how many bytes arrived after the end mark."""
    orphan: OrphanedStream | None = None
    """The generation that the server may continue after the stream was closed; ``None`` if none is known."""

    @property
    def is_odd(self) -> bool:
        return bool(self.skipped_events or self.replaced_events or self.bytes_after_end)

    def skip(self, error: MalformedEvent) -> None:
        self.skipped_events += 1
        if len(self.skipped) < KEPT_SAMPLES:
            sample = ascii(error.sample)[2:-1]
            self.skipped.append(SkippedEvent(error.offset, sample, str(error).partition(" at byte ")[0]))


def lenient(decode: Decode, notes: StreamNotes) -> Decode:
    # A malformed event is skipped, and counted in `notes`. If only its UTF-8 is invalid, U+FFFD replaces the invalid
    # bytes, and the event is used.
    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        try:
            return decode(data, offset, first)
        except MalformedEvent as error:
            mended = data.decode(errors="replace").encode()
            if mended != data:
                try:
                    content = decode(mended, offset, first)
                except MalformedEvent:
                    pass
                else:
                    notes.replaced_events += 1
                    return content
            notes.skip(error)
            return None

    return decoded


_DRAIN_SECONDS = 0.05
"""How many seconds a stream waits at most for the end of the body after ``[DONE]``, to reuse the connection."""


class TokenStream:
    """The stream of one request; see :class:`~interwhen.models.Stream`.

    If a read gets chunks and then an error of the server or the connection, :meth:`receive` first returns the chunks,
    and its next call raises the error. A connection that breaks after the finish reason is no error.

    *stop* tells the server to stop the generation; :meth:`abort` calls it. If the stream is closed before a finish
    reason or its end, it is added to *orphans*; *limit* is the ``max_tokens`` of its request.
    """

    __slots__ = (
        "_closed",
        "_count",
        "_counted",
        "_decode",
        "_decoder",
        "_ended",
        "_error",
        "_feed",
        "_finished",
        "_first",
        "_limit",
        "_opened_at",
        "_orphans",
        "_receive",
        "_response",
        "_stop",
        "notes",
        "splice",
        "trail",
        "way",
    )

    def __init__(
        self,
        response: HttpResponse,
        decode: Decode,
        *,
        notes: StreamNotes | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
        orphans: OrphanedStreams | None = None,
        limit: int | None = None,
        event_bytes: int = DEFAULT_LIMIT,
    ) -> None:
        self.notes = notes or StreamNotes()
        self.way: ResumeWay | None = None
        """How the request continued kept text, and why so; ``None`` if it did not continue text."""
        self.trail: object | None = None
        """The token ids of the stream (a ``TokenTrail``); ``None`` if they are not recorded."""
        self.splice: Callable[[int, int, int], object] | None = None
        """See :class:`~interwhen.models.Stream`; ``None`` if it makes no difference for the adapter."""
        self._response = response
        self._receive = response.receive
        self._decoder = SseDecoder(limit=event_bytes)
        self._feed = self._decoder.feed
        self._decode = decode
        self._stop = stop
        self._orphans = orphans
        self._limit = limit
        self._count = 0
        self._counted = False  # token counts have arrived after the finish reason
        self._opened_at = anyio.current_time() if orphans is not None else 0.0
        self._first = True
        self._finished = False  # a finish reason has arrived
        self._ended = False
        self._closed = False
        self._error: ModelError | None = None

    async def receive(self) -> Sequence[Chunk]:  # noqa: C901  hot path: function calls would cost more
        # If the server sent no finish reason, the last chunk has the reason `truncated`, or `other` after an end mark.
        # Raises `ModelError` if the stream breaks or is invalid, and `StreamClosed` after `aclose`.
        if self._ended or self._error is not None or self._closed:
            return self._after_end()
        chunks: list[Chunk] = []
        while not self._ended:
            try:
                data = await self._receive()
                events = self._feed(data)
                for event, offset in events:
                    decoded = self._decode(event, offset, self._first)
                    if isinstance(decoded, Chunk):
                        self._first = False
                        chunks.append(decoded)
                        if decoded.finish_reason is not None:
                            self._finished = True
                    elif decoded is not None:
                        self._take(decoded, chunks, offset, events)
                        if self._ended:
                            break  # everything after the first end mark is ignored
                if not data:
                    self._end(chunks, "truncated")
            except ModelError as exc:
                self._fail(exc, chunks)
                break
            if chunks:
                if chunks[0].tokens or self._is_news(chunks):
                    break
                del chunks[:-1]  # token counts only: the last ones are valid
        if self._orphans is not None:
            self._count += len(chunks)
        return chunks

    @property
    def is_open(self) -> bool:
        return not (self._ended or self._closed or self._finished or self._error is not None)

    @property
    def was_cut(self) -> bool:
        return self._closed and not (self._ended or self._finished)

    async def aclose(self) -> None:
        # After the end mark, read the rest of the response, so that the connection can be used again.
        if self._closed:
            return
        self._closed = True
        if self._ended:
            await self._drain()
        elif self._orphans is not None and not self._finished:
            self.notes.orphan = self._orphan(self._orphans)
        await self._response.aclose()

    def settle(self) -> bool:
        # If the response is complete, close the stream without waiting. Return whether this call closed it.
        settle = getattr(self._response, "settle", None)
        if not self._ended or self._closed or settle is None or not settle():
            return False
        self._closed = True
        return True

    async def abort(self) -> None:
        stop, self._stop = self._stop, None
        if stop is None or self._ended or not self._closed:
            return
        try:
            await stop()
        except ModelError as error:
            log_warning("model.abort_failed", error=type(error).__name__)
        else:
            if self._orphans is not None and self.notes.orphan is not None:
                self._orphans.stop(self.notes.orphan)

    def _take(
        self, decoded: EndMark | tuple[Chunk, ...], chunks: list[Chunk], at: int, events: Sequence[SseEvent]
    ) -> None:
        if isinstance(decoded, EndMark):
            self.notes.bytes_after_end += self._after(at, events)
            self._end(chunks, "other")
        else:
            chunks.extend(decoded)
            self._first = False
            self._finished = self._finished or decoded[-1].finish_reason is not None

    def _is_news(self, chunks: Sequence[Chunk]) -> bool:
        if self._finished and not self._counted:
            self._counted = chunks[-1].usage is not None
            return True
        return any(chunk.tokens or chunk.text or chunk.finish_reason is not None for chunk in chunks)

    def _after(self, offset: int, events: Sequence[SseEvent]) -> int:
        following = next((at for _, at in events if at > offset), None)
        return self._decoder.unfinished if following is None else self._decoder.offset - following

    def _end(self, chunks: list[Chunk], reason: FinishReason) -> None:
        self._ended = True
        if not self._finished:
            chunks.append(Chunk("", tokens=0, finish_reason=reason))

    def _fail(self, exc: ModelError, chunks: list[Chunk]) -> None:
        if isinstance(exc, ConnectError) and self._finished:
            self._ended = True  # only the end mark and the token counts are lost
            return
        self._error = exc
        if isinstance(exc, StreamClosed) or not chunks:
            raise exc

    def _after_end(self) -> Sequence[Chunk]:
        if self._closed:
            raise StreamClosed
        if self._error is not None:
            raise self._error
        return ()

    async def _drain(self) -> None:
        more = 0
        try:
            with anyio.move_on_after(_DRAIN_SECONDS):
                while data := await self._receive():
                    more += len(data.strip(b"\r\n"))
        except ModelError:
            pass
        if more:
            self.notes.bytes_after_end += more
            log_info("stream.bytes_after_end", bytes=more)

    def _orphan(self, orphans: OrphanedStreams) -> OrphanedStream:
        now = anyio.current_time()
        left = None if self._limit is None else max(self._limit - self._count, 0)
        orphan = OrphanedStream(now, self._count / max(now - self._opened_at, 0.001), left)
        orphans.add(orphan)
        return orphan


async def collect(stream: Stream) -> Completion:
    """Read *stream* to its end, close it, and return its completion.

    This is the answer text without the reasoning, the first finish reason (by default ``truncated``), the last token
    counts, and the sum of the log-probabilities of all chunks, if any. Errors of the stream are raised.
    """
    chunks: list[Chunk] = []
    try:
        while more := await stream.receive():
            chunks += more
    finally:
        await stream.aclose()
    scores = [chunk.logprob for chunk in chunks if chunk.logprob is not None]
    return Completion(
        "".join(chunk.text for chunk in chunks if chunk.phase == "answer"),
        next((chunk.finish_reason for chunk in chunks if chunk.finish_reason is not None), "truncated"),
        next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), Usage()),
        sum(scores) if scores else None,
    )


# The slots of llama.cpp. It keeps the tokens of a prompt in a slot, and notices a closed connection only when it writes
# the next token. A resume that arrives before that gets another slot, and the server reads the whole prefix again.
# After the release, the server chooses the slot with the most similar prompt, which is the slot of the closed stream.

MOST_SECONDS = 3.0
"""The longest wait, in seconds."""
MOST_LOOKS = 12
"""A slot that is busy for longer probably belongs to another client, or the server ignores the closed connection."""
LOOK_SECONDS = 0.002


class SlotRelease:
    """Waits until a llama.cpp server has probably released slots. A slot is the server's memory for one prompt."""

    def __init__(self) -> None:
        self._streams: list[TokenStream] = []
        self._asking = 0
        self._held = 0
        self._unknown_until = 0.0

    def add(self, stream: TokenStream) -> None:
        # If `stream` is closed before its end, `wait` waits for its slot.
        self._prune()
        self._streams.append(stream)

    @contextmanager
    def asking(self) -> Iterator[None]:
        # A request without streaming occupies a slot, too, as long as the block runs.
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    async def wait(self, ask: Callable[[], Awaitable[bytes]]) -> None:
        # `ask` returns the answer of `GET /slots`. Without a stream that was cut since the last call, nothing is asked.
        self._prune()
        if not self._held or anyio.current_time() < self._unknown_until:
            return
        self._held = 0
        try:
            with anyio.move_on_after(MOST_SECONDS):
                await self._released(ask)
        except (ModelError, *DECODE_ERRORS) as error:
            self._unknown_until = anyio.current_time() + REMEMBERED_SECONDS
            log_info("endpoint.slots_unknown", error=type(error).__name__, seconds=REMEMBERED_SECONDS)

    def _prune(self) -> None:
        self._held += sum(stream.was_cut for stream in self._streams)
        self._streams = [stream for stream in self._streams if stream.is_open]

    async def _released(self, ask: Callable[[], Awaitable[bytes]]) -> None:
        before: set[tuple[int, int | None]] | None = None
        for _ in range(MOST_LOOKS):
            busy = {(state.id, state.id_task) for state in slots_decoder.decode(await ask()) if state.is_processing}
            before = busy if before is None else before
            self._prune()
            # Other clients may have slots, too, and slots do not show their client. So the end of any task counts.
            if len(busy) <= len(self._streams) + self._asking or before - busy:
                return
            await anyio.sleep(LOOK_SECONDS)
