"""Models behind ``/v1/completions``: what stands is the prefix of what comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import UNSET

from interwhen._log import log_warning
from interwhen.errors import ModelError, StreamProtocolError, UsageError
from interwhen.models.aborting import Abort
from interwhen.models.base import Capabilities, Completion, Message, Request, Sampling
from interwhen.models.chunks import (
    decode_completion,
    error_of,
    finish_reason,
    scored,
    scored_tokens,
    unknown_shape,
    usage_of_answer,
)
from interwhen.models.openai_compat import Malformed, OpenAICompatible
from interwhen.models.retrying import Retries
from interwhen.models.token_stream import TokenStream
from interwhen.models.transport import Timeouts, Transport
from interwhen.models.wire import card_of, completion_decoder, models_decoder

Template = Callable[[tuple[Message, ...]], str]
"""Renders the turns of a chat as the text in front of the assistant's answer."""


class CompletionsModel(OpenAICompatible):
    """A model that continues raw text. It resumes by prefix, at any character, so it suits interwhen best.

    A chat prompt needs *template*, which renders it as text; without one it is refused. *context_tokens* is the length
    of the context window, which bounds a run; ``"ask"`` takes what ``GET /models`` says, once.
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
        template: Template | None = None,
        context_tokens: int | Literal["ask"] | None = None,
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
        self._template = template
        self._context_tokens = context_tokens

    async def capabilities(self) -> Capabilities:
        """Say what the endpoint can do; known without asking it, but for the context window where it is to be asked."""
        if self._context_tokens == "ask":
            try:
                card = card_of(self.model, (await self._get("models", models_decoder)).data)
            except ModelError as exc:
                log_warning("model.context_unknown", model=self.name, error=type(exc).__name__)
                card = None
            self._context_tokens = card.max_model_len if card else None
        return Capabilities(resume="prefix", logprobs=True, context_tokens=self._context_tokens)

    async def stream(self, request: Request) -> TokenStream:
        """Send *request* and return the open stream, once the server has accepted it."""
        return await self._open("completions", self._payload(request), decode_completion)

    async def complete(self, request: Request) -> Completion:
        """Answer *request* whole, in one response."""
        answer, data = await self._ask("completions", self._payload(request), completion_decoder)
        if not answer.choices:
            raise error_of(answer) or StreamProtocolError("an answer without choices", offset=0)
        choice = answer.choices[0]
        if choice.text is UNSET:
            raise unknown_shape(data, 0)
        reason = "truncated" if choice.finish_reason is None else finish_reason(choice.finish_reason)
        text = choice.text if isinstance(choice.text, str) else ""
        scores = choice.logprobs
        return Completion(text, reason, usage_of_answer(answer), scored(scores)[1], scored_tokens(scores))

    def _payload(self, request: Request) -> dict[str, Any]:
        body = self._body(request)
        body["prompt"] = self._prompt(request) + request.prefix + (request.side or "")
        if self._wants_logprobs(request):
            body.setdefault("logprobs", 1 if request.sampling.top_logprobs is None else request.sampling.top_logprobs)
        return body

    def _prompt(self, request: Request) -> str:
        if isinstance(request.prompt, str):
            return request.prompt
        if self._template is None:
            raise UsageError(
                f"{self!r} continues text and got a chat of {len(request.prompt)} messages; "
                "use ChatModel, or give template= to render it"
            )
        return self._template(request.prompt)
