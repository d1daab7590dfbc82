"""Scripts played without a socket: a transport for tests in virtual time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import assert_never
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from interwhen.errors import ConnectError, StreamClosed
from interwhen.models.transport import HttpRequest
from interwhen.testing._server_requests import Desk, ReceivedRequest
from interwhen.testing._server_steps import (
    Close,
    Deaf,
    Forever,
    Head,
    Reset,
    Send,
    SendRaw,
    Sleep,
    Stall,
    Step,
    in_turn,
)


class ScriptedTransport(Desk):
    """A :class:`~interwhen.models.transport.Transport` whose server is a script, in this very process.

    Nothing is waited for but what the script says, so under a virtual clock an hour of stalls takes a moment::

        transport = ScriptedTransport(faulty("stall"))
        model = CompletionsModel("http://scripted/v1", "scripted", transport=transport)

    Each ``Send`` is one read. A body that breaks off, or whose framing is wrong, is a
    :class:`~interwhen.errors.ConnectError`, as it is with the real transports.
    """

    open_responses = 0
    """How many responses are not closed and not at their end."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> ScriptedResponse:  # noqa: ARG002
        """Hand *request* to the script, and return its answer up to the head."""
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
    """One answer of a script; see :class:`~interwhen.models.transport.HttpResponse`."""

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
        """The status code."""
        return self._head.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._head.headers

    async def begin(self) -> None:
        """Play up to the head; the default one stands before the first bytes."""
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
        """Wait for the bytes of the next send; empty at the end."""
        if self._is_closed:
            raise StreamClosed("the stream is closed")
        with anyio.CancelScope() as self._scope:
            try:
                data = await self._read()
            except BaseException:
                self._end()
                raise
            self._received += len(data)
            return data
        raise StreamClosed("the stream was closed while it was read")

    async def aclose(self) -> None:
        """Close now; a waiting read raises."""
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
        """Play up to the next thing that arrives; ``None`` at the end of the body."""
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
                case Close() if not self._head.chunked and "content-length" not in self._head.headers:
                    return None
                case Close() | Reset() | SendRaw():
                    raise self._broken()
                case Deaf() | Forever():
                    pass  # nobody is there to be deaf; the other is unrolled
                case _:
                    assert_never(step)
        return None

    def _broken(self) -> ConnectError:
        return ConnectError(f"the connection broke after {self._received} bytes (scripted)")

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._transport.open_responses -= 1
            self._transport.running -= 1
