"""A request as a scripted server got it, and what is left to say to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio

from interwhen.testing._server_steps import Step, reply

Api = Literal["completions", "chat"]


@dataclass(slots=True)
class ReceivedRequest:
    """A request as the server got it, and what became of its connection."""

    number: int
    """How many POST requests came before it."""
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: Any
    """The decoded body; ``None`` where there is none."""
    connection: int
    """The number of the connection it came on; equal numbers mean that the connection was kept."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set once the client has closed the connection while the answer was being sent."""
    gone_at: float | None = None
    """When that was, on the running clock."""
    generated: int = 0
    """How many events of the answer were made, also for a client that is gone."""
    aborted: anyio.Event = field(default_factory=anyio.Event)
    """Set once the client has asked for an end by name (``rid``)."""

    @property
    def api(self) -> Api:
        """The API it speaks, by its path."""
        return "chat" if "chat" in self.path else "completions"

    @property
    def kept(self) -> str:
        """All text that the answer goes on from: the prompt, or what the assistant has said."""
        body = self.json or {}
        if self.api == "completions":
            return str(body.get("prompt", ""))
        turns = [turn for turn in body.get("messages", ()) if turn["role"] == "assistant"]
        return "".join((turn.get("reasoning_content") or "") + (turn.get("content") or "") for turn in turns)

    def leave(self) -> None:
        """Note that the client is gone."""
        if self.gone_at is None:
            self.gone_at = anyio.current_time()
            self.gone.set()


Script = Callable[[ReceivedRequest], Iterable[Step]]


def rest_of(story: Sequence[str], kept: str) -> tuple[str, ...]:
    """Return what of *story* comes behind *kept*, in the story's own tokens."""
    whole = "".join(story)
    at = next(size for size in range(len(whole), -1, -1) if kept.endswith(whole[:size]))
    rest = []
    start = 0
    for text in story:
        end = start + len(text)
        if end > at:
            rest.append(whole[max(start, at) : end])
        start = end
    return tuple(rest)


class Desk:
    """Where requests are answered, however they came."""

    def __init__(self, script: Script, *, owned_by: str = "scripted", context_tokens: int | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        """Every request, in order of arrival."""
        self.running = 0
        """How many answers are being made now, also for clients that are gone."""
        self._script = script
        self._card = {"id": "scripted", "object": "model", "owned_by": owned_by, "max_model_len": context_tokens}

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The POST requests, without the abort calls."""
        return [request for request in self.requests if request.method == "POST" and not _is_abort(request)]

    @property
    def aborts(self) -> list[ReceivedRequest]:
        """The abort calls."""
        return [request for request in self.requests if _is_abort(request)]

    def answer(self, request: ReceivedRequest) -> Iterable[Step]:
        """Return the steps for *request*, and keep it."""
        request.number = len(self.posts)
        self.requests.append(request)
        if _is_abort(request):
            for post in self.posts:
                if post.json.get("rid") == request.json.get("rid"):
                    post.aborted.set()
            return reply(200, b"{}")
        if request.method == "POST":
            return self._script(request)
        return reply(200, json.dumps({"object": "list", "data": [self._card]}).encode())


def _is_abort(request: ReceivedRequest) -> bool:
    return urlsplit(request.path).path == "/abort_request"
