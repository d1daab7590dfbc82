"""Decodes the data of one server-sent event to a :class:`~interwhen.models.Chunk`, by one pure function per API."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from interwhen._types.errors import MalformedEvent, StreamProtocolError, UnexpectedForm, UpstreamError
from interwhen._types.models import Chunk, Completion, FinishReason, ScoredToken, Usage
from interwhen.models._transport import refusal

# The JSON objects of the OpenAI-compatible APIs as msgspec structs, with the fields that interwhen uses.
#
# A missing field differs from ``null``: an event without ``delta`` has an unknown form, one with a null ``content`` has
# no text. So a missing field is ``UNSET``.


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """The log-probability of one sampled token, in nats. :func:`scored_tokens` converts the fields of type ``Any``."""

    logprob: float | None = None
    token: Any = None
    top_logprobs: Any = None


class Logprobs(msgspec.Struct, frozen=True, gc=False):
    """Log-probabilities, in the form of the completions API (``token_logprobs``) or the chat API (``content``).

    llama.cpp uses the form of the chat API for both.
    """

    token_logprobs: list[float | None] | None = None
    tokens: Any = None
    top_logprobs: Any = None
    content: list[TokenLogprob] | None = None
    reasoning_content: list[TokenLogprob] | None = None


class ChatText(msgspec.Struct, frozen=True, gc=False):
    """The ``delta`` of a chat chunk or the ``message`` of a chat answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None


class CompletionChoice(msgspec.Struct, frozen=True, gc=False):
    """A choice of ``/v1/completions``."""

    index: int = 0
    text: str | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatChoice(msgspec.Struct, frozen=True, gc=False):
    """A choice of ``/v1/chat/completions``, streamed (``delta``) or whole (``message``)."""

    index: int = 0
    delta: ChatText | UnsetType | None = UNSET
    message: ChatText | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct, frozen=True, gc=False):
    """Details of the prompt's token count: how many tokens came from the cache."""

    cached_tokens: int | None = None


class ServerUsage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of the server."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    total_tokens: Any = None
    completion_tokens_details: Any = None


class Timings(msgspec.Struct, frozen=True, gc=False):
    """The durations of prompt and generation that llama.cpp reports, in milliseconds."""

    prompt_ms: float | None = None
    predicted_ms: float | None = None


class PromptProgress(msgspec.Struct, frozen=True, gc=False):
    """How many tokens of a prompt llama.cpp has to read, and how many of them came from its cache."""

    total: int | None = None
    cache: int | None = None


class CompletionBody(msgspec.Struct, frozen=True, gc=False):
    """A chunk or a whole answer of ``/v1/completions``, or an error with ``message`` and ``code``."""

    choices: list[CompletionChoice] | UnsetType | None = UNSET
    usage: ServerUsage | None = None
    prompt_progress: Any = None
    timings: Any = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    code: int | str | None = None


class ChatBody(msgspec.Struct, frozen=True, gc=False):
    """A chunk or a whole answer of ``/v1/chat/completions``, or an error as in :class:`CompletionBody`."""

    choices: list[ChatChoice] | UnsetType | None = UNSET
    usage: ServerUsage | None = None
    prompt_progress: Any = None
    timings: Any = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    code: int | str | None = None


class ModelCard(msgspec.Struct, frozen=True, gc=False):
    """An entry of ``GET /v1/models``."""

    id: str = ""
    owned_by: str | None = None
    max_model_len: int | None = None


class ModelList(msgspec.Struct, frozen=True, gc=False):
    """The answer of ``GET /v1/models``."""

    data: list[ModelCard] = []


class SlotState(msgspec.Struct, frozen=True, gc=False):
    """An entry of llama.cpp's ``GET /slots``."""

    id: int = 0
    is_processing: bool = False
    id_task: int | None = None


class GenerationSettings(msgspec.Struct, frozen=True, gc=False):
    """The settings in :class:`ServerProps`."""

    n_ctx: int | None = None


class ServerProps(msgspec.Struct, frozen=True, gc=False):
    """The answer of llama.cpp's ``GET /props``."""

    default_generation_settings: GenerationSettings = GenerationSettings()


def card_of(model: str, cards: Sequence[ModelCard]) -> ModelCard | None:
    """Return the entry of *model*, or the first one if none has its name."""
    return next((card for card in cards if card.id == model), cards[0] if cards else None)


