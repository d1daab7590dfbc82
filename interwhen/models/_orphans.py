"""Generations that nobody reads any more: how many a server that ignores a closed connection may be left with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import anyio
import msgspec

from interwhen._log import log_warning
from interwhen._types.errors import UsageError
from interwhen.models._exchange import exchange
from interwhen.models._transport import HttpRequest, Timeouts, Transport

GHOST_SECONDS = 60.0
"""For how long a ghost counts where nothing says when its generation must end."""


@dataclass(slots=True)
class Ghost:
    """A stream that was closed before its end, as its server may go on with it."""

    closed_at: float
    rate: float
    """Tokens a second, while it was read."""
    left: int | None
    """The tokens that its ``max_tokens`` left it; ``None``: it had no limit."""
    is_laid: bool = False
    """The server has acknowledged that it stopped."""

    @property
    def over_at(self) -> float:
        """When the generation must have ended, on the clock that ``closed_at`` is of."""
        if self.is_laid:
            return self.closed_at
        if self.left is None or self.rate <= 0:
            return self.closed_at + GHOST_SECONDS
        return self.closed_at + min(self.left / self.rate, GHOST_SECONDS)

    def wasted(self, now: float) -> int:
        """Return how many tokens it may have generated for nobody by *now*."""
        made = int(max(min(now, self.over_at) - self.closed_at, 0.0) * self.rate)
        return made if self.left is None else min(made, self.left)


class Ghosts:
    """The ghosts of one server, of which there may be *limit* at a time.

    Nobody tells a client that a generation goes on behind a closed connection, so each stream that was closed early
    counts until its ``max_tokens`` are used up at the rate it had, or until the server says that it has stopped.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = anyio.current_time) -> None:
        if limit < 1:
            raise UsageError(f"max_ghosts={limit!r}: at least one is needed, or None to trust the server")
        self.limit = limit
        self._clock = clock
        self._ghosts: list[Ghost] = []
        self._laid = anyio.Event()

    @property
    def alive(self) -> int:
        """How many there may be now."""
        now = self._clock()
        self._ghosts = [ghost for ghost in self._ghosts if ghost.over_at > now]
        return len(self._ghosts)

    def add(self, ghost: Ghost) -> None:
        """Count *ghost* until it is over."""
        self._ghosts.append(ghost)

    def lay(self, ghost: Ghost) -> None:
        """Take note that the server has stopped *ghost*."""
        ghost.is_laid = True
        self._laid.set()

    async def room(self) -> None:
        """Wait until one more request leaves the server with no more ghosts than it may have.

        Ends by itself: no ghost counts for longer than ``GHOST_SECONDS``.
        """
        while self.alive >= self.limit:
            wait = min(ghost.over_at for ghost in self._ghosts) - self._clock()
            log_warning("model.ghosts_awaited", alive=len(self._ghosts), limit=self.limit, seconds=round(wait, 3))
            self._laid = anyio.Event()
            with anyio.move_on_after(max(wait, 0.001)):
                await self._laid.wait()


# Telling a server to stop a generation, where closing the connection is not enough.

_TIMEOUTS = Timeouts(connect=1.0, first_token=1.0, inter_token=None, total=2.0)


@dataclass(frozen=True, slots=True)
class Abort:
    """A call that ends a generation: the request carries an id in *field*, and so does a POST to *path*.

    The defaults are SGLang's. *path* is joined to the base URL as a link on a page would be.
    """

    path: str = "/abort_request"
    field: str = "rid"

    def mark(self, body: dict[str, Any]) -> str:
        """Put a new id into the *body* of a request, unless the caller has, and return it."""
        return str(body.setdefault(self.field, uuid4().hex))

    async def send(self, transport: Transport, base_url: str, headers: dict[str, str], name: str) -> None:
        """Tell the server to stop the request *name*; raises :class:`~interwhen.ModelError`."""
        body = msgspec.json.encode({self.field: name})
        url = urljoin(base_url + "/", self.path)
        headers = {**headers, "content-type": "application/json"}
        await exchange(transport, HttpRequest("POST", url, headers, body), _TIMEOUTS)
