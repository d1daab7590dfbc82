"""An open stream of one continuation: bytes in, chunks out."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from interwhen.errors import ConnectError, ModelError, StreamClosed
from interwhen.models.base import Chunk, Completion, FinishReason, Stream, Usage
from interwhen.models.chunks import Decode, Done
from interwhen.models.sse import SseDecoder
from interwhen.models.transport import HttpResponse

_DRAIN_SECONDS = 0.05
"""For how long the end of a body is awaited after ``[DONE]``, to keep the connection for the next request."""


class TokenStream:
    """The stream of one request; see :class:`~interwhen.models.base.Stream`.

    Text is never lost to an error: where one read brought chunks and then nonsense, the chunks are returned and the
    next :meth:`receive` raises.
    """

    __slots__ = ("_closed", "_decode", "_ended", "_error", "_feed", "_finished", "_first", "_receive", "_response")

    def __init__(self, response: HttpResponse, decode: Decode) -> None:
        self._response = response
        self._receive = response.receive
        self._feed = SseDecoder().feed
        self._decode = decode
        self._first = True
        self._finished = False  # a finish reason has come
        self._ended = False
        self._closed = False
        self._error: ModelError | None = None

    async def receive(self) -> Sequence[Chunk]:
        """Wait for text and return what has come; empty at the end of the stream."""
        if self._ended or self._error is not None or self._closed:
            return self._after_end()
        chunks: list[Chunk] = []
        while not chunks and not self._ended:
            try:
                data = await self._receive()
                self._take(data, chunks)
                if not data:
                    self._end(chunks, "truncated")
            except ModelError as exc:
                self._fail(exc, chunks)
        return chunks

    async def aclose(self) -> None:
        """Stop the generation: close the connection, unless the answer had come to its end."""
        if self._closed:
            return
        self._closed = True
        if self._ended:
            await self._drain()
        await self._response.aclose()

    def _take(self, data: bytes, chunks: list[Chunk]) -> None:
        decode = self._decode
        for event, offset in self._feed(data):
            found = decode(event, offset, self._first)
            if isinstance(found, Chunk):
                self._first = False
                chunks.append(found)
                if found.finish_reason is not None:
                    self._finished = True
            elif found is None:
                continue
            elif isinstance(found, Done):
                # What follows the first end mark is not looked at.
                self._end(chunks, "other")
                return
            else:
                chunks.extend(found)
                self._finished = self._finished or found[-1].finish_reason is not None

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
        try:
            with anyio.move_on_after(_DRAIN_SECONDS):
                while await self._receive():
                    pass
        except ModelError:
            pass


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