completion_decoder = msgspec.json.Decoder(CompletionBody)
chat_decoder = msgspec.json.Decoder(ChatBody)
models_decoder = msgspec.json.Decoder(ModelList)


class EndMark(enum.Enum):
    """The end mark of a stream."""

    DONE = enum.auto()


DONE: Final = EndMark.DONE

Decoded: TypeAlias = Chunk | EndMark | tuple[Chunk, ...] | None
"""The content of one event: a chunk, an end mark, two chunks (reasoning and answer), or ``None`` if it is empty."""

Decode: TypeAlias = Callable[[bytes, int, bool], Decoded]
"""``decode(data, offset, first)``: the data of an event, its byte offset in the body (for errors), and whether no valid
chunk came before it. Only then is an event of unknown form an error; later ones are ignored."""

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions of msgspec for data that is not JSON of the expected type, is not UTF-8, or is nested too deeply."""

_FINISH: dict[str | None, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


def finish_reason(reason: str) -> FinishReason:
    """Translate the server's finish reason; ``abort`` and unknown ones are ``other``."""
    return _FINISH.get(reason, "other")


_MOST_TOKENS = 1 << 53
"""The limit for token counts. Every JSON parser reads smaller integers exactly, and no request has so many tokens."""


def usage_of(usage: ServerUsage | None) -> Usage | None:
    """Convert the token counts of the server; an invalid count becomes ``None``."""
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details else None
    prompt, completion = count_of(usage.prompt_tokens), count_of(usage.completion_tokens)
    return Usage(prompt, count_of(cached), completion, reasoning_tokens=_reasoning_tokens(usage, prompt, completion))


def _reasoning_tokens(usage: ServerUsage, prompt: int | None, completion: int | None) -> int | None:
    """Return how many tokens of reasoning *usage* counts; ``None`` if it does not count them."""
    if isinstance(usage.completion_tokens_details, dict):
        return count_of(usage.completion_tokens_details.get("reasoning_tokens"))
    total = count_of(usage.total_tokens)
    if total is None or prompt is None or completion is None or total <= prompt + completion:
        return None
    return total - prompt - completion  # Gemini counts its thoughts only in the total


def _counted(body: CompletionBody | ChatBody) -> Usage | None:
    """Return the token counts in an event: at the end of a stream, or while llama.cpp reads the prompt."""
    if body.prompt_progress is None or body.usage is not None:
        return usage_of(body.usage)
    try:
        progress = msgspec.convert(body.prompt_progress, PromptProgress)
    except msgspec.ValidationError:
        return None  # a field of this name of another server
    return Usage(count_of(progress.total), count_of(progress.cache))


def count_of(value: object) -> int | None:
    """Return *value* if it is a valid count of tokens, else ``None``."""
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else None


def usage_of_answer(body: CompletionBody | ChatBody) -> Usage:
    """Return the server's token counts for a non-streamed answer, with its timings if the server sent any."""
    usage = usage_of(body.usage) or Usage()
    try:
        timings = msgspec.convert(body.timings, Timings | None)
    except msgspec.ValidationError:
        return usage
    if timings is None:
        return usage
    return msgspec.structs.replace(
        usage, prompt_seconds=_seconds(timings.prompt_ms), completion_seconds=_seconds(timings.predicted_ms)
    )


def completion_of(answer: CompletionBody, data: bytes) -> Completion:
    """Return the completion in *answer*, a whole answer of ``/v1/completions`` that was decoded from *data*.

    Raises :class:`~interwhen.ModelError` for an error of the server, and for an answer without a choice.
    """
    if not answer.choices:
        raise error_of(answer) or no_choices(data)
    choice = answer.choices[0]
    if choice.text is UNSET:
        raise unknown_shape(data, 0)
    reason = "truncated" if choice.finish_reason is None else finish_reason(choice.finish_reason)
    text = choice.text if isinstance(choice.text, str) else ""
    scores = choice.logprobs
    return Completion(text, reason, usage_of_answer(answer), scored(scores)[1], scored_tokens(scores))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1e3


def scored(logprobs: Logprobs | None) -> tuple[int, float | None]:
    """Return the number of tokens in *logprobs*, and the sum of their log-probabilities in nats.

    The sum is ``None`` if no token has a log-probability.
    """
    if logprobs is None:
        return 0, None
    values = logprobs.token_logprobs
    if values is None:
        tokens = (logprobs.reasoning_content or []) + (logprobs.content or [])
        values = [token.logprob for token in tokens]
    known = [value for value in values if value is not None]
    return len(values), sum(known) if known else None


