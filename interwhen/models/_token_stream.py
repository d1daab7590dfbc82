"""An open stream of one continuation: bytes in, chunks out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from interwhen._log import log_info, log_warning
from interwhen._types.errors import ConnectError, MalformedEvent, ModelError, StreamClosed
from interwhen._types.ledger import SkippedEvent
from interwhen._types.models import Chunk, Completion, FinishReason, ResumeMode, Stream, Usage
from interwhen.models._chunks import Decode, Decoded, EndMark
from interwhen.models._orphans import OrphanedStream, OrphanedStreams
from interwhen.models._sse import DEFAULT_LIMIT, SseDecoder, SseEvent
from interwhen.models._transport import HttpResponse

# Help for writing a model adapter: a stream that may be closed while it is being read.


class GuardedStream:
    """A :class:`~interwhen.models.Stream` by way of one method, :meth:`fetch`.

    :meth:`aclose` cancels a pending :meth:`fetch`. That costs a cancel scope per read (about 3 µs); adapters
    whose source can be closed under a reader do better by implementing the protocol themselves.
    """

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False

    async def fetch(self) -> Sequence[Chunk]:
        """Wait for text; empty at the end."""
        raise NotImplementedError

    async def release(self) -> None:
        """Give back what the stream holds; called once."""

    async def receive(self) -> Sequence[Chunk]:
        """Return what :meth:`fetch` brings. Raises :class:`StreamClosed` when closed meanwhile."""
        if not self._is_closed:
            with anyio.CancelScope() as self._scope:
                return await self.fetch()
        raise StreamClosed("the stream is closed")

    async def aclose(self) -> None:
        """Stop: a pending read ends at once."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()
        await self.release()


class IteratorStream(GuardedStream):
    """Makes a stream of an async iterator of text, for models that come with one.

    The last chunk gets the finish reason ``stop``. An iterator that was interrupted, by an exception of its own or
    by the cancellation of a read, has not come to its end: what follows is a
    :class:`~interwhen.models.ConnectError`.
    """

    def __init__(self, texts: AsyncIterator[str]) -> None:
        super().__init__()
        self._texts = texts
        self._over = False
        self._is_whole = True

    async def fetch(self) -> Sequence[Chunk]:
        """Return the next text as one chunk."""
        if self._over:
            return ()
        if not self._is_whole:
            raise ConnectError("the iterator was interrupted before its end")
        try:
            return (Chunk(await anext(self._texts)),)
        except StopAsyncIteration:
            self._over = True
            return (Chunk("", tokens=0, finish_reason="stop"),)
        except BaseException:
            # A generator that has let an exception through says next that it is at its end, which it is not.
            self._is_whole = False
            raise

    async def release(self) -> None:
        """Close the iterator if it can be closed."""
        close = getattr(self._texts, "aclose", None)
        if close is not None and not self._over:
            try:
                await close()
            except RuntimeError:
                # An async generator that is being read ends by the cancellation of that read.
                return


# What a stream keeps of the oddities that did not end it.

KEPT_SAMPLES = 16
"""How many skipped events of a stream are kept; all are counted."""


@dataclass(slots=True)
class StreamNotes:
    """Counters of one stream, for the result of its run."""

    skipped_events: int = 0
    skipped: list[SkippedEvent] = field(default_factory=list)
    replaced_events: int = 0
    bytes_after_end: int = 0
    orphan: OrphanedStream | None = None
    """What the server may still be generating after we closed the stream."""

    @property
    def is_odd(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.skipped_events or self.replaced_events or self.bytes_after_end)

    def skip(self, error: MalformedEvent) -> None:
        """Count the event that *error* is about, and keep the first ones."""
        self.skipped_events += 1
        if len(self.skipped) < KEPT_SAMPLES:
            sample = ascii(error.sample)[2:-1]
            self.skipped.append(SkippedEvent(error.offset, sample, str(error).partition(" at byte ")[0]))


def lenient(decode: Decode, notes: StreamNotes) -> Decode:
    """Return *decode* with a way around single events that cannot be read: they are left out, and counted.

    Invalid UTF-8 becomes U+FFFD where the rest of the event can be read then. Errors that the server announces,
    unknown shapes and a second choice still raise: there is more wrong than one event.
    """

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        try:
            return decode(data, offset, first)
        except MalformedEvent as error:
            mended = data.decode(errors="replace").encode()
            if mended != data:
                try:
                    found = decode(mended, offset, first)
                except MalformedEvent:
                    pass
                else:
                    notes.replaced_events += 1
                    return found
            notes.skip(error)
            return None

    return decoded


_DRAIN_SECONDS = 0.05
"""For how long the end of a body is awaited after ``[DONE]``, to keep the connection for the next request."""


