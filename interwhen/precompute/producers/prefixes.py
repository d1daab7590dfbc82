"""Prefixes: puts the context into the server's prefix cache in advance. The counters of the server confirm it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from interwhen._types.models import Completion, Message, Prompt, Sampling
from interwhen._types.results import Result
from interwhen._types.vetting import vetted
from interwhen.precompute._contexts import evict
from interwhen.precompute._items import Item, ItemId, Kind, Payload
from interwhen.precompute._precomputer import ContextRef
from interwhen.precompute._producer import Context, Nothing, Proposal, Step, StepContext

__all__ = ["prefixes"]


As = Literal["text", "system", "user"]
"""The form of the context at the start of prompts: plain text, or the first turn of a chat."""
_HINT = (
    "the server does not count cached tokens: vLLM does with --enable-prompt-tokens-details, SGLang with "
    "--enable-cache-report, llama.cpp always"
)


class Warmed(msgspec.Struct, frozen=True):
    """The server's token counts when the prefix was last sent."""

    tokens: int
    """The tokens of the prompt."""
    cached: int
    """The tokens that came from the cache."""
    share: float = 0.75
    """The least share of its tokens that must come from the cache."""


class _PrefixParams(msgspec.Struct, frozen=True):
    as_: As
    share: float


class PrefixProducer:
    """Sends the context to the server as the start of a prompt, once more if it was not cached yet."""

    # An item shows only that the server had the prefix in its cache, which may evict it later: see `redo_if_cold`.

    name = "prefixes"
    version = "1"
    kind: Kind = "prefixes"

    @vetted("prefixes: ")
    def __init__(self, *, as_: As, share: Annotated[float, Meta(gt=0, le=1)]) -> None:
        self._params = msgspec.json.encode(_PrefixParams(as_, share))

    def plan(self, context: Context) -> Iterable[Step]:
        yield Step(name="context", reads=tuple(piece.name for piece in context.pieces), params=self._params)

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        params = msgspec.json.decode(step.params, type=_PrefixParams)
        prompt = _prompt("\n".join(context.read(piece) for piece in step.reads), params.as_)
        seen = await _send(prompt, context)
        if not _is_cached(seen, params.share):
            seen = await _send(prompt, context)
        tokens, cached = seen.usage.prompt_tokens, seen.usage.cached_tokens
        if tokens is None or cached is None:
            return Nothing(_HINT)
        if not _is_cached(seen, params.share):
            # The cache may have room later, so this is not stored as a result.
            raise RuntimeError(
                f"the server must take at least {params.share:.0%} of the prompt from its cache, got "
                f"{cached} of {tokens} tokens; check whether its prefix cache is off or full"
            )
        return Proposal(
            payload=Payload(data=msgspec.json.encode(Warmed(tokens, cached, params.share))),
            basis="observed",
            evidence=f"{cached} of {tokens} prompt tokens came from the server's cache",
        )


def prefixes(*, as_: As = "text", share: float = 0.75) -> PrefixProducer:
    """Make the producer that puts the start of a prompt, with the context, into the cache of the server.

    *as_* tells where the context stands in prompts: with ``text``, it begins a plain prompt; with ``system`` or
    ``user``, it is the first message, with this role. A prefix counts as cached if at least *share* of its tokens come
    from the cache; servers cache only whole blocks. Raises :class:`UsageError` for another *as_*, and unless *share* is
    above 0 and at most 1.
    """
    return PrefixProducer(as_=as_, share=share)


def cold(item: Item, result: Result) -> bool | None:
    """Return whether the server has evicted the prefix of *item* from its cache; ``None`` if that is not known.

    *result* is of a run whose prompt began with the prefix.
    """
    ledger = result.ledger
    warmed = msgspec.json.decode(item.payload.data, type=Warmed)
    if ledger.requests != 1 or ledger.prompt_tokens < warmed.tokens // 2:
        return None
    return ledger.cached_tokens < warmed.share * min(warmed.tokens, ledger.prompt_tokens)


async def redo_if_cold(context: ContextRef, result: Result) -> tuple[ItemId, ...]:
    # Opening the context again makes the idle worker send what the cache of the server has lost.
    precomputer = context.precomputer
    warm = [item for item in precomputer.ready(context) if item.key.producer == PrefixProducer.name]
    lost = tuple(item.id for item in warm if cold(item, result))
    if lost:
        await precomputer.in_store(lambda: evict(precomputer.store, context.name, lost))
        await precomputer.open(context.name)
    return lost


def _prompt(text: str, as_: As) -> Prompt:
    return f"{text}\n" if as_ == "text" else (Message(as_, text),)


async def _send(prompt: Prompt, context: StepContext) -> Completion:
    return await context.ask(prompt, Sampling(max_tokens=1, temperature=0.0))


def _is_cached(seen: Completion, share: float) -> bool:
    tokens, cached = seen.usage.prompt_tokens, seen.usage.cached_tokens
    return bool(tokens and cached and cached >= share * tokens)
