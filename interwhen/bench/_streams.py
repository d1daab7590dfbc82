"""Reads the measured streams, bare or supervised: of a replay, a local model or a server."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

import anyio
import msgspec

from interwhen import (
    Claim,
    Delta,
    Fork,
    Lines,
    Message,
    Monitor,
    Paragraphs,
    Pass,
    Result,
    Sampling,
    Segment,
    Sentences,
    Unknown,
    UsageError,
    Verdict,
    run,
    verifier,
)
from interwhen._types.events import CheckSettled, StreamEnded
from interwhen._types.models import Model
from interwhen._types.triggers import EveryChars, Trigger
from interwhen._types.verdicts import Judged
from interwhen._types.verifiers import FunctionVerifier
from interwhen.bench._processes import TransportName, open_transport, pinned
from interwhen.models import Completion, CompletionsModel, RecordingModel, Request, load_recordings
from interwhen.models._wrapper import ModelWrapper
from interwhen.registry import Api, load_model
from interwhen.testing._paced_server import paced_server
from interwhen.testing._trials import Stopwatch

RECORDED = Path(__file__).with_name("recorded.jsonl")
"""A thousand tokens with their arrival times, which SmolLM2-135M-Instruct wrote at 52 tokens per second (llama.cpp, two
cores)."""


PROBLEMS = (
    "Start with 64. Add 29. Subtract 17. Multiply by 3. What is the result?",
    "Take 812. Add 395. Multiply by 4. Subtract 1507. What do you get?",
    "Ann has 431 stamps, buys 268, sells 97 and finds 55. How many stamps are there now?",
    "Start: 95. Add 48 each week. What is the total after 5 weeks?",
    "What is 37 * 46?",
    "Begin at 5120. Subtract 1846. Add 777. Result?",
)


@dataclass(frozen=True, slots=True)
class ReplayedFile:
    """The recorded streams of a file. A separate process sends each chunk at its recorded time divided by *speed*."""

    path: Path = RECORDED
    speed: float = 1.0
    tokens: int | None = None
    """The most chunks of each stream; ``None``: all."""
    transport: TransportName = "httpx2"


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Streams of the local model *spec* (empty: the tiny model), each with *tokens* tokens."""

    spec: str = ""
    tokens: int = 400
    slots: int = 3
    """How many streams and forks run at the same time."""


@dataclass(frozen=True, slots=True)
class ServerSource:
    """Streams of an OpenAI-compatible server. It answers *prompts* in turn, with at most *tokens* tokens each."""

    base_url: str
    model: str
    api: Api = "chat"
    tokens: int = 1000
    prompts: tuple[str, ...] = PROBLEMS
    temperature: float = 0.0


Source: TypeAlias = ReplayedFile | LocalSource | ServerSource


@dataclass(frozen=True, slots=True)
class OpenSource:
    name: str
    asked: tuple[tuple[Model, Request], ...]
    seed: int = 0
    """For the requests of pair 0; each later pair adds one."""

    def pair(self, number: int) -> tuple[Model, Request]:
        # All runs of the pair get the same request and seed.
        model, request = self.asked[number % len(self.asked)]
        return model, replace(request, sampling=replace(request.sampling, seed=self.seed + number))


@asynccontextmanager
async def open_source(source: Source, seed: int = 0) -> AsyncIterator[OpenSource]:
    # A replay starts a separate process, and pins this thread to one core if the system can.
    match source:
        case ReplayedFile():
            async with _replayed(source, seed) as opened:
                yield opened
        case LocalSource(spec=spec, tokens=tokens, slots=slots):
            from interwhen.models._local import open_local

            # Without ignore_eos, the model could end a stream too early to measure.
            sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
            async with open_local(spec, slots=slots) as model:
                asked = [Request((Message("user", text),), sampling=sampling) for text in PROBLEMS]
                yield OpenSource(model.name, tuple((model, request) for request in asked), seed)
        case ServerSource(base_url=url, model=name, api=api):
            sampling = Sampling(max_tokens=source.tokens, temperature=source.temperature)
            prompts = [text if api == "completions" else (Message("user", text),) for text in source.prompts]
            endpoint = load_model(url, name=name, api=api)
            try:
                requests = (Request(prompt, sampling=sampling) for prompt in prompts)
                yield OpenSource(f"{name} at {url}", tuple((endpoint, request) for request in requests), seed)
            finally:
                await endpoint.aclose()
        case _:
            assert_never(source)


