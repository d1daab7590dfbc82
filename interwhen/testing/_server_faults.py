"""Event streams of both APIs, whole and faulty, as scripts for :class:`~interwhen.testing.server.ScriptedServer`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interwhen.testing._server_steps import Close, Head, Reset, Send, Sleep, Stall, Step, reply

Api = Literal["completions", "chat"]

DONE = b"data: [DONE]\n\n"


def chunk(api: Api, text: str | None, *, finish_reason: str | None = None, **choice: Any) -> dict[str, Any]:
    """Build the JSON of one chunk."""
    content: dict[str, Any] = {"text": text} if api == "completions" else {"delta": {"content": text}}
    return {
        "id": "scripted",
        "object": "text_completion" if api == "completions" else "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": finish_reason, **choice}],
    }


def data(value: object) -> bytes:
    """Frame *value* as one event, with its characters as UTF-8."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def events(texts: Iterable[str], *, api: Api = "completions", finish_reason: str | None = "stop") -> tuple[Step, ...]:
    """Script a faultless stream, one send a text."""
    sends = [Send(data(chunk(api, text))) for text in texts]
    last = [Send(data(chunk(api, "", finish_reason=finish_reason)))] if finish_reason else []
    return (*sends, *last, Send(DONE))


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes for one API; every fault tells the story "one two three"."""

    api: Api

    def say(self, text: str | None, **choice: Any) -> Send:
        return Send(data(chunk(self.api, text, **choice)))

    def raw(self, text: str, **choice: Any) -> bytes:
        return json.dumps(chunk(self.api, text, **choice), ensure_ascii=False).encode()

    def story(self, *middle: Step) -> tuple[Step, ...]:
        return (self.say("one "), *middle, *self.ending())

    def ending(self) -> tuple[Step, ...]:
        return (self.say("two "), self.say("three"), self.say("", finish_reason="stop"), Send(DONE))

    def two_choices(self) -> Step:
        first, second = chunk(self.api, "a"), chunk(self.api, "b", index=1)
        return Send(data({**first, "choices": [*first["choices"], *second["choices"]]}))


_USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
_SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
_HTML = b"<!doctype html><title>Bad gateway</title>"


def _error(code: int | str, message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


def _multiline(pen: _Pen) -> tuple[Step, ...]:
    head, comma, tail = pen.raw("one ").partition(b", ")
    return (Send(b"data: " + head + comma + b"\ndata: " + tail + b"\n\n"), *pen.ending())


def _with_separators(pen: _Pen) -> tuple[Step, ...]:
    # The control characters below 0x20 are not valid in JSON unless escaped; json.dumps escapes them.
    return (pen.say("one "), pen.say(_SEPARATORS), *pen.ending())


def _cut(pen: _Pen, last: Step) -> tuple[Step, ...]:
    return (pen.say("one "), Send(b"data: " + pen.raw("two ")[:20]), last)


_FAULTS: Mapping[str, Callable[[_Pen], tuple[Step, ...]]] = {
    "none": lambda pen: pen.story(),
    "malformed_json": lambda pen: pen.story(Send(b'data: {"choices": [{"te\n\n')),
    "json_scalar": lambda pen: pen.story(Send(b"data: 42\n\n")),
    "utf8_invalid": lambda pen: pen.story(Send(b"data: " + pen.raw("X").replace(b"X", b"\xff\xfe") + b"\n\n")),
    "u2028": _with_separators,
    "no_space": lambda pen: (Send(b"data:" + pen.raw("one ") + b"\n\n"), *pen.ending()),
    "crlf": lambda pen: tuple(
        Send(step.data.replace(b"\n", b"\r\n")) if isinstance(step, Send) else step for step in pen.story()
    ),
    "comments": lambda pen: pen.story(Send(b": keepalive\n\nevent: message\nid: 7\nretry: 100\n\n")),
    "multiline_data": _multiline,
    "bom": lambda pen: (Send(b"\xef\xbb\xbf" + data(chunk(pen.api, "one "))), *pen.ending()),
    "error_event": lambda pen: pen.story(Send(data({"error": {"message": "out of memory", "code": 503}}))),
    "no_choices": lambda pen: pen.story(Send(data({"id": "scripted", "choices": []}))),
    "unknown_shape": lambda _: (Send(data({"event": "token", "value": "one"})), Send(DONE)),
    "usage_only": lambda pen: (*pen.story()[:-1], Send(data({"choices": [], "usage": _USAGE})), Send(DONE)),
    "text_null": lambda pen: pen.story(pen.say(None)),
    "two_choices": lambda pen: pen.story(pen.two_choices()),
    "http_429": lambda _: reply(429, _error(429, "slow down"), {"retry-after": "1"}),
    "http_429_long": lambda _: reply(429, _error(429, "come back tomorrow"), {"retry-after": "86400"}),
    "http_400": lambda _: reply(400, _error(400, "temperature must be positive")),
    "http_400_ctx": lambda _: reply(400, _error(400, "This model's maximum context length is 4096 tokens")),
    "http_500": lambda _: reply(500, _error(500, "internal error")),
    "http_307": lambda _: reply(307, b"", {"location": "/v1/elsewhere"}),
    "http_307_away": lambda _: reply(307, b"", {"location": "http://other.invalid/v1/completions"}),
    "html_200": lambda _: reply(200, _HTML, {"content-type": "text/html; charset=utf-8"}),
    "rst_mid": lambda pen: _cut(pen, Reset()),
    "eof_mid": lambda pen: _cut(pen, Close()),
    "eof_before": lambda _: (Close(),),
    "dup_done": lambda pen: (*pen.story(), pen.say("junk"), Send(DONE)),
    "done_no_close": lambda pen: (*pen.story(), Stall()),
    "no_done": lambda pen: pen.story()[:-2],
    "no_finish": lambda pen: (*pen.story()[:-2], Send(DONE)),
    "finish_length": lambda pen: (pen.say("one "), pen.say("", finish_reason="length"), Send(DONE)),
    "finish_abort": lambda pen: (pen.say("one "), pen.say("", finish_reason="abort"), Send(DONE)),
    "huge_chunk": lambda pen: (pen.say("one "), pen.say("x" * (4 << 20)), Send(DONE)),
    "no_newline": lambda pen: (pen.say("one "), *[Send(b"x" * 65536)] * 64, Stall()),
    "bad_chunk_size": lambda pen: (pen.say("one "), Send(b"data: "), Head(chunked=False), Stall()),
    "stall": lambda pen: (pen.say("one "), Stall()),
    "stall_headers": lambda _: (Stall(),),
    "keepalive_only": lambda _: (*[step for _ in range(1000) for step in (Send(b": keepalive\n\n"), Sleep(10))],),
}

FAULTS: Sequence[str] = tuple(_FAULTS)
"""The names of the faults."""


def fault(name: str, api: Api = "completions") -> tuple[Step, ...]:
    """Return the script of the fault *name*. A stream that is whole says "one two three"; ``none`` is no fault."""
    return _FAULTS[name](_Pen(api))
