"""``interwhen precompute measure prefixes``: what a warm prefix saves at the first token, by a server's counters."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import anyio
import httpx2

from interwhen import Failed, Sampling, UsageError
from interwhen._types.models import Model
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate, paired
from interwhen.cli._supervise import closing
from interwhen.models import open_local
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers import prefixes as producer
from interwhen.registry import Api, load_model

Arm = Literal["cold", "warm"]
_ARMS: tuple[Arm, ...] = ("cold", "warm")
QUESTION = "What is the sum of the first two numbers?"
_VLLM = re.compile(r"^vllm:(?:gpu_)?prefix_cache_(queries|hits)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
"""Counters in vLLM's ``/metrics``; vLLM 0.8 named them with ``gpu_``."""
_SETTLED_SECONDS = 30.0
"""The longest wait until vLLM has counted a request. It takes milliseconds, unless the machine is very busy."""
_NAMES = ("Ann", "Bob", "Cid", "Dot", "Eve", "Fay", "Gil", "Hal")


@dataclass(frozen=True, slots=True)
class FirstToken:
    """How long a run took to its first token (without one, to its end), and how much of its prompt was cached."""

    seconds: float
    prompt: int
    """The tokens of the prompt, by the counter of the server."""
    cached: int
    """How many of them the server took from its cache."""
    confirmed: bool
    """Whether the work ahead of time saw the prefix in the counters."""
    stays: bool
    """Whether the counters of the run show it, too; false if nothing was sent ahead of time."""
    ahead: int
    """The prompt tokens that the work ahead of time sent."""
    hits: int | None = None
    """By vLLM's own counter of prefix cache hits; ``None`` without one, or with other requests."""


class CacheCounters(NamedTuple):
    """The counters of vLLM's prefix cache, in tokens, of all requests since the server started."""

    queries: int
    """Prompt tokens that were looked up in the cache."""
    hits: int


def counters_in(metrics: str) -> CacheCounters | None:
    sums = {"queries": 0, "hits": 0}
    counters = _VLLM.findall(metrics)
    for name, value in counters:
        sums[name] += int(float(value))
    return CacheCounters(sums["queries"], sums["hits"]) if counters else None


