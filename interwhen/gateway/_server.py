"""A gateway as a process: its socket, its signals, and its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import threading
from collections.abc import Callable, Generator
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from interwhen._types.errors import UsageError
from interwhen.gateway._app import make_app
from interwhen.gateway._config import Config
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._http_errors import HttpError, head_too_large

# Limits the size and time of request heads that come in parts: uvicorn would wait forever, and keep all bytes.

if TYPE_CHECKING:
    _Base = H11Protocol
else:
    _Base = object


class _HeadLimits(_Base):
    gateway: ClassVar[Gateway]
    _head_size = 0
    _head_timer: asyncio.TimerHandle | None = None

    @property
    def _is_in_head(self) -> bool:
        raise NotImplementedError

    def connection_made(self, transport: Any) -> None:
        # Start the keep-alive timeout at once, so that it also closes a connection that never sends a request.
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        # Cancel the timers of the connection, because it has ended.
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._forget_head()

    def data_received(self, data: bytes) -> None:
        # A head that is too large is refused with 431, and one that takes too long with 408.
        super().data_received(data)
        if self._is_in_head:
            self._count_head(len(data))
        elif self._head_timer is not None:
            self._forget_head()

    def send_400_response(self, msg: str) -> None:
        # `msg` is the message from uvicorn.
        self._refuse(HttpError(400, "malformed_request", msg.rstrip("."), close=True))

    def _count_head(self, size: int) -> None:
        limits = self.gateway.config.limits
        if self.transport.is_closing():
            return
        self._head_size += size
        if self._head_size > limits.head_bytes:
            self._refuse(head_too_large(limits.head_bytes))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(limits.head_seconds, self._time_out)

    def _time_out(self) -> None:
        self._head_timer = None
        seconds = self.gateway.config.limits.head_seconds
        if self._is_answering:  # it is the next request's head, and reading is paused
            self._head_timer = self.loop.call_later(seconds, self._time_out)
        elif not self.transport.is_closing():
            self._refuse(
                HttpError(
                    408,
                    "request_timeout",
                    f"the request head must arrive within {seconds:g} s, and did not: send it faster",
                    close=True,
                )
            )

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, http_error: HttpError) -> None:
        # If another answer is open, send no answer.
        self.gateway.metrics.http_errors.labels(http_error.code).inc()
        if not self._is_answering:
            lines = [b"HTTP/1.1 %d %b" % (http_error.status, HTTPStatus(http_error.status).phrase.encode())]
            lines += [b"%b: %b" % header for header in http_error.headers]
            self.transport.write(b"\r\n".join((*lines, b"", http_error.body)))
        self.transport.close()


class _H11(_HeadLimits, H11Protocol):
    @property
    def _is_in_head(self) -> bool:
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])


def protocol(gateway: Gateway) -> type[asyncio.Protocol]:
    # uvicorn gets a class, and makes an object of it for each connection. So `gateway` is an attribute of the class.
    if find_spec("httptools") is None:
        return type("Protocol", (_H11,), {"gateway": gateway})
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Httptools(_HeadLimits, HttpToolsProtocol):  # type: ignore[misc]
        _overhead = 0

        def data_received(self, data: bytes) -> None:
            # If trailers and chunk extensions of a body become too large, refuse the request.
            cycle = self.cycle
            before = 0 if cycle is None else len(cycle.body)
            super().data_received(data)
            if cycle is not None and cycle is self.cycle and cycle.more_body and not cycle.response_complete:
                self._overhead = 0 if len(cycle.body) > before else self._overhead + len(data)
                if self._overhead > self.gateway.config.limits.head_bytes:
                    self._cut_off()

        def on_headers_complete(self) -> None:
            # Begin the request, and replace the header list by a new one, because uvicorn would add trailers to it.
            super().on_headers_complete()
            self.headers = []

        def _cut_off(self) -> None:
            cycle = self.cycle
            cycle.response_complete = not cycle.response_started  # the reader of the body must not answer, too
            self._refuse(head_too_large(self.gateway.config.limits.head_bytes))
            cycle.disconnected = True
            cycle.message_event.set()

        @property
        def _is_in_head(self) -> bool:
            # uvicorn makes the scope at the first byte of a request, and completes it at the last byte of its head.
            return self.scope is not None and "method" not in self.scope

    return type("Protocol", (Httptools,), {"gateway": gateway})


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SWITCHES = {signal.SIGUSR1: True, signal.SIGUSR2: False} if hasattr(signal, "SIGUSR1") else {}
"""The signals that switch supervision off and on."""
_KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than most clients keep theirs, so that they close it first."""
_READ = 1 << 18
"""The most bytes of one read from a socket."""
_LAST_SECONDS = 5
"""How long a call that the shutdown ends may take to send its error."""


