"""What work ahead of time costs the runs that somebody waits for: as pairs, with and without it, in one run."""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack

import anyio
import msgspec

from interwhen._run import run
from interwhen._types.errors import UsageError
from interwhen._types.events import Delta
from interwhen._types.models import Message, Model, Request, Sampling, Stream
from interwhen.bench._statistics import Estimate, percentile
from interwhen.models._transport import Timeouts
from interwhen.precompute import Context, ContextRef, Kind, MemoryShelf, Nothing, Precomputer, Step, StepContext, Store

PIECES = 2000
"""Pieces of the context: more than are worked on in the whole measurement."""
BAR = 1.05
"""The 95th percentile of the runs may be this much of what it is without work ahead of time."""
_RESAMPLES = 2000
_QUESTION = "Start with {}. Add 29. Subtract 17. Multiply by 3. What is the result?"


class IdleReport(msgspec.Struct, frozen=True):
    """Times of the runs in milliseconds, alone and with a worker that was at work until each of them began."""

    machine: str
    model: str
    pairs: int
    alone_p95: float
    beside_p95: float
    ratio_p95: Estimate
    """``beside_p95 / alone_p95``, with a bootstrap interval over the pairs."""
    first_alone_p95: float
    """The same for the time to the first text."""
    first_beside_p95: float
    first_ratio_p95: Estimate
    slices: int
    """Slices of work that came to an end between the runs."""
    preempted: int
    """Slices that were under way when a run began."""
    beside_at_steps: int
    """Arrivals of text, each run's first one excepted, at which a request of the worker was still open."""
    met: bool
    """Whether ``ratio_p95`` is at most 1.05."""


class Pondering:
    """A producer that asks for a text on each piece, and keeps none: all that is measured is that it asks."""

    name, version = "pondering", "1"
    kind: Kind = "facts"

    def __init__(self, tokens: int) -> None:
        self._sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})

    def plan(self, context: Context) -> Iterable[Step]:
        """Plan a step for each piece."""
        return [Step(name=piece.name, reads=(piece.name,)) for piece in context.pieces]

    async def make(self, step: Step, context: StepContext) -> Nothing:
        """Ask, and propose nothing."""
        await context.ask((Message("user", context.read(step.reads[0])),), self._sampling)
        return Nothing("only its time counts")


class OpenStreams:
    """*model*, with its open streams counted."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        self.timeouts: Timeouts = getattr(model, "timeouts", None) or Timeouts()
        self.capabilities = model.capabilities
        self.complete = model.complete
        self.aclose = model.aclose
        self.open = 0

    async def stream(self, request: Request) -> Stream:
        """Open a stream and count it until it is closed."""
        inner = await self._model.stream(request)
        self.open += 1
        return _Counted(inner, self)


class _Counted:
    def __init__(self, inner: Stream, host: OpenStreams) -> None:
        self._host: OpenStreams | None = host
        self._inner = inner
        self.receive = inner.receive

    async def aclose(self) -> None:
        if self._host is not None:
            self._host.open -= 1
            self._host = None
        await self._inner.aclose()


async def measure_idle(
    model: Model,
    *,
    pairs: int = 60,
    tokens: int = 64,
    slice_tokens: int = 48,
    gap: float = 0.3,
    debounce: float = 0.02,
    seed: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> IdleReport:
    """Time *pairs* of runs of *tokens* tokens, each after a pause of *gap* seconds in the mean, in random order.

    In one run of each pair a worker is at work in the pause, with slices of *slice_tokens* tokens that begin *debounce*
    seconds after the last run, so that most runs begin in the middle of one; in the other the pause is empty.
    """
    if pairs < 2 or tokens < 2:
        raise UsageError(f"pairs={pairs!r}, tokens={tokens!r}: at least 2 of each are needed")
    rng = random.Random(seed)  # noqa: S311  (an order, not secrets)
    counted = OpenStreams(model)
    pre = Precomputer(
        Store(MemoryShelf()), counted, producers=[Pondering(slice_tokens)], token_budget=10**9, debounce=debounce
    )
    ref = await pre.add("bench", {f"p{at}": _QUESTION.format(at) for at in range(PIECES)})
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    beside = 0
    say(f"{pairs} pairs of runs of {tokens} tokens, alone and after work ahead of time")
    for number in range(-1, pairs):
        pause = rng.uniform(0.5, 1.5) * gap
        for works in rng.sample((False, True), 2):
            async with AsyncExitStack() as stack:
                if works:
                    await stack.enter_async_context(pre.idle())
                await anyio.sleep(pause)
                first, seconds, open_beside = await _timed(counted, ref, _QUESTION.format(1000 + number), tokens)
            if number >= 0:  # the first pair warms up
                found[works].append((first * 1e3, seconds * 1e3))
                beside += open_beside
    first_alone, alone = zip(*found[False], strict=True)
    first_beside, with_work = zip(*found[True], strict=True)
    ratio = _ratio(alone, with_work, seed)
    return IdleReport(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        model=counted.name,
        pairs=pairs,
        alone_p95=percentile(alone, 0.95),
        beside_p95=percentile(with_work, 0.95),
        ratio_p95=ratio,
        first_alone_p95=percentile(first_alone, 0.95),
        first_beside_p95=percentile(first_beside, 0.95),
        first_ratio_p95=_ratio(first_alone, first_beside, seed),
        slices=len(pre.contexts["bench"].current.items),
        preempted=pre.foreground_gate.preempted,
        beside_at_steps=beside,
        met=ratio.median <= BAR,
    )


async def _timed(model: OpenStreams, ref: ContextRef, question: str, tokens: int) -> tuple[float, float, int]:
    """Run once; return the seconds to the first text and to the end, and how often others were open beside it."""
    sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
    begun = time.perf_counter()
    first = 0.0
    beside = 0
    async with run(model, (Message("user", question),), sampling=sampling, context=ref) as going:
        async for event in going:
            if isinstance(event, Delta):
                if first:
                    beside += model.open > 1
                first = first or time.perf_counter() - begun
        seconds = time.perf_counter() - begun
    return first, seconds, beside


def _ratio(alone: Sequence[float], beside: Sequence[float], seed: int) -> Estimate:
    """Return the ratio of the 95th percentiles, with a bootstrap interval over the pairs."""
    rng = random.Random(seed)  # noqa: S311
    pairs = list(zip(alone, beside, strict=True))

    def ratio(some: Sequence[tuple[float, float]]) -> float:
        return percentile([b for _, b in some], 0.95) / percentile([a for a, _ in some], 0.95)

    drawn = sorted(ratio(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    return Estimate(ratio(pairs), drawn[int(0.025 * _RESAMPLES)], drawn[int(0.975 * _RESAMPLES) - 1], len(pairs))
