"""Scripts of a scripted server for network faults, by name."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interwhen._types.vetting import require
from interwhen.testing._server_script import (
    DONE,
    Api,
    Deaf,
    Disconnect,
    EventWriter,
    Forever,
    Head,
    ReceivedRequest,
    Reset,
    Script,
    Send,
    SendRaw,
    Sleep,
    Stall,
    Step,
    data,
    events,
    reply,
    rest_of,
)

STORY = ("one ", "two ", "three")

_USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
_SSE = {"content-type": "text/event-stream"}
_HTML = b"<!doctype html><title>Bad gateway</title>"


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of wrong server behaviour: a script for it, and how many requests to the server get this script."""

    says: str
    script: Callable[[EventWriter], tuple[Step, ...]]
    times: int = 1
    """How many requests have this fault by default."""
    then: str = ""
    """The name of the fault of all later requests; if empty, they get the rest of the story."""


def fault(
    name: str, api: Api = "completions", *, story: Sequence[str] = STORY, wrong: str = "2 + 2 = 5\n", seed: int = 0
) -> tuple[Step, ...]:
    """Return the steps of an answer with the fault *name*, in events of *api*. The name ``none`` gives a valid stream.

    *story* is the text of the stream, as a list of tokens. *wrong* is text that a verifier should refute; some faults
    insert it. *seed* selects random choices. Raises :class:`~interwhen.UsageError` for an unknown name.
    """
    require("the fault", name, Literal[*FAULTS])
    return FAULTS[name].script(EventWriter(api, tuple(story), wrong, seed))


def faulty(
    name: str, *, story: Sequence[str] = STORY, wrong: str = "2 + 2 = 5\n", seed: int = 0, times: int | None = None
) -> Script:
    """Return the script of a server with the fault *name*, for either API.

    The first *times* requests have the fault (the default depends on the fault). Later requests get the rest of *story*
    after the text that they already contain, or have the fault :attr:`Fault.then`. *wrong* and *seed* are those of
    :func:`fault`. For an unknown name, the script raises :class:`~interwhen.UsageError`.
    """
    known = FAULTS.get(name, FAULTS["none"])
    met = known.times if times is None else times

    def script(request: ReceivedRequest) -> Iterable[Step]:
        api = request.api
        if request.number < met or name not in FAULTS:
            return fault(name, api, story=story, wrong=wrong, seed=seed)
        if known.then:
            return fault(known.then, api, story=story, wrong=wrong, seed=seed)
        return events(rest_of(story, request.kept), api=api)

    return script


