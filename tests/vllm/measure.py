"""Measures corrections on real servers: ``python -m tests.vllm.measure [--problems N] [ENDPOINT ...]``.

Each endpoint serves the tiny model and gets the same problems, half of them greedy and half sampled with a seed, under
`arithmetic` with a repair in place. The answers come from Python's integers, which do not know the verifier. Without
names, all endpoints are measured. vLLM needs its environment: ``python tests/vllm/environment.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import anyio
import interwhen
from interwhen import Message, Repair, Resample, Result, Sampling
from interwhen.models import ChatModel
from interwhen.models._httpx2_transport import Httpx2Transport
from tests.contracts.recorded_http import RecordedExchange, RecordingTransport
from tests.contracts.servers import LLAMACPP, llamacpp
from tests.vllm.server import PARSERS, vllm_servers

VLLM = {f"vllm-{name}": name for name in PARSERS}
ENDPOINTS = (*VLLM, *LLAMACPP)
AT_ONCE = {"vllm": 8, "llamacpp": 2}
"""How many streams run beside each other: as many as the server has places."""
MOST_TOKENS = 700
TEMPERATURE = 0.7
CHANGES = 5
SYSTEM = Message("system", "Work in small steps, one step on each line.")
"""It makes the prompts longer: vLLM caches blocks of 32 tokens, and the rest of a prompt is always computed again."""
LIMIT = 20_000
"""The tiny model has not learned larger totals."""


def repairing() -> interwhen.Monitor:
    # Return `arithmetic` with one remedy, so that the ladder of remedies plays no part: a repair, or a new sample.
    return dataclasses.replace(interwhen.load_monitor("arithmetic"), remedy=Repair(otherwise=Resample()))


@dataclass(frozen=True)
class Problem:
    """A chat, the number that is right, and how it is sampled."""

    chat: tuple[Message, ...]
    answer: int
    sampling: Sampling


def problems(count: int, seed: int) -> Iterator[Problem]:
    rng = random.Random(seed)
    for number in range(count):
        total = rng.randint(1001, 9999)
        words = [f"Start with {total}."]
        while len(words) <= CHANGES:
            change = rng.randint(1001, 4999) * rng.choice((1, -1))
            if 0 < total + change < LIMIT:
                total += change
                words.append(f"{'Add' if change > 0 else 'Subtract'} {abs(change)}.")
        text = f"{' '.join(words)} What is the result?"
        greedy, seeded = Sampling(MOST_TOKENS, 0.0), Sampling(MOST_TOKENS, TEMPERATURE, seed=rng.randrange(1 << 30))
        yield Problem((SYSTEM, Message("user", text)), total, seeded if number % 2 else greedy)


@dataclass
class Tally:
    """What the streams of one endpoint came to."""

    problems: int = 0
    corrected: int = 0
    finished: int = 0
    right: int = 0
    abstained: int = 0
    loops: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    """For each resumed request that ended: the share of its prompt that came from the cache."""
    prompts: list[int] = field(default_factory=list)
    """The length of these prompts in tokens."""
    seconds: float = 0.0

    def add(self, problem: Problem, result: Result, exchanges: Sequence[RecordedExchange]) -> None:
        self.problems += 1
        if not result.ledger.remedies:
            return
        self.corrected += 1
        ended = result.finish_reason == "stop" and result.status in {"verified", "unverified"}
        self.finished += ended
        self.right += ended and f"Answer: {problem.answer}" in result.answer.split("\n")
        self.abstained += result.status == "abstained"
        self.loops += result.finish_reason == "length"
        self.ways[result.resume.mode if result.resume else "none"] += 1
        for prompt, cached in resumed(exchanges):
            self.shares.append(cached / prompt)
            self.prompts.append(prompt)

    def row(self, name: str) -> str:
        ways = ", ".join(f"`{way}` {count}" for way, count in self.ways.most_common())
        cached = (
            f"{statistics.median(self.shares):.1%} of {statistics.median(self.prompts):.0f} ({len(self.shares)})"
            if self.shares
            else "not counted"
        )
        return (
            f"| {name} | {self.problems} | {self.corrected} | {self.finished} | {self.right} | {self.abstained} | {self.loops} | {ways} "
            f"| {cached} | {self.seconds:.0f} s |"
        )


HEAD = """\
| endpoint | problems | corrected | of these finished | right | abstained | to the token limit | resumed by \
| cached, of resumed prompts (median) | took |
|---|--:|--:|--:|--:|--:|--:|---|---|--:|"""


def resumed(exchanges: Sequence[RecordedExchange]) -> Iterator[tuple[int, int]]:
    first = exchanges[0].body["messages"]
    for exchange in exchanges:
        body = exchange.body
        if not exchange.path.endswith("/completions") or body.get("messages") == first or exchange.is_cut:
            continue
        for line in reversed(exchange.answer.splitlines()):
            usage = json.loads(line[6:]).get("usage") if line.startswith("data: {") else None
            if usage:
                details = usage.get("prompt_tokens_details") or {}
                if details.get("cached_tokens") is not None:
                    yield usage["prompt_tokens"], details["cached_tokens"]
                break


async def measure(url: str, given: Sequence[Problem], at_once: int) -> Tally:
    tally, limiter, shared = Tally(), anyio.CapacityLimiter(at_once), Httpx2Transport()
    begun = time.monotonic()

    async def solve(problem: Problem) -> None:
        async with limiter:
            transport = RecordingTransport(shared)
            model = ChatModel(url, "tiny", transport=transport)
            async with interwhen.run(model, problem.chat, monitors=[repairing()], sampling=problem.sampling) as run:
                result = await run.drain()
            posts = [each for each in transport.exchanges() if each.method == "POST"]
            tally.add(problem, result, posts)

    async with anyio.create_task_group() as group:
        for problem in given:
            group.start_soon(solve, problem)
    await shared.aclose()
    tally.seconds = time.monotonic() - begun
    return tally


@contextmanager
def servers(names: Sequence[str]) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        parsers = [VLLM[name] for name in names if name in VLLM]
        vllm_urls = stack.enter_context(vllm_servers(parsers)) if parsers else {}
        urls = {f"vllm-{parser}": url for parser, url in vllm_urls.items()}
        urls |= {name: stack.enter_context(llamacpp(name)) for name in names if name in LLAMACPP}
        yield urls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ENDPOINT", help=f"among {', '.join(ENDPOINTS)}")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    given = list(problems(options.problems, options.seed))
    print(HEAD)
    with servers(options.names or ENDPOINTS) as urls:
        for name, url in urls.items():
            tally = anyio.run(measure, url, given, AT_ONCE[name.partition("-")[0]])
            print(tally.row(name), flush=True)


if __name__ == "__main__":
    main()