def listen(config: Config) -> socket.socket:
    # Return a socket that listens on the host and port of `config`. Raises `UsageError` if they cannot be used.
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"host and port must be free to listen on, got {config.host}:{config.port} "
            f"({error.strerror or error}): choose another port, or end the program that uses it"
        ) from error
    listener.setblocking(False)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Unsent bytes keep a closed connection open: the system breaks it if its client reads nothing.
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int((config.limits.write_seconds + _LAST_SECONDS) * 1000)
        )
    return listener


def address(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


async def serve(gateway: Gateway, listener: socket.socket, *, ready: Callable[[], None] = lambda: None) -> int:
    """Serve until a signal arrives, then let running calls end. Return the signal; 0 without one, and on Windows.

    *ready* is called when the server accepts connections. A second SIGTERM or SIGINT ends all calls at once. For the
    whole process, this also raises the limit of open files and changes the garbage collection.
    """
    _raise_file_limit()
    gc.collect()
    gc.freeze()  # the objects of the start live for ever: keep the collector from scanning them
    gc.set_threshold(1_000, 10, 100)  # short pauses, few full collections: calls leave almost no reference cycles
    server = GatewayServer(gateway)
    async with anyio.create_task_group() as group:
        group.start_soon(_call_when_ready, server, ready, name="ready")
        await server.serve([listener])
        group.cancel_scope.cancel()
    return server.signal


class GatewayServer(uvicorn.Server):
    """A uvicorn server with a shutdown in three steps: report not ready, refuse new calls, end running calls."""

    def __init__(self, gateway: Gateway) -> None:
        limits = gateway.config.limits
        super().__init__(
            uvicorn.Config(
                make_app(gateway),
                access_log=False,
                log_config=None,
                log_level="critical",
                lifespan="on",
                http=protocol(gateway),
                h11_max_incomplete_event_size=limits.head_bytes + _READ,
                ws="none",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(limits.drain_seconds) + _LAST_SECONDS,
            )
        )
        self.signal = 0
        self._gateway = gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        gateway, limits = self._gateway, self._gateway.config.limits
        gateway.unready = True
        await self._sleep(limits.ready_seconds)  # still serving: a load balancer needs time to notice
        gateway.close()
        async with anyio.create_task_group() as group:
            group.start_soon(self._cut, name="cut")
            await super().shutdown(sockets)
            group.cancel_scope.cancel()

    async def _cut(self) -> None:
        await self._sleep(self._gateway.config.limits.drain_seconds)
        self._gateway.cut()

    async def _sleep(self, seconds: float) -> None:
        until = anyio.current_time() + seconds
        while not self.force_exit and anyio.current_time() < until:  # noqa: ASYNC110  uvicorn's is a plain attribute
            await anyio.sleep(0.05)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # SIGINT and SIGTERM begin the shutdown, SIGUSR1 and SIGUSR2 switch supervision off and on. Outside the main
        # thread, this does nothing. On Windows, it does what uvicorn does.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        try:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._leave, number)
            for number, off in _SWITCHES.items():
                loop.add_signal_handler(number, functools.partial(self._gateway.switch, off=off))
        except NotImplementedError:  # Windows
            with super().capture_signals():
                yield
            return
        try:
            yield
        finally:
            for number in (*_SIGNALS, *_SWITCHES):
                loop.remove_signal_handler(number)

    def _leave(self, number: int) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self.signal = number


async def _call_when_ready(server: GatewayServer, ready: Callable[[], None]) -> None:
    while not server.started:  # noqa: ASYNC110  uvicorn sets a plain attribute
        await anyio.sleep(0.01)
    ready()


def _raise_file_limit() -> None:
    # Raise the limit of open files as far as the system allows, because each call needs about two.
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_options() -> dict[str, Any]:
    from importlib.util import find_spec

    return {"use_uvloop": True} if find_spec("uvloop") is not None else {}
