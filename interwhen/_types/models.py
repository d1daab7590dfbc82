"""The Protocol of a model, the frozen records that its methods take and return, and how long a caller waits for it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
from msgspec import Meta

from interwhen._types.errors import ConnectError, ModelError, StreamTimeout, UpstreamError
from interwhen._types.segments import Phase, ToolCall
from interwhen._types.vetting import Amount, Count, Share, Texts, vet

Origin = Literal["model", "repair", "feedback"]
"""Who wrote a piece of the trace: the model, or interwhen (a repaired value, or feedback)."""

ResumeMode = Literal["tokens", "prefix", "prefill", "unproven_prefill", "turn"]
"""How a model continues existing text: from token ids, a raw prefix, an assistant prefill, or an extra user turn.
``unproven_prefill`` is a prefill, too, but the endpoint was not shown to continue the unfinished message. For ``turn``,
a request should leave out an unfinished line at the end of the text: the run cuts it, too."""


class ResumeWay(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a request continued the existing text, and why this way was chosen."""

    mode: ResumeMode
    reason: str = ""
    """Why this way was chosen: what the endpoint was shown to do, or which option was given. It may quote the
    server."""
    reasoning: Literal["field", "tags"] | None = None
    """For ``prefill``: where the request had the kept reasoning. ``field``: in the field of the message in which the
    server sends reasoning. ``tags``: between tags in the content, although the server sends it in a field. ``None``:
    neither."""


Route = Literal["live", "restored", "prefill"]
"""How a fork gets its prefix. ``live``: from the cache of the server. ``restored``: from a saved state, unless measured
rates say that reading it again is faster. ``prefill``: the server reads it again."""

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "truncated", "other"]
"""Why a stream ended. ``truncated``: the stream ended without a finish reason and without ``[DONE]``."""


Role = Literal["system", "developer", "user", "assistant", "tool"]
"""The author of a chat message. ``tool``: the message is the result of a tool call."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a chat prompt."""

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    """The tool calls that the assistant made in this message."""
    call_id: str = ""
    """For the role ``tool``: the ``id`` of the call that produced this result."""
    name: str = ""
    """For the role ``tool``: the name of the called tool, if it is known."""


Prompt: TypeAlias = str | tuple[Message, ...]
"""What a model continues: a text, or the messages of a chat."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of the trace with one origin and one phase."""

    text: str
    origin: Origin = "model"
    phase: Phase = "answer"
    call: ToolCall | None = None
    """The structured tool call, if this piece is one."""
    refused: tuple[ToolCall, ...] = ()
    """The structured tool calls that were cut from the trace, and on which this piece gives feedback."""
    ask: str | None = None
    """The text to send in place of ``text`` to a model that continues by an extra turn; ``None``: send ``text``."""

    @property
    def said(self) -> str:
        return self.text if self.ask is None else self.ask


