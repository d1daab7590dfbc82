"""``python -m tests.benchmarks idle``: measures how much precompute work slows down the runs that users wait for."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from anyio import sleep
from interwhen import Delta, Message, Sampling, UsageError, run
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations, say
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.models import Model, Request, Stream
from interwhen.models._wrapper import ModelWrapper
from interwhen.precompute import (
    Context,
    Kind,
    MemoryShelf,
    Nothing,
    Precomputer,
    Step,
    StepContext,
    Store,
)
from interwhen.precompute._precomputer import ContextRef
from interwhen.registry import Api, load_model
from interwhen.testing._scores import percentile

PIECES = 2000
"""Pieces of the context: more than the worker should be able to process during the measurement."""
_QUESTION = "Start with {}. Add 29. Subtract 17. Multiply by 3. What is the result?"


class AskingProducer:
    """A producer that asks the model about each piece, and makes no item."""

    # Each answer has `tokens` tokens, if the server can ignore the end token.

    name, version = "asking", "1"
    kind: Kind = "answers"

    def __init__(self, tokens: int) -> None:
        self._sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})

    def plan(self, context: Context) -> Iterable[Step]:
        return [Step(name=piece.name, reads=(piece.name,)) for piece in context.pieces]

    async def make(self, step: Step, context: StepContext) -> Nothing:
        # Ask the model about the piece that `step` names, and return `Nothing`, so that no item is made.
        await context.ask((Message("user", context.read(step.reads[0])),), self._sampling)
        return Nothing("only its time counts")


class StreamCounter(ModelWrapper):
    """Wraps a model and counts how many of its streams are open. All other calls go to the model unchanged."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.open = 0

    async def stream(self, request: Request) -> Stream:
        # Open a stream for `request`. It counts as open until it is closed.
        inner = await self._model.stream(request)
        self.open += 1
        return _CountedStream(inner, self)


class _CountedStream:
    def __init__(self, inner: Stream, counter: StreamCounter) -> None:
        self._counter: StreamCounter | None = counter
        self._inner = inner
        self.receive = inner.receive

    async def aclose(self) -> None:
        if self._counter is not None:
            self._counter.open -= 1
            self._counter = None
        await self._inner.aclose()


class _Timing(NamedTuple):
    first_ms: float
    total_ms: float
    beside: int
    """How many arrivals of text, except the first one, came while a request of the worker was still open."""


@vetted("--")
async def idle(
    *,
    model: str = "local",
    base_url: str = "",
    api: Api = "completions",
    pairs: Positive = 60,
    tokens: int = 64,
    slice_tokens: Positive = 48,
    gap: Above = 0.3,
    debounce: float = 0.02,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Time runs alone, and runs before which a worker was busy; exit code 1 unless the p95 of these is within 5 %.

    There is a pause before each run. For one run of each pair, a worker uses the model during the pause, so that most
    of these runs begin in the middle of a slice of its work. For the other run, the model is idle during the pause.

    Parameters
    ----------
    model
        An installed model ("local", the tiny model that comes with interwhen); with --base-url, its name there.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    api
        The API of that server.
    pairs
        How many pairs of runs are measured, each in random order, after one pair that warms up.
    tokens
        How many tokens each run generates.
    slice_tokens
        How many tokens each slice of work ahead of time generates.
    gap
        The mean pause before a run, in seconds.
    debounce
        How many seconds without a run must pass before work ahead of time begins.
    seed
        The seed of the order and of the pauses.
    minutes
        Begin no further pair after this many minutes, but measure at least one.
    """
    if pairs < 2 or tokens < 2:
        raise UsageError(f"--pairs and --tokens must be at least 2, got {pairs} and {tokens}; give larger ones")
    adapter = load_model(base_url, name=model, api=api) if base_url else load_model(model)
    counted = StreamCounter(adapter)
    producer = AskingProducer(slice_tokens)
    pre = Precomputer(Store(MemoryShelf()), counted, producers=[producer], token_budget=10**9, debounce=debounce)
    ref = await pre.add("bench", {f"p{at}": _QUESTION.format(at) for at in range(PIECES)})
    say(f"{pairs} pairs of runs of {tokens} tokens, alone and after work ahead of time")

    async def timed(arm: str, number: int) -> _Timing:
        pause = random.Random(f"{seed} {number}").uniform(0.5, 1.5) * gap
        async with AsyncExitStack() as stack:
            if arm == "beside":
                await stack.enter_async_context(pre.idle())
            await sleep(pause)
            return await _run_once(counted, ref, _QUESTION.format(1000 + number), tokens)

    try:
        by_arm = await Experiment(("alone", "beside"), pairs, seed, minutes=minutes).run(timed)
    finally:
        await adapter.aclose()
    alone, beside = by_arm["alone"], by_arm["beside"]
    total = _row("a run", [each.total_ms for each in alone], [each.total_ms for each in beside], 1.05)
    first = _row("its first text", [each.first_ms for each in alone], [each.first_ms for each in beside], None)
    rows: tuple[Row, ...] = (
        total,
        first,
        {"what": "slices of work done", "beside": len(pre.contexts["bench"].current.items)},
        {"what": "slices that a run cancelled", "beside": pre.foreground_gate.preempted},
        {
            "what": "arrivals with a slice still open",
            "beside": Estimate(sum(each.beside for each in (*alone, *beside)), limit=0),
        },
    )
    ratio = total["ratio"]
    assert isinstance(ratio, Estimate)
    return Report(
        benchmark="idle",
        subject=counted.name,
        tables=(Table(f"{len(alone)} pairs of runs, alone and beside work ahead of time", rows),),
        passed=ratio.met is True,
        observations=observations({arm: [each._asdict() for each in each_arm] for arm, each_arm in by_arm.items()}),
    )


def _row(what: str, alone: Sequence[float], beside: Sequence[float], limit: float | None) -> Row:
    """Return a table row that compares the 95th percentiles of *alone* and *beside*, in milliseconds.

    *limit* is the maximum for their ratio.
    """

    def ratio(pairs: Sequence[tuple[float, float]]) -> float:
        return percentile([b for _, b in pairs], 0.95) / percentile([a for a, _ in pairs], 0.95)

    return {
        "what": f"{what}, 95th percentile",
        "alone": Estimate(percentile(alone, 0.95), "ms"),
        "beside": Estimate(percentile(beside, 0.95), "ms"),
        "ratio": estimate(list(zip(alone, beside, strict=True)), of=ratio, limit=limit),
    }


async def _run_once(model: StreamCounter, ref: ContextRef, question: str, tokens: int) -> _Timing:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
    begun = time.perf_counter()
    first = 0.0
    beside = 0
    async with run(model, (Message("user", question),), sampling=sampling, context=ref) as supervised:
        async for event in supervised:
            if isinstance(event, Delta):
                if first:
                    beside += model.open > 1
                first = first or time.perf_counter() - begun
        seconds = time.perf_counter() - begun
    return _Timing(first * 1e3, seconds * 1e3, beside)


command = command_of(idle)
