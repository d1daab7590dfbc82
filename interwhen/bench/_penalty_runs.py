"""Where the measured streams come from: a paced replay of a recorded stream, the local model, or any endpoint."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, assert_never

import anyio
import msgspec

from interwhen._run import run
from interwhen._types.claims import Claim
from interwhen._types.errors import UsageError
from interwhen._types.events import CheckSettled, Delta, StreamEnded
from interwhen._types.models import Completion, Message, Model, Prompt, Request, Sampling
from interwhen._types.monitors import Fork, Monitor, Tracker
from interwhen._types.results import CheckRecord, Result
from interwhen._types.segments import Segment
from interwhen._types.triggers import EveryChars, Lines, Paragraphs, Sentences, Trigger
from interwhen._types.verdicts import Errored, Judged, Pass, Unknown, Verdict
from interwhen._types.verifiers import FunctionVerifier, verifier
from interwhen.bench._local import PROBLEMS
from interwhen.bench._overhead import TransportName, first_core, open_transport
from interwhen.models._openai_api import CompletionsModel
from interwhen.models._replay import RecordingModel, load_recordings
from interwhen.registry import Api, load_model
from interwhen.testing._paced_server import paced_server

RECORDED = Path(__file__).with_name("recorded.jsonl")
"""A thousand tokens that SmolLM2-135M-Instruct wrote at 52 tokens a second, by llama.cpp on two cores, with the time at
which each one came."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The recorded streams of a file, sent by a process of its own: each chunk when it came, *speed* times as fast."""

    path: Path = RECORDED
    speed: float = 1.0
    chunks: int | None = None
    """How many chunks of each are sent; ``None``: all."""
    transport: TransportName = "httpx2"


@dataclass(frozen=True, slots=True)
class Local:
    """The local model that *spec* names ("" is the tiny one), made to write *tokens* tokens."""

    spec: str = ""
    tokens: int = 400
    slots: int = 3
    """How many streams and forks run at a time; more of them wait."""
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server."""

    base_url: str
    model: str
    api: Api = "chat"
    tokens: int = 1000
    prompts: tuple[str, ...] = PROBLEMS
    temperature: float = 0.0


Source: TypeAlias = Replayed | Local | Endpoint


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that is there: its name, and each model with what it is asked."""

    name: str
    asked: tuple[tuple[Model, Request], ...]
    seed: int = 0

    def pair(self, number: int) -> tuple[Model, Request]:
        """Return whom pair *number* asks, and what: all of its runs get the same, seed included."""
        model, request = self.asked[number % len(self.asked)]
        return model, replace(request, sampling=replace(request.sampling, seed=self.seed + number))


@asynccontextmanager
async def open_source(source: Source, seed: int = 0) -> AsyncIterator[Opened]:
    """Open *source*, and close it at the end of the block. Raises :class:`UsageError` on what cannot be opened."""
    match source:
        case Replayed():
            async with _replayed(source, seed) as opened:
                yield opened
        case Local(spec=spec, tokens=tokens, slots=slots, threads=threads):
            from interwhen.models._local import open_local

            # A stream that ended when the model likes would be too short to tell anything.
            sampling = Sampling(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True})
            async with open_local(spec, slots=slots, threads=threads) as model:
                yield Opened(model.name, _asked(model, PROBLEMS, sampling), seed)
        case Endpoint(base_url=url, model=name, api=api):
            asked = Sampling(max_tokens=source.tokens, temperature=source.temperature)
            endpoint = load_model(url, name=name, api=api)
            try:
                yield Opened(f"{name} at {url}", _asked(endpoint, source.prompts, asked, api), seed)
            finally:
                await endpoint.aclose()
        case _:
            assert_never(source)


def _asked(
    model: Model, prompts: tuple[str, ...], sampling: Sampling, api: Api = "chat"
) -> tuple[tuple[Model, Request], ...]:
    def prompt(text: str) -> Prompt:
        return text if api == "completions" else (Message("user", text),)

    return tuple((model, Request(prompt(text), sampling=sampling)) for text in prompts)