WARM = 0.7
"""The temperature of further samples of one prompt, which would be equal at temperature 0."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling options of a request. If an option is ``None``, the default of the model or of the server applies.

    ``extra`` has further fields of the request body, which replace options of the same name. Raises
    :class:`~interwhen.UsageError` on values of another type or range.
    """

    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    top_p: Share | None = None
    seed: int | None = None
    stop: Texts = ()
    logprobs: bool = False
    top_logprobs: Count | None = None
    """With ``logprobs``: the number of most likely tokens to return at each position, with their log-probabilities."""
    extra: Mapping[str, object] = field(default_factory=dict)
    counts_own_text: bool = False
    """Whether text that interwhen writes uses up ``max_tokens``, too: a token a byte, the most that a tokenizer makes
    of it. A correction for which no room is left then ends the run, with the finish reason ``length``."""

    def __post_init__(self) -> None:
        vet(self)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a model: continue ``prompt`` followed by ``pieces``, which are the trace so far.

    ``side`` is the question of a fork. It is sent after the trace, and is no part of it.
    """

    prompt: Prompt
    pieces: tuple[Piece, ...] = ()
    sampling: Sampling = Sampling()
    side: str | None = None
    route: Route | None = None
    """How a fork gets its prefix, for models that support several routes; ``None``: the server decides."""
    trail: object | None = None
    """The ``trail`` of the latest stream of this run: token ids, which only the model adapter reads."""

    @property
    def prefix(self) -> str:
        """The trace so far (the text of all pieces) as one string."""
        return "".join(piece.text for piece in self.pieces)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The token counts that the server sent for one request. ``None``: the server did not send this count."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_seconds: float | None = None
    """The time that the server needed to process the prompt."""
    completion_seconds: float | None = None
    """The time that the server needed to generate the completion."""
    reasoning_tokens: int | None = None
    """The tokens of reasoning. Most servers count them in ``completion_tokens``, too."""
    hides_reasoning: bool = False
    """Whether the server said that it does not send the reasoning: it sent a summary, or an encrypted form."""
    asked_to_reason: bool = False
    """Whether the request asked for reasoning. If the server then sent neither reasoning nor its token count, the
    reasoning counts as hidden."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A part of a stream, usually the content of one event.

    ``tokens`` is the number of tokens in the text; if it is not known, usually 1. ``logprob`` is the sum of the
    log-probabilities of these tokens, in nats; ``None``: the server sent none. Usually only the last chunk of a stream
    has a ``finish_reason`` and a ``usage``.
    """

    text: str
    phase: Phase = "answer"
    tokens: int = 1
    logprob: float | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    call: ToolCall | None = None
    """A complete tool call. The chunk's ``text`` is then the ``text`` of the call."""


class ScoredToken(msgspec.Struct, frozen=True, gc=False):
    """One token of an answer, with its log-probability in nats."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """The most likely tokens at this position with their log-probabilities, if requested and sent."""


class Reply(msgspec.Struct, frozen=True):
    """The model's reply to a fork that asked for log-probabilities, or whose parser is a tracker."""

    text: str
    tokens: tuple[ScoredToken, ...] = ()
    """The tokens with their log-probabilities; empty if the endpoint sends none."""
    finish_reason: FinishReason = "stop"
    """``length``: the reply was cut short."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to a request that was not streamed, such as a fork. A limit may have cut it short."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprob: float | None = None
    """The sum of the log-probabilities of the tokens, in nats; ``None`` if the endpoint sends none."""
    tokens: tuple[ScoredToken, ...] = ()
    """The tokens with their log-probabilities, if requested and sent."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The known features of a model endpoint: how it resumes, and whether it can fork and score tokens."""

    resume: ResumeMode
    logprobs: bool = False
    """Whether it can return the log-probabilities of tokens."""
    forks: bool = True
    """Whether it answers side requests beside the stream."""
    think_tags: tuple[str, str] | None = ("<think>", "</think>")
    """The tags around the reasoning in the text; ``None`` if the API sends the reasoning in a separate field."""
    context_tokens: int | None = None
    """The size of the context window in tokens; ``None``: not known."""


@runtime_checkable
class Stream(Protocol):
    """An open stream of one continuation.

    A stream may have these optional members:

    * ``way``: the :class:`ResumeWay` of this request, for a model that decides it for each request.
    * ``trail``: the token ids of a model that continues from them. The next request of the run carries them.
    * ``notes``: a ``StreamNotes`` with the irregularities of the stream.
    * ``abort()``: an async method that tells the server to stop. It may be called after :meth:`aclose`.
    * ``settle()``: a plain method that closes the stream if this needs no waiting, and returns whether it did.
    * ``recording``: the whole answer as the server sent it, for the strategies of a call.
    * ``splice(start, dropped, to)``: a plain method, called if an extra turn repeats kept text. Of the stream's text
      from offset ``start`` of the trace on, the first ``dropped`` characters are left out; the rest begins at ``to``.
    """

    async def receive(self) -> Sequence[Chunk]:
        """Wait for text, and return the chunks that have arrived: at least one, or none at the end of the stream.

        Raises :class:`~interwhen.models.ModelError` if the server or the connection fails. If another task calls
        :meth:`aclose` during the wait, it raises :class:`~interwhen.models.StreamClosed`.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection now, so that the server can stop. Any task may call this, also more than once."""
        ...


