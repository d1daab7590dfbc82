"""A model that replays recorded streams, with their timing if wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import msgspec

from interwhen.errors import ModelError, UsageError
from interwhen.models.base import Capabilities, Chunk, Completion, Model, Request, Stream
from interwhen.models.streams import GuardedStream
from interwhen.models.transport import Timeouts


class Arrival(msgspec.Struct, frozen=True):
    """One chunk, and how many seconds after the stream's start it came."""

    at: float
    chunk: Chunk


class Recording(msgspec.Struct, frozen=True):
    """The stream of one request. Stored as one JSON object."""

    arrivals: tuple[Arrival, ...]
    prefix: str = ""
    """The standing trace the request asked to continue."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Append the recording to the file at *path*, one JSON object a line."""
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode(self) + b"\n")


def load_recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """Return the recordings in a file. Raises :class:`UsageError` that names the line that is none."""
    recordings = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if line.strip():
            try:
                recordings.append(msgspec.json.decode(line, type=Recording))
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise UsageError(f"{os.fspath(path)!r}, line {number}: not a recording: {error}") from error
    return recordings


class ReplayModel:
    """Replays *recordings*, each once: the next one whose prefix is the request's, else the next one in turn.

    *speed* scales time: 0 replays without waiting, 1 as it was, 2 twice as fast.
    """

    def __init__(self, recordings: Sequence[Recording], *, speed: float = 0.0) -> None:
        if not recordings:
            raise UsageError("there is nothing to replay: the list of recordings is empty")
        if not speed >= 0:
            raise UsageError(f"speed={speed!r} is negative; 0 replays without waiting, 1 as it was")
        self._left = list(recordings)
        self._speed = speed
        self._turn = 0
        self.timeouts = Timeouts()

    @property
    def name(self) -> str:
        """Always ``replay``."""
        return "replay"

    async def capabilities(self) -> Capabilities:
        """Say that a recording continues from a prefix and cannot answer forks."""
        return Capabilities(resume="prefix", forks=False)

    async def stream(self, request: Request) -> Stream:
        """Start a replay. Raises :class:`ModelError` where no recording is left."""
        self._turn += 1
        if not self._left:
            raise ModelError(f"no recording is left for request {self._turn}")
        prefix = request.prefix
        at = next((at for at, recording in enumerate(self._left) if recording.prefix == prefix), 0)
        found = self._left.pop(at)
        return _ReplayStream(found, self._speed)

    async def complete(self, request: Request) -> Completion:
        """Refuse: a recording has no answer to a new question."""
        raise ModelError(f"a recording cannot answer the fork {request.side!r:.80}")

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""


class _ReplayStream(GuardedStream):
    def __init__(self, recording: Recording, speed: float) -> None:
        super().__init__()
        self._arrivals = recording.arrivals
        self._next = 0
        self._speed = speed
        self._begun: float | None = None

    async def fetch(self) -> Sequence[Chunk]:
        if self._begun is None:
            self._begun = anyio.current_time()
        if self._next == len(self._arrivals):
            return ()
        arrival = self._arrivals[self._next]
        due = self._begun + arrival.at / self._speed if self._speed else 0.0
        await anyio.sleep(max(due - anyio.current_time(), 0.0) if self._speed else 0.0)
        self._next += 1  # only now: a read that is cancelled while it waits loses nothing
        return (arrival.chunk,)


class RecordingModel:
    """Wraps a model and records the streams that pass through; ``recordings`` has those that ended or closed."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.recordings: list[Recording] = []
        self.timeouts = getattr(model, "timeouts", Timeouts())

    @property
    def name(self) -> str:
        """The name of the wrapped model."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the wrapped model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open the wrapped model's stream and record it."""
        return _RecordingStream(await self._model.stream(request), request.prefix, self.recordings)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork through."""
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Close the wrapped model."""
        await self._model.aclose()


class _RecordingStream:
    def __init__(self, stream: Stream, prefix: str, recordings: list[Recording]) -> None:
        self._stream = stream
        self._prefix = prefix
        self._recordings = recordings
        self._arrivals: list[Arrival] = []
        self._begun = anyio.current_time()
        self._is_saved = False

    async def receive(self) -> Sequence[Chunk]:
        chunks = await self._stream.receive()
        at = anyio.current_time() - self._begun
        self._arrivals.extend(Arrival(at, chunk) for chunk in chunks)
        return chunks

    async def aclose(self) -> None:
        if not self._is_saved:
            self._is_saved = True
            self._recordings.append(Recording(tuple(self._arrivals), self._prefix))
        await self._stream.aclose()
