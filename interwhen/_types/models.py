"""The Protocol of a model, and the frozen records that its methods take and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from interwhen._types.segments import Phase, ToolCall

Origin = Literal["model", "repair", "feedback"]
"""Who wrote a piece of the trace: the model, or interwhen (a repaired value, or feedback)."""

ResumeMode = Literal["tokens", "prefix", "prefill", "turn"]
"""How a model continues kept text: by token ids, raw prefix, assistant prefill, or an extra user turn."""

Route = Literal["parser", "live", "restored", "prefill", "summary"]
"""How a fork gets its prefix. ``parser``: it needs none, a parser reads the segment. ``live``: the server still has it
in its cache. ``restored``: a saved state of the server is restored. ``prefill``: the server reads it again.
``summary``: a shorter text replaces it."""

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "truncated", "other"]
"""Why a stream ended. ``truncated``: it ended without a finish reason or ``[DONE]``."""


Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who speaks in a turn of a chat; ``tool``: the result of a call."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a chat prompt."""

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    """The tool calls that the assistant made in this turn."""
    call_id: str = ""
    """Of a ``tool`` turn: the ``id`` of the call whose result it is."""
    name: str = ""
    """Of a ``tool`` turn: the tool that was called, if it is known."""


Prompt: TypeAlias = str | tuple[Message, ...]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the standing trace with one origin and one phase."""

    text: str
    origin: Origin = "model"
    phase: Phase = "answer"
    call: ToolCall | None = None
    """The tool call that this stretch is."""
    refused: tuple[ToolCall, ...] = ()
    """The tool calls that this feedback answers. They were cut from the trace."""
    ask: str | None = None
    """The text for a model that continues by turns; ``None``: ``text`` itself."""

    @property
    def said(self) -> str:
        """The text for a model that continues by turns."""
        return self.text if self.ask is None else self.ask


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. ``None`` leaves the choice to the server; ``extra`` goes into the request body as it is."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int | None = None
    """With ``logprobs``: how many of the likeliest tokens at each place to return, with their probabilities."""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for a continuation of *prompt* followed by the standing trace *pieces*.

    ``side`` is the text of a fork: it follows the trace, is not part of it, and is never shown to the reader.
    """

    prompt: Prompt
    pieces: tuple[Piece, ...] = ()
    sampling: Sampling = Sampling()
    side: str | None = None
    route: Route | None = None
    """How a fork should get its prefix, for models that can choose; ``None``: the server decides."""
    summary: str | None = None
    """A text that may replace all *pieces* in a fork. interwhen does not check that it is right."""
    trail: object | None = None
    """The attribute ``trail`` of the stream before this request: tokens, for the model's own use."""

    @property
    def prefix(self) -> str:
        """The standing trace as one string."""
        return "".join(piece.text for piece in self.pieces)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The server's own token counts for one request. ``None``: the server gave none."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_seconds: float | None = None
    """The time for reading the prompt."""
    completion_seconds: float | None = None
    """The time for writing."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """The content of one event of the stream.

    ``tokens`` is how many tokens the text stands for (1 unless the server says otherwise; 0 for a chunk
    without text). ``logprob`` is the sum over them, in nats.
    """

    text: str
    phase: Phase = "answer"
    tokens: int = 1
    logprob: float | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    call: ToolCall | None = None
    """A whole tool call; ``text`` is its ``text`` then."""


class ScoredToken(msgspec.Struct, frozen=True, gc=False):
    """One token of an answer, with its log-probability in nats."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at its place with theirs, where they were asked for and given."""


class Reply(msgspec.Struct, frozen=True):
    """The answer to a fork, with the probabilities that it asked for."""

    text: str
    tokens: tuple[ScoredToken, ...] = ()
    """Empty where the endpoint gives none."""
    finish_reason: FinishReason = "stop"
    """``length``: it was cut short."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The whole answer to a fork."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprob: float | None = None
    tokens: tuple[ScoredToken, ...] = ()
    """Its tokens one by one, where their probabilities were asked for and given."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The known abilities of an endpoint."""

    resume: ResumeMode
    logprobs: bool = False
    forks: bool = True
    think_tags: tuple[str, str] | None = ("<think>", "</think>")
    """The tags that mark reasoning inside the text stream; ``None`` where reasoning has a field of its own."""
    context_tokens: int | None = None


@runtime_checkable
class Stream(Protocol):
    """An open stream of one continuation.

    A model that finds out only now how it goes on may say so: ``resumed``, a :data:`ResumeMode`, on the stream. One
    that continues by token ids keeps them as ``trail``, which the next request of the run brings back. So may one that
    noticed oddities (``notes``, a :class:`~interwhen.models.StreamNotes`), and one that can tell its
    server to stop: a method ``abort()``, called after :meth:`aclose` of a stream that was not at its end. A plain
    method ``settle()`` spares a task: it closes the stream if nothing has to be waited for, and tells whether it did.
    """

    async def receive(self) -> Sequence[Chunk]:
        """Wait for text and return what has come, at least one chunk; empty at the end of the stream.

        Raises :class:`~interwhen.ModelError`. When another task calls :meth:`aclose` meanwhile, it
        raises :class:`~interwhen.models.StreamClosed` at once.
        """
        ...

    async def aclose(self) -> None:
        """Stop the generation: close the connection now. May be called at any time, by any task, twice."""
        ...


@runtime_checkable
class Model(Protocol):
    """An adapter to a language model."""

    @property
    def name(self) -> str:
        """A name for people and for certificates."""
        ...

    async def capabilities(self) -> Capabilities:
        """Say what the endpoint can do; may ask it once, then remembers."""
        ...

    async def stream(self, request: Request) -> Stream:
        """Send *request* and return the open stream, once the server has accepted it."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer a fork (or any short request) whole."""
        ...

    async def aclose(self) -> None:
        """Give back every connection and process the model holds."""
        ...