@asynccontextmanager
async def _replayed(source: ReplayedFile, seed: int) -> AsyncIterator[OpenSource]:
    try:
        count = len(load_recordings(source.path))
    except OSError as error:
        raise UsageError(
            f"--replay must name a readable file, got {str(source.path)!r} ({error.strerror or error}); "
            "name another one"
        ) from error
    if not count:
        raise UsageError(
            f"--replay must name a file with recordings, got {str(source.path)!r}, which has none; "
            "make one with --record FILE"
        )
    end = "" if source.tokens is None else f":{source.tokens}"
    transport = open_transport(source.transport)
    with paced_server(source.path) as url, pinned():
        models = [CompletionsModel(url, f"{n}@{source.speed:g}{end}", transport=transport) for n in range(count)]
        name = f"replay of {source.path.name} at {source.speed:g} times its speed"
        try:
            yield OpenSource(name, tuple((model, Request("")) for model in models), seed)
        finally:
            await transport.aclose()


# The cost of each monitor in a supervised run: time on the event loop, time in checks, and wait at the end.


class MonitorCost(msgspec.Struct, frozen=True, kw_only=True):
    """The checks and times of one monitor in one run; times are in seconds."""

    monitor: str
    checks: int
    open: int
    """Checks that neither passed nor refuted."""
    checking: float
    """The sum of the durations of its checks."""
    on_loop: float
    """How long it occupied the event loop, with its parser and with inline checks. (The time of async verifiers is not
    measured.)
    """
    blocked: float
    """How long it blocked the event loop, in those of the run's 16 longest blocks over 20 ms that are known to be its
    own."""
    tail: float
    """From the end of the stream to the end of the monitor's last check; 0 if that check ended earlier."""


def cost_of(
    monitor: Monitor, extracting: float, result: Result, last_check: Mapping[str, float], ended: float
) -> MonitorCost:
    """Return the cost of *monitor*, whose extractions took *extracting* seconds.

    *last_check* has the end of each monitor's last check, and *ended* that of the stream, in seconds after the start of
    the run.
    """
    name, judge = monitor.name, monitor.verifier
    mine = [check for check in result.checks if check.monitor == name]
    checking = sum(check.seconds for check in mine)
    decided = [isinstance(check.outcome, Judged) and not isinstance(check.outcome.verdict, Unknown) for check in mine]
    owners = (f"verifier {judge.name!r}", f"extractor of {name!r}")
    return MonitorCost(
        monitor=name,
        checks=len(mine),
        open=decided.count(False),
        checking=checking,
        on_loop=extracting + (checking if judge.worker == "inline" else 0.0),
        blocked=sum(held.seconds for held in result.timing.blocked_loop if held.what in owners),
        tail=max(last_check.get(name, 0.0) - ended, 0.0) if ended else 0.0,
    )


class ForkTimer(ModelWrapper):
    """Wraps a model and records when its forks run."""

    # The caller sets `begun` to the start of the run, on the clock `time.perf_counter()`.

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.begun = 0.0
        self.forks: list[tuple[float, float]] = []
        """:attr:`Flow.fork_spans`, of the forks that have ended."""

    async def complete(self, request: Request) -> Completion:
        asked = time.perf_counter() - self.begun
        try:
            return await self._model.complete(request)
        finally:
            self.forks.append((asked, time.perf_counter() - self.begun))


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one run. Points in time are seconds since the run began; durations are in seconds."""

    arrivals: tuple[float, ...]
    """When pieces of the model's text reached the reader."""
    total: float
    """When the reader knew that the run had ended. A supervised run first waits for open checks."""
    tail: float = 0.0
    """From the end of the stream to the end of the run; 0 for a bare run."""
    tokens: int
    """With those of discarded text."""
    text_sha256: str
    """Compared within a pair."""
    fork_spans: tuple[tuple[float, float], ...] = ()
    """For each fork, also one that failed, the times of its request and of its end."""
    forks: int = 0
    fork_tokens: int = 0
    fork_prompt_tokens: int = 0
    costs: tuple[MonitorCost, ...] = ()
    """Empty for a bare run."""
    why_not: str = ""
    """Why this was not a correct run; empty if it was."""

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.arrivals)]


async def read_bare(model: Model, request: Request) -> Flow:
    clock, arrivals, tokens, texts = time.perf_counter, [], 0, []
    begun = clock()
    stream = await model.stream(request)
    try:
        while chunks := await stream.receive():
            now = clock() - begun
            for chunk in chunks:
                tokens += chunk.tokens
                if chunk.text:
                    arrivals.append(now)
                    texts.append(chunk.text)
        total = clock() - begun
    finally:
        await stream.aclose()
    return Flow(arrivals=tuple(arrivals), total=total, tokens=tokens, text_sha256=_sha256("".join(texts)))


