"""A scripted OpenAI-compatible server on a loopback socket, for tests of clients that read streams.

::

    async with ScriptedServer(lambda request: events(["Hel", "lo"])) as server:
        model = CompletionsModel(server.base_url, "scripted")

``ScriptedServer(faulty("rst_mid"))`` breaks the first stream; the next request gets the rest of the text.
:class:`ScriptedTransport` plays the same scripts without a socket, for tests in virtual time.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self, assert_never
from urllib.parse import urlsplit

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSListener

from interwhen._types.errors import ConnectError, StreamClosed
from interwhen.models._transport import HttpRequest
from interwhen.testing._server_faults import FAULTS, fault, faulty
from interwhen.testing._server_script import (
    Deaf,
    Disconnect,
    Forever,
    Head,
    ReceivedRequest,
    Reset,
    Script,
    ScriptedEndpoint,
    Send,
    SendRaw,
    Sleep,
    Stall,
    Step,
    events,
    in_turn,
    reply,
    tool_call,
)

# A transport that plays scripts without a socket, for tests in virtual time.


class ScriptedTransport(ScriptedEndpoint):
    """A `Transport` that plays a script in this process.

    It waits only for steps of the script, so that an hour of stalls takes milliseconds on a virtual clock::

        transport = ScriptedTransport(faulty("stall"))
        model = CompletionsModel("http://scripted/v1", "scripted", transport=transport)

    Each ``Send`` is one read. A step that breaks the connection or the framing raises
    :class:`~interwhen.models.ConnectError`, as with the real transports. An abort call only sets ``aborted`` of the
    request; with :class:`ScriptedServer`, it also ends the answer.
    """

    open_responses = 0
    """The number of responses that are not closed, complete or broken."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> ScriptedResponse:  # noqa: ARG002
        """Play the script for *request* up to the head of the response, and return the response.

        Raises :class:`~interwhen.models.ConnectError` if the script breaks the connection first, and the exceptions of
        the script. *connect_timeout* is ignored.
        """
        parts = urlsplit(request.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        body = json.loads(request.body) if request.body else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ReceivedRequest(0, request.method, path, headers, request.body, body, len(self.requests) + 1)
        response = ScriptedResponse(self, received, in_turn(self.answer(received)))
        await response.begin()
        return response

    async def aclose(self) -> None:
        """Do nothing: no connection is kept."""


class ScriptedResponse:
    """Implements `HttpResponse` for a :class:`ScriptedTransport`."""

    def __init__(self, transport: ScriptedTransport, request: ReceivedRequest, steps: Iterator[Step]) -> None:
        self._transport = transport
        self._request = request
        self._steps = steps
        self._head = Head()
        self._pending: bytes | None = None
        self._received = 0
        self._scope: anyio.CancelScope | None = None
        self._is_open = False
        self._is_closed = False

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._head.headers

    async def begin(self) -> None:
        # If bytes or the end come first, the response has the default head. Raises `ConnectError` if the script breaks
        # the connection first.
        await anyio.lowlevel.checkpoint()
        step = await self._next()
        if isinstance(step, Head):
            self._head = step
        elif step is not None:
            self._pending = step.data
        self._is_open = True
        self._transport.open_responses += 1
        self._transport.running += 1

    async def receive(self) -> bytes:
        if self._is_closed:
            raise StreamClosed
        with anyio.CancelScope() as self._scope:
            try:
                data = await self._read()
            except BaseException:
                self._end()
                raise
            self._received += len(data)
            return data
        raise StreamClosed

    async def aclose(self) -> None:
        # A `receive` that is waiting raises `StreamClosed`.
        self._is_closed = True
        if self._is_open:
            self._request.leave()
        self._end()
        if self._scope is not None:
            self._scope.cancel()
        await anyio.lowlevel.checkpoint()

    async def _read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        data, self._pending = self._pending, None
        if data is None:
            step = await self._next()
            if isinstance(step, Head):
                raise self._broken()
            data = b"" if step is None else step.data
            if step is None:
                self._end()
        return data

    async def _next(self) -> Head | Send | None:
        for step in self._steps:
            match step:
                case Head():
                    return step
                case Send():
                    self._request.generated += 1
                    return step
                case Sleep(seconds):
                    await anyio.sleep(seconds)
                case Stall():
                    await anyio.sleep_forever()
                case Disconnect() if not self._head.chunked and "content-length" not in self._head.headers:
                    return None
                case Disconnect() | Reset() | SendRaw():
                    raise self._broken()
                case Deaf() | Forever():
                    pass  # Deaf needs a connection; Forever is unrolled by in_turn
                case _:
                    assert_never(step)
        return None

    def _broken(self) -> ConnectError:
        return ConnectError(
            f"the scripted connection broke after {self._received} bytes, as its script says: change the "
            "script to keep it open"
        )

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._transport.open_responses -= 1
            self._transport.running -= 1


__all__ = [
    "FAULTS",
    "Deaf",
    "Disconnect",
    "Forever",
    "Head",
    "Reset",
    "ScriptedServer",
    "ScriptedTransport",
    "Send",
    "SendRaw",
    "Sleep",
    "Stall",
    "events",
    "fault",
    "faulty",
    "reply",
    "tool_call",
]


class ScriptedServer(ScriptedEndpoint):
    """Answers each POST for text with the steps that *script* returns, on ``127.0.0.1`` and a free port.

    A GET request gets a list of one model with *owned_by* (from which clients infer what the server can do) and a
    context of *context_tokens*; with *pages*, this script answers. ``POST /abort_request`` ends the answer to the
    request with the same ``rid``. ``POST .../apply-template`` renders a chat template if *owned_by* is ``llamacpp``.
    With *ssl_context*, connections use TLS. The server listens inside the ``async with``; leaving it closes every
    connection. If *script* raises, the block is cancelled, and an exception group with the error leaves it.
    """

    def __init__(
        self,
        script: Script,
        *,
        owned_by: str = "scripted",
        context_tokens: int | None = None,
        pages: Script | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(script, owned_by=owned_by, context_tokens=context_tokens, pages=pages)
        self._ssl_context = ssl_context
        self.connections = 0
        """The number of connections that were opened."""
        self.open_connections = 0
        """The number of connections that are open now."""
        self.port = 0
        self._stack = AsyncExitStack()
        self._group: anyio.abc.TaskGroup | None = None

    @property
    def base_url(self) -> str:
        """The base URL of this server, for the constructor of a model. The port is known inside the ``async with``."""
        return f"{'http' if self._ssl_context is None else 'https'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  no Django here
        if self._ssl_context is not None:
            listener = TLSListener(listener, self._ssl_context, standard_compatible=False)
        await self._stack.enter_async_context(listener)
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        self._group.start_soon(listener.serve, self._serve, None, name="scripted server")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        await self._stack.aclose()

    async def settled(self, seconds: float = 2.0) -> None:
        """Wait until no connection is open. Raises :class:`TimeoutError` if this takes more than *seconds*."""
        with anyio.fail_after(seconds):
            while self.open_connections:  # noqa: ASYNC110  closing a socket sends no event
                await anyio.sleep(0.001)

    async def _serve(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            await _ScriptedConnection(self, stream, self.connections).run()
        finally:
            self.open_connections -= 1
            with anyio.CancelScope(shield=True):
                await stream.aclose()


class _ScriptedConnection:
    def __init__(self, server: ScriptedServer, stream: anyio.abc.ByteStream, number: int) -> None:
        self._server = server
        self._stream = stream
        self._number = number
        self._buffer = b""
        self._head: Head | None = None
        self._request: ReceivedRequest | None = None
        self._deaf = False

    async def run(self) -> None:
        keep = True
        while keep and (request := await self._read_request()) is not None:
            steps = self._server.answer(request)
            keep = False
            self._request, self._deaf = request, False
            self._server.running += 1
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, request, group.cancel_scope)
                    group.start_soon(self._stop_when_aborted, request, group.cancel_scope)
                    try:
                        keep = await self._play(steps)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        request.leave()
                    group.cancel_scope.cancel()
            finally:
                self._server.running -= 1

    async def _watch(self, request: ReceivedRequest, scope: anyio.CancelScope) -> None:
        try:
            while True:
                self._buffer += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            request.leave()
            if not self._deaf:
                scope.cancel()

    async def _stop_when_aborted(self, request: ReceivedRequest, scope: anyio.CancelScope) -> None:
        await request.aborted.wait()
        scope.cancel()

    async def _play(self, steps: Iterable[Step]) -> bool:
        # The result is whether the connection can serve another request.
        self._head = None
        for step in in_turn(steps):
            if not await self._do(step):
                return False
        if self._head is None:
            await self._do(Head())
        assert self._head is not None
        if self._head.chunked:
            await self._send_raw(b"0\r\n\r\n")
        return self._head.chunked or "content-length" in self._head.headers

    async def _do(self, step: Step) -> bool:
        # The result is false if the connection must be closed.
        match step:
            case Head():
                await self._send_head(step)
            case Send(data):
                await self._send(data)
            case SendRaw(data):
                await self._send_raw(data)
            case Sleep(seconds):
                await anyio.sleep(seconds)
            case Stall():
                await anyio.sleep_forever()
            case Reset():
                sock = self._stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Disconnect():
                return False
            case Deaf():
                self._deaf = True
            case Forever():
                pass  # unrolled by in_turn
            case _:
                assert_never(step)
        return True

    async def _send_head(self, head: Head) -> None:
        self._head = head
        lines = [f"HTTP/1.1 {head.status} Scripted", *(f"{name}: {value}" for name, value in head.headers.items())]
        if head.chunked:
            lines.append("transfer-encoding: chunked")
        await self._send_raw("\r\n".join([*lines, "", ""]).encode())

    async def _send(self, data: bytes) -> None:
        if self._head is None:
            await self._send_head(Head())
        assert self._head is not None
        assert self._request is not None
        self._request.generated += 1
        await self._send_raw(b"%x\r\n%s\r\n" % (len(data), data) if self._head.chunked else data)

    async def _send_raw(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            if not self._deaf:
                raise

    async def _read_request(self) -> ReceivedRequest | None:
        try:
            while b"\r\n\r\n" not in self._buffer:
                self._buffer += await self._stream.receive()
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            pairs = (line.partition(":") for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            size = int(headers.get("content-length", "0"))
            while len(self._buffer) < size:
                self._buffer += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return None
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return ReceivedRequest(0, method, path, headers, body, json.loads(body) if body else None, self._number)
