"""Prefixes: the server has read the context before anybody asks, and its own counters say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.models import Completion, Message, Prompt, Sampling
from interwhen._types.results import Result
from interwhen.precompute._contexts import evict
from interwhen.precompute._items import Item, ItemId, Kind, Payload
from interwhen.precompute._precomputer import ContextRef
from interwhen.precompute._producer import Context, Nothing, Proposal, Step, StepContext

__all__ = [
    "prefixes",
]


As = Literal["text", "system", "user"]
"""How runs begin their prompts with the context: as plain text, or as the first turn of a chat."""
_HINT = (
    "the server does not count cached tokens: vLLM does with --enable-prompt-tokens-details, SGLang with "
    "--enable-cache-report, llama.cpp always"
)


class Warmed(msgspec.Struct, frozen=True):
    """The data of an item of kind ``prefixes``: what the server counted when the prefix was sent again."""

    tokens: int
    """Of the prompt."""
    cached: int
    """Of these, how many it took from its cache."""


class _PrefixParams(msgspec.Struct, frozen=True):
    as_: As
    share: float


class PrefixProducer:
    """Sends the context to the server as the beginning of a prompt, and again, to see that it has kept it.

    An item says that the server *had* the prefix. Whether it still has is seen in the counters of each run:
    :func:`redo_if_cold` takes the item away where it has not, so that the idle worker warms it up again.
    """

    name = "prefixes"
    version = "1"
    kind: Kind = "prefixes"

    def __init__(self, *, as_: As, share: float) -> None:
        if as_ not in get_args(As):
            raise UsageError(f"prefixes: as_={as_!r}, choose one of {', '.join(get_args(As))}")
        if not 0 < share <= 1:
            raise UsageError(f"prefixes: share={share!r} is no part of a prompt: choose one above 0, up to 1")
        self._params = msgspec.json.encode(_PrefixParams(as_, share))

    def plan(self, context: Context) -> Iterable[Step]:
        """Want the whole context warm: what stands behind a changed piece is another prefix."""
        yield Step(name="context", reads=tuple(piece.name for piece in context.pieces), params=self._params)

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        """Warm up, and look."""
        params = msgspec.json.decode(step.params, type=_PrefixParams)
        prompt = _prompt("\n".join(context.read(piece) for piece in step.reads), params.as_)
        seen = await _send(prompt, context)
        if not _is_cached(seen, params.share):
            seen = await _send(prompt, context)
        tokens, cached = seen.usage.prompt_tokens, seen.usage.cached_tokens
        if tokens is None or cached is None:
            return Nothing(_HINT)
        if not _is_cached(seen, params.share):
            # Another time there may be room for it, so this is not kept as a result.
            raise RuntimeError(
                f"the server took {cached} of {tokens} prompt tokens from its cache: is it off, or full?"
            )
        return Proposal(
            payload=Payload(data=msgspec.json.encode(Warmed(tokens, cached))),
            basis="observed",
            evidence=f"{cached} of {tokens} prompt tokens came from the server's cache",
        )


def prefixes(*, as_: As = "text", share: float = 0.75) -> PrefixProducer:
    """Make the producer. A prefix is warm if *share* of its tokens come from the cache: servers cache whole blocks."""
    return PrefixProducer(as_=as_, share=share)


def cold(item: Item, result: Result, *, share: float = 0.75) -> bool | None:
    """Tell whether the server has lost the prefix of *item*, by the counters of a run that began with it.

    ``None``: they do not tell (the server does not count, the run was cut short, or it took up its stream again).
    """
    ledger = result.ledger
    warmed = msgspec.json.decode(item.payload.data, type=Warmed)
    if ledger.requests != 1 or ledger.prompt_tokens < warmed.tokens // 2:
        return None
    return ledger.cached_tokens < share * min(warmed.tokens, ledger.prompt_tokens)


async def redo_if_cold(context: ContextRef, result: Result) -> tuple[ItemId, ...]:
    """Take away the prefixes of *context* that a run on it found cold, and return them.

    The idle worker makes them again.
    """
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
