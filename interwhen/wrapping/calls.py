"""What a caller asks for: an OpenAI-style request body, read as far as supervising it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from interwhen.errors import UsageError
from interwhen.models.base import Message, Prompt, Sampling
from interwhen.models.messages import read_messages

Api = Literal["chat", "completions", "responses"]
"""``/chat/completions``, ``/completions`` or ``/responses``."""

PATHS: Mapping[str, Api] = {"chat/completions": "chat", "completions": "completions", "responses": "responses"}
"""Where these APIs are, below the version."""

_LIMITS: Mapping[Api, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
_OFF = "to make this call unsupervised, say interwhen={'monitors': []}"


class Unsupported(UsageError):
    """A request that cannot be supervised: it is refused rather than let through unseen."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the caller wrote it, and the few things of it that matter to us."""

    api: Api
    body: Mapping[str, Any] = field(repr=False)
    """The request body, without the field ``interwhen``; it goes to the server as it is."""
    streams: bool
    """Whether the caller wants a stream."""
    wants_usage: bool
    """Whether the caller asked for a chunk with token counts."""
    limit: str | None
    """The field of the body that bounds the tokens, if it has one."""

    @property
    def sampling(self) -> Sampling:
        """The part of the sampling that the engine must know: limit, seed, and whether the model is greedy."""
        limit = self.body[self.limit] if self.limit else None
        greedy = 0.0 if self.body.get("temperature") == 0 else None
        return Sampling(max_tokens=limit, seed=self.body.get("seed"), temperature=greedy)

    @property
    def prompt(self) -> Prompt:
        """What is asked, as verifiers and certificates see it: a text, or the turns of the chat, calls included."""
        if self.api == "completions":
            prompt = self.body.get("prompt")
            return prompt if isinstance(prompt, str) else _json(prompt)
        if self.api == "chat":
            return read_messages(self.body.get("messages")) or _json(self.body.get("messages"))
        said = self.body.get("instructions")
        first = (Message("system", said),) if isinstance(said, str) and said else ()
        return (*first, *read_messages(self.body.get("input"))) or _json(self.body.get("input"))

    @property
    def is_structured(self) -> bool:
        """Whether the answer is to be JSON: nothing may be said between its lines."""
        text = self.body.get("text")
        wanted = text.get("format") if isinstance(text, Mapping) else self.body.get("response_format")
        return isinstance(wanted, Mapping) and wanted.get("type") not in (None, "text")

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """The tools that the model may call, in the form of the chat API (``name``, ``parameters``)."""
        found = [tool.get(tool.get("type", "function"), tool) for tool in self.body.get("tools") or ()]
        found += list(self.body.get("functions") or ())
        return tuple(tool for tool in found if isinstance(tool, Mapping) and isinstance(tool.get("name"), str))


def read_call(api: Api, body: Mapping[str, Any]) -> Call:
    """Read the request *body* of *api*. Raises :class:`Unsupported` on one that cannot be supervised."""
    _refuse(api, body)
    options = body.get("stream_options")
    limit = next((name for name in _LIMITS[api] if isinstance(body.get(name), int)), None)
    return Call(
        api=api,
        body={name: value for name, value in body.items() if name != "interwhen"},
        streams=bool(body.get("stream")),
        wants_usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        limit=limit,
    )


def _refuse(api: Api, body: Mapping[str, Any]) -> None:
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise Unsupported(f"{name}={body[name]!r}: several answers in one stream cannot be supervised; {_OFF}")
    if "audio" in (body.get("modalities") or ()):
        raise Unsupported(f"modalities={body['modalities']!r}: sound cannot be supervised; {_OFF}")
    if api == "completions":
        prompt = body.get("prompt")
        if not isinstance(prompt, str) and not (
            isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str)
        ):
            raise Unsupported(f"prompt={prompt!r:.80}: one text is needed to go on from; {_OFF}")
        if body.get("echo") or body.get("suffix"):
            raise Unsupported(f"echo and suffix: there is no one text to go on from; {_OFF}")
    agents = body.get("multi_agent")
    if api == "responses" and isinstance(agents, Mapping) and agents.get("enabled"):
        raise Unsupported(f"multi_agent={agents!r:.80}: several agents in one stream cannot be supervised; {_OFF}")
    if api == "responses" and body.get("background"):
        raise Unsupported(f"background=True: such a response is not read while it is written; {_OFF}")


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()