def _error(code: int | str, message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


def _refused(status: int, message: str, **headers: str) -> Callable[[EventWriter], tuple[Step, ...]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: reply(status, _error(status, message), named)


def _moved(status: int, location: str) -> Callable[[EventWriter], tuple[Step, ...]]:
    return lambda _: reply(status, b"", {"location": location})


def _event(value: Any) -> Callable[[EventWriter], tuple[Step, ...]]:
    return lambda pen: pen.told(Send(data(value)))


def _ended(reason: str) -> Callable[[EventWriter], tuple[Step, ...]]:
    return lambda pen: (pen.first, pen.say("", finish_reason=reason), Send(DONE))


def _mixed_lines(pen: EventWriter) -> tuple[Step, ...]:
    ends = (b"\n", b"\r", b"\r\n")
    lines = pen.body().split(b"\n")[:-1]
    # An event is a line and an empty line, with the same line end.
    return tuple(Send(line + ends[number // 2 % 3]) for number, line in enumerate(lines))


def _multiline(pen: EventWriter) -> tuple[Step, ...]:
    head, comma, tail = pen.raw(pen.story[0]).partition(b", ")
    return (Send(b"data: " + head + comma + b"\ndata: " + tail + b"\n\n"), *pen.ending())


def _recut(pen: EventWriter) -> tuple[Step, ...]:
    rng, body = random.Random(pen.seed), pen.body()  # noqa: S311  not for security
    borders = sorted(rng.sample(range(1, len(body)), min(12, len(body) - 1)))
    return tuple(Send(body[a:b]) for a, b in zip([0, *borders], [*borders, len(body)], strict=True))


def _mutated(pen: EventWriter) -> tuple[Step, ...]:
    rng, body = random.Random(pen.seed), bytearray(pen.body())  # noqa: S311  not for security
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return (Send(bytes(body)),)


def _cut_anywhere(pen: EventWriter) -> tuple[Step, ...]:
    rng, body = random.Random(pen.seed), pen.body()  # noqa: S311  not for security
    return (Send(body[: rng.randrange(1, len(body))]), rng.choice((Reset(), Disconnect())))


def _two_choices(pen: EventWriter) -> tuple[Step, ...]:
    first, second = (json.loads(pen.raw(text, index=index)) for index, text in enumerate("ab"))
    return pen.told(Send(data({**first, "choices": [*first["choices"], *second["choices"]]})))


def _zipped(body: Callable[[EventWriter], bytes]) -> Callable[[EventWriter], tuple[Step, ...]]:
    return lambda pen: (Head(200, {**_SSE, "content-encoding": "gzip"}), Send(body(pen)))


def _chat_delta(pen: EventWriter) -> tuple[Step, ...]:
    if pen.api == "completions":
        return pen.told(pen.say(""))
    deltas: tuple[dict[str, Any] | None, ...] = ({"role": "assistant"}, {}, None, {"content": None, "refusal": None})
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return (*[Send(data(body)) for body in chunks], *pen.told())


def _dripped(pen: EventWriter, seconds: float, size: int) -> tuple[Step, ...]:
    text = "".join(pen.story)
    tokens = [pen.say(text[at : at + size]) for at in range(0, len(text), size)]
    return (*[step for token in tokens for step in (Sleep(seconds), token)], *events((), api=pen.api))


def _huge(pen: EventWriter) -> tuple[Step, ...]:
    # 64 MiB, from one piece in memory.
    return (pen.first, Send(b'data: {"x": "'), *[Send(b"x" * 65536)] * 1024, Send(b'"}\n\n'), *pen.ending())


FAULTS: Mapping[str, Fault] = {
    "none": Fault("no fault", lambda pen: pen.told()),
    # Bytes and lines.
    "malformed_json": Fault("JSON cut short in an event", lambda pen: pen.told(Send(b'data: {"choices": [{"te\n\n'))),
    "json_scalar": Fault("an event that is JSON but not an object", _event(42)),
    "json_shape": Fault(
        "a chunk whose text is a number", _event({"choices": [{"index": 0, "text": 1, "delta": {"content": 1}}]})
    ),
    "utf8_invalid": Fault(
        "invalid UTF-8 in the text",
        lambda pen: pen.told(Send(b"data: " + pen.raw("X").replace(b"X", b"\xff\xfe") + b"\n\n")),
    ),
    "u2028": Fault(
        "characters that some line readers split at: U+2028, U+2029, and escaped control characters",
        lambda pen: pen.told(pen.say("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e")),
    ),
    "u0085": Fault("U+0085 in the text", lambda pen: pen.told(pen.say("\x85"))),
    "random_cuts": Fault("the body cut into reads at random bytes", _recut),
    "mutated": Fault("up to eight random bytes of the body changed", _mutated),
    "crlf": Fault("lines that end with CR LF", lambda pen: _replaced(pen, b"\n", b"\r\n")),
    "cr": Fault("lines that end with CR", lambda pen: _replaced(pen, b"\n", b"\r")),
    "mixed_ends": Fault("line ends of all three kinds", _mixed_lines),
    "no_space": Fault("no space after `data:`", lambda pen: _replaced(pen, b"data: ", b"data:")),
    "comments": Fault(
        "comments, and events without data",
        lambda pen: pen.told(Send(b": keepalive\n\nevent: message\nid: 7\nretry: 100\n\n")),
    ),
    "multiline_data": Fault("an event over two `data:` lines", _multiline),
    "bom": Fault("a byte order mark first", lambda pen: (Send(b"\xef\xbb\xbf" + pen.first.data), *pen.ending())),
    "huge_chunk": Fault("an event of 64 MiB", _huge),
    "no_newline": Fault("a line that never ends", lambda pen: (pen.first, Forever((Send(b"x" * 65536),)))),
    # Chunks.
    "error_event": Fault("an error inside the stream", _event({"error": {"message": "out of memory", "code": 503}})),
    "error_event_400": Fault(
        "an error inside the stream that is not retryable", _event({"error": {"message": "bad request", "code": 400}})
    ),
    "no_choices": Fault("a chunk without choices", _event({"id": "scripted", "choices": []})),
    "usage_only": Fault(
        "the token counts in a separate chunk",
        lambda pen: (*pen.told()[:-1], Send(data({"choices": [], "usage": _USAGE})), Send(DONE)),
    ),
    "usage_forever": Fault(
        "nothing but token counts, forever",
        lambda pen: (pen.first, Forever((Sleep(1.0), Send(data({"choices": [], "usage": _USAGE}))))),
    ),
    "unknown_shape": Fault(
        "objects of another API", lambda _: (Send(data({"event": "token", "value": "one"})), Send(DONE))
    ),
    "text_null": Fault("a chunk whose text is null", lambda pen: pen.told(pen.say(None))),
    "chat_delta": Fault("deltas without text", _chat_delta),
    "two_choices": Fault("a second choice that was not requested", _two_choices),
    # Responses that are not streams.
    "http_400": Fault("400", _refused(400, "temperature must be positive")),
    "http_400_ctx": Fault("400: the context is too long", _refused(400, "This model's maximum context length is 4096")),
    "http_400_ctx_resumed": Fault(
        "a reset, and then a context that is too long", lambda pen: pen.cut(Reset()), then="http_400_ctx"
    ),
    "http_401": Fault("401", _refused(401, "no such key")),
    "http_404": Fault("404", _refused(404, "no such model")),
    "http_422": Fault("422", _refused(422, "no such field")),
    "http_429": Fault(
        "429 twice, with `Retry-After` of a second", _refused(429, "slow down", retry_after="1"), times=2
    ),
    "http_429_long": Fault("429, with `Retry-After` of a day", _refused(429, "tomorrow", retry_after="86400")),
    "http_500": Fault("500", _refused(500, "internal error")),
    "http_503": Fault("503", _refused(503, "no healthy upstream")),
    "http_503_always": Fault("503 to every request", _refused(503, "no healthy upstream"), then="http_503"),
    "http_307": Fault("a redirect on the same host", _moved(307, "?moved=307")),
    "http_308": Fault("a permanent redirect on the same host", _moved(308, "?moved=308")),
    "http_307_circle": Fault("a redirect to itself", _moved(307, "?moved=307"), then="http_307_circle"),
    "http_307_away": Fault("a redirect to another host", _moved(307, "http://other.invalid/v1/completions")),
    "html_200": Fault(
        "a page of HTML with status 200", lambda _: reply(200, _HTML, {"content-type": "text/html; charset=utf-8"})
    ),
    "gzip": Fault("a compressed body that was not requested", _zipped(lambda pen: gzip.compress(pen.body()))),
    "bad_gzip": Fault("a body that is declared as compressed and is not", _zipped(lambda pen: pen.body())),
    # Connections.
    "rst_mid": Fault("a TCP reset inside an event", lambda pen: pen.cut(Reset())),
    "eof_mid": Fault("a connection closed inside an event", lambda pen: pen.cut(Disconnect())),
    "eof_before": Fault("a connection closed before an answer", lambda _: (Disconnect(),)),
    "cut_anywhere": Fault("a connection that breaks at a random byte", _cut_anywhere),
    "bad_chunk_size": Fault("an invalid chunk size", lambda pen: (pen.first, SendRaw(b"no number\r\n"), Stall())),
    # Time.
    "stall": Fault("silence after the first token", lambda pen: (pen.first, Stall())),
    "stall_headers": Fault("silence before the answer", lambda _: (Stall(),)),
    "keepalive_only": Fault(
        "comments forever after the first token",
        lambda pen: (pen.first, Forever((Sleep(10), Send(b": keepalive\n\n")))),
    ),
    "slow_drip": Fault("a token of one character a second", lambda pen: _dripped(pen, 1.0, 1)),
    "byte_drip": Fault("one byte a packet", lambda pen: tuple(Send(bytes([byte])) for byte in pen.body())),
    "endless": Fault("no end", lambda pen: (*pen.told()[:-2], Forever((pen.say("more\n"),)))),
    "ignore_cancel": Fault(
        "a generation that continues after the connection was closed",
        lambda pen: (Deaf(), pen.first, pen.say(pen.wrong), Forever((Sleep(0.1), pen.say("more\n")))),
    ),
    # Ends.
    "dup_done": Fault(
        "text and a second end mark after the first", lambda pen: (*pen.told(), pen.say("junk"), Send(DONE))
    ),
    "done_no_close": Fault("a body that does not end with its end mark", lambda pen: (*pen.told(), Stall())),
    "no_done": Fault("an end without finish reason or end mark", lambda pen: pen.told()[:-2]),
    "no_finish": Fault("an end mark without a finish reason", lambda pen: (*pen.told()[:-2], Send(DONE))),
    "finish_length": Fault("`finish_reason: length`", _ended("length")),
    "finish_filter": Fault("`finish_reason: content_filter`", _ended("content_filter")),
    "finish_abort": Fault("`finish_reason: abort`", _ended("abort")),
    # Faults together with a violation.
    "stall_violation": Fault("silence after wrong text", lambda pen: (pen.first, pen.say(pen.wrong), Stall())),
    "violation_then_503": Fault(
        "503 to every request after wrong text",
        lambda pen: (pen.first, pen.say(pen.wrong), Stall()),
        then="http_503",
    ),
}


def _replaced(pen: EventWriter, old: bytes, new: bytes) -> tuple[Step, ...]:
    return tuple(Send(step.data.replace(old, new)) if isinstance(step, Send) else step for step in pen.told())
