"""What an attempt may spend and has spent: a meter around a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interwhen.errors import ModelError
from interwhen.ledger import Ledger
from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream, Usage


class BudgetSpent(ModelError):
    """A request came when no token was left."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        super().__init__(f"the budget of {budget} tokens is spent")


class Meter:
    """A model that generates at most *budget* tokens in all, and counts what every request used.

    Each request is told how many tokens it may have, a stream is ended as one that ran into its length limit when
    nothing is left, and a request that comes then raises :class:`BudgetSpent`. The tokens of a fork are set aside
    until it has answered. Tokens are counted as a run counts them: those that stand for text in a stream, and what the
    server says of a fork. Only a server that ignores ``max_tokens`` of a fork can overdraw.
    """

    def __init__(self, model: Model, budget: int) -> None:
        self._model = model
        self.budget = budget
        self.generated = 0
        """Tokens of streams that were taken."""
        self.fork_tokens = 0
        self.wasted = 0
        """Tokens that came in one read with the last one that could be afforded."""
        self.prompt_tokens = 0
        self.fork_prompt_tokens = 0
        self.cached_tokens = 0
        self.requests = 0
        self.forks = 0
        self.counted = 0
        """Streams whose prompt the server counted."""
        self._aside = 0

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some models have: ``timeouts``, ``feedback``, ``retries``."""
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        """The name of the metered model."""
        return self._model.name

    @property
    def spent(self) -> int:
        """All tokens that were generated."""
        return self.generated + self.fork_tokens

    @property
    def left(self) -> int:
        """Tokens that may still be generated."""
        return max(self.budget - self.spent - self._aside, 0)

    @property
    def uncounted(self) -> int:
        """Streams whose prompt the server did not count."""
        return self.requests - self.counted

    def ledger(self, kept: int, *, remedies: int = 0, reconnects: int = 0, inserted_chars: int = 0) -> Ledger:
        """Return all that was spent, *kept* tokens of which stand in what is returned.

        A run counts the token that ends a text where the server does; here it is nobody's, so that all pay the same.
        """
        kept = min(kept, self.generated)
        return Ledger(
            kept=kept,
            discarded=self.generated - kept,
            fork_tokens=self.fork_tokens,
            fork_prompt_tokens=self.fork_prompt_tokens,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            requests=self.requests,
            forks=self.forks,
            remedies=remedies,
            reconnects=reconnects,
            wasted_tokens=self.wasted,
            inserted_chars=inserted_chars,
        )

    async def capabilities(self) -> Capabilities:
        """Return those of the metered model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open a stream of at most what is left. Raises :class:`BudgetSpent` if that is nothing."""
        capped = self._capped(request)
        self.requests += 1
        return _MeteredStream(self, await self._model.stream(capped))

    async def complete(self, request: Request) -> Completion:
        """Answer a fork with at most what is left. Raises :class:`BudgetSpent` if that is nothing."""
        capped = self._capped(request)
        aside = capped.sampling.max_tokens or 0
        self.forks += 1
        self._aside += aside
        try:
            reply = await self._model.complete(capped)
        finally:
            self._aside -= aside
        self.fork_tokens += reply.usage.completion_tokens or len(reply.tokens)
        self.fork_prompt_tokens += reply.usage.prompt_tokens or 0
        self.cached_tokens += reply.usage.cached_tokens or 0
        return reply

    async def aclose(self) -> None:
        """Do nothing: the model belongs to whoever made it."""

    def take(self, tokens: int) -> bool:
        """Count *tokens* of a stream, if they can be afforded."""
        if tokens > self.left:
            self.wasted += tokens
            return False
        self.generated += tokens
        return True

    def settle(self, usage: Usage | None) -> None:
        """Count the prompt of a stream that is over, if the server did."""
        if usage is None or usage.prompt_tokens is None:
            return
        self.counted += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens or 0

    def _capped(self, request: Request) -> Request:
        left = self.left
        if not left:
            raise BudgetSpent(self.budget)
        asked = request.sampling.max_tokens
        most = left if asked is None else min(asked, left)
        return replace(request, sampling=replace(request.sampling, max_tokens=most))


class _MeteredStream:
    """Takes text while the meter can afford it."""

    def __init__(self, meter: Meter, stream: Stream) -> None:
        self._meter = meter
        self._stream = stream
        self._usage: Usage | None = None
        self._is_over = False
        self._is_settled = False

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some streams have: ``resumed``, ``notes``, ``abort``."""
        return getattr(self._stream, name)

    async def receive(self) -> Sequence[Chunk]:
        if self._is_over:
            return ()
        chunks = await self._stream.receive()
        if not chunks:
            self._end()
            return ()
        taken: list[Chunk] = []
        for chunk in chunks:
            self._usage = chunk.usage or self._usage
            if self._is_over:
                self._meter.wasted += chunk.tokens
            elif self._meter.take(chunk.tokens):
                taken.append(chunk)
            else:
                self._is_over = True
                taken.append(Chunk("", tokens=0, finish_reason="length"))
        if self._is_over:
            await self._stream.aclose()
            self._end()
        return taken

    async def aclose(self) -> None:
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._meter.settle(self._usage)
