"""A scripted OpenAI-compatible server on a real socket of this machine, for tests of what reads streams.

::

    async with ScriptedServer(lambda request: events(["Hel", "lo"])) as server:
        model = CompletionsModel(server.base_url, "scripted")
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self, assert_never

import anyio
import anyio.abc

from interwhen.testing._server_calls import counts, delta, tool_call
from interwhen.testing._server_faults import FAULTS, Api, chunk, data, events, fault
from interwhen.testing._server_steps import (
    Close,
    Head,
    Reset,
    Send,
    SendRaw,
    Sleep,
    Stall,
    Step,
    reply,
)

__all__ = [
    "FAULTS",
    "Api",
    "Close",
    "Head",
    "ReceivedRequest",
    "Reset",
    "Script",
    "ScriptedServer",
    "Send",
    "SendRaw",
    "Sleep",
    "Stall",
    "Step",
    "chunk",
    "counts",
    "data",
    "delta",
    "events",
    "fault",
    "reply",
    "tool_call",
]


@dataclass(slots=True)
class ReceivedRequest:
    """A request as the server got it, and what became of its connection."""

    number: int
    """How many POST requests came before it."""
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: Any
    """The decoded body; ``None`` where there is none."""
    connection: int
    """The number of the connection it came on; equal numbers mean that the connection was kept."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set once the client has closed the connection while the answer was being sent."""
    gone_at: float | None = None
    """When that was, on the running clock."""

    def leave(self) -> None:
        """Note that the client is gone."""
        if self.gone_at is None:
            self.gone_at = anyio.current_time()
            self.gone.set()


Script = Callable[[ReceivedRequest], Sequence[Step]]


class ScriptedServer:
    """Answer each POST with what *script* returns for it, on ``127.0.0.1`` and a free port.

    ``GET .../models`` lists one model, owned by *owned_by* (which says what the server can do). Leaving the
    ``async with`` closes every connection.
    """

    def __init__(self, script: Script, *, owned_by: str = "scripted") -> None:
        self.requests: list[ReceivedRequest] = []
        """Every request, in order of arrival."""
        self.connections = 0
        """How many connections were opened."""
        self.open_connections = 0
        """How many are open now."""
        self.port = 0
        self._script = script
        self._owned_by = owned_by
        self._stack = AsyncExitStack()
        self._group: anyio.abc.TaskGroup | None = None

    @property
    def base_url(self) -> str:
        """The address to give to a model."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The POST requests."""
        return [request for request in self.requests if request.method == "POST"]

    async def __aenter__(self) -> Self:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  no Django here
        await self._stack.enter_async_context(listener)
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        self._group.start_soon(listener.serve, self._serve, None, name="scripted server")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        await self._stack.aclose()

    async def settled(self, seconds: float = 2.0) -> None:
        """Wait until no connection is open; raises :class:`TimeoutError` after *seconds*."""
        with anyio.fail_after(seconds):
            while self.open_connections:  # noqa: ASYNC110  a test helper; sockets close outside our sight
                await anyio.sleep(0.001)

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            await _Connection(self, stream, self.connections).run()
        finally:
            self.open_connections -= 1
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    def answer(self, request: ReceivedRequest) -> Sequence[Step]:
        """Return the steps for *request*, and keep it."""
        request.number = len(self.posts)
        self.requests.append(request)
        if request.method == "POST":
            return self._script(request)
        models = {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": self._owned_by}]}
        return reply(200, json.dumps(models).encode())


class _Connection:
    """One connection: requests in, scripts out."""

    def __init__(self, server: ScriptedServer, stream: anyio.abc.SocketStream, number: int) -> None:
        self._server = server
        self._stream = stream
        self._number = number
        self._buffer = b""
        self._head: Head | None = None

    async def run(self) -> None:
        keep = True
        while keep and (request := await self._read_request()) is not None:
            steps = self._server.answer(request)
            keep = False
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, request, group.cancel_scope)
                try:
                    keep = await self._play(steps)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    request.leave()
                group.cancel_scope.cancel()

    async def _watch(self, request: ReceivedRequest, scope: anyio.CancelScope) -> None:
        """Notice that the client closes while we answer."""
        try:
            while True:
                self._buffer += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            request.leave()
            scope.cancel()

    async def _play(self, steps: Iterable[Step]) -> bool:
        """Do the steps, end the body; whether the connection may be kept."""
        self._head = None
        for step in steps:
            if not await self._do(step):
                return False
        if self._head is None:
            await self._do(Head())
        assert self._head is not None
        if self._head.chunked:
            await self._stream.send(b"0\r\n\r\n")
        return self._head.chunked or "content-length" in self._head.headers

    async def _do(self, step: Step) -> bool:
        """Do one step; false where it ended the connection."""
        match step:
            case Head():
                await self._send_head(step)
            case Send(data):
                await self._send(data)
            case SendRaw(data):
                await self._stream.send(data)
            case Sleep(seconds):
                await anyio.sleep(seconds)
            case Stall():
                await anyio.sleep_forever()
            case Reset():
                sock = self._stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Close():
                return False
            case _:
                assert_never(step)
        return True

    async def _send_head(self, head: Head) -> None:
        self._head = head
        lines = [f"HTTP/1.1 {head.status} Scripted", *(f"{name}: {value}" for name, value in head.headers.items())]
        if head.chunked:
            lines.append("transfer-encoding: chunked")
        await self._stream.send("\r\n".join([*lines, "", ""]).encode())

    async def _send(self, data: bytes) -> None:
        if self._head is None:
            await self._send_head(Head())
        assert self._head is not None
        await self._stream.send(b"%x\r\n%s\r\n" % (len(data), data) if self._head.chunked else data)

    async def _read_request(self) -> ReceivedRequest | None:
        """Read a request; ``None`` where the client closes instead."""
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
