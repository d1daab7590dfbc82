"""The requests with which each server tokenizes a chat, and continues a prompt of token ids.

The requests to vLLM and llama.cpp are tested with these servers. Those to SGLang were never sent to a real server.

Sources: vLLM 0.32, `vllm/entrypoints/serve/tokenize/protocol.py`; llama.cpp, `tools/server/README.md`; SGLang,
`docs/basic_usage/native_api` and `docs/basic_usage/sampling_params`, and for `return_prompt_token_ids` (SGLang 0.5.13)
`python/sglang/srt/entrypoints/openai/serving_chat.py`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UnexpectedForm
from interwhen._types.models import Completion
from interwhen.models._chunks import CompletionBody, ModelCard, RenderedPrompt, completion_of
from interwhen.models._raw_calls import CALL_TOKENS, RawCalls
from interwhen.models._token_resume import ChatEvents, Ids, Tokenizer, TokenPrompt, completion_body
from interwhen.models._transport import HttpResponse

Body: TypeAlias = dict[str, Any]
Place: TypeAlias = Literal["call", "completions", "/tokenize", "/apply-template", "/completion", "/generate"]
"""``call`` is the path of the chat. A path that starts with ``/`` is relative to the root of the server, another one to
``/v1``."""

Post: TypeAlias = Callable[[Body, Place], Awaitable[bytes]]
"""Posts a body to a place, and returns the answer. It raises :class:`~interwhen.models.ModelError`."""

_TEMPLATE = ("messages", "tools", "chat_template", "chat_template_kwargs", "mm_processor_kwargs")
"""The fields of a chat that its template reads."""


class TokenServer(Tokenizer):
    """Makes the requests to *model* of a server that can continue token ids, and reads the answers."""

    # Methods that send a request or read an answer raise `ModelError` if the request fails or the answer is invalid.

    place: Place
    """Where a prompt of token ids is posted to."""

    def __init__(self, model: str, post: Post) -> None:
        self._model = model
        self._post = post

    async def text_ids(self, text: str, *, special: bool) -> Ids:  # noqa: ARG002  vLLM and SGLang ignore it
        # Some servers make special tokens of text that looks like them even without `special`.
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        return _tokens(await self._post(body, "/tokenize"))

    def body(self, chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool) -> Body:
        # With `with_ids`, the request asks for the token ids of the continuation.
        raise NotImplementedError

    def converter(self) -> Callable[[Body], Body] | None:
        return None

    def events(
        self, response: HttpResponse, prompt: TokenPrompt, field: str, calls: RawCalls | None = None
    ) -> HttpResponse:
        """Convert *response*, the streamed answer to *prompt*, to the chat API. *field* is the field for reasoning."""
        return ChatEvents(response, prompt, field, read=self.converter(), calls=calls)

    def completion(self, data: bytes) -> Completion:
        convert = self.converter()
        if convert is None:
            return _completion(data, data)
        return _completion(
            msgspec.json.encode(convert(_decoded(data, dict[str, Any], "the answer must be a JSON object"))), data
        )


def token_server(owned_by: str | None, model: str, post: Post) -> TokenServer:
    return _SERVERS.get(owned_by or "", VllmTokens)(model, post)


def sends_ids(card: ModelCard | None) -> bool:
    # SGLang refuses a request with the field that asks for token ids, and llama.cpp ignores the field.
    return card is None or card.owned_by not in ("sglang", "llamacpp")


class VllmTokens(TokenServer):
    place: Place = "completions"

    async def chat_ids(self, chat: Mapping[str, Any]) -> Ids:
        body = {"model": self._model, **_template_fields(chat), "add_generation_prompt": True}
        return _tokens(await self._post(body, "/tokenize"))

    def body(self, chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool) -> Body:
        return completion_body(chat, prompt, with_ids=with_ids)


class LlamaCppTokens(TokenServer):
    place: Place = "/completion"

    async def chat_ids(self, chat: Mapping[str, Any]) -> Ids:
        body = {"model": self._model, **_template_fields(chat, "reasoning_effort")}
        data = await self._post(body, "/apply-template")
        rendered = _decoded(data, RenderedPrompt, "the answer of /apply-template must have a prompt")
        return await self._ids(rendered.prompt, add_special=True, parse_special=True)

    async def text_ids(self, text: str, *, special: bool) -> Ids:
        return await self._ids(text, add_special=False, parse_special=special)

    def body(self, chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool) -> Body:
        body = {name: chat[name] for name in _LLAMACPP_FIELDS if chat.get(name) is not None}
        if (limit := chat.get("max_completion_tokens", chat.get("max_tokens"))) is not None:
            body["n_predict"] = limit
        if chat.get("logprobs"):
            body["n_probs"] = chat.get("top_logprobs") or 1
        if (schema := _schema(chat)) is not None:
            body["json_schema"] = schema
        return {
            "model": self._model,
            **body,
            "stream": bool(chat.get("stream")),
            "prompt": list(prompt.ids),
            "return_tokens": with_ids,
            "cache_prompt": True,
            # The server leaves special tokens out of the text, unless they are named here.
            "preserved_tokens": [
                *(token for tag in prompt.family for token in _SPECIAL.findall(tag)),
                *(CALL_TOKENS if chat.get("tools") else ()),
            ],
        }

    def converter(self) -> Callable[[Body], Body]:
        return _llamacpp_event

    async def _ids(self, text: str, *, add_special: bool, parse_special: bool) -> Ids:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        return _tokens(await self._post(body, "/tokenize"))


class SglangTokens(TokenServer):
    place: Place = "/generate"

    async def chat_ids(self, chat: Mapping[str, Any]) -> Ids:
        # The server reports the ids of the prompt in a chat answer, here of one token (since SGLang 0.5.13).
        body = {
            **_template_fields(chat, "reasoning_effort"),
            "max_tokens": 1,
            "temperature": 0,
            "return_prompt_token_ids": True,
        }
        data = await self._post({"model": self._model, **body}, "call")
        wanted = "a chat answer must have prompt_token_ids"
        answer = _decoded(data, _ChatAnswer, wanted)
        if not answer.choices or not answer.choices[0].prompt_token_ids:
            raise UnexpectedForm(f"{wanted}, got none", offset=0, sample=data, hint=_HINT)
        return tuple(answer.choices[0].prompt_token_ids)

    def body(self, chat: Mapping[str, Any], prompt: TokenPrompt, *, with_ids: bool) -> Body:  # noqa: ARG002  always sent
        options = {name: chat[name] for name in _SGLANG_OPTIONS if chat.get(name) is not None}
        if chat.get("seed") is not None:
            options["sampling_seed"] = chat["seed"]
        if (schema := _schema(chat)) is not None:
            options["json_schema"] = msgspec.json.encode(schema).decode()
        # Without a limit, /generate stops after 128 tokens; null means until the context is full, as in the chat API.
        options["max_new_tokens"] = chat.get("max_completion_tokens", chat.get("max_tokens"))
        options["skip_special_tokens"] = False
        body: Body = {
            "input_ids": list(prompt.ids),
            "sampling_params": options,
            "stream": bool(chat.get("stream")),
            **{name: chat[name] for name in ("rid", "lora_path", "priority") if name in chat},
        }
        if chat.get("logprobs"):
            top = chat.get("top_logprobs") or 1
            body |= {"return_logprob": True, "top_logprobs_num": top, "return_text_in_logprobs": True}
        return body

    def converter(self) -> Callable[[Body], Body]:
        return _SglangEvents().event


_SERVERS: Mapping[str, Callable[[str, Post], TokenServer]] = {
    "vllm": VllmTokens,
    "llamacpp": LlamaCppTokens,
    "sglang": SglangTokens,
}


# From the answers of a server to the form of `/v1/completions`.


class _SglangEvents:
    """Converts the events of one response of `/generate`."""

    # By default, each event has the whole text and all ids so far; with the server's option
    # `--incremental-streaming-output`, only the new ones.

    def __init__(self) -> None:
        self._text = 0
        self._ids = 0
        self._scores = 0

    def event(self, body: Body) -> Body:
        # The result has only the new text and ids, so it must be called for each event, in order.
        meta = body.get("meta_info")
        if not isinstance(meta, dict):
            return body  # an error
        text, ids = body.get("text") or "", body.get("output_ids") or []
        if not isinstance(text, str) or not isinstance(ids, list):
            return {**body, "choices": [None]}  # the decoder reports this form
        count = meta.get("completion_tokens")
        # The count is of all tokens so far. If the event has fewer ids, it has only the new ones.
        is_whole = not isinstance(count, int) or len(ids) >= count
        new, new_ids = (text[self._text :], ids[self._ids :]) if is_whole else (text, ids)
        self._text = len(text) if is_whole else self._text + len(text)
        self._ids = len(ids) if is_whole else self._ids + len(ids)
        choice: Body = {"index": 0, "text": new, "finish_reason": None, "token_ids": new_ids}
        if isinstance(rows := meta.get("output_token_logprobs"), list):
            tops = meta.get("output_top_logprobs")
            start = self._scores if is_whole else 0
            self._scores = len(rows)
            scores = _scores(rows[start:])
            choice["logprobs"] = {
                "token_logprobs": [score for _, score in scores],
                "tokens": [token for token, _ in scores],
                "top_logprobs": [dict(_scores(each)) for each in (tops[start:] if isinstance(tops, list) else ())],
            }
        converted: Body = {"id": str(meta.get("id", "")), "choices": [choice]}
        reason = meta.get("finish_reason")
        if isinstance(reason, dict):
            if reason.get("type") == "abort":
                return {"error": {"message": reason.get("message") or "aborted", "code": reason.get("status_code")}}
            choice["finish_reason"] = reason.get("type")
            converted["usage"] = {
                "prompt_tokens": meta.get("prompt_tokens"),
                "completion_tokens": count,
                "prompt_tokens_details": {"cached_tokens": meta.get("cached_tokens")},
            }
        return converted


def _scores(rows: object) -> list[tuple[str, Any]]:
    wide = [row if isinstance(row, list) and len(row) > 2 else (None, 0, "") for row in _list(rows)]
    return [(row[2] if isinstance(row[2], str) else "", row[0]) for row in wide]


def _list(raw: object) -> list[Any]:
    return raw if isinstance(raw, list) else []


def _llamacpp_event(body: Body) -> Body:
    if "content" not in body:
        return body  # an error
    choice: Body = {"index": 0, "text": body["content"], "finish_reason": None, "token_ids": body.get("tokens") or []}
    if scores := body.get("completion_probabilities"):
        choice["logprobs"] = {"content": scores}
    converted: Body = {"choices": [choice]}
    if "prompt_progress" in body:
        converted["prompt_progress"] = body["prompt_progress"]
    if body.get("stop"):
        choice["finish_reason"] = "length" if body.get("stop_type") == "limit" else "stop"
        timings = body.get("timings")
        converted["timings"] = timings
        converted["usage"] = {
            "prompt_tokens": body.get("tokens_evaluated"),
            "completion_tokens": body.get("tokens_predicted"),
            "prompt_tokens_details": {"cached_tokens": timings.get("cache_n") if isinstance(timings, dict) else None},
        }
    return converted


class _Tokenized(msgspec.Struct, frozen=True):
    tokens: list[int]


class _AnswerChoice(msgspec.Struct, frozen=True):
    prompt_token_ids: list[int] | None = None


class _ChatAnswer(msgspec.Struct, frozen=True):
    choices: list[_AnswerChoice] = []


# msgspec evaluates the annotations of these now, and not while streams are read.
msgspec.json.Decoder(tuple[RenderedPrompt, _Tokenized, _ChatAnswer])


def _tokens(data: bytes) -> Ids:
    return tuple(_decoded(data, _Tokenized, "the answer of /tokenize must have tokens").tokens)


_HINT = "choose another way to resume with resume="


def _decoded(data: bytes, kind: Any, wanted: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except DECODE_ERRORS as error:
        raise UnexpectedForm(f"{wanted}, got something else ({error})", offset=0, sample=data, hint=_HINT) from error


def _completion(converted: bytes, data: bytes) -> Completion:
    answer: CompletionBody = _decoded(converted, CompletionBody, "the answer must be a completion")
    return completion_of(answer, data)


def _template_fields(chat: Mapping[str, Any], *more: str) -> Body:
    return {name: chat[name] for name in (*_TEMPLATE, *more) if chat.get(name) is not None}


def _schema(chat: Mapping[str, Any]) -> Body | None:
    wanted = chat.get("response_format")
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object"}
    inner = wanted.get("json_schema")
    return inner.get("schema") if wanted.get("type") == "json_schema" and isinstance(inner, Mapping) else None


_LLAMACPP_FIELDS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "frequency_penalty", "presence_penalty"),
    *("repeat_penalty", "logit_bias", "grammar", "id_slot", "cache_prompt", "return_progress"),
)
_SGLANG_OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "min_new_tokens", "logit_bias", "regex", "ebnf", "ignore_eos"),
)
_SPECIAL = re.compile(r"[<\[][^<>\[\]]+[>\]]")
"""Matches the special tokens in a tag of reasoning."""
