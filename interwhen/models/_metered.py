"""A model with a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio.lowlevel
import msgspec

from interwhen._types.errors import ModelError, OutOfTokens, StreamTimeout
from interwhen._types.ledger import Ledger
from interwhen._types.models import Chunk, Completion, Model, Request, ResumeMode, Stream, Usage
from interwhen._types.results import BYTES_A_TOKEN, prompt_bytes
from interwhen.models._wrapper import ModelWrapper, StreamWrapper


class MeteredModel(ModelWrapper):
    """Limits the tokens that *model* generates to *budget*, and counts the tokens of its requests.

    The ``max_tokens`` of each request is limited to the tokens that are left. If a server sends more, the stream ends
    with the finish reason ``length``. If no token is left, a request raises `OutOfTokens`.

    Forks can exceed the budget, if a server ignores their ``max_tokens`` or does not count their tokens. With
    *counts_prompts*, prompt tokens use up the budget, too, and can exceed it.

    *when_used* is called before each request and after reads of a stream; it may raise to stop the work.
    """

    def __init__(
        self,
        model: Model,
        budget: int,
        *,
        counts_prompts: bool = False,
        when_used: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(model)
        self._counts_prompts = counts_prompts
        self._when_used = when_used
        self.budget = budget
        self.generated = 0
        """Tokens of streams, without those beyond the budget (``wasted``)."""
        self.fork_tokens = 0
        """Tokens of forks. While a fork has no answer, also after a timeout, its ``max_tokens`` are counted."""
        self.wasted = 0
        """Tokens of streams that arrived beyond the budget or the ``max_tokens`` of their request."""
        self.prompt_tokens = 0
        self.fork_prompt_tokens = 0
        self.cached_tokens = 0
        self.warm_tokens = 0
        """The cached tokens of the first stream that the server counted: earlier requests left them in its cache."""
        self.requests = 0
        self.forks = 0
        self.counted = 0
        """The number of streams for which the server reported the size of the prompt."""
        self.unseen = 0
        """Tokens of streams that the server counted and no chunk brought, such as the token that ends a text; negative
        if chunks brought more. They are no part of the budget."""
        self._counted_bytes = 0
        """The size of the prompts that the server counted, in bytes."""
        self._uncounted_bytes = 0
        """The size of the other prompts, in bytes, including those of open streams."""

    @property
    def spent(self) -> int:
        """The tokens of streams, of forks, and of prompts if they use up the budget."""
        generated = self.generated + self.fork_tokens
        if not self._counts_prompts:
            return generated
        return generated + self.prompt_tokens + self.estimated_prompt_tokens + self.fork_prompt_tokens

    @property
    def estimated_prompt_tokens(self) -> int:
        """An estimate of the prompt tokens of those streams whose prompt the server did not count."""
        if not self._counted_bytes:
            return self._uncounted_bytes // BYTES_A_TOKEN
        return round(self._uncounted_bytes * self.prompt_tokens / self._counted_bytes)

    @property
    def left(self) -> int:
        return self._unspent

    @property
    def _unspent(self) -> int:
        # Subclasses let ``left`` be 0 for other reasons, which must not refuse a request that continues a text.
        return max(self.budget - self.spent, 0)

    @property
    def uncounted(self) -> int:
        """The number of streams without a reported prompt size, also those that are open or could not be opened."""
        return self.requests - self.counted

    def ledger(self, kept: int, *, remedies: int = 0, reconnects: int = 0, inserted_chars: int = 0) -> Ledger:
        """Return the ledger so far. *kept* is the number of generated tokens in the final text."""
        kept = min(kept, self.generated)
        return Ledger(
            kept=kept,
            discarded=self.generated - kept,
            fork_tokens=self.fork_tokens,
            fork_prompt_tokens=self.fork_prompt_tokens,
            prompt_tokens=self.prompt_tokens,
            estimated_prompt_tokens=self.estimated_prompt_tokens,
            cached_tokens=self.cached_tokens,
            requests=self.requests,
            forks=self.forks,
            remedies=remedies,
            reconnects=reconnects,
            wasted_tokens=self.wasted,
            inserted_chars=inserted_chars,
        )

    async def resume_mode(self) -> ResumeMode:
        ask = getattr(self._model, "resume_mode", None)
        return (await self._model.capabilities()).resume if ask is None else await ask()

    async def stream(self, request: Request) -> Stream:
        capped, most = await self._cap(request)
        self.requests += 1
        size = prompt_bytes(request.prompt) + len(request.prefix.encode(errors="replace"))
        stream = await self._model.stream(capped)
        self._uncounted_bytes += size
        return _MeteredStream(self, stream, most, size)

    async def complete(self, request: Request) -> Completion:
        """Answer a fork. Tokens that the server does not count are estimated."""
        capped, most = await self._cap(request)
        self.forks += 1
        # Until the answer arrives, all tokens of the fork count: if it is cancelled or times out, the server may have
        # generated all of them. After any other error, the server has generated nothing.
        self.fork_tokens += most
        try:
            reply = await self._model.complete(capped)
        except StreamTimeout:
            raise
        except ModelError:
            self.fork_tokens -= most
            raise
        completion = reply.usage.completion_tokens
        if completion is None:
            # About three characters a token in the texts of small models, rounded up.
            completion = len(reply.tokens) or len(reply.text) // 3 + 1
        self.fork_tokens += completion - most
        self.fork_prompt_tokens += reply.usage.prompt_tokens or 0
        self.cached_tokens += reply.usage.cached_tokens or 0
        return reply

    async def aclose(self) -> None:
        """Do nothing. The caller closes the metered model."""

    def take(self, tokens: int, most: int) -> bool:
        """Count *tokens* as generated and return true, if the budget and *most* allow it; else count them as wasted."""
        if tokens > min(self._unspent, most):
            self.wasted += tokens
            return False
        self.generated += tokens
        return True

    def settle(self, usage: Usage | None, size: int = 0, *, came: int = 0, finished: bool = False) -> None:
        """Add *usage*, the server's token counts of a stream that has ended.

        Its count of the prompt replaces the estimate for *size* bytes. Its count of generated tokens less *came*, the
        tokens of the chunks, is added to ``unseen``. Without a finish reason (*finished*), only a positive difference
        is added.
        """
        if usage is None:
            return
        if usage.prompt_tokens is not None:
            self._uncounted_bytes -= size
            self._counted_bytes += size
            self.warm_tokens = self.warm_tokens if self.counted else usage.cached_tokens or 0
            self.counted += 1
            self.prompt_tokens += usage.prompt_tokens
            self.cached_tokens += usage.cached_tokens or 0
        # Before the finish reason, a server may not have counted its last chunks yet.
        if usage.completion_tokens is not None and (finished or usage.completion_tokens > came):
            self.unseen += usage.completion_tokens - came

    def billed(self, chunk: Chunk) -> Chunk:
        """Remove the cached tokens of *chunk* if prompts use up the budget, since they are then not cheaper."""
        if not self._counts_prompts or chunk.usage is None:
            return chunk
        return msgspec.structs.replace(chunk, usage=msgspec.structs.replace(chunk.usage, cached_tokens=0))

    def use(self) -> None:
        if self._when_used is not None:
            self._when_used()

    async def _cap(self, request: Request) -> tuple[Request, int]:
        self.use()
        await anyio.lowlevel.checkpoint()
        left = self._unspent
        if not left:
            raise OutOfTokens(self.budget)
        asked = request.sampling.max_tokens
        most = left if asked is None else min(asked, left)
        return replace(request, sampling=replace(request.sampling, max_tokens=most)), most


class _MeteredStream(StreamWrapper):
    """A stream that ends with ``length`` when the budget of *meter* is used up, or after *most* tokens."""

    def __init__(self, meter: MeteredModel, stream: Stream, most: int, size: int) -> None:
        super().__init__(stream)
        self._meter = meter
        self._left = most
        """How many tokens the stream may still bring; negative after this class has ended it."""
        self._size = size
        self._usage: Usage | None = None
        self._came = 0
        self._is_finished = False

    async def receive(self) -> Sequence[Chunk]:
        if self._left < 0:
            return ()
        taken: list[Chunk] = []
        for chunk in (chunks := await self._stream.receive()):
            self._usage = chunk.usage or self._usage
            self._came += chunk.tokens
            self._is_finished = self._is_finished or chunk.finish_reason is not None
            if self._meter.take(chunk.tokens, self._left):
                self._left -= chunk.tokens
                taken.append(self._meter.billed(chunk))
            elif self._left >= 0:
                self._left = -1
                # Tokens beyond the budget are wasted, so the server's count of generated tokens does not hold here.
                usage = chunk.usage and msgspec.structs.replace(chunk.usage, completion_tokens=None)
                taken.append(Chunk("", tokens=0, finish_reason="length", usage=usage))
        if self._left < 0:
            await self._stream.aclose()
        if self._left < 0 or not chunks:
            self.end()
        self._meter.use()
        return taken

    def finish(self) -> None:
        self._meter.settle(self._usage, self._size, came=self._came, finished=self._is_finished)
