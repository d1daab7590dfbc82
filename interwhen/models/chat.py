"""Models behind ``/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from msgspec import UNSET

from interwhen._log import log_warning
from interwhen.errors import ModelError, StreamProtocolError
from interwhen.models.aborting import Abort
from interwhen.models.base import Capabilities, Chunk, Completion, Request, Sampling, ScoredToken
from interwhen.models.chunks import (
    Decoded,
    decode_chat,
    error_of,
    finish_reason,
    reasoning_field,
    scored,
    scored_tokens,
    scores_of,
    unknown_shape,
    usage_of_answer,
)
from interwhen.models.openai_compat import Malformed, OpenAICompatible
from interwhen.models.retrying import Retries
from interwhen.models.token_stream import TokenStream, collect
from interwhen.models.transport import Timeouts, Transport
from interwhen.models.turns import extra_turns, prefill_turns
from interwhen.models.wire import Text, card_of, chat_decoder, models_decoder

ChatResume = Literal["auto", "prefill", "turn"]
"""How to go on from kept text; ``auto`` finds out what the server can do."""

_PREFILLING = frozenset({"llamacpp", "vllm", "sglang"})
"""Who serves (``owned_by`` of the model list) where an unfinished assistant turn is continued."""


class ChatModel(OpenAICompatible):
    """A model that answers chats.

    With *resume* ``prefill`` the kept text is an unfinished assistant turn which the server continues (vLLM, SGLang,
    llama.cpp); with ``turn`` it is a finished one, followed by feedback as a user turn. ``auto`` asks
    ``GET /models`` once, before it first matters, and takes ``turn`` where it learns nothing.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        transport: Transport | str | None = None,
        timeouts: Timeouts | None = None,
        sampling: Sampling | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        malformed: Malformed = "strict",
        abort: Abort | None = None,
        max_ghosts: int | None = None,
        resume: ChatResume = "auto",
    ) -> None:
        super().__init__(
            base_url,
            model,
            api_key=api_key,
            transport=transport,
            timeouts=timeouts,
            sampling=sampling,
            retries=retries,
            headers=headers,
            malformed=malformed,
            abort=abort,
            max_ghosts=max_ghosts,
        )
        self._resume: Literal["prefill", "turn"] | None = None if resume == "auto" else resume
        self._context_tokens: int | None = None
        self._reasoning_field: str | None = None  # once a stream has shown one

    async def capabilities(self) -> Capabilities:
        """Say what the endpoint can do; asks it once where *resume* is ``auto``."""
        resume = await self._resume_mode()
        tags = ("<think>", "</think>") if self._reasoning_field is None else None
        return Capabilities(resume=resume, logprobs=True, think_tags=tags, context_tokens=self._context_tokens)

    async def stream(self, request: Request) -> TokenStream:
        """Send *request* and return the open stream, once the server has accepted it."""
        decode = decode_chat if self._reasoning_field else self._decode_and_learn
        return await self._open("chat/completions", await self._payload(request), decode)

    async def complete(self, request: Request) -> Completion:
        """Answer *request* whole. Reasoning in a field of its own is not part of the text."""
        payload = await self._payload(request)
        if "continue_final_message" in payload:
            # llama.cpp repeats a prefilled turn in an answer that comes in one response, and does not in a stream.
            tokens: list[ScoredToken] = []

            def decode(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
                tokens.extend(scores_of(data))
                return decode_chat(data, offset, first)

            read = decode if self._wants_logprobs(request) else decode_chat
            found = await collect(await self._open("chat/completions", payload, read))
            return replace(found, tokens=tuple(tokens))
        answer, data = await self._ask("chat/completions", payload, chat_decoder)
        if not answer.choices:
            raise error_of(answer) or StreamProtocolError("an answer without choices", offset=0)
        choice = answer.choices[0]
        if choice.message is UNSET:
            raise unknown_shape(data, 0)
        text = choice.message.content if isinstance(choice.message, Text) else None
        reason = "truncated" if choice.finish_reason is None else finish_reason(choice.finish_reason)
        scores = choice.logprobs
        return Completion(text or "", reason, usage_of_answer(answer), scored(scores)[1], scored_tokens(scores))

    async def _payload(self, request: Request) -> dict[str, Any]:
        body = self._body(request)
        if self._wants_logprobs(request):
            body["logprobs"] = True
            if request.sampling.top_logprobs:
                body.setdefault("top_logprobs", request.sampling.top_logprobs)
        kept = bool(request.prefix or request.side)
        if kept and await self._resume_mode() == "turn":
            body["messages"] = extra_turns(request)
            return body
        body["messages"] = prefill_turns(request, self._reasoning_field)
        if kept:
            # vLLM and SGLang ask for these two; llama.cpp continues any last assistant turn.
            body["continue_final_message"] = True
            body["add_generation_prompt"] = False
        return body

    async def _resume_mode(self) -> Literal["prefill", "turn"]:
        if self._resume is None:
            try:
                card = card_of(self.model, (await self._get("models", models_decoder)).data)
            except ModelError as exc:
                log_warning("model.resume_unknown", model=self.name, error=str(exc), taken="turn")
                card = None
            self._context_tokens = card.max_model_len if card else None
            self._resume = "prefill" if card and card.owned_by in _PREFILLING else "turn"
        return self._resume

    def _decode_and_learn(self, data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        """Decode, and notice where reasoning comes in a field of its own."""
        found = decode_chat(data, offset, first)
        if self._reasoning_field is None and _brings_reasoning(found):
            # Later streams do not come here: the field is known then.
            self._reasoning_field = reasoning_field(data)
        return found


def _brings_reasoning(found: Decoded) -> bool:
    part = found[0] if isinstance(found, tuple) else found
    return isinstance(part, Chunk) and part.phase == "reasoning"
