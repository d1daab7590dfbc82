"""The steps of a scripted server, and functions that build scripts of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import anyio


@dataclass(frozen=True, slots=True)
class Head:
    """A step that sends the head of the response.

    With *chunked*, the body is chunked. Without it and without ``content-length``, the body ends when the connection
    closes. The server sends a default head before the first :class:`Send`, or at the end, if the script has none
    before.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    chunked: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes of the body, framed as one chunk if the body is chunked. Empty bytes end a chunked body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send bytes without framing. For the scripted transport, which has no framing, this step breaks the connection."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Sleep:
    """Send nothing for *seconds* on the clock of the event loop."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing more. The steps after it are not reached."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a TCP reset."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection without ending the body. A body that ends with its connection is then complete."""


@dataclass(frozen=True, slots=True)
class Forever:
    """Repeat *steps*, which must not be empty, without end. The steps after it are not reached."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Deaf:
    """A step after which the server ignores a close by the client, but not an abort call.

    The scripted transport ignores this step.
    """


Step: TypeAlias = Head | Send | SendRaw | Sleep | Stall | Reset | Disconnect | Forever | Deaf
"""If the connection is open after the last step of a script, the server ends a chunked body."""


def reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """Return the steps of a complete response with the status *status*, the body *body* and a ``content-length``.

    The ``content-type`` is JSON unless *headers*, with names in lower case, have another one.
    """
    head = {"content-type": "application/json", **(headers or {}), "content-length": str(len(body))}
    return (Head(status, head, chunked=False), Send(body))


def in_turn(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Forever):
            while True:
                yield from in_turn(step.steps)
        else:
            yield step


Api = Literal["completions", "chat"]
"""``completions`` (requests have a prompt) or ``chat`` (messages)."""


@dataclass(slots=True)
class ReceivedRequest:
    """A request that the server received, and the state of its connection."""

    number: int
    """The number of POST requests for text before this one."""
    method: str
    path: str
    """The path, with the query."""
    headers: dict[str, str]
    """The headers, by their names in lower case."""
    body: bytes
    json: Any
    """The decoded body; ``None`` without a body."""
    connection: int
    """The number of the connection, from 1. Requests that reuse a connection have the same number."""
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set when the client closes the connection before the end of the answer."""
    gone_at: float | None = None
    """When :attr:`gone` was set, on the clock of the event loop."""
    generated: int = 0
    """The number of :class:`Send` steps performed for the answer, also those after the client closed the connection."""
    received_at: float = field(default_factory=anyio.current_time)
    """When the request arrived, on the clock of the event loop."""
    aborted: anyio.Event = field(default_factory=anyio.Event)
    """Set when the client aborts the request by its ``rid``."""

    @property
    def api(self) -> Api:
        return "chat" if "chat" in self.path else "completions"

    @property
    def kept(self) -> str:
        """The text that the answer continues: the prompt, or the text of all assistant turns."""
        body = self.json or {}
        if self.api == "completions":
            return str(body.get("prompt", ""))
        turns = [turn for turn in body.get("messages", ()) if turn["role"] == "assistant"]
        return "".join((turn.get("reasoning_content") or "") + (turn.get("content") or "") for turn in turns)

    def leave(self) -> None:
        """Record that the client closed the connection."""
        if self.gone_at is None:
            self.gone_at = anyio.current_time()
            self.gone.set()


Script = Callable[[ReceivedRequest], Iterable[Step]]


def rest_of(story: Sequence[str], kept: str) -> tuple[str, ...]:
    """Return the tokens of *story* that a client with the text *kept* does not have yet.

    The longest beginning of *story* with which *kept* ends is left out. So the first token of the result may be cut.
    """
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


