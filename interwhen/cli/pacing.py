"""A model slowed down so that eyes can follow it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream
from interwhen.models.streams import GuardedStream


class PacedModel:
    """Hands on the text of *model* at no more than *rate* tokens a second; all else passes through."""

    def __init__(self, model: Model, rate: float) -> None:
        self._model = model
        self._rate = rate

    @property
    def name(self) -> str:
        """The name of the model that is slowed down."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open a stream that hands on one chunk at a time."""
        return _PacedStream(await self._model.stream(request), self._rate)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork through."""
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()


class _PacedStream(GuardedStream):
    def __init__(self, stream: Stream, rate: float) -> None:
        super().__init__()
        self._stream = stream
        self._rate = rate
        self._waiting: deque[Chunk] = deque()
        self._due = anyio.current_time()

    async def fetch(self) -> Sequence[Chunk]:
        if not self._waiting:
            self._waiting.extend(await self._stream.receive())
        if not self._waiting:
            return ()
        await anyio.sleep(max(self._due - anyio.current_time(), 0.0))
        chunk = self._waiting.popleft()
        self._due = max(self._due, anyio.current_time() - 1 / self._rate) + chunk.tokens / self._rate
        return (chunk,)

    async def release(self) -> None:
        await self._stream.aclose()
