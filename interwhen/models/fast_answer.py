"""One answer on a connection of the fast transport: what the parser finds in it, and whoever waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import httptools

from interwhen.errors import ConnectError, ModelError, StreamClosed, StreamProtocolError

HIGH_WATER = 1 << 20
"""Bytes that may wait unread before the loop stops reading from the socket."""
_MOST_WITHOUT_BODY = 1 << 18
"""Bytes that may come without any of the body (a head, trailers, extensions of a chunk) before that is no answer."""


class Line(Protocol):
    """The connection that an answer comes on."""

    def pause(self) -> None:
        """Stop reading from the socket."""
        ...

    def resume(self) -> None:
        """Go on reading."""
        ...

    def release(self, *, keep: bool) -> None:
        """Take the connection back: the answer is whole. It is closed unless *keep*."""
        ...

    def abort(self) -> None:
        """Close the socket now."""
        ...


class Answer:
    """A response; see :class:`~interwhen.models.transport.HttpResponse`. The connection feeds it, one task reads it.

    All that has come by the time the reader looks is handed over together, for one wake-up of its task.
    """

    __slots__ = (
        "_closed",
        "_dry",
        "_error",
        "_feed",
        "_framed",
        "_headers",
        "_is_whole",
        "_keep",
        "_line",
        "_loop",
        "_name",
        "_parser",
        "_parts",
        "_paused",
        "_received",
        "_size",
        "_waiter",
        "headers",
        "status",
    )

    def __init__(self, name: str, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0  # until the head has come
        self.headers: Mapping[str, str] = {}
        self._name = name
        self._line = line
        self._loop = loop
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0  # of the parts
        self._received = 0  # by the reader
        self._dry = 0
        self._framed = False  # whether the head says where the body ends
        self._keep = False
        self._paused = False
        self._is_whole = False
        self._closed = False
        self._error: ModelError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    # ------------------------------------------------------------------ the reader's side

    async def head(self) -> None:
        """Wait for the status and the headers; raises :class:`~interwhen.errors.ModelError` where none come."""
        while not self.status:
            if self._closed:
                raise StreamClosed("the transport was closed before an answer came")
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has come, be it a part of its head."""
        return bool(self.status or self._dry or self._size)

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end."""
        parts = self._parts
        while not parts:
            if self._closed:
                raise StreamClosed("the stream is closed")
            if self._error is not None:
                raise self._error
            if self._is_whole:
                return b""
            # As in _wait, without the call: this is for every chunk.
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            except BaseException:
                self.close()
                raise
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        self._received += len(data)
        if self._paused:
            self._paused = False
            self._line.resume()
        return data

    async def aclose(self) -> None:
        """Close now. A parked :meth:`receive` raises; an answer that is whole has given its connection back already."""
        if self._closed:
            return
        is_over = self._is_whole or self._error is not None
        self.close()
        if not is_over:
            # The loop closes the socket in its next turn.
            await asyncio.sleep(0)

    def settle(self) -> bool:
        """Close now if the answer is whole and all of it has been read; tells whether that was so."""
        if not self._is_whole or self._parts:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Close the connection, unless the answer is whole, and forget what was not read."""
        self._closed = True
        self._parts.clear()
        if not self._is_whole and self._error is None:
            self._line.abort()
        self._over()

    async def _wait(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            self.close()
            raise

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _over(self) -> None:
        """Wake whoever waits, and part with the parser: the two know each other."""
        self._feed = _nothing
        self._parser = None
        self._wake()

    # ------------------------------------------------------------------ the connection's side

    def take(self, data: bytes) -> None:
        """Take *data*, which came on the connection."""
        before = self._size
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._malformed("it changes to another protocol, which was not asked for")
            return
        except httptools.HttpParserError as exc:
            self._malformed(str(exc) or type(exc).__name__)
            return
        if self._is_whole:
            self._over()
            return
        if self._size == before:
            self._dry += len(data)
            if self._dry > _MOST_WITHOUT_BODY:
                self._malformed(f"{self._dry} bytes without any of the body")
                return
        else:
            self._dry = 0
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                self._line.pause()
        # As _wake, without the call: this is for every chunk.
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def lost(self, exc: Exception | None) -> None:
        """Take note that nothing more will come: the end of a body that has no other mark, or a broken connection."""
        if self.status and not self._framed and exc is None:
            self._is_whole = True
            self._over()
            return
        came = self._received + self._size
        why = "the server closed it" if exc is None else f"{type(exc).__name__}: {exc}"
        self._fail(ConnectError(f"the connection to {self._name!r} broke after {came} bytes ({why})"))

    def _malformed(self, why: str) -> None:
        self._line.abort()
        if self._is_whole:  # whatever follows it
            self._over()
            return
        if self.status:
            came = self._received + self._size
            error: ModelError = ConnectError(f"the body of {self._name!r} is framed wrongly after {came} bytes ({why})")
        else:
            error = StreamProtocolError(f"{self._name!r} does not speak HTTP/1.1 ({why})", offset=0)
        self._fail(error)

    def _fail(self, error: ModelError) -> None:
        if self._error is None and not self._is_whole:
            self._error = error
            self._over()

    # ------------------------------------------------------------------ what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come behind the body, are not looked at."""
        if not self.status:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the head; that of an interim answer (1xx) is followed by the one that counts."""
        if self._is_whole:  # of an answer that nobody asked for, in the same read
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
            return
        headers = self._headers
        coding = headers.get("transfer-encoding", "").lower()
        self._framed = coding.endswith("chunked") or (not coding and "content-length" in headers)
        self._keep = self._parser.should_keep_alive()
        self.headers = headers
        self.status = status

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body, unless nobody wants it, or it is that of another answer."""
        if self.status and not self._closed and not self._is_whole:
            self._parts.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """Give the connection back at the end of the answer."""
        if self.status and not self._is_whole:
            self._is_whole = True
            self._line.release(keep=self._keep)

    def on_message_begin(self) -> None:
        """Refuse to keep a connection on which a second answer comes that nobody asked for."""
        if self._is_whole:
            self._line.abort()


def _nothing(_data: bytes) -> None:
    """Take what comes for an answer that is over."""
