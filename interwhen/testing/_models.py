"""A model that streams the steps of a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import anyio.lowlevel

from interwhen._types.errors import ModelError
from interwhen._types.models import Capabilities, Chunk, Completion, FinishReason, Request, Timeouts, Usage
from interwhen._types.segments import Phase, ToolCall
from interwhen.models._token_stream import GuardedStream


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for *seconds* on the clock of the event loop, which may be virtual."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """A step that sends *text* as one chunk of the phase *phase*."""

    text: str
    phase: Phase = "answer"


@dataclass(frozen=True, slots=True)
class End:
    """End the stream with the finish reason *reason*, or with ``None`` without one. Later steps are not performed."""

    reason: FinishReason | None = "stop"


Step: TypeAlias = str | Pause | Say | ToolCall | End | ModelError
"""A step of a script. A ``str``, :class:`Say` or tool call is sent as one chunk. A ``ModelError`` is raised by the
stream."""

Script: TypeAlias = Callable[[Request], Iterable[Step]]


def cut_into(text: str, size: int = 1) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


class ScriptedModel:
    """A :class:`~interwhen.models.Model` for tests, which sends prepared text.

    *script* is a list of replies, one for each request, of which the last one repeats; or a function that returns the
    steps for a request. A reply is a list of steps, or a string, which is sent in chunks of *size* characters. *forks*
    is a function that returns the reply to a fork. The model waits *delay* seconds before each read of a stream and
    before each fork. By default, *capabilities* are those of a model that continues a raw prefix.

    ``requests`` lists the requests for streams, and ``fork_requests`` the forks. ``closed`` counts the streams that
    were closed before their end.
    """

    name = "scripted"
    """Always ``scripted``."""

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

    async def capabilities(self) -> Capabilities:
        """Return the capabilities that were given to the constructor, or its default."""
        return self._capabilities

    async def stream(self, request: Request) -> ScriptedStream:
        """Record *request* in ``requests``, and return a stream that performs the script for it."""
        self.requests.append(request)
        steps = iter(self._script(request))
        await anyio.lowlevel.checkpoint()
        return ScriptedStream(self, steps, self._delay)

    async def complete(self, request: Request) -> Completion:
        """Answer a fork with the text that *forks* returns, after the delay.

        The fork is recorded in ``fork_requests``, even if it fails. Each word of the text counts as one token, and so
        does the whole prompt. Raises :class:`~interwhen.models.ModelError` if the model has no *forks*, and the
        exceptions of *forks*.
        """
        self.fork_requests.append(request)
        await anyio.sleep(self._delay)
        if self._forks is None:
            raise ModelError(
                f"the scripted model {self.name!r} must have answers for forks, got none: give them as forks="
            )
        text = self._forks(request)
        return Completion(text, "stop", Usage(prompt_tokens=1, completion_tokens=len(text.split())))

    async def aclose(self) -> None:
        """Do nothing: there are no resources to release."""

    def _in_turn(self, replies: Sequence[str | Sequence[Step]]) -> Script:
        def script(_request: Request) -> Iterable[Step]:
            reply = replies[min(len(self.requests), len(replies)) - 1]
            return cut_into(reply, self._size) if isinstance(reply, str) else reply

        return script


class ScriptedStream(GuardedStream):
    def __init__(self, model: ScriptedModel, steps: Iterator[Step], delay: float) -> None:
        super().__init__()
        self._model = model
        self._steps = steps
        self._delay = delay
        self._over = False

    async def fetch(self) -> Sequence[Chunk]:
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
        self._model.closed += not self._over
