"""The connection between a program and an actor: a socket of their own, since a call through Ray costs much more.

Why: docs/decisions/0065-a-connection-to-each-actor.md.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from typing import Any, Protocol, cast

from interwhen._engine.loop_blocking import current_loop
from interwhen._engine.worker_child import GarbledMessage, exactly_blocking, framed, split_frames

HALF = 32
"""The bytes of each half of a secret: the program sends the first one, and the actor answers with the second one."""
HANDSHAKE_SECONDS = 10.0
"""How long the other side may take to send its half of the secret."""
_BLOCK = 1 << 16
_SILENT_SECONDS = 5
"""After so many seconds without data, the system asks the other machine every second whether it is there."""
_LOST_SECONDS = 15
"""A machine that has not answered the system for so many seconds is lost."""


def new_secret() -> bytes:
    """Return a secret for one connection. Ray carries it to the actor."""
    return secrets.token_bytes(2 * HALF)


def dial(host: str, port: int, secret: bytes) -> socket.socket:
    """Connect to the actor that listens at *host* and *port*, and return the socket, which then does not block.

    This call blocks. Raises :class:`OSError`, also if the other side does not know *secret*.
    """
    sock = socket.create_connection((host, port), HANDSHAKE_SECONDS)
    try:
        sock.sendall(secret[:HALF])
        _expect(sock, secret[HALF:], f"the process at {host}:{port}")
        set_options(sock)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _expect(sock: socket.socket, wanted: bytes, who: str) -> None:
    try:
        found = exactly_blocking(sock, len(wanted))
    except EOFError as error:
        raise ConnectionError(f"{who} must accept the connection, and closed it") from error
    if not compare_digest(found, wanted):
        raise ConnectionError(f"{who} must know the secret of the actor, and does not")


def set_options(sock: socket.socket) -> None:
    """Set *sock* to send small messages at once and, where possible, to fail if its peer is lost for 15 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENT_SECONDS),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", _LOST_SECONDS - _SILENT_SECONDS),
        ("TCP_USER_TIMEOUT", 1000 * _LOST_SECONDS),
    ):
        if hasattr(socket, name):  # Linux has them all
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class TaskWakeup(Protocol):
    """An object that one task awaits until :meth:`set_result` is called: a future of asyncio, or the same for trio."""

    def done(self) -> bool:
        """Return whether the task needs no call of :meth:`set_result` any more."""
        ...

    def set_result(self, value: None, /) -> None:
        """Wake the task. Call this at most once."""
        ...

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until :meth:`set_result` is called."""
        ...


class EventLoop:
    """What a pool needs of the running event loop, of asyncio or of trio: callbacks, timers, a clock and sockets."""

    def __init__(self) -> None:
        self._loop = cast("Any", current_loop())
        self._is_asyncio = hasattr(self._loop, "call_soon_threadsafe")
        self.later: Callable[..., object]
        """Call a function in a later turn of the loop."""
        self.from_thread: Callable[..., object]
        """Call a function in a later turn of the loop, from any thread.

        Raises :class:`RuntimeError` if the loop has ended.
        """
        self.now: Callable[[], float]
        """The clock of the loop."""
        self.wakeup: Callable[[], TaskWakeup]
        """Make a :class:`TaskWakeup`, on which a check waits. An event of anyio costs several times as much."""
        if self._is_asyncio:
            import asyncio

            self.later, self.from_thread, self.now = (
                self._loop.call_soon,
                self._loop.call_soon_threadsafe,
                self._loop.time,
            )
            self.wakeup = partial(asyncio.Future[None], loop=self._loop)
        else:
            import trio

            self.later = self.from_thread = self._loop.run_sync_soon
            self.now = trio.current_time
            self.wakeup = _TrioWakeup

    def call_at(self, when: float, function: Callable[[], object]) -> Callable[[], object]:
        """Call *function* once when the clock of the loop shows *when*. Return a function that cancels this."""
        if self._is_asyncio:
            cancel: Callable[[], object] = self._loop.call_at(when, function).cancel
            return cancel
        import trio

        scope = trio.CancelScope()

        async def waiting() -> None:
            with scope:
                await trio.sleep_until(when)
                function()

        trio.lowlevel.spawn_system_task(waiting, name="interwhen ray timer")
        return scope.cancel

    def watch(self, sock: socket.socket, readable: Callable[[], object]) -> None:
        """Call *readable* whenever *sock* has data or has ended, until :meth:`forget`."""
        if self._is_asyncio:
            self._loop.add_reader(sock, readable)
        else:
            _spawn("wait_readable", sock, readable, forever=True)

    def when_writable(self, sock: socket.socket, writable: Callable[[], object]) -> None:
        """Call *writable* once, when *sock* takes data."""
        if self._is_asyncio:

            def once() -> None:
                self._loop.remove_writer(sock)
                writable()

            self._loop.add_writer(sock, once)
        else:
            _spawn("wait_writable", sock, writable, forever=False)

    def forget(self, sock: socket.socket) -> None:
        """Call nothing for *sock* any more. *sock* must still be open."""
        if self._is_asyncio:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        else:
            import trio

            trio.lowlevel.notify_closing(sock)


class _TrioWakeup:
    """The :class:`TaskWakeup` of trio."""

    def __init__(self) -> None:
        import trio

        self._event = trio.Event()
        self.done = self._event.is_set

    def set_result(self, _value: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, None, None]:
        return self._event.wait().__await__()


def _spawn(wait: str, sock: socket.socket, call: Callable[[], object], *, forever: bool) -> None:
    import trio

    async def watching() -> None:
        with suppress(trio.ClosedResourceError):
            while sock.fileno() >= 0:
                await getattr(trio.lowlevel, wait)(sock)
                call()
                if not forever:
                    return

    trio.lowlevel.spawn_system_task(watching, name="interwhen ray")


class Channel:
    """The program's end of a connection to an actor, over the non-blocking *sock*."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop: EventLoop | None = None
        self._received: Callable[[bytes], object] = bytes
        self._lost: Callable[[str], object] = str
        self._in = bytearray()
        self._out = bytearray()
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was called."""
        return self._loop is not None

    def open(self, loop: EventLoop, received: Callable[[bytes], object], lost: Callable[[str], object]) -> None:
        """Begin to read. *received* gets each message, and *lost* the reason if it ends before :meth:`close`."""
        self._loop, self._received, self._lost = loop, received, lost
        loop.watch(self._socket, self._read)

    def send(self, payload: bytes) -> None:
        """Send *payload* as one message, without blocking. Do nothing if the connection has ended.

        Call this after :meth:`open`. Raises :class:`GarbledMessage` if *payload* is too large.
        """
        data = framed(payload)
        if self._ended:
            return  # the pool makes the checks elsewhere
        waits = bool(self._out)
        self._out += data
        if not waits:
            self._write()

    def close(self) -> None:
        """Close the connection. Nothing is read afterwards."""
        if self._ended and self._socket.fileno() < 0:
            return
        self._ended = True
        if self._loop is not None:
            self._loop.forget(self._socket)
        self._socket.close()

    def _write(self) -> None:
        if self._ended:
            return
        assert self._loop is not None
        try:
            del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            # Not at once: the caller is about to note what it sent.
            self._loop.later(self._end, str(error))
            return
        if self._out:
            self._loop.when_writable(self._socket, self._write)

    def _read(self) -> None:
        if self._ended:
            return
        try:
            data = self._socket.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if not data:
            self._end("its connection ended")
            return
        self._in += data
        try:
            for payload in split_frames(self._in):
                self._received(payload)
        except GarbledMessage as error:
            self._end(str(error))

    def _end(self, why: str) -> None:
        if not self._ended:
            self.close()
            self._lost(why)