async def read_supervised(model: Model, request: Request, monitors: Sequence[Monitor]) -> Flow:
    # A run that fails or abstains raises nothing; `why_not` of the result says so.
    clock, arrivals = time.perf_counter, []
    forks = ForkTimer(model)
    watches = [Stopwatch() for _ in monitors]
    watching = [watch.on(monitor) for watch, monitor in zip(watches, monitors, strict=True)]
    last_check: dict[str, float] = {}
    ended = 0.0
    begun = forks.begun = clock()
    async with run(forks, request.prompt, monitors=watching, sampling=request.sampling) as supervised:
        async for event in supervised:
            if type(event) is Delta:
                if event.origin == "model":
                    arrivals.append(clock() - begun)
            elif type(event) is CheckSettled:
                last_check[event.check.monitor] = clock() - begun
            elif type(event) is StreamEnded:
                ended = clock() - begun
        total = clock() - begun
    result = supervised.result
    return Flow(
        arrivals=tuple(arrivals),
        total=total,
        tail=result.timing.tail,
        tokens=result.ledger.kept + result.ledger.discarded,
        text_sha256=_sha256(result.text),
        fork_spans=tuple(forks.forks),
        forks=result.ledger.forks,
        fork_tokens=result.ledger.fork_tokens,
        fork_prompt_tokens=result.ledger.fork_prompt_tokens,
        costs=tuple(
            cost_of(monitor, watch.extracting, result, last_check, ended)
            for watch, monitor in zip(watches, monitors, strict=True)
        ),
        why_not=_why_not(result),
    )


def _why_not(result: Result) -> str:
    # Why the run does not count in the measurement; empty if it does.
    acted = [violation for violation in result.violations if violation.interrupted]
    if acted:
        return f"interrupted by {acted[0].monitor}: {acted[0].why}"
    return result.status if result.status in ("abstained", "failed") else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Monitors with a known cost that pass every claim: the default monitors of ``interwhen bench penalty``.

Waiting = Literal["async", "thread"]
"""In an async task, like a request to another server, or in a thread."""

_TRIGGERS: tuple[Trigger, ...] = (Sentences(), Lines(), EveryChars(400), Paragraphs(), Sentences())
_ASK = "\nState so far, in braces:"


def passing(
    count: int,
    *,
    verifier_seconds: float = 0.1,
    waiting: Waiting = "async",
    poll_chars: int | None = None,
    forks: bool = False,
    fork_tokens: int = 32,
) -> list[Monitor]:
    return [
        Monitor(
            name=f"m{number + 1}",
            verifier=_waiting(f"m{number + 1}", verifier_seconds, waiting),
            extractor=Fork(prompt=_ASK, parse=_read_reply, max_tokens=fork_tokens, stop=("}",)) if forks else _read,
            trigger=_TRIGGERS[number % len(_TRIGGERS)] if poll_chars is None else EveryChars(poll_chars),
        )
        for number in range(count)
    ]


def _waiting(name: str, seconds: float, waiting: Waiting) -> FunctionVerifier:
    def block(_claim: Claim) -> Verdict:
        time.sleep(seconds)
        return Pass("accepted by the benchmark")

    async def wait(_claim: Claim) -> Verdict:
        await anyio.sleep(seconds)
        return Pass("accepted by the benchmark")

    deadline = max(10 * seconds, 5.0)
    if waiting == "thread":
        return verifier(name=name, deadline=deadline, worker="thread")(block)
    return verifier(name=name, deadline=deadline, worker="async")(wait)


def _read(segment: Segment) -> Iterator[Claim]:
    if segment.text.strip():
        # The key contains the offset, so that no check is answered from the cache.
        yield Claim(key=f"{segment.span.start} {segment.text}", span=segment.span)


def _read_reply(_reply: str, segment: Segment) -> Iterator[Claim]:
    yield from _read(segment)


async def record_streams(source: Source, path: Path, seed: int = 0) -> int:
    # Appends one recording for each request of `source` to the file at `path`.
    async with open_source(source, seed) as opened:
        for number, (model, _) in enumerate(opened.asked):
            _, request = opened.pair(number)
            recorder = RecordingModel(model)
            stream = await recorder.stream(request)
            while await stream.receive():
                pass
            await stream.aclose()
            recorder.recordings[0].save(path)
    return len(opened.asked)
