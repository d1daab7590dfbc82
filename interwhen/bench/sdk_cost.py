"""What a chunk costs through a client of the `openai` package, bare and wrapped, as pairs in one run."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from interwhen.bench.gateway_report import SdkCost
from interwhen.bench.stats import estimate
from interwhen.errors import MissingExtraError, UsageError
from interwhen.monitors import Monitor
from interwhen.wrapping import facts_of, wrap

_WARM_UP = 2
"""Rounds that are not counted."""


async def sdk_cost(
    base_url: str, monitors: Sequence[Monitor], *, rounds: int, chunks: int, rate: float, seed: int
) -> SdkCost:
    """Read the same paced stream through both clients, in random order within each round.

    Each chunk comes in a packet of its own, as a model's do: read as fast as can be, many would come at once, and
    what it costs to wake up for one would not be seen.
    """
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtraError("interwhen bench gateway", "openai") from error
    rng = random.Random(seed)  # noqa: S311  an order, not a secret
    found: dict[str, list[float]] = {"bare": [], "wrapped": []}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as bare:
        clients = {"bare": bare, "wrapped": wrap(bare, monitors)}
        for number in range(rounds + _WARM_UP):
            order = list(clients)
            rng.shuffle(order)
            for name in order:
                spent = await _read(clients[name], f"{chunks}@{rate:g}", chunks, watched=name == "wrapped")
                if number >= _WARM_UP:
                    found[name].append(spent / chunks * 1e6)
    added = [wrapped - plain for plain, wrapped in zip(found["bare"], found["wrapped"], strict=True)]
    return SdkCost(chunks, rate, estimate(found["bare"], seed), estimate(found["wrapped"], seed), estimate(added, seed))


async def _read(client: Any, stream: str, chunks: int, *, watched: bool) -> float:
    """Read one stream to its end; return the CPU seconds."""
    begun = time.process_time()
    texts, last = 0, None
    messages = [{"role": "user", "content": "How many apples are left?"}]
    async for last in await client.chat.completions.create(model=stream, messages=messages, stream=True):
        if last.choices and last.choices[0].delta.content:
            texts += 1
    spent = time.process_time() - begun
    facts = facts_of(last)
    checks = len(facts.result.checks) if facts is not None and facts.result is not None else 0
    if texts != chunks or (watched and not checks):
        raise UsageError(f"a stream brought {texts} of {chunks} chunks and {checks} checks: nothing can be measured so")
    return spent
