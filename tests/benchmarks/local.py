"""``python -m tests.benchmarks local``: measures speed and memory of the local model, and how forks slow down its stream."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from interwhen import Message, Sampling, UsageError
from interwhen._types.models import Piece
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, observations, say
from interwhen.bench._processes import Memory, memory_of
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate
from interwhen.bench._streams import PROBLEMS
from interwhen.cli._progress import each as progress_of
from interwhen.models import Request, open_local
from interwhen.models._local import LocalModel
from interwhen.testing._scores import percentile

FORKS = (0, 1, 2)
"""The numbers of forks that run at the same time beside the main stream. Each fork has its own slot."""
_SIDE = "\nState so far, in braces:"
_FORK = Sampling(max_tokens=32, temperature=0.0)


@dataclass(slots=True)
class LocalStream:
    """The measurements of one stream: its tokens and text, and the seconds between successive reads (*gaps*)."""

    seconds: float = 0.0
    """The time from the request to the last read."""
    tokens: int = 0
    text: str = ""
    gaps: list[float] = field(default_factory=list)
    answered: int = 0
    """The number of forks that were answered during the stream."""


@vetted("--")
async def local(
    *,
    model: str = "local",
    threads: int | None = None,
    tokens: Positive = 400,
    pairs: Positive = 12,
    starts: Positive = 5,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Measure the local model: start, speed of one stream, what forks do to its gaps, and memory.

    A round streams the tokens with no fork, with one and with two at a time, in random order.

    Parameters
    ----------
    model
        "local" (the tiny model that comes with interwhen) or "local:PATH.gguf".
    threads
        How many threads the server uses. Default: one fewer than there are cores.
    tokens
        How many tokens each stream has.
    pairs
        How many rounds are measured, after one that warms up. A round has a stream for each number of forks;
        differences are taken within a round.
    starts
        How many starts of the server are timed.
    seed
        The seed of the order within a round.
    minutes
        After this many minutes of rounds, begin no further round, but measure at least one.
    """
    experiment = Experiment(FORKS, pairs, seed, minutes=minutes)
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(
            "--model must be 'local' or 'local:PATH.gguf', because only a local model is measured; "
            f"got {model!r}; correct it"
        )
    say(f"from start to first token: {starts} starts")
    first = [await _start_once(spec, threads) for _ in progress_of(range(starts), "starts", ticks=False)]
    async with open_local(spec, slots=1 + max(FORKS), threads=threads) as opened:
        say(f"streams of {tokens} tokens: {pairs} rounds of {', '.join(map(str, FORKS))} forks at a time")
        by_forks = await experiment.run(
            lambda forks, number: stream_beside(opened, PROBLEMS[number % len(PROBLEMS)], forks, tokens)
        )
        memory = memory_of(opened.pid) if opened.pid is not None else Memory(None, None)
        name = opened.name
    speeds = [stream.tokens / stream.seconds for stream in by_forks[0]]
    rows: list[Row] = [
        {"what": "from start to first token", "measured": estimate(first, "s", limit=2.0)},
        {"what": "one stream", "measured": _at_least(estimate(speeds, "tokens/s"), 800.0)},
        *(row for forks in FORKS for row in _gap_rows(forks, by_forks)),
    ]
    for what, size in (("at the end", memory.resident), ("at its peak", memory.peak)):
        measured = "unknown" if size is None else Estimate(size, "MB", limit=200.0)
        rows.append({"what": f"memory of the server {what}", "measured": measured})
    table = Table("The local model", tuple(rows), "The bars are for the tiny model.")
    gaps = {forks: [stream.gaps for stream in streams] for forks, streams in by_forks.items()}
    return Report(benchmark="local", subject=name, tables=(table,), observations=observations(gaps))


def _at_least(measured: Estimate, limit: float) -> Estimate:
    return Estimate(measured.value, measured.unit, measured.low, measured.high, measured.n, limit, at_least=True)


def _gap_rows(forks: int, by_forks: Mapping[int, Sequence[LocalStream]]) -> Iterator[Row]:
    beside = f"{forks} fork{'' if forks == 1 else 's'} at a time"
    for name, q in (("p50", 0.5), ("p99", 0.99), ("largest", 1.0)):
        values, alone = ([percentile(stream.gaps, q) * 1e3 for stream in by_forks[at]] for at in (forks, 0))
        row: Row = {"what": f"{beside}: gap, {name}", "measured": estimate(values, "ms")}
        if forks:
            row["over no fork"] = estimate([b - a for a, b in zip(alone, values, strict=True)], "ms")
        yield row
    if forks:
        answered = [stream.answered for stream in by_forks[forks]]
        yield {"what": f"{beside}: answered, a stream", "measured": Estimate(sum(answered) / len(answered))}


async def stream_beside(model: LocalModel, problem: str, forks: int, tokens: int) -> LocalStream:
    # Meanwhile, `forks` loops send forks on the text so far.
    # Without ignore_eos, the model could end a stream too early to measure.
    sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
    request = Request((Message("user", problem),), sampling=sampling)
    local_stream = LocalStream()
    begun = time.perf_counter()
    stream = await model.stream(request)
    async with anyio.create_task_group() as group:
        for number in range(forks):
            group.start_soon(_ask, model, request, local_stream, name=f"fork loop {number}")
        before: float | None = None
        while chunks := await stream.receive():
            now = time.perf_counter()
            local_stream.seconds = now - begun
            for chunk in chunks:
                local_stream.text += chunk.text
                local_stream.tokens += chunk.tokens
            if before is not None:
                local_stream.gaps.append(now - before)
            before = now
        group.cancel_scope.cancel()
    await stream.aclose()
    return local_stream


async def _ask(model: LocalModel, request: Request, stream: LocalStream) -> None:
    while True:
        await model.complete(Request(request.prompt, (Piece(stream.text),), _FORK, side=_SIDE))
        stream.answered += 1


async def _start_once(spec: str, threads: int | None) -> float:
    begun = time.perf_counter()
    async with open_local(spec, threads=threads) as model:
        stream = await model.stream(Request((Message("user", PROBLEMS[0]),), sampling=Sampling(max_tokens=1)))
        await stream.receive()
        seconds = time.perf_counter() - begun
        await stream.aclose()
    return seconds


command = command_of(local)
