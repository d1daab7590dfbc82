"""Decodes the data of server-sent events to chunks, and assembles the tool calls of a stream from their pieces."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from interwhen._types.errors import DECODE_ERRORS, MalformedEvent, StreamProtocolError, UnexpectedForm, UpstreamError
from interwhen._types.models import Chunk, Completion, FinishReason, ScoredToken, Usage
from interwhen._types.segments import ToolCall
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
    """Log-probabilities of the completions API (first three fields) or of the chat API (last two)."""

    token_logprobs: list[float | None] | None = None
    tokens: Any = None
    top_logprobs: Any = None
    content: list[TokenLogprob] | None = None
    reasoning_content: list[TokenLogprob] | None = None


class ChatText(msgspec.Struct, frozen=True, gc=False):
    """The ``delta`` in a streamed chunk, or the ``message`` in a whole answer."""

    # Reasoning is in `reasoning_content` or `reasoning`; `reasoning_details` are those of OpenRouter.

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None


class CompletionChoice(msgspec.Struct, frozen=True, gc=False):
    """One of the ``choices`` of ``/v1/completions``."""

    index: int | None = 0
    text: str | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatChoice(msgspec.Struct, frozen=True, gc=False):
    """One of the ``choices`` of ``/v1/chat/completions``."""

    # Its text is in `delta` if it is streamed, and in `message` if it is whole.

    index: int | None = 0
    delta: ChatText | UnsetType | None = UNSET
    message: ChatText | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ServerUsage(msgspec.Struct, frozen=True, gc=False):
    """The token counts that the server reports, not yet validated."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    total_tokens: Any = None
    completion_tokens_details: Any = None


class Timings(msgspec.Struct, frozen=True, gc=False):
    """The times that llama.cpp needed, in milliseconds."""

    prompt_ms: float | None = None
    predicted_ms: float | None = None


class PromptProgress(msgspec.Struct, frozen=True, gc=False):
    """How many tokens a prompt has for llama.cpp, and how many of them came from its cache."""

    total: int | None = None
    cache: int | None = None


class AnswerBody(msgspec.Struct, frozen=True, gc=False):
    """A chunk or a whole answer of either API, without its choices, or an error of the server."""

    # `prompt_progress` and `timings` are those of llama.cpp.

    usage: ServerUsage | None = None
    prompt_progress: Any = None
    timings: Any = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    code: int | str | None = None


class CompletionBody(AnswerBody, frozen=True, gc=False):
    choices: list[CompletionChoice] | UnsetType | None = UNSET


class ChatBody(AnswerBody, frozen=True, gc=False):
    choices: list[ChatChoice] | UnsetType | None = UNSET


class ModelCard(msgspec.Struct, frozen=True, gc=False):
    """An entry of ``GET /v1/models``, with the model's server and context length in tokens."""

    id: str = ""
    owned_by: str | None = None
    max_model_len: int | None = None


class ModelList(msgspec.Struct, frozen=True, gc=False):
    """The answer of ``GET /v1/models``."""

    data: list[ModelCard] = []


class SlotState(msgspec.Struct, frozen=True, gc=False):
    """An entry of llama.cpp's ``GET /slots``. A slot is the memory for one prompt."""

    id: int = 0
    is_processing: bool = False
    id_task: int | None = None
    """The number of the request that the slot serves, or served last."""


class RenderedPrompt(msgspec.Struct, frozen=True, gc=False):
    """The answer of llama.cpp's ``POST /apply-template``: a chat as the text of a prompt."""

    prompt: str


class GenerationSettings(msgspec.Struct, frozen=True, gc=False):
    n_ctx: int | None = None


class ServerProps(msgspec.Struct, frozen=True, gc=False):
    """The answer of llama.cpp's ``GET /props``."""

    default_generation_settings: GenerationSettings = GenerationSettings()


def card_of(model: str, cards: Sequence[ModelCard]) -> ModelCard | None:
    return next((card for card in cards if card.id == model), cards[0] if cards else None)


