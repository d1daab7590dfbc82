"""Counts and stops orphaned streams: generations that the server continues after the client closed the connection.

A stream that was closed early counts as orphaned for the time that the rest of its ``max_tokens`` would take, or until
the server confirms that it stopped, at most for ``ORPHAN_SECONDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import anyio
import msgspec

from interwhen._types.log import log_warning
from interwhen._types.models import Timeouts
from interwhen._types.vetting import Positive, require
from interwhen.models._transport import HttpRequest, Transport, exchange

ORPHAN_SECONDS = 60.0


@dataclass(slots=True)
class OrphanedStream:
    closed_at: float
    """In seconds, on the clock of :func:`anyio.current_time`."""
    rate: float
    """The chunks per second while the stream was read. A chunk is taken for one token."""
    left: int | None
    """The rest of its ``max_tokens``, at one token a chunk; ``None`` without a limit."""
    is_stopped: bool = False

    @property
    def over_at(self) -> float:
        """The time from which the server is assumed to have stopped, on the clock of ``closed_at``."""
        if self.is_stopped:
            return self.closed_at
        if self.left is None or self.rate <= 0:
            return self.closed_at + ORPHAN_SECONDS
        return self.closed_at + min(self.left / self.rate, ORPHAN_SECONDS)

    def wasted(self, now: float) -> int:
        """Estimate how many tokens the server has generated since the stream was closed."""
        generated = int(max(min(now, self.over_at) - self.closed_at, 0.0) * self.rate)
        return generated if self.left is None else min(generated, self.left)


class OrphanedStreams:
    """The streams of one model adapter that the server may still be generating."""

    # Call `wait_for_room` before a new stream: it waits until there are fewer than `limit`.

    def __init__(self, limit: int, *, clock: Callable[[], float] = anyio.current_time) -> None:
        require("max_orphans", limit, Positive, "use None to trust the server to stop")
        self.limit = limit
        self._clock = clock
        self._streams: list[OrphanedStream] = []
        self._stopped = anyio.Event()

    @property
    def alive(self) -> int:
        now = self._clock()
        self._streams = [stream for stream in self._streams if stream.over_at > now]
        return len(self._streams)

    def add(self, stream: OrphanedStream) -> None:
        self._streams.append(stream)

    def stop(self, stream: OrphanedStream) -> None:
        stream.is_stopped = True
        self._stopped.set()

    async def wait_for_room(self) -> None:
        # Streams that other tasks close meanwhile extend the wait.
        while self.alive >= self.limit:
            wait = min(stream.over_at for stream in self._streams) - self._clock()
            log_warning("model.orphans_awaited", alive=len(self._streams), limit=self.limit, seconds=round(wait, 3))
            if self._stopped.is_set():  # otherwise other tasks wait for the same event
                self._stopped = anyio.Event()
            with anyio.move_on_after(max(wait, 0.001)):
                await self._stopped.wait()


_TIMEOUTS = Timeouts(connect=1.0, first_token=1.0, inter_token=None, total=2.0)


@dataclass(frozen=True, slots=True)
class AbortCall:
    """An API call that stops a generation on the server. The defaults are those of SGLang."""

    # Each streamed request has an id in its field `field`, and a POST to `path` with this id stops the generation.
    # `path` is resolved like a relative link on the base URL.

    path: str = "/abort_request"
    field: str = "rid"

    def mark(self, body: dict[str, Any]) -> str:
        if body.get(self.field) is None:
            body[self.field] = uuid4().hex
        return str(body[self.field])

    async def send(self, transport: Transport, base_url: str, headers: dict[str, str], name: str) -> None:
        body = msgspec.json.encode({self.field: name})
        url = urljoin(base_url + "/", self.path)
        headers = {**headers, "content-type": "application/json"}
        await exchange(transport, HttpRequest("POST", url, headers, body), _TIMEOUTS)