class ScriptedEndpoint:
    """Answers requests by *script*; the base class of the scripted server and the scripted transport.

    :class:`~interwhen.testing.server.ScriptedServer` explains the parameters.
    """

    def __init__(
        self,
        script: Script,
        *,
        owned_by: str = "scripted",
        context_tokens: int | None = None,
        pages: Script | None = None,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        """Every request, in order of arrival."""
        self.running = 0
        """Answers in progress, including those whose client closed the connection."""
        self._script = script
        self._pages = pages or self._list_models
        self._card = {"id": "scripted", "object": "model", "owned_by": owned_by, "max_model_len": context_tokens}

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The POST requests for text. Abort calls and requests to render a chat template are left out."""
        return [
            request
            for request in self.requests
            if request.method == "POST" and not _is_abort(request) and not _is_template_question(request)
        ]

    @property
    def aborts(self) -> list[ReceivedRequest]:
        """The received requests that abort another request."""
        return [request for request in self.requests if _is_abort(request)]

    def answer(self, request: ReceivedRequest) -> Iterable[Step]:
        """Record *request*, and return the steps of its answer.

        An abort call sets ``aborted`` of the requests with the same ``rid``. Raises the exceptions of the script.
        """
        request.number = len(self.posts)
        self.requests.append(request)
        if _is_abort(request):
            for post in self.posts:
                if post.json.get("rid") == request.json.get("rid"):
                    post.aborted.set()
            return reply(200, b"{}")
        if _is_template_question(request):
            return self._render(request)
        return self._script(request) if request.method == "POST" else self._pages(request)

    def _render(self, request: ReceivedRequest) -> tuple[Step, ...]:
        if self._card["owned_by"] != "llamacpp":
            return reply(404, b'{"error": {"message": "File Not Found"}}')
        texts = [
            (turn.get("reasoning_content") or "") + (turn.get("content") or "") for turn in request.json["messages"]
        ]
        return reply(200, json.dumps({"prompt": "".join(texts)}).encode())

    def _list_models(self, _request: ReceivedRequest) -> tuple[Step, ...]:
        return reply(200, json.dumps({"object": "list", "data": [self._card]}).encode())


def _is_template_question(request: ReceivedRequest) -> bool:
    return request.path.endswith("/apply-template")


def _is_abort(request: ReceivedRequest) -> bool:
    return urlsplit(request.path).path == "/abort_request"


# The events of both APIs, as bytes and as steps of a script.

DONE = b"data: [DONE]\n\n"
"""The end mark of a stream."""


def chunk(api: Api, text: str | None, *, finish_reason: str | None = None, **choice: Any) -> dict[str, Any]:
    """Return one chunk of *api*; *choice* sets fields of its only choice."""
    content: dict[str, Any] = {"text": text} if api == "completions" else {"delta": {"content": text}}
    return {
        "id": "scripted",
        "object": "text_completion" if api == "completions" else "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": finish_reason, **choice}],
    }


def data(value: object) -> bytes:
    """Encode *value* as JSON in one server-sent event, with non-ASCII characters as UTF-8."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def events(texts: Iterable[str], *, api: Api = "completions", finish_reason: str | None = "stop") -> tuple[Step, ...]:
    """Return the steps of a valid stream: one event per text, one with *finish_reason* if given, and the end mark."""
    sends = [Send(data(chunk(api, text))) for text in texts]
    last = [Send(data(chunk(api, "", finish_reason=finish_reason)))] if finish_reason else []
    return (*sends, *last, Send(DONE))


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Builds the server-sent events of one API for the scripts of faults; :func:`fault` explains its fields."""

    api: Api
    story: Sequence[str]
    wrong: str
    seed: int

    def say(self, text: str | None, **choice: Any) -> Send:
        # `choice` adds fields to the only choice of the chunk.
        return Send(data(chunk(self.api, text, **choice)))

    def raw(self, text: str, **choice: Any) -> bytes:
        # `choice` adds fields to the only choice of the chunk.
        return json.dumps(chunk(self.api, text, **choice), ensure_ascii=False).encode()

    @property
    def first(self) -> Send:
        return self.say(self.story[0])

    def told(self, *middle: Step) -> tuple[Step, ...]:
        return (self.first, *middle, *self.ending())

    def ending(self) -> tuple[Step, ...]:
        return events(self.story[1:], api=self.api)

    def body(self) -> bytes:
        return b"".join(step.data for step in self.told() if isinstance(step, Send))

    def cut(self, last: Step) -> tuple[Step, ...]:
        half = b"data: " + self.raw(self.story[1] if len(self.story) > 1 else "more")
        return (self.first, Send(half[: len(half) // 2]), last)


# Chat chunks with more than text: reasoning in a separate field, tool calls in pieces, token counts.


def delta(fields: Mapping[str, Any], *, finish_reason: str | None = None, **top: Any) -> Send:
    """Return the step that sends a chat chunk with *fields* in its delta; *top* adds fields beside ``choices``."""
    return Send(data(chunk("chat", None, finish_reason=finish_reason, delta=dict(fields)) | top))


def tool_call(name: str, arguments: str, *, call_id: str = "call_1", index: int = 0, size: int = 7) -> tuple[Send, ...]:
    """Return the steps of a streamed tool call: first its name, then its arguments in pieces of *size* characters.

    *index* is the number of the call in the answer, from 0.
    """
    head = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return (
        delta({"role": "assistant", "content": None, "tool_calls": [head]}),
        *(delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces),
    )


def counts(prompt: int, completion: int) -> Send:
    """Return a chat chunk without choices, with the counts of tokens."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    body = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": []}
    return Send(data({**body, "usage": usage}))