class TokenStream:
    """The stream of one request; see :class:`~interwhen.models.Stream`.

    Text is never lost to an error: where one read brought chunks and then nonsense, the chunks are returned and the
    next :meth:`receive` raises. Counts alone are no reason to return: what has no end but counts has stalled.

    ``notes`` says what was odd. *stop* tells the server to stop, for :meth:`abort`. Closed before its end, the stream
    is one of *orphans*, of whose tokens there are at most *limit*. One event has at most *event_bytes*.
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
        "resumed",
        "trail",
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
        self.resumed: ResumeMode | None = None
        """How the request continued kept text, where that was decided for this request alone."""
        self.trail: object | None = None
        """The token ids of the stream, where it keeps them."""
        self._response = response
        self._receive = response.receive
        self._decoder = SseDecoder(limit=event_bytes)
        self._feed = self._decoder.feed
        self._decode = decode
        self._stop = stop
        self._orphans = orphans
        self._limit = limit
        self._count = 0
        self._counted = False  # counts have come behind the finish reason
        self._opened_at = anyio.current_time() if orphans is not None else 0.0
        self._first = True
        self._finished = False  # a finish reason has come
        self._ended = False
        self._closed = False
        self._error: ModelError | None = None

    async def receive(self) -> Sequence[Chunk]:  # noqa: C901  the hot path: a call each would cost more
        """Wait for text and return what has come; empty at the end of the stream."""
        if self._ended or self._error is not None or self._closed:
            return self._after_end()
        chunks: list[Chunk] = []
        while not self._ended:
            try:
                data = await self._receive()
                events = self._feed(data)
                for event, offset in events:
                    found = self._decode(event, offset, self._first)
                    if isinstance(found, Chunk):
                        self._first = False
                        chunks.append(found)
                        if found.finish_reason is not None:
                            self._finished = True
                    elif found is not None:
                        self._take(found, chunks, offset, events)
                        if self._ended:
                            break  # what follows the first end mark is not looked at
                if not data:
                    self._end(chunks, "truncated")
            except ModelError as exc:
                self._fail(exc, chunks)
                break
            if chunks:
                if chunks[0].tokens or self._is_news(chunks):
                    break
                del chunks[:-1]  # counts only, of which the last ones hold
        if self._orphans is not None:
            self._count += len(chunks)
        return chunks

    async def aclose(self) -> None:
        """Stop the generation: close the connection, unless the answer had come to its end."""
        if self._closed:
            return
        self._closed = True
        if self._ended:
            await self._drain()
        elif self._orphans is not None:
            self.notes.orphan = self._orphan(self._orphans)
        await self._response.aclose()

    def settle(self) -> bool:
        """Close at once where nothing has to be waited for, the answer being whole; tells whether that was so."""
        settle = getattr(self._response, "settle", None)
        if not self._ended or self._closed or settle is None or not settle():
            return False
        self._closed = True
        return True

    async def abort(self) -> None:
        """Tell the server to stop, where it has a call for that and the stream was closed before its end.

        What the server says to that is logged; it is no error of the run.
        """
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
        self, found: EndMark | tuple[Chunk, ...], chunks: list[Chunk], at: int, events: Sequence[SseEvent]
    ) -> None:
        """Take what stands in the event *at* that offset, of *events*, and is not one chunk."""
        if isinstance(found, EndMark):
            self.notes.bytes_after_end += self._after(at, events)
            self._end(chunks, "other")
        else:
            chunks.extend(found)
            self._finished = self._finished or found[-1].finish_reason is not None

    def _is_news(self, chunks: Sequence[Chunk]) -> bool:
        """Tell whether anything has come but counts, of which the first ones behind the finish reason are the last."""
        if self._finished and not self._counted:
            self._counted = chunks[-1].usage is not None
            return True
        return any(chunk.tokens or chunk.text or chunk.finish_reason is not None for chunk in chunks)

    def _after(self, offset: int, events: Sequence[SseEvent]) -> int:
        """Return how many bytes have come behind the end mark at *offset*."""
        following = next((at for _, at in events if at > offset), None)
        return self._decoder.unfinished if following is None else self._decoder.offset - following

    def _end(self, chunks: list[Chunk], reason: FinishReason) -> None:
        """End the stream; *reason* is for a server that gave none."""
        self._ended = True
        if not self._finished:
            chunks.append(Chunk("", tokens=0, finish_reason=reason))

    def _fail(self, exc: ModelError, chunks: list[Chunk]) -> None:
        """Keep *exc* for the next call where text came before it, and raise it otherwise."""
        if isinstance(exc, ConnectError) and self._finished:
            self._ended = True  # only the end mark and the counts are lost
            return
        self._error = exc
        if isinstance(exc, StreamClosed) or not chunks:
            raise exc

    def _after_end(self) -> Sequence[Chunk]:
        if self._closed:
            raise StreamClosed("the stream is closed")
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
    """Read *stream* to its end and close it. As in any whole answer, the text is without reasoning in a field."""
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
