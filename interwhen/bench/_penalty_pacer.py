"""A loopback server in its own process that sends recorded streams again, each chunk at the time it came.

It is a load generator, not a model: ``python -m interwhen.bench._penalty_pacer FILE`` serves the recordings in *FILE*
(see :class:`interwhen.models.Recording`). A request's ``model`` says which one and how fast: ``NUMBER@SPEED``, or
``NUMBER@SPEED:CHUNKS`` for its beginning. A request that brings a part of the text goes on behind it, without delay. A
request that is no stream, a fork, is answered at once with no text: a recording knows no answer.
"""

from __future__ import annotations

import bisect
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CARD = {"object": "list", "data": [{"id": "0@1", "object": "model", "owned_by": "interwhen"}]}


class Wanted(NamedTuple):
    """What a request's ``model`` asks for."""

    number: int
    speed: float
    chunks: int | None


def parse_model(name: str) -> Wanted:
    """Return what ``NUMBER@SPEED`` or ``NUMBER@SPEED:CHUNKS`` asks for."""
    number, _, rest = name.partition("@")
    speed, _, chunks = rest.partition(":")
    return Wanted(int(number), float(speed), int(chunks) if chunks else None)


class Packet(NamedTuple):
    """One chunk as it goes over the wire, and how many seconds after the request it is due."""

    due: float
    data: bytes


class Timed(NamedTuple):
    """One text of a recorded stream, and when it came."""

    at: float
    text: str


def read_file(path: Path) -> list[list[Timed]]:
    """Return the texts of the recordings in the file at *path*, of which it is known that it holds some.

    :func:`interwhen.models.load_recordings` would do the same, but it takes a second to import for a process that
    does nothing else.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line)["arrivals"] for line in lines if line.strip()]
    return [[Timed(row["at"], row["chunk"]["text"]) for row in arrivals if row["chunk"]["text"]] for arrivals in rows]


def packets(recording: Sequence[Timed], wanted: Wanted, kept: str) -> list[Packet]:
    """Return what is sent of *recording* behind the text that is *kept*, its end included."""
    arrivals = recording[: wanted.chunks]
    ends = list(accumulate(len(arrival.text) for arrival in arrivals))
    first = bisect.bisect_right(ends, len(kept)) if kept else 0
    origin = arrivals[first].at if kept and first < len(arrivals) else 0.0
    sent = [Packet((arrival.at - origin) / wanted.speed, _framed(_event(arrival.text))) for arrival in arrivals[first:]]
    usage = {"prompt_tokens": 0, "completion_tokens": len(sent), "total_tokens": len(sent)}
    end = _event("", reason="stop", usage=usage) + b"data: [DONE]\n\n"
    return [*sent, Packet(sent[-1].due if sent else 0.0, _framed(end) + b"0\r\n\r\n")]


def _event(text: str, *, reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": reason}
    body: dict[str, Any] = {"id": "r", "object": "text_completion", "created": 1, "model": "r", "choices": [choice]}
    return f"data: {json.dumps(body | ({'usage': usage} if usage else {}))}\n\n".encode()


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _serve_one(connection: socket.socket, recordings: list[list[Timed]]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            while (request := _read_request(connection)) is not None:
                _answer(connection, request, recordings)
        except OSError:
            pass  # the reader is gone


def _answer(connection: socket.socket, body: bytes, recordings: list[list[Timed]]) -> None:
    asked = json.loads(body) if body else None
    if asked is None:
        _reply(connection, _CARD)
        return
    if not asked.get("stream"):
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        choice = {"index": 0, "text": "", "finish_reason": "stop"}
        _reply(connection, {"id": "f", "object": "text_completion", "choices": [choice], "usage": usage})
        return
    wanted = parse_model(asked["model"])
    begun = time.monotonic()
    connection.sendall(_HEAD)
    for due, data in packets(recordings[wanted.number], wanted, asked["prompt"]):
        time.sleep(max(begun + due - time.monotonic(), 0.0))
        connection.sendall(data)


def _reply(connection: socket.socket, value: object) -> None:
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)


def _read_request(connection: socket.socket) -> bytes | None:
    """Return the body of the next request; ``None`` where the reader closes instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        part = connection.recv(65536)
        if not part:
            return None
        body += part
    return body


def main() -> None:
    """Serve the recordings in the file named on the command line; ends when standard input closes."""
    recordings = read_file(Path(sys.argv[1]))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(connection, recordings), daemon=True).start()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
