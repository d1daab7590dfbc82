"""How long to wait before a broken stream is taken up again."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from interwhen._log import log_info
from interwhen.errors import ModelError, StreamTimeout, UpstreamError
from interwhen.models.base import Model
from interwhen.models.retrying import Retries


class Backoff:
    """Spaces the reconnects of a run by the waits of its model's ``retries`` (full jitter, doubling, capped).

    A stream that had brought text is taken up at once; each further failure without text in between waits longer. A
    timer that ran out has waited enough. Where the server names a time it is obeyed, within the retries' budget.
    """

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        found = getattr(model, "retries", None)
        self._retries = found if isinstance(found, Retries) else Retries()
        self._clock = clock
        self._failures = 0
        self._asked = 0.0
        self._until = 0.0

    def failed(self, error: ModelError, *, had_text: bool) -> bool:
        """Take note of a failure; false where the server asks for more patience than there is."""
        if had_text:
            self._failures = 0
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        if asked is not None:
            self._asked += asked
            if self._asked > self._retries.budget:
                return False
        if asked is None and (had_text or isinstance(error, StreamTimeout)):
            pause = 0.0
        else:
            pause = self._retries.pause(self._failures, error)
            self._failures += 1
        self._until = self._clock() + pause
        return True

    async def wait(self) -> None:
        """Wait until the next try is due."""
        seconds = self._until - self._clock()
        if seconds > 0:
            log_info("stream.reconnect_delayed", wait=round(seconds, 3))
            await anyio.sleep(seconds)
