"""Equal requests of several attempts get the same recorded text, and each attempt is charged for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import anyio.lowlevel
import msgspec

from interwhen._types.errors import StreamClosed
from interwhen._types.models import (
    Chunk,
    Model,
    Piece,
    Prompt,
    Request,
    Sampling,
    Stream,
    Usage,
)
from interwhen.models._wrapper import ModelWrapper

_Key: TypeAlias = tuple[Prompt, tuple[tuple[str, str], ...], str]


@dataclass(slots=True)
class _Sample:
    """The recorded answer to a request."""

    chunks: list[tuple[float, Chunk]] = field(default_factory=list)
    """Each chunk, with the seconds since the previous one or, for the first, since the request."""
    tokens: int = 0
    ended: bool = False
    """Whether the model ended the text."""
    usage: Usage | None = None
    """The prompt tokens, as counted by the server."""


class SharedModel(ModelWrapper):
    """Wraps *model*: a repeated request gets the recorded text again, also with another ``max_tokens``."""

    # It is for comparisons in which strategies draw the same samples from the same seeds. `borrowed` is the generation
    # time that sharing saved, in seconds. Forks are not shared. Streams of equal requests must not run at the same
    # time.

    def __init__(self, model: Model, *, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(model)
        self.clock = clock
        self._samples: dict[_Key, _Sample] = {}
        self.borrowed = 0.0
        self.generated = 0
        """Tokens that the model really generated in streams."""

    async def stream(self, request: Request) -> Stream:
        # The model continues a recorded text that is too short; it writes from the start if there is none, or the
        # endpoint cannot continue it. Raises `ModelError` if a request fails, as `receive` does.
        key = _key(request)
        sample = self._samples.setdefault(key, _Sample())
        most = request.sampling.max_tokens
        if not sample.chunks or (not sample.ended and not await self._can_continue(sample, most)):
            sample = self._samples[key] = _Sample()
        stream = _SharedStream(self, self._model, request, sample)
        if not sample.chunks:
            # Ask now, so that an error is raised here.
            await stream.ask()
        return stream

    async def aclose(self) -> None:
        """Do nothing: the owner of the model closes it."""

    async def _can_continue(self, sample: _Sample, most: int | None) -> bool:
        if most is not None and sample.tokens >= most:
            return True
        return (await self._model.capabilities()).resume != "turn"


class _SharedStream:
    """Streams the recorded text, then the model's continuation, which it records."""

    def __init__(self, shared: SharedModel, model: Model, request: Request, sample: _Sample) -> None:
        self._shared = shared
        self._model = model
        self._request = request
        self._sample = sample
        self._next = 0
        self._returned = 0
        """In tokens."""
        self._stream: Stream | None = None
        self._continues = False
        self._at = shared.clock()
        self._is_closed = False
        self._is_over = False

    async def receive(self) -> Sequence[Chunk]:
        if self._is_closed:
            raise StreamClosed
        if self._is_over:
            return ()
        if self._next < len(self._sample.chunks):
            await anyio.lowlevel.checkpoint()
            return self._known()
        if self._stream is None:
            if self._sample.ended:
                self._is_over = True
                return ()
            if self._is_full():
                return self._full()
            await self.ask()
        return await self._news()

    async def ask(self) -> None:
        request, sample = self._request, self._sample
        if sample.chunks:
            most = request.sampling.max_tokens
            left = None if most is None else most - self._returned
            pieces = (*request.pieces, *_pieces(chunk for _, chunk in sample.chunks))
            request = replace(request, pieces=pieces, sampling=replace(request.sampling, max_tokens=left))
            # The server now counts the recorded text as a part of the prompt. A request without sharing would not have
            # these prompt tokens, so the recorded usage is reported instead.
            self._continues = True
        self._at = self._shared.clock()
        self._stream = await self._model.stream(request)

    async def aclose(self) -> None:
        self._is_closed = True
        if self._stream is not None:
            await self._stream.aclose()

    def _known(self) -> Sequence[Chunk]:
        seconds, chunk = self._sample.chunks[self._next]
        if self._is_full() and chunk.tokens:
            return self._full()
        self._next += 1
        self._returned += chunk.tokens
        self._shared.borrowed += seconds
        return (msgspec.structs.replace(chunk, usage=self._sample.usage) if chunk.finish_reason else chunk,)

    async def _news(self) -> Sequence[Chunk]:
        assert self._stream is not None
        chunks = await self._stream.receive()
        now = self._shared.clock()
        seconds, self._at = now - self._at, now
        sample = self._sample
        if self._continues:
            chunks = [msgspec.structs.replace(chunk, usage=chunk.usage and sample.usage) for chunk in chunks]
        for chunk in chunks:
            self._returned += chunk.tokens
            self._shared.generated += chunk.tokens
            if chunk.usage is not None:  # only the prompt: the generated tokens differ between the requests
                sample.usage = Usage(chunk.usage.prompt_tokens, chunk.usage.cached_tokens)
            reason = None if chunk.finish_reason == "length" else chunk.finish_reason
            if chunk.text or chunk.tokens or reason:
                sample.chunks.append((seconds, msgspec.structs.replace(chunk, finish_reason=reason, usage=None)))
                sample.tokens += chunk.tokens
                seconds = 0.0
            sample.ended = sample.ended or reason is not None
        self._next = len(sample.chunks)
        self._is_over = not chunks
        return chunks

    def _is_full(self) -> bool:
        most = self._request.sampling.max_tokens
        return most is not None and self._returned >= most

    def _full(self) -> Sequence[Chunk]:
        self._is_over = True
        return (Chunk("", tokens=0, finish_reason="length", usage=self._sample.usage),)


def _key(request: Request) -> _Key:
    pieces = tuple((piece.phase, piece.text) for piece in request.pieces)
    sampling: Sampling = replace(request.sampling, max_tokens=None)
    return request.prompt, pieces, msgspec.json.encode(sampling).decode()


def _pieces(chunks: Any) -> tuple[Piece, ...]:
    return tuple(Piece(chunk.text, phase=chunk.phase) for chunk in chunks if chunk.text)