@asynccontextmanager
async def _replayed(source: Replayed, seed: int) -> AsyncIterator[Opened]:
    if not source.speed > 0 or (source.chunks is not None and source.chunks < 1):
        raise UsageError(f"speed={source.speed!r}, chunks={source.chunks!r}: a replay needs more than nothing of both")
    count = len(load_recordings(source.path))
    if not count:
        raise UsageError(f"{str(source.path)!r} holds no recording: make one with --record FILE")
    end = "" if source.chunks is None else f":{source.chunks}"
    transport = open_transport(source.transport)
    with paced_server(source.path) as url, first_core():
        models = [CompletionsModel(url, f"{n}@{source.speed:g}{end}", transport=transport) for n in range(count)]
        try:
            yield Opened(
                f"replay of {source.path.name} at {source.speed:g} times its speed",
                tuple((model, Request("")) for model in models),
                seed,
            )
        finally:
            await transport.aclose()


# Who costs what in a supervised run: the time that each monitor takes on the event loop, in checks, and at the end.


class MonitorCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor did in one run; times are in seconds."""

    monitor: str
    checks: int
    passed: int
    open: int
    """Checks that neither passed nor refuted."""
    checking: float
    """Time in its checks, summed. They run beside the stream."""
    on_loop: float
    """Time for which it held the event loop: its parser, and its checks where they run in line. Text that arrives
    meanwhile waits. (A fork's and a tracker's reading of replies is not timed.)"""
    held: float
    """Of other times that the loop was held for over 20 ms, those that the watchdog laid at its door."""
    tail: float
    """How long after the end of the stream its last check was settled: the run cannot end before."""


class Clocked:
    """A monitor whose parser is timed."""

    def __init__(self, monitor: Monitor) -> None:
        self._parsing = 0.0
        self._inner = monitor
        extractor = monitor.extractor
        if not isinstance(extractor, Fork | Tracker):
            monitor = replace(monitor, extractor=self._parse)
        self.monitor = monitor
        """What is given to a run."""

    def reset(self) -> None:
        """Begin anew: what was counted belongs to another run."""
        self._parsing = 0.0

    def _parse(self, segment: Segment, *prepared: Any) -> list[Claim]:
        begun = time.perf_counter()
        extractor: Any = self._inner.extractor
        claims = list(extractor(segment, *prepared))
        self._parsing += time.perf_counter() - begun
        return claims

    def cost(self, result: Result, last_check: Mapping[str, float], ended: float) -> MonitorCost:
        """Return what the monitor did in the run of *result*, whose stream ended *ended* seconds after its start."""
        name, who = self._inner.name, self._inner.verifier
        mine = [check for check in result.checks if check.monitor == name]
        checking = sum(check.seconds for check in mine)
        owners = (f"verifier {who.name!r}", f"extractor of {name!r}")
        return MonitorCost(
            monitor=name,
            checks=len(mine),
            passed=sum(_is(check, Pass) for check in mine),
            open=sum(_is(check, Unknown) or not isinstance(check.outcome, Judged) for check in mine),
            checking=checking,
            on_loop=self._parsing + (checking if who.worker == "inline" else 0.0),
            held=sum(held.seconds for held in result.timing.blocked_loop if held.what in owners),
            tail=max(last_check.get(name, 0.0) - ended, 0.0) if ended else 0.0,
        )


def _is(check: CheckRecord, kind: type[Pass | Unknown | Errored]) -> bool:
    return isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, kind)


class Watched:
    """A model that notes when its forks run; all else is that of the model it wraps."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.begun = 0.0
        self.forks: list[tuple[float, float]] = []
        """For each fork, when it was asked and when it was answered, in seconds since ``begun``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    async def capabilities(self) -> Any:
        """Say what the model can do."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Any:
        """Open the model's own stream: nothing stands in its way."""
        return await self._model.stream(request)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork through, and note how long it takes."""
        asked = time.perf_counter() - self.begun
        try:
            return await self._model.complete(request)
        finally:
            self.forks.append((asked, time.perf_counter() - self.begun))

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()


# One measured run: a model's stream read bare, or supervised, with the time at which each piece of text came.


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """How one run went; times are in seconds since it began."""

    arrivals: tuple[float, ...]
    """When each piece of the model's text reached its reader."""
    total: float
    """Until the reader knew that it is over; supervised, that includes the checks that were still open."""
    tail: float = 0.0
    """From the end of the stream to that moment."""
    tokens: int
    text_sha256: str
    fork_spans: tuple[tuple[float, float], ...] = ()
    """When each fork was asked and answered."""
    forks: int = 0
    fork_tokens: int = 0
    fork_prompt_tokens: int = 0
    costs: tuple[MonitorCost, ...] = ()
    why_not: str = ""
    """Why this was no run in which all went well; empty: it was."""

    @property
    def gaps(self) -> list[float]:
        """Seconds between the arrivals."""
        return [later - earlier for earlier, later in itertools.pairwise(self.arrivals)]