def scored_tokens(logprobs: Logprobs | None) -> tuple[ScoredToken, ...]:
    """Return the tokens in *logprobs* that have a log-probability."""
    if logprobs is None:
        return ()
    values = logprobs.token_logprobs
    if values is None:
        rows = [(token.token, token.logprob, token.top_logprobs) for token in logprobs.content or ()]
    else:
        texts, tops = _listed(logprobs.tokens, len(values)), _listed(logprobs.top_logprobs, len(values))
        rows = list(zip(texts, values, tops, strict=True))
    return tuple(
        ScoredToken(text if isinstance(text, str) else "", value, tuple(_pairs(top)))
        for text, value, top in rows
        if value is not None
    )


def _listed(found: Any, size: int) -> list[Any]:
    items = found[:size] if isinstance(found, list) else []
    return items + [None] * (size - len(items))


def _pairs(top: Any) -> Iterator[tuple[str, float]]:
    """Yield the alternative tokens in *top* with their log-probabilities.

    The completions API has an object for them, the chat API a list.
    """
    if isinstance(top, dict):
        items = list(top.items())
    else:
        entries = top if isinstance(top, list) else []
        items = [(entry.get("token"), entry.get("logprob")) for entry in entries if isinstance(entry, dict)]
    for token, value in items:
        if isinstance(token, str) and isinstance(value, int | float):
            yield token, float(value)


def scores_of(data: bytes) -> tuple[ScoredToken, ...]:
    """Return the tokens with log-probabilities in *data*, an event of a chat stream; empty for invalid data."""
    try:
        choices = chat_decoder.decode(data).choices
    except NOT_JSON:
        return ()
    return tuple(token for choice in choices or () for token in scored_tokens(choice.logprobs))