completion_decoder = msgspec.json.Decoder(CompletionBody)
chat_decoder = msgspec.json.Decoder(ChatBody)
models_decoder = msgspec.json.Decoder(ModelList)
slots_decoder = msgspec.json.Decoder(list[SlotState])
rendered_decoder = msgspec.json.Decoder(RenderedPrompt)
props_decoder = msgspec.json.Decoder(ServerProps)
# msgspec evaluates the annotations of these now, and not while streams are read.
msgspec.json.Decoder(tuple[Timings, PromptProgress])


class EndMark(enum.Enum):
    """The event ``[DONE]``, which ends a stream of the OpenAI APIs."""

    DONE = enum.auto()


DONE: Final = EndMark.DONE

Decoded: TypeAlias = Chunk | EndMark | tuple[Chunk, ...] | None
"""The content of one event; ``None`` if it is empty or ignored."""

Decode: TypeAlias = Callable[[bytes, int, bool], Decoded]
"""``decode(data, offset, first)``: the data of an event, its byte offset in the body (for errors), and whether no valid
chunk came before it. Only then is an event of unknown form an error."""


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
    # Other reasons, such as `abort`, become `other`.
    return _FINISH.get(reason, "other")


_UNFINISHED = (None, "", "null")
"""The finish reason in events before the last one. Some servers send an empty text or the text ``null``."""

_MOST_TOKENS = 1 << 53
"""A parser with 64-bit floats reads smaller integers exactly."""


