"""One connection of the fast transport, which serves one answer after the other."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

from interwhen.models.fast_answer import Answer


class Connection(asyncio.Protocol):
    """What the loop calls. *on_idle* hears when it can be asked for the next answer, *on_lost* when it is gone."""

    __slots__ = ("_answer", "_is_paused", "_on_idle", "_on_lost", "_transport", "idle_since")

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._answer: Answer | None = None
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._answer is None and self._transport is not None and not self._transport.is_closing()

    @property
    def has_news(self) -> bool:
        """Whether something has come that the loop has not handed over yet: an end, or an answer that nobody asked for.

        Where the loop was held for a while, the next request would take it for its own.
        """
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        number = sock.fileno() if sock is not None else -1
        if number < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([number], [], [], 0)[0])
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))

    def ask(self, request: bytes, name: str, loop: asyncio.AbstractEventLoop) -> Answer:
        """Send *request* and return its answer, of which nothing has come yet. *name* is for its errors."""
        assert self._transport is not None
        self._answer = answer = Answer(name, self, loop)
        self._transport.write(request)
        return answer

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the loop's own end."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand *data* to the answer; an idle connection on which something comes is out of step."""
        answer = self._answer
        if answer is None:
            self.abort()
        else:
            answer.take(data)

    def eof_received(self) -> bool:
        """End the answer; the loop closes the connection."""
        self._part(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer."""
        self._part(exc)
        self._transport = None
        self._on_lost(self)

    def _part(self, exc: Exception | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.lost(exc)

    # ------------------------------------------------------------------ the answer's side

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self, *, keep: bool) -> None:
        """Part with the answer, which is whole. It may have come before all of the request had gone out."""
        self._answer = None
        self.resume()
        if keep and self.is_usable and self._transport is not None and not self._transport.get_write_buffer_size():
            self._on_idle(self)
        else:
            self.abort()

    def close(self) -> None:
        """Close the socket now, whoever waits for an answer on it."""
        answer = self._answer
        if answer is not None:
            answer.close()
        self.abort()

    def abort(self) -> None:
        """Close the socket now (the loop does in its next turn), without a word to the answer, which asks for it."""
        self._answer = None
        if self._transport is not None:
            self._transport.abort()
