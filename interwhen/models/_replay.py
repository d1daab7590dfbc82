"""Records the streams of a model, and replays known text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec

from interwhen._types.errors import DECODE_ERRORS, ModelError, UsageError
from interwhen._types.models import Capabilities, Chunk, Completion, FinishReason, Model, Request, Stream, Timeouts
from interwhen._types.vetting import Amount, require
from interwhen.models._token_stream import GuardedStream
from interwhen.models._wrapper import ModelWrapper, StreamWrapper

_BATCH = 64


class TimedChunk(msgspec.Struct, frozen=True):
    """*at* is the time of arrival in seconds since the start of the stream."""

    at: float
    chunk: Chunk


class Recording(msgspec.Struct, frozen=True):
    """The recorded stream of one request. A file of recordings has one JSON object per line."""

    arrivals: tuple[TimedChunk, ...]
    prefix: str = ""
    """The text that the request asked to continue."""

    @classmethod
    def untimed(cls, chunks: Iterable[Chunk], *, finish_reason: FinishReason | None = "stop") -> Recording:
        """Return a recording of *chunks* that all arrive at time 0."""
        end = () if finish_reason is None else (Chunk("", tokens=0, finish_reason=finish_reason),)
        return cls(tuple(TimedChunk(0.0, chunk) for chunk in (*chunks, *end)))

    def save(self, path: str | os.PathLike[str]) -> None:
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode(self) + b"\n")


def load_recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """Return the recordings in the file at *path*.

    Raises :class:`UsageError` with the number of the first invalid line, and :class:`OSError` if the file cannot be
    read.
    """
    recordings = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if line.strip():
            try:
                recordings.append(msgspec.json.decode(line, type=Recording))
            except DECODE_ERRORS as error:
                raise UsageError(
                    f"{os.fspath(path)!r}, line {number}: must be a recording as JSON, got something else "
                    f"({error}): record the run again, or remove the line"
                ) from error
    return recordings


class ReplayModel:
    """A :class:`~interwhen.models.Model` that streams known text.

    *recordings* is a list or a function. From a list, each recording is used at most once: a request gets the first
    unused one with the same prefix, else the first unused one. A function returns the recording for each request.
    *forks* is a model that answers the forks of :meth:`complete`. *then* is used with a list only: it is a model that
    answers each request that continues text or has a side text, and each request after the last recording.

    *speed* scales time: 0 replays without waiting, 1 at the recorded speed, 2 twice as fast. *capabilities* defaults to
    those of *then*. Without both, the model resumes by prefix, and can fork if *forks* is given. Raises
    :class:`~interwhen.UsageError` for an empty list or a negative speed.
    """

    def __init__(
        self,
        recordings: Sequence[Recording] | Callable[[Request], Recording],
        *,
        speed: float = 0.0,
        forks: Model | None = None,
        then: Model | None = None,
        capabilities: Capabilities | None = None,
        name: str = "replay",
    ) -> None:
        if not callable(recordings) and not recordings:
            raise UsageError("recordings must hold at least one recording to replay, got none")
        require("the speed of a replay", speed, Amount, "use 0 for no waiting")
        self._choose = recordings if callable(recordings) else None
        self._left = [] if callable(recordings) else list(recordings)
        self._speed = speed
        self._forks = forks
        self._then = then
        self._capabilities = capabilities
        self._requests = 0
        self.name = name
        self.timeouts: Timeouts = getattr(then, "timeouts", None) or Timeouts()

    async def capabilities(self) -> Capabilities:
        """Return the given capabilities, else those of the model ``then``, else the defaults of a replay."""
        if self._capabilities is None and self._then is not None:
            return await self._then.capabilities()
        return self._capabilities or Capabilities(resume="prefix", forks=self._forks is not None)

    async def stream(self, request: Request) -> Stream:
        """Return a stream that replays a recording, or the stream of the model *then*.

        Raises :class:`ModelError` if no recording is left and there is no model *then*.
        """
        self._requests += 1
        await anyio.lowlevel.checkpoint()
        if self._choose is not None:
            return _ReplayStream(self._choose(request), self._speed)
        if self._then is not None and (request.pieces or request.side is not None or not self._left):
            return await self._then.stream(request)
        if not self._left:
            raise ModelError(
                f"request {self._requests} of a replay has no recording: give more recordings, or another "
                "model to continue with as then="
            )
        prefix = request.prefix
        at = next((at for at, recording in enumerate(self._left) if recording.prefix == prefix), 0)
        return _ReplayStream(self._left.pop(at), self._speed)

    async def complete(self, request: Request) -> Completion:
        """Let the model *forks* answer. Raises :class:`ModelError` if *forks* was not given."""
        if self._forks is None:
            raise ModelError(
                f"a replay without a model for forks cannot answer the fork {request.side!r:.80}: give one as forks="
            )
        return await self._forks.complete(request)

    async def aclose(self) -> None:
        """Close the model *then*, if there is one. The caller closes *forks*."""
        if self._then is not None:
            await self._then.aclose()


class _ReplayStream(GuardedStream):
    """The recorded times are divided by *speed* (0: without waiting)."""

    # One read returns the chunks that arrived at the same time, at most `_BATCH`.

    def __init__(self, recording: Recording, speed: float) -> None:
        super().__init__()
        self._arrivals = recording.arrivals
        self._next = 0
        self._speed = speed
        self._begun: float | None = None

    async def fetch(self) -> Sequence[Chunk]:
        now = anyio.current_time()
        self._begun = now if self._begun is None else self._begun
        waiting = self._arrivals[self._next : self._next + _BATCH]
        at = waiting[0].at if waiting else 0.0
        await anyio.sleep(max(self._begun + at / self._speed - now, 0.0) if self._speed else 0.0)
        chunks = tuple(arrival.chunk for arrival in takewhile(lambda arrival: arrival.at == at, waiting))
        self._next += len(chunks)  # only after the wait: a read that is cancelled during it loses no chunk
        return chunks


class RecordingModel(ModelWrapper):
    """Wraps *model* and records its streams.

    Each stream is appended to the list ``recordings`` when it is closed, complete or not. Forks are not recorded.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.recordings: list[Recording] = []

    async def stream(self, request: Request) -> Stream:
        """Open a stream of the wrapped model and record it. Raises the errors of that model."""
        return _RecordingStream(await self._model.stream(request), request.prefix, self.recordings)


class _RecordingStream(StreamWrapper):
    def __init__(self, stream: Stream, prefix: str, recordings: list[Recording]) -> None:
        super().__init__(stream)
        self._prefix = prefix
        self._recordings = recordings
        self._arrivals: list[TimedChunk] = []
        self._begun = anyio.current_time()

    async def receive(self) -> Sequence[Chunk]:
        chunks = await self._stream.receive()
        at = anyio.current_time() - self._begun
        self._arrivals.extend(TimedChunk(at, chunk) for chunk in chunks)
        return chunks

    def finish(self) -> None:
        self._recordings.append(Recording(tuple(self._arrivals), self._prefix))
