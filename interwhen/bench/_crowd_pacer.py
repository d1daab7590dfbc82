"""A load generator in its own process that sends many streams at once, each chunk in a packet at its time.

The ``model`` of a request says what is sent: ``CHUNKS@PER_SECOND``. The first chunk leaves at once, and its text is the
time at which it left, on the system-wide monotonic clock; chunk number *n* after it is due *n* / rate seconds later.
``GET /tally`` tells how well these times were kept.
"""

from __future__ import annotations

import functools
import heapq
import json
import selectors
import socket
import time

from interwhen.bench._loopback import STREAM_END, STREAM_HEAD, event, reply, serve_on_loopback, split_request
from interwhen.bench._pacer import chunk_texts

_MODELS = {"object": "list", "data": [{"id": "paced", "object": "model", "owned_by": "paced"}]}
_RETRY_SECONDS = 0.005
"""How long to wait before sending again to a reader that did not take all."""
_SEND_AT_MOST = 1 << 18


@functools.cache
def crowd_packets(count: int, *, chat: bool) -> list[bytes]:
    """Return the packets after the first one, the end included."""
    end = event("", chat=chat, reason="stop") + STREAM_END
    return [*(event(text, chat=chat) for text in chunk_texts(count)[1:]), end]


class _TallyKeeper:
    """Counts how well the generator keeps its own times."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        # How many packets were sent so many tenths of a millisecond after they were due; the last: or later.
        self._late = [0] * 1001
        self._held = 0
        self._longest = 0.0
        self._since = time.monotonic(), time.process_time()

    def sent(self, late: float, *, held: bool) -> None:
        """Count a packet that was sent *late* seconds after it was due; *held*: it waits for others on its stream."""
        self._late[min(int(late * 10000), 1000)] += 1
        self._held += held
        self._longest = max(self._longest, late)

    def take(self) -> bytes:
        """Return the counts as an HTTP answer, and start from zero."""
        count, seen, late = sum(self._late), 0, 0
        while late < 1000 and (seen := seen + self._late[late]) < 0.99 * count:
            late += 1
        wall, cpu = time.monotonic() - self._since[0], time.process_time() - self._since[1]
        lateness = {"late_p99_ms": late / 10, "late_max_ms": self._longest * 1e3}
        said = reply({"sent": count, **lateness, "held": self._held, "busy": cpu / max(wall, 1e-9)})
        self._reset()
        return said


class _Connection:
    """One connection, and the packets that are still to be sent on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self.packets: list[bytes] = []
        self.next = 0
        self.begun = self.gap = 0.0
        self.unsent = bytearray()
        self.gone = False

    def begin(self, head: bytes, body: bytes) -> None:
        """Send the head of an answer and its first chunk."""
        count, _, rate = json.loads(body)["model"].partition("@")
        chat = b"/chat/completions" in head.split(b"\r\n", 1)[0]
        self.packets, self.next, self.gap = crowd_packets(int(count), chat=chat), 0, 1 / float(rate)
        self.begun = time.monotonic()
        self.send(STREAM_HEAD + event(f"{self.begun:.6f}\n", chat=chat))

    def send(self, data: bytes) -> None:
        """Send as much as the reader takes, and keep the rest."""
        unsent = self.unsent
        unsent += data
        if not unsent:
            return
        try:
            with memoryview(unsent) as view:
                taken = self.socket.send(view[:_SEND_AT_MOST])
            del unsent[:taken]  # at the front of a bytearray: no bytes are moved
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True

    def step(self, at: float, tally: _TallyKeeper) -> float | None:
        """Send the packet that is due *at* that time; return when the next one is, or ``None`` at the end."""
        now, packet = time.monotonic(), b""
        is_last = self.next == len(self.packets)
        if not is_last:
            packet = self.packets[self.next]
            self.next += 1
            tally.sent(now - at, held=bool(self.unsent))
        self.send(packet)
        if self.gone or (self.next == len(self.packets) and not self.unsent):
            return None
        # At the end only bytes that the reader did not take are left: they have no time of their own.
        return now + _RETRY_SECONDS if is_last else self.begun + (self.next + 1) * self.gap


def serve(listener: socket.socket) -> None:
    """Serve until the process ends."""
    ready = selectors.DefaultSelector()
    listener.setblocking(False)
    ready.register(listener, selectors.EVENT_READ)
    due: list[tuple[float, int, _Connection]] = []
    number, tally = 0, _TallyKeeper()
    while True:
        timeout = max(due[0][0] - time.monotonic(), 0.0) if due else None
        for key, _ in ready.select(timeout):
            if key.data is None:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(sock, selectors.EVENT_READ, _Connection(sock))
            elif _receive(ready, key.data, tally):
                number += 1
                heapq.heappush(due, (key.data.begun + key.data.gap, number, key.data))
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, which, connection = heapq.heappop(due)
            later = connection.step(at, tally)
            if later is not None:
                heapq.heappush(due, (later, which, connection))


def _receive(ready: selectors.BaseSelector, connection: _Connection, tally: _TallyKeeper) -> bool:
    """Take the bytes that came; return whether a stream has begun on the connection."""
    try:
        data = connection.socket.recv(65536)
    except OSError:
        data = b""
    if not data:
        connection.gone = True
        ready.unregister(connection.socket)
        connection.socket.close()
        return False
    connection.received += data
    request = split_request(connection.received)
    if request is None:
        return False
    head, body, connection.received = request
    if head.startswith(b"GET"):
        connection.send(tally.take() if b" /tally " in head else reply(_MODELS))
        return False
    connection.begin(head, body)
    return True


if __name__ == "__main__":
    serve_on_loopback(serve)
