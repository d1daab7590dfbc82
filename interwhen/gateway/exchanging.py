"""One request and its answer, as ASGI has them, and the call that is being served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
from starlette.types import Receive, Scope, Send

from interwhen.gateway.problems import Headers, Problem

Reason = Literal["", "left", "slow", "cut"]
"""Why a call was ended before its answer was: the client left, or took nothing, or the gateway shuts down."""


class Exchange:
    """A request, and what has been sent of its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.raw_headers: Headers = scope["headers"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.path = path.decode("latin-1").partition("?")[0]
        """The path as it came, with its escapes."""
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        """The query, as it came."""
        self.decoded_path: str = scope["path"]
        self.receive = receive
        self.body_bytes = 0
        """How much of its body has come; see :class:`~interwhen.gateway.bodies.Bodies`."""
        self.admitted_by = ""
        """The header that brought our own key, if one did."""
        self.began = time.monotonic()
        self.started = False
        self.ended = False
        self.blocked_since: float | None = None
        """Since when the client has taken nothing of what is being sent."""
        self.silent_since: float | None = None
        """Since when the upstream of what passes through is waited for, within its body."""
        self.stall: Callable[[], None] | None = None
        """Ends what passes through, because its upstream is silent for too long."""
        self.reason: Reason = ""
        self.last_words: Callable[[Problem], bytes] | None = None
        """How a body that has begun is ended with a problem; ``None``: it cannot be."""
        self._send = send
        self._scope: anyio.CancelScope | None = None

    @property
    def head_size(self) -> int:
        """The bytes of the path, the query and the headers."""
        return len(self.path) + len(self.query) + sum([len(name) + len(value) for name, value in self.raw_headers])

    def onward(self, path: str) -> str:
        """Return *path* with the query, for an upstream."""
        return f"{path}?{self.query}" if self.query else path

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client takes nothing."""
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.blocked_since = None  # after an exception the call is over anyway

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        self.blocked_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.blocked_since = None
        self.ended = True

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer at once."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.end(body)

    async def fail(self, problem: Problem) -> None:
        """Send *problem* as the answer, or as the end of one that has begun, if it can be."""
        if not self.started:
            await self.start(problem.status, problem.headers)
            await self.end(problem.body)
        elif not self.ended and self.last_words is not None:
            await self.end(self.last_words(problem))

    def leave(self, reason: Reason) -> None:
        """End the call now, because of *reason*."""
        if not self.reason and self._scope is not None:
            self.reason = reason
            self._scope.cancel()

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* until it is done, the client leaves, or :meth:`leave` is called. Raises what it raises."""
        # A bare task, not a task group: ASGI servers have asyncio, and a group costs a call ten times as much.
        client = asyncio.get_running_loop().create_task(self._watch(), name="client")
        try:
            with anyio.CancelScope() as self._scope:
                await work()
        finally:
            self._scope = None
            client.cancel()

    async def _watch(self) -> None:
        """Notice that the client leaves."""
        try:
            while (await self.receive())["type"] != "http.disconnect":
                pass
        finally:
            self.leave("left")
