"""Heads of requests that come in parts: bounded, and in time. uvicorn alone waits for them for ever, and keeps all."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from interwhen.gateway.gateway import Gateway
from interwhen.gateway.problems import Problem, head_too_large

if TYPE_CHECKING:
    _Base = H11Protocol
else:
    _Base = object


class _Bounded(_Base):
    """Counts and times only heads that come in parts: most come whole, and cost one look."""

    gateway: ClassVar[Gateway]
    _head_size = 0
    _head_timer: asyncio.TimerHandle | None = None

    @property
    def _is_in_head(self) -> bool:
        raise NotImplementedError

    def connection_made(self, transport: Any) -> None:
        """Begin, with a limit to how long nothing at all may come."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._forget_head()

    def data_received(self, data: bytes) -> None:
        """Take *data*, and note how much there is of a head that is not whole."""
        super().data_received(data)
        if self._is_in_head:
            self._note_head(len(data))
        elif self._head_timer is not None:
            self._forget_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; *msg* is uvicorn's, and says no more."""
        self._refuse(Problem(400, "malformed_request", msg.rstrip("."), close=True))

    def _note_head(self, size: int) -> None:
        limits = self.gateway.config.limits
        if self.transport.is_closing():
            return
        self._head_size += size
        if self._head_size > limits.head_bytes:
            self._refuse(head_too_large(limits.head_bytes))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(limits.head_seconds, self._be_late)

    def _be_late(self) -> None:
        self._head_timer = None
        seconds = self.gateway.config.limits.head_seconds
        if self._is_answering:  # the next request; its rest is not read meanwhile
            self._head_timer = self.loop.call_later(seconds, self._be_late)
        elif not self.transport.is_closing():
            self._refuse(
                Problem(408, "request_timeout", f"the request's head did not come within {seconds:g} s", close=True)
            )

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Answer with *problem*, unless another answer has begun, and close."""
        self.gateway.meters.refusals.labels(problem.code).inc()
        if not self._is_answering:
            lines = [b"HTTP/1.1 %d %b" % (problem.status, HTTPStatus(problem.status).phrase.encode())]
            lines += [b"%b: %b" % header for header in problem.headers]
            self.transport.write(b"\r\n".join((*lines, b"", problem.body)))
        self.transport.close()


class _H11(_Bounded, H11Protocol):
    @property
    def _is_in_head(self) -> bool:
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])


def protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    """Return what uvicorn speaks on connections to *gateway*: httptools' HTTP where it is installed, else h11's."""
    if find_spec("httptools") is None:
        return type("Protocol", (_H11,), {"gateway": gateway})
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Httptools(_Bounded, HttpToolsProtocol):  # type: ignore[misc]
        _dry = 0

        def data_received(self, data: bytes) -> None:
            """Take *data*, and count what brings nothing of a body: trailers, and extensions of chunks."""
            cycle = self.cycle
            before = 0 if cycle is None else len(cycle.body)
            super().data_received(data)
            if cycle is not None and cycle is self.cycle and cycle.more_body and not cycle.response_complete:
                self._dry = 0 if len(cycle.body) > before else self._dry + len(data)
                if self._dry > self.gateway.config.limits.head_bytes:
                    self._cut_off()

        def on_headers_complete(self) -> None:
            """Begin the request; uvicorn would put trailers among its headers."""
            super().on_headers_complete()
            self.headers = []

        def _cut_off(self) -> None:
            cycle = self.cycle
            cycle.response_complete = not cycle.response_started  # for who waits for the body: this is the answer
            self._refuse(head_too_large(self.gateway.config.limits.head_bytes))
            cycle.disconnected = True
            cycle.message_event.set()

        @property
        def _is_in_head(self) -> bool:
            # uvicorn makes the scope with the first byte of a request, and completes it with the last of its head.
            return self.scope is not None and "method" not in self.scope

    return type("Protocol", (Httptools,), {"gateway": gateway})