def decode_completion(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  a hot call
    """Decode an event of ``/v1/completions``; see :data:`Decode` for the parameters.

    Raises :class:`~interwhen.models.StreamProtocolError` for an invalid chunk, and
    :class:`~interwhen.models.UpstreamError` for an error object.
    """
    try:
        body = completion_decoder.decode(data)
    except NOT_JSON as exc:
        return _done_or_raise(data, offset, exc)
    choices = body.choices
    if not choices:
        return _without_choices(body, data, offset, first)
    choice = choices[0]
    if choice.index or len(choices) > 1:
        raise _several(data, offset)
    text = choice.text
    if text is UNSET:
        if first and choice.finish_reason is None:
            raise unknown_shape(data, offset)
        text = None
    if text and choice.finish_reason is None and choice.logprobs is None and body.usage is None:
        return Chunk(text)  # nearly every event: no further call
    return _chunk(text or "", choice.finish_reason, choice.logprobs, _counted(body))


def decode_chat(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  a hot call
    """Decode an event of ``/v1/chat/completions``, with the parameters and errors of :func:`decode_completion`."""
    try:
        body = chat_decoder.decode(data)
    except NOT_JSON as exc:
        return _done_or_raise(data, offset, exc)
    choices = body.choices
    if not choices:
        return _without_choices(body, data, offset, first)
    choice = choices[0]
    if choice.index or len(choices) > 1:
        raise _several(data, offset)
    delta = choice.delta
    if not isinstance(delta, ChatText):
        if delta is UNSET and first and choice.finish_reason is None:
            raise unknown_shape(data, offset)
        return _chunk("", choice.finish_reason, None, _counted(body))
    reasoning = delta.reasoning_content or delta.reasoning
    if not reasoning:
        if delta.content and choice.finish_reason is None and choice.logprobs is None and body.usage is None:
            return Chunk(delta.content)  # nearly every event: no further call
        return _chunk(delta.content or "", choice.finish_reason, choice.logprobs, _counted(body))
    hidden = Usage(hides_reasoning=True) if delta.reasoning_details and _is_summary(delta.reasoning_details) else None
    thought = Chunk(reasoning, "reasoning", usage=hidden)
    if not delta.content:
        tokens, logprob = scored(choice.logprobs)
        reason = None if choice.finish_reason is None else finish_reason(choice.finish_reason)
        return Chunk(reasoning, "reasoning", tokens or 1, logprob, reason, usage_of(body.usage) or hidden)
    answer = _chunk(delta.content, choice.finish_reason, choice.logprobs, usage_of(body.usage))
    return (thought, answer) if answer else thought


def _is_summary(details: Any) -> bool:
    """Return whether *details* (`reasoning_details` of OpenRouter) say that the reasoning text is a summary."""
    found = details if isinstance(details, list) else []
    return any(isinstance(each, dict) and each.get("type") == "reasoning.summary" for each in found)


def noting_question(decode: Decode) -> Decode:
    """Return a function that decodes like *decode*, and adds to token counts that the request asked for reasoning."""

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        found = decode(data, offset, first)
        if isinstance(found, Chunk) and found.usage is not None and found.usage.completion_tokens is not None:
            usage = msgspec.structs.replace(found.usage, asked_to_reason=True)
            return msgspec.structs.replace(found, usage=usage)
        return found

    return decoded


def reasoning_field(data: bytes) -> str:
    """Return the name of the field with reasoning in the chat chunk *data*."""
    choices = chat_decoder.decode(data).choices or []
    names = [
        "reasoning_content" if choice.delta.reasoning_content else "reasoning"
        for choice in choices
        if isinstance(choice.delta, ChatText)
    ]
    return names[0] if names else "reasoning_content"


def no_choices(data: bytes) -> StreamProtocolError:
    """Return the error for *data*, a whole answer that has no choices."""
    return StreamProtocolError(
        "the answer must have at least one choice, got none", offset=0, sample=data, hint="see the log of the server"
    )


def error_of(body: CompletionBody | ChatBody) -> UpstreamError | None:
    """Return the exception for *body* if it is an error of the server, else ``None``."""
    if body.error is not None:
        return refusal(msgspec.json.encode({"error": body.error}))
    if body.object == "error":  # older vLLM has the fields of the error in the body itself
        return refusal(msgspec.json.encode({"message": body.message, "code": body.code}))
    return None


def _chunk(text: str, reason: str | None, logprobs: Logprobs | None, usage: Usage | None) -> Chunk | None:
    """Return a chunk of the answer, or ``None`` if it would be empty."""
    if reason is None and usage is None and logprobs is None:
        return Chunk(text) if text else None
    tokens, logprob = scored(logprobs)
    if not tokens and text:
        tokens = 1
    finish = None if reason is None else finish_reason(reason)
    return Chunk(text, "answer", tokens, logprob, finish, usage)


def _done_or_raise(data: bytes, offset: int, exc: Exception) -> EndMark:
    # The end mark is not JSON. Only data that failed to decode is compared with it, so other events cost nothing more.
    if data.strip() == b"[DONE]":
        return DONE
    shape = isinstance(exc, msgspec.ValidationError)
    what = f"must be a chunk, got other JSON ({exc})" if shape else f"must be JSON, got something else ({exc})"
    hint = "malformed='skip' leaves such events out"
    raise MalformedEvent(f"an event of the stream {what}", offset=offset, sample=data, hint=hint) from exc


def _without_choices(body: CompletionBody | ChatBody, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001
    error = error_of(body)
    if error is not None:
        raise error
    if body.usage is not None:
        return Chunk("", tokens=0, usage=usage_of(body.usage))
    if first and body.choices is UNSET:
        raise unknown_shape(data, offset)
    return None


def unknown_shape(data: bytes, offset: int) -> UnexpectedForm:
    """Return the error for *data* that is not an event of this API. It names the right API, if known."""
    keys = {key for choice in _shape_of(data) for key in choice}
    if keys & {"delta", "message"}:
        hint = "it is one of /chat/completions: use ChatModel"
    elif "text" in keys:
        hint = "it is one of /completions: use CompletionsModel"
    else:
        hint = "check that base_url is that of an OpenAI-compatible API"
    return UnexpectedForm(
        "an event of the stream must be a chunk of this API, got something else", offset=offset, sample=data, hint=hint
    )


def _shape_of(data: bytes) -> list[dict[str, Any]]:
    try:
        choices = msgspec.json.decode(data)["choices"]
    except (*NOT_JSON, KeyError, TypeError):
        return []
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _several(data: bytes, offset: int) -> UnexpectedForm:
    return UnexpectedForm("a chunk must have one choice, got several", offset=offset, sample=data, hint="set n=1")
