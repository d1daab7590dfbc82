"""How fast the local model is, what forks do to its main stream, and what it takes: as pairs in one run."""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from interwhen._types.models import Message, Piece, Request, Sampling
from interwhen.bench._statistics import Estimate, estimate, percentile
from interwhen.models._local import LocalModel, open_local

FORKS = (0, 1, 2)
"""How many forks run at a time beside the main stream; each has a slot of its own."""
TOKENS = 400
"""Tokens of a main stream, which is not allowed to end sooner."""
PROBLEMS = (
    "Start with 64. Add 29. Subtract 17. Multiply by 3. What is the result?",
    "Take 812. Add 395. Multiply by 4. Subtract 1507. What do you get?",
    "Ann has 431 stamps, buys 268, sells 97 and finds 55. How many stamps are there now?",
    "Start: 95. Add 48 each week. What is the total after 5 weeks?",
    "What is 37 * 46?",
    "Begin at 5120. Subtract 1846. Add 777. Result?",
)
_SIDE = "\nState so far, in braces:"
_FORK = Sampling(max_tokens=32, temperature=0.0)
_MS = 1e3


class ForkRow(msgspec.Struct, frozen=True):
    """The gaps between the arrivals of the main stream, in milliseconds, while so many forks run at a time.

    Each estimate is over streams; ``added`` is the difference to the stream of the same round without forks.
    """

    forks: int
    p50: Estimate
    p99: Estimate
    largest: Estimate
    added_p50: Estimate
    added_p99: Estimate
    added_largest: Estimate
    answered: float
    """Forks that were answered during a stream, in the mean."""


class LocalReport(msgspec.Struct, frozen=True):
    """The whole report."""

    machine: str
    model: str
    threads: int | None
    tokens: int
    """Tokens that the rate was measured on."""
    first_token_seconds: Estimate
    """From ``open_local()`` to the first token."""
    tokens_per_second: Estimate
    """One stream alone, from the request to its end, over the streams."""
    rows: tuple[ForkRow, ...]
    resident_mb: float | None
    """Resident memory of the server at the end; ``None`` where there is no ``/proc``."""
    peak_mb: float | None


@dataclass(slots=True)
class Flow:
    """How one stream went."""

    seconds: float = 0.0
    tokens: int = 0
    text: str = ""
    gaps: list[float] = field(default_factory=list)
    answered: int = 0

    def over(self, q: float) -> float:
        """Return the quantile *q* of the gaps, in milliseconds."""
        return percentile(self.gaps, q) * _MS


async def measure(
    spec: str = "",
    *,
    threads: int | None = None,
    tokens: int = TOKENS,
    rounds: int = 12,
    starts: int = 5,
    seed: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> LocalReport:
    """Start the model *starts* times, then run *rounds* rounds of a stream with each number of forks."""
    say(f"from start to first token: {starts} starts")
    first = [await _start_once(spec, threads) for _ in range(starts)]
    rng = random.Random(seed)  # noqa: S311
    flows: dict[int, list[Flow]] = {forks: [] for forks in FORKS}
    async with open_local(spec, slots=1 + max(FORKS), threads=threads) as model:
        say(f"streams of {tokens} tokens: {rounds} rounds of {', '.join(map(str, FORKS))} forks at a time")
        for number in range(-1, rounds):
            for forks in rng.sample(FORKS, len(FORKS)):
                flow = await stream_beside(model, PROBLEMS[number % len(PROBLEMS)], forks, tokens)
                if number >= 0:  # the first round warms up
                    flows[forks].append(flow)
        resident, peak = memory_mb(model.pid)
        name = model.name
    alone = flows[0]
    return LocalReport(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        model=name,
        threads=threads,
        tokens=sum(flow.tokens for flow in alone),
        first_token_seconds=estimate(first),
        tokens_per_second=estimate([flow.tokens / flow.seconds for flow in alone]),
        rows=tuple(_row(forks, flows[forks], alone) for forks in FORKS),
        resident_mb=resident,
        peak_mb=peak,
    )


async def stream_beside(model: LocalModel, problem: str, forks: int, tokens: int = TOKENS) -> Flow:
    """Stream *tokens* tokens while *forks* loops ask forks on the text so far; return how it went."""
    # A stream that ended when the model likes would be too short to tell anything.
    sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
    request = Request((Message("user", problem),), sampling=sampling)
    flow = Flow()
    begun = time.perf_counter()
    stream = await model.stream(request)
    async with anyio.create_task_group() as group:
        for number in range(forks):
            group.start_soon(_ask, model, request, flow, name=f"fork loop {number}")
        before: float | None = None
        while chunks := await stream.receive():
            now = time.perf_counter()
            flow.seconds = now - begun
            for chunk in chunks:
                flow.text += chunk.text
                flow.tokens += chunk.tokens
            if before is not None:
                flow.gaps.append(now - before)
            before = now
        group.cancel_scope.cancel()
    await stream.aclose()
    return flow


async def _ask(model: LocalModel, request: Request, flow: Flow) -> None:
    while True:
        await model.complete(Request(request.prompt, (Piece(flow.text),), _FORK, side=_SIDE))
        flow.answered += 1


async def _start_once(spec: str, threads: int | None) -> float:
    begun = time.perf_counter()
    async with open_local(spec, threads=threads) as model:
        stream = await model.stream(Request((Message("user", PROBLEMS[0]),), sampling=Sampling(max_tokens=1)))
        await stream.receive()
        seconds = time.perf_counter() - begun
        await stream.aclose()
    return seconds


def _row(forks: int, flows: Sequence[Flow], alone: Sequence[Flow]) -> ForkRow:
    def one(q: float) -> tuple[Estimate, Estimate]:
        values = [flow.over(q) for flow in flows]
        return estimate(values), estimate([value - flow.over(q) for value, flow in zip(values, alone, strict=True)])

    (p50, added_p50), (p99, added_p99), (largest, added_largest) = one(0.5), one(0.99), one(1.0)
    answered = sum(flow.answered for flow in flows) / len(flows)
    return ForkRow(forks, p50, p99, largest, added_p50, added_p99, added_largest, answered)


def memory_mb(pid: int | None) -> tuple[float | None, float | None]:
    """Return the resident memory of process *pid* and its peak, in MB; ``None`` where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None, None
    sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    resident, peak = (int(sizes[name][0]) * 1024 / 1e6 if name in sizes else None for name in ("VmRSS", "VmHWM"))
    return resident, peak