async def read_bare(model: Model, request: Request) -> Flow:
    """Read what *model* says to *request*, and do nothing else. Raises what the model raises."""
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


async def read_supervised(model: Model, request: Request, monitors: Sequence[Clocked]) -> Flow:
    """Read the same through a run that *monitors* watch, as a user of :func:`interwhen.run` does."""
    clock, arrivals = time.perf_counter, []
    watched = Watched(model)
    last_check: dict[str, float] = {}
    ended = 0.0
    begun = watched.begun = clock()
    for monitor in monitors:
        monitor.reset()
    async with run(
        watched, request.prompt, monitors=[each.monitor for each in monitors], sampling=request.sampling
    ) as supervised:
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
        fork_spans=tuple(watched.forks),
        forks=result.ledger.forks,
        fork_tokens=result.ledger.fork_tokens,
        fork_prompt_tokens=result.ledger.fork_prompt_tokens,
        costs=tuple(monitor.cost(result, last_check, ended) for monitor in monitors),
        why_not=_why_not(result),
    )


def _why_not(result: Result) -> str:
    """Say why this was no correct run: it was interrupted, or did not come to its end."""
    acted = [violation for violation in result.violations if violation.interrupted]
    if acted:
        return f"interrupted by {acted[0].monitor}: {acted[0].why}"
    if result.status in ("abstained", "failed"):
        return result.status
    return ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Monitors of a known cost, which pass everything: what a penalty is measured with unless it is others.

Waiting = Literal["async", "thread"]
"""How a verifier of a known cost spends its time: as a task, as one does that asks another server, or in a thread."""

_KINDS: tuple[Trigger, ...] = (Sentences(), Lines(), EveryChars(400), Paragraphs(), Sentences())
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
    """Return *count* monitors that interrupt, whose verifiers pass each segment after *verifier_seconds*.

    They look at sentences, lines, stretches of 400 characters and paragraphs in turn, or all at stretches of
    *poll_chars* characters. With *forks* each of them asks the model for up to *fork_tokens* tokens at each segment.
    Raises :class:`UsageError` on numbers that cannot be.
    """
    if count < 0 or not verifier_seconds >= 0 or (poll_chars is not None and poll_chars < 1):
        raise UsageError(
            f"{count} monitors of {verifier_seconds} s, at every {poll_chars} characters: none of them may be negative"
        )
    # Even a monitor whose verifier takes no time must not be answered from the cache: claims differ by their place.
    return [
        Monitor(
            name=f"m{number + 1}",
            verifier=_waiting(f"m{number + 1}", verifier_seconds, waiting),
            extractor=Fork(prompt=_ASK, parse=_read_reply, max_tokens=fork_tokens, stop=("}",)) if forks else _read,
            trigger=_KINDS[number % len(_KINDS)] if poll_chars is None else EveryChars(poll_chars),
        )
        for number in range(count)
    ]


def _waiting(name: str, seconds: float, waiting: Waiting) -> FunctionVerifier:
    deadline = max(10 * seconds, 5.0)
    if waiting == "thread":

        @verifier(name=name, deadline=deadline, worker="thread")
        def block(_claim: Claim) -> Verdict:
            time.sleep(seconds)
            return Pass("accepted by the benchmark")

        return block

    @verifier(name=name, deadline=deadline, worker="async")
    async def wait(_claim: Claim) -> Verdict:
        await anyio.sleep(seconds)
        return Pass("accepted by the benchmark")

    return wait


def _read(segment: Segment) -> Iterator[Claim]:
    if segment.text.strip():
        yield Claim(key=f"{segment.span.start} {segment.text}", span=segment.span)


def _read_reply(_reply: str, segment: Segment) -> Iterator[Claim]:
    yield from _read(segment)


# Recording streams, for a replay.


async def record_streams(source: Source, path: Path, seed: int = 0) -> int:
    """Append one stream of each request of *source* to the file at *path*, and return how many these are."""
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
