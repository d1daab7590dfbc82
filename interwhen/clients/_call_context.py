"""Lets a call use a prepared context: a stored answer instead of a request, or prepared text before the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from interwhen._types.errors import StoreError
from interwhen._types.extensions import Ready, Served
from interwhen._types.ledger import ContextUse
from interwhen._types.models import Chunk, Model, Prompt
from interwhen.clients._calls import ApiCall
from interwhen.clients._named_context import NamedContext

_PLAIN = frozenset(
    (
        "model",
        "messages",
        "prompt",
        "input",
        "instructions",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "user",
        "metadata",
        "store",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "frequency_penalty",
        "presence_penalty",
        "cache_prompt",
        "prompt_cache_key",
        "service_tier",
    )
)
"""The fields that a request may have to get a stored answer. Others may ask for more than text, or another text."""
_CHARACTERS_PER_TOKEN = 2
"""The most characters of a stored answer for each token of the caller's limit."""


@dataclass(frozen=True, slots=True)
class ContextServed:
    """A call after its context was applied."""

    call: ApiCall
    """With the prepared text, if there is any, before its question."""
    ready: Ready | None
    """``None`` if the call has no context."""
    answer: tuple[Chunk, ...] = ()
    """Empty if the server must be asked."""
    use: ContextUse | None = None
    """What the call uses of its context, or why nothing; ``None`` without a context, or without a report of it."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """Stands in place of the context in the run of a call: it adds no text again, and reports what was used."""

    inner: Ready | None
    """``None`` if the context could not be opened."""
    served: Served
    """What the context has added to the request; the run gets it without a stored answer."""

    def serve(self, model: Model, prompt: Prompt) -> Served:
        return replace(self.served, model=model, prompt=prompt, answer=())

    def begin(self) -> None:
        if self.inner is not None:
            self.inner.begin()

    def end(self) -> None:
        if self.inner is not None:
            self.inner.end()


async def serve_context(
    call: ApiCall, context: Ready | NamedContext, model: Model, *, takes_answer: bool
) -> ContextServed:
    """Add the prepared text to the request of *call*, or return a stored answer to it if *takes_answer* is true.

    If the context cannot be used for this request, the call stays unchanged, and the result's ``use`` may say why.
    Raises :class:`UsageError` if there is no context of this name.
    """
    name = context.name if isinstance(context, NamedContext) else ""
    try:
        inner = await context.ready() if isinstance(context, NamedContext) else context
    except StoreError as error:
        unread = Served(model, call.prompt, use=ContextUse(name, "unavailable", error.reason))
        return ContextServed(call, _Applied(None, unread), use=unread.use)
    prompt = call.prompt
    served = inner.serve(model, prompt)
    lead = lead_of(prompt, served.prompt)
    changed: ApiCall | None = call
    why = ""
    if served.answer:
        why = lack_of_plain_answer(call, served.answer) if takes_answer else "a strategy answers the call"
    elif served.model is not model:
        why = "it chose another model, which a call cannot use"
    elif lead is None:
        why = "it changed the prompt in another way than by text before the question"
    elif lead:
        changed = with_lead(call, lead)
        why = "" if changed is not None else "the request has no text of a user to which prepared text can be added"
    if why or changed is None:
        name = served.use.name if served.use is not None else name
        served = Served(model, prompt, use=ContextUse(name, "none", why))
        changed = call
    return ContextServed(changed, _Applied(inner, served), served.answer, served.use)


def lack_of_plain_answer(call: ApiCall, answer: tuple[Chunk, ...]) -> str:
    # Return why the stored `answer` must not be the reply to `call`; empty if it may.
    more = sorted(name for name, value in call.body.items() if name not in _PLAIN and value not in (None, [], {}))
    if more:
        return f"a stored answer does not have what the request asks for by {', '.join(more[:5])}"
    limit = call.body[call.limit] if call.limit else None
    length = sum(len(chunk.text) for chunk in answer)
    if limit is not None and length > _CHARACTERS_PER_TOKEN * limit:
        return f"the stored answer has {length} characters, and the request asks for at most {limit} tokens"
    return ""


def lead_of(prompt: Prompt, served: Prompt) -> str | None:
    if isinstance(prompt, str) or isinstance(served, str):
        if not (isinstance(prompt, str) and isinstance(served, str) and served.endswith(prompt)):
            return None
        return served[: len(served) - len(prompt)]
    if served == prompt:
        return ""
    at = max((at for at, turn in enumerate(prompt) if turn.role == "user"), default=None)
    if at is None or len(served) != len(prompt):
        return None
    own, given = prompt[at].content, served[at].content
    restored = (*served[:at], msgspec.structs.replace(served[at], content=own), *served[at + 1 :])
    return given[: len(given) - len(own)] if restored == prompt and given.endswith(own) else None


def with_lead(call: ApiCall, lead: str) -> ApiCall | None:
    body = dict(call.body)
    if call.api == "completions":
        prompt = body["prompt"]
        body["prompt"] = lead + (prompt if isinstance(prompt, str) else prompt[0])
        return replace(call, body=body)
    field, kind = ("messages", "text") if call.api == "chat" else ("input", "input_text")
    given = body.get(field)
    if isinstance(given, str):
        body[field] = lead + given
        return replace(call, body=body)
    turns = list(given or ())
    at = max(
        (at for at, turn in enumerate(turns) if isinstance(turn, Mapping) and turn.get("role") == "user"), default=-1
    )
    content = turns[at].get("content") if at >= 0 else None
    if isinstance(content, str):
        turns[at] = {**turns[at], "content": lead + content}
    elif isinstance(content, list):
        turns[at] = {**turns[at], "content": [{"type": kind, "text": lead}, *content]}
    else:
        return None
    body[field] = turns
    return replace(call, body=body)


def answer_body(call: ApiCall, answer: tuple[Chunk, ...], call_id: str) -> dict[str, Any]:
    """Return the body of a response with the text of the stored *answer*. Its token counts are 0."""
    reasoning = "".join(chunk.text for chunk in answer if chunk.phase == "reasoning")
    text = "".join(chunk.text for chunk in answer if chunk.phase != "reasoning")
    common: dict[str, Any] = {"id": f"interwhen-{call_id}", "created": 0, "model": call.model}
    if call.api == "responses":
        return common | _response(common["id"], reasoning, text)
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if call.api == "completions":
        choice["text"] = reasoning + text
        return common | {"object": "text_completion", "choices": [choice], "usage": usage}
    message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
    return common | {"object": "chat.completion", "choices": [choice | {"message": message}], "usage": usage}


def _response(id_: str, reasoning: str, text: str) -> dict[str, Any]:
    said = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    items: list[dict[str, Any]] = []
    if reasoning:
        thought = {"type": "reasoning_text", "text": reasoning}
        items.append({"type": "reasoning", "id": f"rs_{id_}", "summary": [], "content": [thought]})
    items.append({"type": "message", "id": f"msg_{id_}", "role": "assistant", "status": "completed", "content": [said]})
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    return {
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
