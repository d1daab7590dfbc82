"""Where the measured streams come from: a paced replay of a recorded stream, the local model, or any endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, assert_never

from interwhen.bench.arms import TransportName, first_core, open_transport, paced_server
from interwhen.bench.local import PROBLEMS
from interwhen.errors import UsageError
from interwhen.models.base import Message, Model, Prompt, Request, Sampling
from interwhen.models.completions import CompletionsModel
from interwhen.registry import Api, load_model
from interwhen.testing.replay import load_recordings

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
            from interwhen.models.local import open_local

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
    with paced_server("interwhen.bench.penalty_pacer", str(source.path)) as url, first_core():
        models = [CompletionsModel(url, f"{n}@{source.speed:g}{end}", transport=transport) for n in range(count)]
        try:
            yield Opened(
                f"replay of {source.path.name} at {source.speed:g} times its speed",
                tuple((model, Request("")) for model in models),
                seed,
            )
        finally:
            await transport.aclose()
