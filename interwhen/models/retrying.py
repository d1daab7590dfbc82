"""Trying again before the first token: how often, and how long to wait."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from interwhen._log import log_info
from interwhen.errors import ConnectError, ModelError, StreamTimeout, UpstreamError

T = TypeVar("T")
_DICE = random.Random()  # noqa: S311  (shared: seeding one from the system takes longer than the rest of a run's start)


@dataclass(frozen=True, slots=True)
class Retries:
    """At most *attempts* further tries, after a wait with full jitter that doubles from *base* to *cap* seconds.

    A server that names a time (``Retry-After``) is obeyed up to *budget* seconds in all; where it asks for more, its
    refusal is raised at once. Method: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts: int = 2
    base: float = 0.5
    cap: float = 8.0
    budget: float = 30.0
    rng: random.Random = field(default=_DICE, repr=False, compare=False)

    def wait(self, attempt: int, error: ModelError, waited: float) -> float | None:
        """Return how long to wait after failure number *attempt* (from 0), or ``None`` to give up."""
        if attempt >= self.attempts or not _worth_retrying(error):
            return None
        seconds = self.pause(attempt, error)
        return seconds if waited + seconds <= self.budget else None

    def pause(self, attempt: int, error: ModelError) -> float:
        """Return the seconds between failure number *attempt* (from 0) and the next try, if there is one."""
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        return self.rng.uniform(0, min(self.cap, self.base * 2 ** min(attempt, 32))) if asked is None else asked


async def retrying(call: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Await *call* until it succeeds or *retries* says that it is enough; then its last error is raised."""
    waited = 0.0
    attempt = 0
    while True:
        try:
            return await call()
        except ModelError as exc:
            seconds = retries.wait(attempt, exc, waited)
            if seconds is None:
                raise
            log_info("model.request_retried", attempt=attempt + 1, wait=seconds, error=type(exc).__name__)
        await anyio.sleep(seconds)
        waited += seconds
        attempt += 1


def _worth_retrying(error: ModelError) -> bool:
    """Say yes to connection errors, 429 and 5xx; a server that took the request and is silent is not asked again."""
    if isinstance(error, StreamTimeout):
        return error.timer == "connect"
    return isinstance(error, ConnectError) or (isinstance(error, UpstreamError) and error.retryable)
