"""Prefixes on a real vLLM: its own counters confirm what was sent ahead of time, and a run finds it in the cache."""

from __future__ import annotations

import random

import pytest
from interwhen import Sampling
from interwhen.bench._prefixes import CacheMonitor, context_of, first_token
from interwhen.models import CompletionsModel
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.prefixes import prefixes, redo_if_cold
from interwhen.registry import load_model

pytestmark = pytest.mark.anyio
BLOCK = 32
"""Tokens of a block of the cache: the server's option --block-size."""


def counters_of(url: str) -> CacheMonitor:
    return CacheMonitor(f"{url.removesuffix('/v1')}/metrics")


async def test_both_counters_confirm_warm_and_deny_cold_prefixes(url):
    rng, counters = random.Random(), counters_of(url)  # new texts: the server may have seen others before
    async with CompletionsModel(url, "tiny") as model:
        cold = await first_token(model, context_of(rng, 500), "cold", counters)
        warm = await first_token(model, context_of(rng, 500), "warm", counters)
    # Two texts of this test share at most their first words, which is less than a block.
    assert (cold.cached, cold.hits, cold.confirmed) == (0, 0, False)
    assert warm.hits == warm.cached > 0.75 * warm.prompt
    assert warm.cached % BLOCK == 0
    assert (warm.confirmed, warm.stays) == (True, True)


async def test_a_precomputed_chat_turn_is_warm_for_questions(url):
    text, counters = context_of(random.Random(), 500), counters_of(url)
    async with load_model(url, name="tiny", api="chat") as model:
        precomputer = Precomputer(Store(MemoryShelf()), model, producers=[prefixes()], debounce=0.0)
        ref = await precomputer.add("report", {"text": text})
        (done,) = await precomputer.work()
        assert done.outcome == "accepted", done.why
        before = await counters.read()
        sampling = Sampling(max_tokens=4, temperature=0.0)
        async with precomputer.run(f"{text}\nHow many crates?\n", context=ref, sampling=sampling) as run:
            result = await run.drain()
        assert await counters.hits_since(before, result.ledger.prompt_tokens) == result.ledger.cached_tokens
        assert result.ledger.cached_tokens >= 0.75 * len(text)
        assert await redo_if_cold(ref, result) == ()
        await precomputer.aclose()