@runtime_checkable
class Model(Protocol):
    """An adapter to a language model.

    A model may have these optional members:

    * ``timeouts``: the :class:`Timeouts` of its requests and of a run.
    * ``retries``: the :class:`Retries`, which also set the pauses between the reconnects of a run.
    * ``feedback``: a :class:`~interwhen.remedies.FeedbackTemplate`, the wording of feedback, unless a run has its own.
    * ``needs_proof`` and ``prove()``: whether it is not known yet how the endpoint continues kept text, and an async
      method that finds it out and returns the number of tokens that this took.
    * ``resume_mode()``: an async method that returns how it continues kept text.
    """

    @property
    def name(self) -> str:
        """The name of the model, for displays and certificates."""
        ...

    async def capabilities(self) -> Capabilities:
        """Return the features of the endpoint. This may ask the endpoint.

        It may raise :class:`~interwhen.models.ModelError` if the endpoint must be asked and cannot be reached.
        """
        ...

    async def stream(self, request: Request) -> Stream:
        """Send *request*, and return the open stream when the server has accepted the request.

        Raises :class:`~interwhen.models.ModelError` if the server refuses it or cannot be reached.
        """
        ...

    async def complete(self, request: Request) -> Completion:
        """Send *request*, a fork or another short request, and return its answer, which a limit may have cut short.

        Raises :class:`~interwhen.models.ModelError` if the server refuses it or cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Close what the model has opened, such as connections and processes."""
        ...


# How long a caller waits for a model, and how often it asks again.


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; ``None`` means no limit. Raises :class:`~interwhen.UsageError` on wrong values.

    ``connect`` limits opening a connection. ``first_token`` limits the wait for the response headers, and again for the
    first text. ``inter_token`` limits the time between two texts, and ``total`` limits the whole stream; in a run, it
    counts from the start of the run over all its streams. The reader of an open stream, such as a run, enforces the
    last three: it closes the stream.

    ``idle`` and ``min_rate`` do not end a stream. After ``idle`` seconds without further text (or half of
    ``inter_token``, if that is shorter), monitors may check the unfinished line, sentence or paragraph. If a model
    sends fewer than ``min_rate`` tokens per second, its run reports this in the log and in ``result.wire``.
    """

    connect: Amount | None = 10.0
    first_token: Amount | None = 120.0
    inter_token: Amount | None = 60.0
    total: Amount | None = None
    min_rate: Amount | None = 1.0
    idle: Amount | None = 2.0

    def __post_init__(self) -> None:
        vet(self)


_RNG = random.Random()  # noqa: S311  (shared: seeding one takes longer than the rest of the start of a run)


@dataclass(frozen=True, slots=True)
class Retries:
    """Retries a request up to *attempts* times after its first failure, with exponential backoff and full jitter.

    The upper limit of the random wait doubles from *base* to *cap* seconds; ``Retry-After`` of the server replaces the
    wait. If all waits of a request would exceed *budget* seconds in total, its error is raised. Method:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ Raises :class:`~interwhen.UsageError` on
    wrong values.
    """

    attempts: Count = 2
    base: Amount = 0.5
    cap: Amount = 8.0
    budget: Amount = 30.0
    rng: random.Random = field(default=_RNG, repr=False, compare=False)
    """The source of the random waits."""

    def __post_init__(self) -> None:
        vet(self)

    def wait(self, attempt: int, error: ModelError, waited: float) -> float | None:
        """Return how many seconds to wait after failure number *attempt* (from 0); ``None`` to give up.

        *waited* is the sum of the earlier waits in seconds.
        """
        if attempt >= self.attempts or not _worth_retrying(error):
            return None
        seconds = self.pause(attempt, error)
        return seconds if waited + seconds <= self.budget else None

    def pause(self, attempt: int, error: ModelError) -> float:
        """Return how many seconds to wait after failure number *attempt* (from 0).

        This ignores the limits ``attempts`` and ``budget``.
        """
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        return self.rng.uniform(0, min(self.cap, self.base * 2 ** min(attempt, 32))) if asked is None else asked


def _worth_retrying(error: ModelError) -> bool:
    if isinstance(error, StreamTimeout):
        return error.timer == "connect"
    return isinstance(error, ConnectError) or (isinstance(error, UpstreamError) and error.retryable)
