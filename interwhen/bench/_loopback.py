"""What load generators share: a port of loopback, a core, and an end together with the process that started them."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def serve_on_loopback(serve: Callable[[socket.socket], None], *, last_core: bool = True) -> None:
    """Bind to a port that the kernel picks, print it, and *serve* until standard input closes.

    Where the system allows it, the process keeps to the last core, or to the first.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores) if last_core else min(cores)})
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(listener)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def event(text: str, *, chat: bool = False, reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """Return one event of a completion stream, as a packet of its own."""
    kind = "chat.completion.chunk" if chat else "text_completion"
    content: dict[str, object] = {"delta": {"content": text} if text else {}} if chat else {"text": text}
    body: dict[str, object] = {"id": "c", "object": kind, "created": 1, "model": "paced"}
    body["choices"] = [{"index": 0, **content, "finish_reason": reason}]
    if usage is not None:
        body["usage"] = usage
    end = "data: [DONE]\n\n" if reason else ""
    data = f"data: {json.dumps(body, separators=(',', ':'))}\n\n{end}".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def reply(value: object) -> bytes:
    """Return *value* as an HTTP answer in JSON."""
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def split_request(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the head and the body of the first request in *data*, and the rest; ``None`` if it is not whole."""
    head, found, rest = data.partition(b"\r\n\r\n")
    lines: Iterable[bytes] = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
    return (head, rest[:length], rest[length:]) if found and len(rest) >= length else None
