"""Text that several attempts ask for in the same words is generated once, and billed to each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import anyio.lowlevel
import msgspec

from interwhen._types.errors import StreamClosed
from interwhen._types.models import (
    Capabilities,
    Chunk,
    Completion,
    Model,
    Piece,
    Prompt,
    Request,
    Sampling,
    Stream,
    Usage,
)

_Key: TypeAlias = tuple[Prompt, tuple[tuple[str, str], ...], str]


@dataclass(slots=True)
class _Sample:
    """What the model said to a request, and when; *tokens* of it were taken down."""

    chunks: list[tuple[float, Chunk]] = field(default_factory=list)
    """Seconds since the chunk before, or since the request."""
    tokens: int = 0
    ended: bool = False
    """Whether the model came to its end by itself."""
    usage: Usage | None = None
    """What the server counted of the prompt."""


class SharedModel:
    """A model that answers a request which it has answered before with the same text, for any ``max_tokens``.

    For comparisons, in which strategies draw the same samples by the same seeds: each is given, and pays for, what it
    would have got alone. ``borrowed`` is how many seconds of the model that saved, so that the time of an attempt can
    be told as if nothing had been shared. What was taken down of a stream that was closed early is gone on with from
    where it ends. Forks are not shared.
    """

    def __init__(self, model: Model, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._model = model
        self._clock = clock
        self._told: dict[_Key, _Sample] = {}
        self.borrowed = 0.0
        self.generated = 0
        """Tokens of streams that the model really wrote."""

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some models have: ``timeouts``, ``feedback``, ``retries``."""
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        """The name of the shared model."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the shared model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open a stream, which the model is asked for where what is known comes to its end."""
        key = _key(request)
        told = self._told.setdefault(key, _Sample())
        most = request.sampling.max_tokens
        if not told.chunks or (not told.ended and not await self._goes_on(told, most)):
            told = self._told[key] = _Sample()
        stream = _SharedStream(self, request, told)
        if not told.chunks:
            # A refusal is said at once.
            await stream.ask()
        return stream

    async def complete(self, request: Request) -> Completion:
        """Ask the model."""
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Do nothing: the model belongs to whoever made it."""

    async def ask(self, request: Request) -> Stream:
        """Ask the model for a stream."""
        return await self._model.stream(request)

    def now(self) -> float:
        """Return the time."""
        return self._clock()

    async def _goes_on(self, told: _Sample, most: int | None) -> bool:
        if most is not None and told.tokens >= most:
            return True
        return (await self._model.capabilities()).resume != "turn"


class _SharedStream:
    """Says what is known, and then what the model says, which it takes down."""

    def __init__(self, shared: SharedModel, request: Request, told: _Sample) -> None:
        self._shared = shared
        self._request = request
        self._told = told
        self._next = 0
        self._said = 0
        """Tokens."""
        self._stream: Stream | None = None
        self._goes_on = False
        """Whether the stream goes on with a text that was known."""
        self._at = shared.now()
        self._is_closed = False
        self._is_over = False

    async def receive(self) -> Sequence[Chunk]:
        if self._is_closed:
            raise StreamClosed("the stream is closed")
        if self._is_over:
            return ()
        if self._next < len(self._told.chunks):
            await anyio.lowlevel.checkpoint()
            return self._known()
        if self._stream is None:
            if self._told.ended:
                self._is_over = True
                return ()
            if self._is_full():
                return self._full()
            await self.ask()
        return await self._news()

    async def ask(self) -> None:
        """Ask the model to go on from what is known."""
        request, told = self._request, self._told
        if told.chunks:
            most = request.sampling.max_tokens
            left = None if most is None else most - self._said
            pieces = (*request.pieces, *_pieces(chunk for _, chunk in told.chunks))
            request = replace(request, pieces=pieces, sampling=replace(request.sampling, max_tokens=left))
            # What the server counts from now on is a prompt with that text behind it, which nobody alone would send.
            self._goes_on = True
        self._at = self._shared.now()
        self._stream = await self._shared.ask(request)

    async def aclose(self) -> None:
        self._is_closed = True
        if self._stream is not None:
            await self._stream.aclose()

    def _known(self) -> Sequence[Chunk]:
        """Return the next chunk that is known, if it fits."""
        seconds, chunk = self._told.chunks[self._next]
        if self._is_full() and chunk.tokens:
            return self._full()
        self._next += 1
        self._said += chunk.tokens
        self._shared.borrowed += seconds
        return (msgspec.structs.replace(chunk, usage=self._told.usage) if chunk.finish_reason else chunk,)

    async def _news(self) -> Sequence[Chunk]:
        """Take down what the model says, but for an end that this request set."""
        assert self._stream is not None
        chunks = await self._stream.receive()
        now = self._shared.now()
        seconds, self._at = now - self._at, now
        told = self._told
        if self._goes_on:
            chunks = [msgspec.structs.replace(chunk, usage=chunk.usage and told.usage) for chunk in chunks]
        for chunk in chunks:
            self._said += chunk.tokens
            self._shared.generated += chunk.tokens
            told.usage = _of_prompt(chunk.usage) or told.usage
            reason = None if chunk.finish_reason == "length" else chunk.finish_reason
            if chunk.text or reason:
                told.chunks.append((seconds, msgspec.structs.replace(chunk, finish_reason=reason, usage=None)))
                told.tokens += chunk.tokens
                seconds = 0.0
            told.ended = told.ended or reason is not None
        self._next = len(told.chunks)
        self._is_over = not chunks
        return chunks

    def _is_full(self) -> bool:
        most = self._request.sampling.max_tokens
        return most is not None and self._said >= most

    def _full(self) -> Sequence[Chunk]:
        self._is_over = True
        return (Chunk("", tokens=0, finish_reason="length", usage=self._told.usage),)


def _key(request: Request) -> _Key:
    """Return what decides the text, however long it may become."""
    pieces = tuple((piece.phase, piece.text) for piece in request.pieces)
    sampling: Sampling = replace(request.sampling, max_tokens=None)
    return request.prompt, pieces, msgspec.json.encode(sampling).decode()


def _of_prompt(usage: Usage | None) -> Usage | None:
    """Return what *usage* says of the prompt: how much was generated differs between those who share it."""
    return None if usage is None else Usage(usage.prompt_tokens, usage.cached_tokens)


def _pieces(chunks: Any) -> tuple[Piece, ...]:
    return tuple(Piece(chunk.text, phase=chunk.phase) for chunk in chunks if chunk.text)