class CacheMonitor:
    """Reads from vLLM's ``/metrics`` how many tokens of one request were in its prefix cache."""

    def __init__(self, url: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport

    async def read(self) -> CacheCounters | None:
        async with httpx2.AsyncClient(transport=self._transport, timeout=10.0) as client:
            try:
                response = await client.get(self._url)
            except httpx2.HTTPError:
                return None
        return counters_in(response.text) if response.is_success else None

    async def hits_since(self, before: CacheCounters | None, prompt: int) -> int | None:
        # `None` if the hits are not known: for example, the server counted other requests, too.
        if before is None:
            return None
        # vLLM counts a step of its engine after it has sent the tokens of this step.
        with anyio.move_on_after(_SETTLED_SECONDS):
            while (now := await self.read()) is not None:
                if now.queries >= before.queries + prompt:
                    return now.hits - before.hits if now.queries == before.queries + prompt else None
                await anyio.sleep(0.02)
        return None


def context_of(rng: random.Random, size: int) -> str:
    # With a number from `rng`, a second measurement would find the contexts of the first one in the server's cache.
    lines = [f"Report {10**8 + secrets.randbelow(9 * 10**8)}."]
    while sum(map(len, lines)) + len(lines) < size:
        lines.append(f"{rng.choice(_NAMES)} counts {rng.randint(10, 999)} crates and {rng.randint(10, 999)} boxes.")
    return "\n".join(lines)


async def first_token(model: Model, text: str, arm: Arm, counters: CacheMonitor | None = None) -> FirstToken:
    # The arm `warm` sends the prefix of the prompt ahead of time.
    precomputer = Precomputer(Store(MemoryShelf()), model, producers=[producer.prefixes()], debounce=0.0)
    ref = await precomputer.add("context", {"text": text}, kinds=("prefixes",) if arm == "warm" else ())
    await precomputer.work()
    items = precomputer.ready(ref)
    sampling = Sampling(max_tokens=4, temperature=0.0)
    before = None if counters is None else await counters.read()
    async with precomputer.run(f"{text}\n{QUESTION}\n", context=ref, sampling=sampling) as run:
        result = await run.drain()
    if isinstance(result, Failed):
        raise UsageError(
            f"--characters must be a size that fits into the context window, got {len(text)} and an error "
            f"({result.error}); give a smaller one"
        )
    ledger = result.ledger
    hits = None if counters is None else await counters.hits_since(before, ledger.prompt_tokens)
    ahead = precomputer.contexts["context"].spending.cost.prompt
    stays = bool(items) and producer.cold(items[0], result) is False
    await precomputer.aclose()
    seconds = result.timing.first_token or result.timing.total
    return FirstToken(seconds, ledger.prompt_tokens, ledger.cached_tokens, bool(items), stays, ahead, hits)


@vetted("--")
async def prefixes(
    *,
    model: str = "local",
    base_url: str = "",
    api: Api = "completions",
    threads: int | None = None,
    pairs: Positive = 20,
    characters: Positive = 1500,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure what a prefix that was sent ahead of time saves at the first token, in pairs on a real server.

    In each pair, there is a question about one context that is not in the cache, and one about another context of the
    same size whose prefix was sent ahead. The server's counters of cached tokens show whether the prefix was cached.
    With vLLM, the counters of its /metrics show it, too, if no other requests run meanwhile.

    Parameters
    ----------
    model
        An installed model ("local", "local:PATH.gguf"); with --base-url, the model's name there.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY. vLLM counts
        cached tokens only with --enable-prompt-tokens-details.
    api
        The API of that server.
    threads
        How many threads a local model uses.
    pairs
        How many pairs are measured, after one pair that warms up.
    characters
        The size of a context in characters. It must fit into the context window.
    seed
        The seed of the contexts and of the order in a pair.
    minutes
        Begin no further pair after this many minutes, but measure at least one.
    """
    rng = random.Random(seed)  # noqa: S311  (texts, not secrets)
    kind, _, spec = model.partition(":")
    opened: Model
    counters: CacheMonitor | None = None
    if base_url:
        opened = load_model(base_url, name=model, api=api)
        counters = CacheMonitor(f"{base_url.rstrip('/').removesuffix('/v1')}/metrics")
    else:
        opened = open_local(spec, threads=threads) if kind == "local" else load_model(model)
    async with closing(opened):
        experiment = Experiment(_ARMS, pairs, seed, minutes=minutes)
        first_tokens = await experiment.run(
            lambda arm, _: first_token(opened, context_of(rng, characters), arm, counters)
        )
    return report_on(first_tokens, opened.name)


def report_on(first_tokens: dict[Arm, list[FirstToken]], subject: str) -> Report:
    times = {arm: [1000 * one.seconds for one in runs] for arm, runs in first_tokens.items()}
    rows: tuple[Row, ...] = tuple(
        {
            "arm": arm,
            "pairs": len(runs),
            "first token, ms": estimate(times[arm]),
            "prompt tokens": estimate([one.prompt for one in runs]),
            "cached": estimate([100 * one.cached / max(one.prompt, 1) for one in runs], "%"),
            **_hits(runs),
            "confirmed ahead": sum(one.confirmed for one in runs),
            "still warm": sum(one.stays for one in runs),
            "prompt tokens ahead": estimate([one.ahead for one in runs]),
        }
        for arm, runs in first_tokens.items()
    )
    caption = "cached: by the counters of the server, of the tokens of the prompt."
    if any("hits" in row for row in rows):
        caption += " hits: by vLLM's counters of its prefix cache, where no other request was counted."
    saved, share = paired(times["cold"], times["warm"], "ms")
    less: tuple[Row, ...] = ({"warm minus cold": saved, "in percent of cold": share},)
    return Report(
        benchmark="prefixes",
        subject=subject,
        tables=(
            Table("The first token", rows, caption),
            Table("Within pairs", less),
        ),
        observations=observations(times),
    )


def _hits(runs: Sequence[FirstToken]) -> dict[str, Estimate]:
    shares = [100 * one.hits / max(one.prompt, 1) for one in runs if one.hits is not None]
    return {"hits": estimate(shares, "%")} if shares else {}


command = command_of(prefixes)
