"""What the OpenAI-compatible APIs send, as msgspec structs: only the fields that matter here.

Fields that are missing, ``null`` and empty differ (a missing ``delta`` is an unknown shape, a null ``content``
is no text), so ``UNSET`` marks the missing ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """The log-probability of one sampled token, in nats; the rest is looked at where it was asked for only."""

    logprob: float | None = None
    token: Any = None
    top_logprobs: Any = None


class Logprobs(msgspec.Struct, frozen=True, gc=False):
    """Log-probabilities in the form of either API; llama.cpp uses the chat form (``content``) for both."""

    token_logprobs: list[float | None] | None = None
    tokens: Any = None
    top_logprobs: Any = None
    content: list[TokenLogprob] | None = None
    reasoning_content: list[TokenLogprob] | None = None


class Text(msgspec.Struct, frozen=True, gc=False):
    """The ``delta`` of a chat chunk or the ``message`` of a chat answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class CompletionChoice(msgspec.Struct, frozen=True, gc=False):
    """A choice of ``/v1/completions``."""

    index: int = 0
    text: str | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatChoice(msgspec.Struct, frozen=True, gc=False):
    """A choice of ``/v1/chat/completions``, streamed (``delta``) or whole (``message``)."""

    index: int = 0
    delta: Text | UnsetType | None = UNSET
    message: Text | UnsetType | None = UNSET
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct, frozen=True, gc=False):
    """Where the prompt tokens came from."""

    cached_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True, gc=False):
    """Token counts as the server gives them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Timings(msgspec.Struct, frozen=True, gc=False):
    """What llama.cpp says of how long a request took, in milliseconds."""

    prompt_ms: float | None = None
    predicted_ms: float | None = None


class CompletionBody(msgspec.Struct, frozen=True, gc=False):
    """A chunk or an answer of ``/v1/completions``; an error has ``message`` and ``code``."""

    choices: list[CompletionChoice] | UnsetType | None = UNSET
    usage: WireUsage | None = None
    timings: Any = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    code: int | str | None = None


class ChatBody(msgspec.Struct, frozen=True, gc=False):
    """A chunk or an answer of ``/v1/chat/completions``; errors as in :class:`CompletionBody`."""

    choices: list[ChatChoice] | UnsetType | None = UNSET
    usage: WireUsage | None = None
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


def card_of(model: str, cards: Sequence[ModelCard]) -> ModelCard | None:
    """Return the card of *model*; where none has its name, the first one."""
    return next((card for card in cards if card.id == model), cards[0] if cards else None)


completion_decoder = msgspec.json.Decoder(CompletionBody)
chat_decoder = msgspec.json.Decoder(ChatBody)
models_decoder = msgspec.json.Decoder(ModelList)
