"""A model whose tokens are counted as they come, and that stops when the budget, or the patience of others, is out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio.lowlevel

from interwhen.errors import OutOfTokens
from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream, Usage
from interwhen.models.transport import Timeouts
from interwhen.precompute.items import Cost


class Meter:
    """What one slice has spent, and what it may spend: *budget* tokens are generated at most."""

    def __init__(self, budget: int, *, yield_now: Callable[[], object] = lambda: None) -> None:
        self.budget = budget
        self.cost = Cost()
        self.yield_now = yield_now
        """Called before each request and at each arrival: ends the slice if somebody else wants the model."""

    @property
    def left(self) -> int:
        """How many tokens may still be generated."""
        return max(self.budget - self.cost.generated, 0)

    def request(self, request: Request) -> Request:
        """Return *request* with no more tokens than are left. Raises :class:`OutOfTokens` where none is."""
        left = self.left
        if left == 0:
            raise OutOfTokens(self.budget)
        wanted = request.sampling.max_tokens
        most = left if wanted is None else min(wanted, left)
        self.cost += Cost(requests=1)
        return replace(request, sampling=replace(request.sampling, max_tokens=most))

    def generated(self, tokens: int) -> None:
        """Count tokens that came."""
        self.cost += Cost(generated=tokens)

    def prompted(self, usage: Usage | None) -> None:
        """Count prompt tokens, where the server says."""
        if usage is not None and usage.prompt_tokens:
            self.cost += Cost(prompt=usage.prompt_tokens)


class MeteredModel:
    """*model*, with all that it generates counted by *meter*. Closing it does nothing: the model belongs to others."""

    def __init__(self, model: Model, meter: Meter) -> None:
        self._model = model
        self._meter = meter
        self.timeouts: Timeouts = getattr(model, "timeouts", None) or Timeouts()

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open the stream, and count what it brings."""
        await self._give_way()
        capped = self._meter.request(request)
        return _MeteredStream(await self._model.stream(capped), self._meter, capped.sampling.max_tokens or 0)

    async def complete(self, request: Request) -> Completion:
        """Answer whole. What is called off meanwhile counts with all the tokens it might have generated."""
        await self._give_way()
        capped = self._meter.request(request)
        most = capped.sampling.max_tokens or 0
        self._meter.generated(most)
        found = await self._model.complete(capped)
        came = found.usage.completion_tokens
        self._meter.generated((len(found.text) // 3 + 1 if came is None else came) - most)
        self._meter.prompted(found.usage)
        return found

    async def aclose(self) -> None:
        """Do nothing."""

    async def _give_way(self) -> None:
        self._meter.yield_now()
        await anyio.lowlevel.checkpoint()


class _MeteredStream:
    """Ends after *most* tokens, also where the server knows no end."""

    def __init__(self, stream: Stream, meter: Meter, most: int) -> None:
        self._stream = stream
        self._meter = meter
        self._left = most

    async def receive(self) -> Sequence[Chunk]:
        if self._left < 0:
            await self._stream.aclose()
            return ()
        chunks = await self._stream.receive()
        for chunk in chunks:
            self._left -= chunk.tokens
            self._meter.generated(chunk.tokens)
            self._meter.prompted(chunk.usage)
        self._meter.yield_now()
        return chunks

    async def aclose(self) -> None:
        await self._stream.aclose()
