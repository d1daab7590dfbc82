"""A model that says what a test tells it to say, when it tells it to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from interwhen._types.errors import ModelError, UsageError
from interwhen._types.models import Capabilities, Chunk, Completion, FinishReason, Model, Request, Stream, Usage
from interwhen._types.segments import Phase, ToolCall
from interwhen.models._token_stream import GuardedStream
from interwhen.models._transport import Timeouts


@dataclass(frozen=True, slots=True)
class Pause:
    """The model says nothing for *seconds* (of the event loop's clock, which may be virtual)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Text with a phase of its own, for models with a separate reasoning field."""

    text: str
    phase: Phase = "answer"


@dataclass(frozen=True, slots=True)
class End:
    """The stream ends with this reason; ``None``: it ends without saying why."""

    reason: FinishReason | None = "stop"


Step: TypeAlias = str | Pause | Say | ToolCall | End | ModelError
"""A str, Say or ToolCall is one chunk; an exception is raised."""

Script: TypeAlias = Callable[[Request], Iterable[Step]]


def cut_into(text: str, size: int = 1) -> list[str]:
    """Return *text* in chunks of *size* characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]


class ScriptedModel:
    """A :class:`~interwhen.Model` for tests.

    *script* gives the steps for each request, or is a list of replies, one for each request in turn (a plain
    string is cut into chunks of *size* characters; the last reply repeats). *forks* answers side inferences.
    ``requests`` holds every request of the main stream, ``closed`` counts the streams that were closed before
    their end.
    """

    def __init__(
        self,
        script: Script | Sequence[str | Sequence[Step]],
        *,
        forks: Callable[[Request], str] | None = None,
        delay: float = 0.0,
        size: int = 4,
        capabilities: Capabilities | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._script = script if callable(script) else self._in_turn(script)
        self._forks = forks
        self._delay = delay
        self._size = size
        self._capabilities = capabilities or Capabilities(resume="prefix")
        self.timeouts = timeouts or Timeouts()
        self.requests: list[Request] = []
        self.fork_requests: list[Request] = []
        self.closed = 0

    @property
    def name(self) -> str:
        """Always ``scripted``."""
        return "scripted"

    async def capabilities(self) -> Capabilities:
        """Return what the test said."""
        return self._capabilities

    async def stream(self, request: Request) -> ScriptedStream:
        """Start the script for *request*."""
        self.requests.append(request)
        steps = iter(self._script(request))
        await anyio.lowlevel.checkpoint()
        return ScriptedStream(self, steps, self._delay)

    async def complete(self, request: Request) -> Completion:
        """Answer a fork with what *forks* returns. Usage counts one token for each word."""
        self.fork_requests.append(request)
        await anyio.sleep(self._delay)
        if self._forks is None:
            raise ModelError("this scripted model has no answers for forks")
        text = self._forks(request)
        return Completion(text, "stop", Usage(prompt_tokens=1, completion_tokens=len(text.split())))

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _in_turn(self, replies: Sequence[str | Sequence[Step]]) -> Script:
        def script(_request: Request) -> Iterable[Step]:
            reply = replies[min(len(self.requests), len(replies)) - 1]
            return cut_into(reply, self._size) if isinstance(reply, str) else reply

        return script


class ScriptedStream(GuardedStream):
    """One reply of a :class:`ScriptedModel`."""

    def __init__(self, model: ScriptedModel, steps: Iterator[Step], delay: float) -> None:
        super().__init__()
        self._model = model
        self._steps = steps
        self._delay = delay
        self._over = False

    async def fetch(self) -> Sequence[Chunk]:
        """Take the next steps up to one that brings something."""
        await anyio.sleep(self._delay)
        for step in self._steps:
            match step:
                case str():
                    return (Chunk(step),)
                case Say(text, phase):
                    return (Chunk(text, phase),)
                case ToolCall():
                    return (Chunk(step.text, call=step),)
                case Pause(seconds):
                    await anyio.sleep(seconds)
                case End(reason):
                    self._steps = iter(())
                    self._over = True
                    return (Chunk("", tokens=0, finish_reason=reason),) if reason is not None else ()
                case ModelError():
                    self._steps = iter(())
                    self._over = True
                    raise step
        if self._over:
            return ()
        self._over = True
        return (Chunk("", tokens=0, finish_reason="stop"),)

    async def release(self) -> None:
        """Count a stream that was not read to its end."""
        self._model.closed += not self._over


# A model that replays recorded streams, with their timing if wanted.


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