def usage_of(usage: ServerUsage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt, completion = count_of(usage.prompt_tokens), count_of(usage.completion_tokens)
    return Usage(prompt, count_of(cached), completion, reasoning_tokens=_reasoning_tokens(usage, prompt, completion))


def _reasoning_tokens(usage: ServerUsage, prompt: int | None, completion: int | None) -> int | None:
    """Return the number of reasoning tokens in *usage*. *prompt* and *completion* are its valid counts, if any."""
    if isinstance(usage.completion_tokens_details, dict):
        return count_of(usage.completion_tokens_details.get("reasoning_tokens"))
    total = count_of(usage.total_tokens)
    if total is None or prompt is None or completion is None or total <= prompt + completion:
        return None
    return total - prompt - completion  # Gemini counts its thoughts only in the total


def _counted(body: AnswerBody) -> Usage | None:
    if body.prompt_progress is None or body.usage is not None:
        return usage_of(body.usage)
    try:
        progress = msgspec.convert(body.prompt_progress, PromptProgress)
    except msgspec.ValidationError:
        return None  # a field of this name of another server
    return Usage(count_of(progress.total), count_of(progress.cache))


def count_of(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else None


def usage_of_answer(body: AnswerBody) -> Usage:
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
    # `data` are the undecoded bytes of `answer`, for errors.
    if not answer.choices:
        raise error_of(answer) or no_choices(data)
    choice = answer.choices[0]
    if choice.text is UNSET:
        raise unknown_shape(data, 0)
    return _whole(choice, choice.text if isinstance(choice.text, str) else None, answer)


def chat_completion_of(answer: ChatBody, data: bytes) -> Completion:
    """Return the completion in *answer*, a whole answer of ``/v1/chat/completions``, without its reasoning.

    *data* are its undecoded bytes, for errors.
    """
    if not answer.choices:
        raise error_of(answer) or no_choices(data)
    choice = answer.choices[0]
    if choice.message is UNSET:
        raise unknown_shape(data, 0)
    return _whole(choice, choice.message.content if isinstance(choice.message, ChatText) else None, answer)


def _whole(choice: CompletionChoice | ChatChoice, text: str | None, answer: AnswerBody) -> Completion:
    reason = "truncated" if choice.finish_reason is None else finish_reason(choice.finish_reason)
    scores = choice.logprobs
    return Completion(text or "", reason, usage_of_answer(answer), scored(scores)[1], scored_tokens(scores))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1e3


def scored(logprobs: Logprobs | None) -> tuple[int, float | None]:
    # The number of tokens, and the sum of the known log-probabilities: `None` if there are none.
    if logprobs is None:
        return 0, None
    values = logprobs.token_logprobs
    if values is None:
        tokens = (logprobs.reasoning_content or []) + (logprobs.content or [])
        values = [token.logprob for token in tokens]
    known = [value for value in values if value is not None]
    return len(values), sum(known) if known else None


def scored_tokens(logprobs: Logprobs | None) -> tuple[ScoredToken, ...]:
    # Without the tokens of `reasoning_content`: a completion has no reasoning.
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


def _listed(raw: Any, size: int) -> list[Any]:
    items = raw[:size] if isinstance(raw, list) else []
    return items + [None] * (size - len(items))


def _pairs(top: Any) -> Iterator[tuple[str, float]]:
    if isinstance(top, dict):
        items = list(top.items())
    else:
        entries = top if isinstance(top, list) else []
        items = [(entry.get("token"), entry.get("logprob")) for entry in entries if isinstance(entry, dict)]
    for token, value in items:
        if isinstance(token, str) and isinstance(value, int | float):
            yield token, float(value)


def scores_of(data: bytes) -> tuple[ScoredToken, ...]:
    try:
        choices = chat_decoder.decode(data).choices
    except DECODE_ERRORS:
        return ()
    return tuple(token for choice in choices or () for token in scored_tokens(choice.logprobs))


def decode_completion(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  a hot call
    try:
        body = completion_decoder.decode(data)
    except DECODE_ERRORS as exc:
        return _done_or_raise(data, offset, exc)
    choices = body.choices
    if not choices:
        return _without_choices(body, data, offset, first)
    choice = choices[0]
    if choice.index or len(choices) > 1:
        raise _several(data, offset)
    text, reason = choice.text, choice.finish_reason
    if reason is not None or body.error is not None:
        reason = _reason_of(choice, body)
    if text is UNSET:
        if first and (reason is None or _texts_of(data)):
            raise unknown_shape(data, offset)
        text = None
    if text and reason is None and choice.logprobs is None and body.usage is None:
        return Chunk(text)  # nearly every event: no further call
    return _chunk(text or "", reason, choice.logprobs, _counted(body))


def decode_chat(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  a hot call
    # An event with reasoning and answer becomes two chunks.
    try:
        body = chat_decoder.decode(data)
    except DECODE_ERRORS as exc:
        return _done_or_raise(data, offset, exc)
    choices = body.choices
    if not choices:
        return _without_choices(body, data, offset, first)
    choice = choices[0]
    if choice.index or len(choices) > 1:
        raise _several(data, offset)
    delta, reason = choice.delta, choice.finish_reason
    if reason is not None or body.error is not None:
        reason = _reason_of(choice, body)
    if not isinstance(delta, ChatText):
        if delta is UNSET and first and (reason is None or _texts_of(data)):
            raise unknown_shape(data, offset)
        return _chunk("", reason, None, _counted(body))
    reasoning = delta.reasoning_content or delta.reasoning
    if not reasoning:
        if delta.content and reason is None and choice.logprobs is None and body.usage is None:
            return Chunk(delta.content)  # nearly every event: no further call
        return _chunk(delta.content or "", reason, choice.logprobs, _counted(body))
    hidden = Usage(hides_reasoning=True) if delta.reasoning_details and _is_summary(delta.reasoning_details) else None
    thought = Chunk(reasoning, "reasoning", usage=hidden)
    if not delta.content:
        tokens, logprob = scored(choice.logprobs)
        finish = None if reason is None else finish_reason(reason)
        return Chunk(reasoning, "reasoning", tokens or 1, logprob, finish, usage_of(body.usage) or hidden)
    answer = _chunk(delta.content, reason, choice.logprobs, usage_of(body.usage))
    return (thought, answer) if answer else thought


def _reason_of(choice: CompletionChoice | ChatChoice, body: AnswerBody) -> str | None:
    if body.error and (error := error_of(body)) is not None:
        raise error  # OpenRouter sends it beside a choice
    return None if choice.finish_reason in _UNFINISHED else choice.finish_reason


def _is_summary(details: Any) -> bool:
    entries = details if isinstance(details, list) else []
    return any(isinstance(each, dict) and each.get("type") == "reasoning.summary" for each in entries)


def noting_question(decode: Decode, request: Mapping[str, Any]) -> Decode:
    # If `request` turns on reasoning (by `thinking`: Anthropic, and others), the token counts at the end say so. If
    # then neither reasoning nor its count arrives, the reasoning counts as hidden.
    thinking = request.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") not in ("enabled", "adaptive"):
        return decode

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        content = decode(data, offset, first)
        if isinstance(content, Chunk) and content.usage is not None and content.usage.completion_tokens is not None:
            usage = msgspec.structs.replace(content.usage, asked_to_reason=True)
            return msgspec.structs.replace(content, usage=usage)
        return content

    return decoded


_PROGRESS = b'"prompt_progress":'
"""It never matches inside a JSON string, where quotation marks are escaped."""


def without_progress(decode: Decode, *, keeps_first: bool) -> Decode:
    """Return a function that decodes like *decode*, but takes the prompt tokens from events with llama.cpp's progress.

    *decode* does not get these events, except the first one, without the progress, if *keeps_first*.
    """
    begun = not keeps_first

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        nonlocal begun
        if _PROGRESS not in data:
            return decode(data, offset, first)
        try:
            body = msgspec.json.decode(data)
            progress = msgspec.convert(body.pop("prompt_progress"), PromptProgress)
        except (*DECODE_ERRORS, AttributeError, KeyError):
            return decode(data, offset, first)  # not an event of llama.cpp
        if not begun:
            begun = True
            decode(msgspec.json.encode(body), offset, first)
        return Chunk("", tokens=0, usage=Usage(count_of(progress.total), count_of(progress.cache)))

    return decoded


def reasoning_field(data: bytes) -> str:
    choices = chat_decoder.decode(data).choices or []
    names = [
        "reasoning_content" if choice.delta.reasoning_content else "reasoning"
        for choice in choices
        if isinstance(choice.delta, ChatText)
    ]
    return names[0] if names else "reasoning_content"


def no_choices(data: bytes) -> StreamProtocolError:
    return StreamProtocolError(
        "the answer must have at least one choice, got none", offset=0, sample=data, hint="see the log of the server"
    )


def error_of(body: AnswerBody) -> UpstreamError | None:
    if body.error is not None:
        return refusal(msgspec.json.encode({"error": body.error}))
    if body.object == "error":  # older vLLM has the fields of the error in the body itself
        return refusal(msgspec.json.encode({"message": body.message, "code": body.code}))
    return None


def _chunk(text: str, reason: str | None, logprobs: Logprobs | None, usage: Usage | None) -> Chunk | None:
    # Without `logprobs`, a text counts as one token.
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
    raise invalid_event(data, offset, exc) from exc


def invalid_event(data: bytes, offset: int, exc: Exception) -> MalformedEvent:
    shape = isinstance(exc, msgspec.ValidationError)
    what = f"must be a chunk, got other JSON ({exc})" if shape else f"must be JSON, got something else ({exc})"
    hint = "malformed='skip' leaves such events out"
    return MalformedEvent(f"an event of the stream {what}", offset=offset, sample=data, hint=hint)


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
    keys = {key for choice in _shape_of(data) for key in choice}
    if "message" in keys:
        hint = "it is a whole answer of /chat/completions: use ChatModel, and check that the server can stream"
    elif "delta" in keys:
        hint = "it is one of /chat/completions: use ChatModel"
    elif "text" in keys:
        hint = "it is one of /completions: use CompletionsModel"
    else:
        hint = "check that base_url is that of an OpenAI-compatible API"
    return UnexpectedForm(
        "an event of the stream must be a chunk of this API, got something else", offset=offset, sample=data, hint=hint
    )


def _texts_of(data: bytes) -> bool:
    return any(choice.get(name) for choice in _shape_of(data) for name in ("delta", "message", "text"))


def _shape_of(data: bytes) -> list[dict[str, Any]]:
    try:
        choices = msgspec.json.decode(data)["choices"]
    except (*DECODE_ERRORS, KeyError, TypeError):
        return []
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _several(data: bytes, offset: int) -> UnexpectedForm:
    return UnexpectedForm("a chunk must have one choice, got several", offset=offset, sample=data, hint="set n=1")


# Tool calls, assembled from the pieces in the fields ``tool_calls`` and ``function_call`` of a stream.

_ENDS: frozenset[FinishReason] = frozenset(("stop", "tool_calls"))

CallKind = Literal["function", "custom", "function_call"]


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: Any = None
    input: str | None = None


class _CallPiece(msgspec.Struct, frozen=True, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: _Function | None = None
    extra_content: Any = None


class _CallDelta(msgspec.Struct, frozen=True, gc=False):
    tool_calls: list[_CallPiece] | None = None
    function_call: _Function | None = None


class _CallChoice(msgspec.Struct, frozen=True, gc=False):
    delta: _CallDelta | None = None


class _CallBody(msgspec.Struct, frozen=True, gc=False):
    choices: list[_CallChoice] | None = None


_call_decoder = msgspec.json.Decoder(_CallBody)


class _PartialCall:
    """A tool call of a stream, with the pieces that have arrived."""

    __slots__ = ("id", "is_settled", "kind", "names", "number", "pieces")

    def __init__(self, number: int, kind: CallKind) -> None:
        self.number = number
        self.kind: CallKind = kind
        self.id = ""
        self.names: list[str] = []
        self.pieces: list[str] = []
        self.is_settled = False
        """Whether it was returned as complete."""

    def call(self) -> ToolCall:
        return ToolCall(self.id, "".join(self.names), "".join(self.pieces), self.kind)

    def has_all(self) -> bool:
        # False for a custom call, whose input is any text.
        if self.kind == "custom":
            return False
        try:
            self.call().values()
        except (ValueError, RecursionError):
            return False
        return True

    def add(self, name_of_call: str, said: _Function | None) -> None:
        self.id = self.id or name_of_call
        if said is None:
            return
        self.names.append(said.name or "")
        more = said.input if said.input is not None else said.arguments
        if more is not None:
            # Some servers send the arguments as an object instead of a string.
            self.pieces.append(more if isinstance(more, str) else msgspec.json.encode(more).decode())


class AssembledCalls(NamedTuple):
    """*pieces* has the number of the call of each piece in one chunk."""

    # `whole`: the calls that are complete now, with their numbers.

    pieces: tuple[int, ...]
    whole: list[tuple[int, ToolCall]]


class ReadCalls(NamedTuple):
    """The content of one event of a chat with tools. *chunks* also has the tool calls that are now complete."""

    chunks: Decoded
    pieces: tuple[int, ...]
    whole: list[tuple[int, ToolCall]]


class CallAssembler:
    """Assembles the tool calls of one stream from their pieces, and numbers them from 0."""

    # A call whose arguments are a JSON object is complete when the next call begins, any other call when the model has
    # finished. `extras` collects the field `extra_content` of calls by their ids.

    def __init__(self, extras: dict[str, Any] | None = None) -> None:
        self._extras = {} if extras is None else extras
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}
        """The last call that began with each index."""
        self._by_id: dict[tuple[int, str], _PartialCall] = {}
        self._tokens = 0
        """How many events have had pieces of calls since the last complete call."""

    @property
    def is_open(self) -> bool:
        return bool(self._calls)

    def feed(self, data: bytes) -> AssembledCalls:
        choices = _call_decoder.decode(data).choices
        delta = choices[0].delta if choices else None
        if delta is None or not (delta.tool_calls or delta.function_call):
            return AssembledCalls((), [])
        fed = AssembledCalls((), [])
        numbers: list[int] = []
        for piece in delta.tool_calls or ():
            kind: CallKind = "custom" if piece.custom is not None or piece.type == "custom" else "function"
            numbers.append(self._take(piece.index or 0, kind, piece.id or "", piece.function or piece.custom, fed))
            if piece.function is not None and _says_something(piece.custom):  # the client gets both: check both
                self._take(piece.index or 0, kind, piece.id or "", piece.custom, fed)
            if piece.extra_content is not None and piece.id:
                self._extras[piece.id] = piece.extra_content
        if delta.function_call is not None:
            numbers.append(self._take(0, "function_call", "", delta.function_call, fed))
        return fed._replace(pieces=tuple(numbers))

    def end(self, reason: FinishReason) -> list[tuple[int, ToolCall]]:
        # If `reason` does not say that the model had finished, return none, because the last call may be cut.
        left = [call for call in self._calls if not call.is_settled]
        for known in (self._calls, self._by_index, self._by_id):
            known.clear()
        return [(call.number, call.call()) for call in left] if reason in _ENDS else []

    def read(self, data: bytes, decoded: Decoded, offset: int) -> ReadCalls:
        try:
            pieces, whole = self.feed(data)
        except DECODE_ERRORS as exc:
            raise invalid_event(data, offset, exc) from exc
        chunks = list(decoded) if isinstance(decoded, tuple) else [decoded] if isinstance(decoded, Chunk) else []
        reason = chunks[-1].finish_reason if chunks else None
        if pieces:
            self._tokens += 1
        end = chunks.pop() if reason is not None and not chunks[-1].text else None
        if reason is not None:
            whole += self.end(reason)
        for _, call in whole:
            chunks.append(Chunk(call.text, tokens=self._tokens, call=call))
            self._tokens = 0
        if end is not None:
            chunks.append(end)
        elif reason is not None and whole:
            chunks.append(Chunk("", tokens=0, finish_reason=reason))
        return ReadCalls(chunks[0] if len(chunks) == 1 else tuple(chunks) or None, pieces, whole)

    def _take(self, index: int, kind: CallKind, name_of_call: str, said: _Function | None, fed: AssembledCalls) -> int:
        # If another call is now complete, it is added to `fed`.
        call = self._known(index, name_of_call)
        if call is None or (call.is_settled and _says_something(said)):
            # The check of a settled call did not see this piece. So the piece begins a new call, which is checked.
            call = self._begin(index, kind, fed)
        if not call.is_settled:
            call.add(name_of_call, said)
        if call.id:
            self._by_id[index, call.id] = call
        return call.number

    def _known(self, index: int, name_of_call: str) -> _PartialCall | None:
        last = self._by_index.get(index)
        if last is None or not name_of_call or not last.id or last.id == name_of_call:
            return last
        return self._by_id.get((index, name_of_call))

    def _begin(self, index: int, kind: CallKind, fed: AssembledCalls) -> _PartialCall:
        last = self._calls[-1] if self._calls else None
        if last is not None and last.has_all():
            last.is_settled = True
            fed.whole.append((last.number, last.call()))
        begun = self._by_index[index] = _PartialCall(len(self._calls), kind)
        self._calls.append(begun)
        return begun


def _says_something(said: _Function | None) -> bool:
    return said is not None and any((said.name, said.arguments, said.input))


_CALL_FIELDS = (b'"tool_calls"', b'"function_call"')


def reading_calls(decode: Decode, extras: dict[str, Any] | None = None) -> Decode:
    # For one stream only: the function remembers its calls. `extras` gets their `extra_content`, by the id of the call.
    calls = CallAssembler(extras)

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        content = decode(data, offset, first)
        if calls.is_open or any(field in data for field in _CALL_FIELDS):
            return content if isinstance(content, EndMark) else calls.read(data, content, offset).chunks
        return content

    return decoded
