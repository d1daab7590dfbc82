"""A loopback server in its own process that sends many streams at once, each chunk in a packet of its own at its time.

It is a load generator, as :mod:`interwhen.bench._pacer` is for one stream. A request's ``model`` says what is sent:
``CHUNKS@PER_SECOND``. The first chunk leaves at once, and its text is the time it left, on the system-wide monotonic
clock; the chunk number *n* after it is due *n* / rate seconds later. ``GET /tally`` says how well it kept these times.
"""

from __future__ import annotations

import functools
import heapq
import json
import selectors
import socket
import time

from interwhen.bench._loopback import serve_on_loopback
from interwhen.bench._pacer import chunk_texts

_MODELS = b'{"object":"list","data":[{"id":"paced","object":"model","owned_by":"paced"}]}'

_AGAIN_SECONDS = 0.005
"""When the rest is tried again of a stream whose reader does not take it."""
_AT_ONCE = 1 << 18


@functools.cache
def crowd_packets(count: int, *, chat: bool) -> list[bytes]:
    """Return the packets after the first one, the end included."""
    lines = [_event(text, chat=chat) for text in chunk_texts(count)[1:]]
    return [*map(_framed, lines), _framed(_event("", chat=chat, reason='"stop"') + b"data: [DONE]\n\n") + b"0\r\n\r\n"]


def _event(text: str, *, chat: bool, reason: str = "null") -> bytes:
    said = json.dumps(text)
    if chat:
        kind, content = "chat.completion.chunk", f'"delta":{{"content":{said}}}' if text else '"delta":{}'
    else:
        kind, content = "text_completion", f'"text":{said}'
    choice = f'{{"index":0,{content},"finish_reason":{reason}}}'
    return f'data: {{"id":"c","object":"{kind}","created":1,"model":"paced","choices":[{choice}]}}\n\n'.encode()


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Tally:
    """How well the generator keeps its own times."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._late = [0] * 1001
        """How many packets were sent so many tenths of a millisecond after they were due; the last: or later."""
        self._held = 0
        self._longest = 0.0
        self._since = time.monotonic(), time.process_time()

    def sent(self, late: float, *, held: bool) -> None:
        """Note that a packet is sent *late* seconds after it was due, or waits for others that are *held* back."""
        self._late[min(int(late * 10000), 1000)] += 1
        self._held += held
        self._longest = max(self._longest, late)

    def take(self) -> bytes:
        """Return what there is to say, as JSON, and begin anew."""
        count, seen, late = sum(self._late), 0, 0
        while late < 1000 and (seen := seen + self._late[late]) < 0.99 * count:
            late += 1
        wall, cpu = time.monotonic() - self._since[0], time.process_time() - self._since[1]
        said = {"sent": count, "late_p99_ms": late / 10, "late_max_ms": self._longest * 1e3}
        more = {"held": self._held, "busy": cpu / max(wall, 1e-9)}
        self._begin()
        return json.dumps(said | more).encode()


class _Connection:
    """One connection, and what is still to be sent on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self.packets: list[bytes] = []
        self.next = 0
        self.begun = 0.0
        self.gap = 0.0
        self.unsent = bytearray()
        self.gone = False

    def request(self) -> tuple[bytes, bytes] | None:
        """Return the head and the body of a request that is complete."""
        head, found, rest = self.received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
        if not found or len(rest) < length:
            return None
        self.received = rest[length:]
        return head, rest[:length]

    def begin(self, head: bytes, body: bytes) -> None:
        """Send the head of an answer and its first chunk."""
        count, _, rate = json.loads(body)["model"].partition("@")
        chat = b"/chat/completions" in head.split(b"\r\n", 1)[0]
        self.packets, self.next, self.gap = crowd_packets(int(count), chat=chat), 0, 1 / float(rate)
        self.begun = time.monotonic()
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.send(answer + _framed(_event(f"{self.begun:.6f}\n", chat=chat)))

    def send(self, data: bytes) -> None:
        """Send what the reader takes, and keep the rest."""
        unsent = self.unsent
        unsent += data
        if not unsent:
            return
        try:
            with memoryview(unsent) as view:
                taken = self.socket.send(view[:_AT_ONCE])
            del unsent[:taken]  # from the front: nothing is moved
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def step(self, at: float, tally: _Tally) -> float | None:
        """Send what is due *at* that time; return when the next packet is, or ``None`` at the end."""
        now, packet = time.monotonic(), b""
        is_last = self.next == len(self.packets)
        if not is_last:
            packet = self.packets[self.next]
            self.next += 1
            tally.sent(now - at, held=bool(self.unsent))
        self.send(packet)
        if self.gone or (self.next == len(self.packets) and not self.unsent):
            return None
        # Where only what the reader did not take is left, nothing is due: it is tried again after a while.
        return now + _AGAIN_SECONDS if is_last else self.begun + (self.next + 1) * self.gap


def serve(listener: socket.socket) -> None:
    """Serve until the process is ended."""
    ready = selectors.DefaultSelector()
    listener.setblocking(False)
    ready.register(listener, selectors.EVENT_READ)
    due: list[tuple[float, int, _Connection]] = []
    number, tally = 0, _Tally()
    while True:
        timeout = max(due[0][0] - time.monotonic(), 0.0) if due else None
        for key, _ in ready.select(timeout):
            if key.data is None:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(sock, selectors.EVENT_READ, _Connection(sock))
            elif (begun := _receive(ready, key.data, tally)) is not None:
                number += 1
                heapq.heappush(due, (begun.begun + begun.gap, number, begun))
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, which, connection = heapq.heappop(due)
            later = connection.step(at, tally)
            if later is not None:
                heapq.heappush(due, (later, which, connection))


def _receive(ready: selectors.BaseSelector, connection: _Connection, tally: _Tally) -> _Connection | None:
    """Take what came; return the connection if a stream has begun on it."""
    try:
        data = connection.socket.recv(65536)
    except OSError:
        data = b""
    if not data:
        connection.gone = True
        ready.unregister(connection.socket)
        connection.socket.close()
        return None
    connection.received += data
    found = connection.request()
    if found is None:
        return None
    if found[0].startswith(b"GET"):
        body = tally.take() if b" /tally " in found[0] else _MODELS
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        connection.send(head + body)
        return None
    connection.begin(*found)
    return connection


def main() -> None:
    """Serve on loopback, on a core of its own; ends when standard input closes."""
    serve_on_loopback(serve, backlog=2048)


if __name__ == "__main__":
    main()
