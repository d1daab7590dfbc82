"""A loopback server in its own process that sends one stream the way a model server does.

It is a load generator, not a model: the text is fixed, and each chunk leaves in a packet of its own at its
time. What it is asked for comes in the request's ``model`` field: ``CHUNKS@PER_SECOND`` (0: as fast as possible).
After each stream it keeps when it sent what and when it saw the reader go, and answers ``GET /log`` with that.
"""

from __future__ import annotations

import json
import select
import socket
import time

import msgspec

from interwhen.bench._loopback import serve_on_loopback

PAGE = (
    "To find out how many apples there are now, we add what was bought to what was there before, "
    "which is 17 + 25 = 42.\n"
    "A third of them goes to the neighbours, and since we want whole apples we ask whether that "
    "divides by three. It does.\n"
    "So the neighbours get 42 / 3 = 14 of the apples, and what remains for us is the difference "
    "of the two numbers so far:\n"
    "Taking the apples that were given away from those we had leaves 42 - 14 = 28, which is what "
    "the question asks for.\n"
    "\n"
)
"""A page of a worked solution. Its lines are as long as those that models write: in the solutions of ProcessBench a
line has 125 characters, 0.9 to 1.3 sentences and 0.55 equations in the mean; here it has 115, 1 and 0.75."""
TOKEN = 4
"""Characters in a chunk: what a token is in the mean."""


class SentLog(msgspec.Struct):
    """What happened on one stream; times are of the system-wide monotonic clock, in seconds."""

    sent: list[float] = []
    closed: float | None = None


def chunk_texts(count: int) -> list[str]:
    """Return the texts of *count* chunks."""
    text = PAGE * (count * TOKEN // len(PAGE) + 1)
    return [text[at : at + TOKEN] for at in range(0, count * TOKEN, TOKEN)]


def packets(count: int) -> list[bytes]:
    """Return the stream as it goes over the wire, one packet a chunk, and the end."""
    head = '{"id":"c","object":"text_completion","created":1,"model":"paced","choices":[{"index":0,"text":'
    lines = [f'data: {head}{json.dumps(text)},"finish_reason":null}}]}}\n\n'.encode() for text in chunk_texts(count)]
    end = f'data: {head}"","finish_reason":"stop"}}]}}\n\ndata: [DONE]\n\n'.encode()
    return [b"%x\r\n%b\r\n" % (len(line), line) for line in [*lines, end]]


def serve(listener: socket.socket) -> None:
    """Serve one connection after the other until the process is ended."""
    log = SentLog()
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while (request := _read_request(connection)) is not None:
                if request.startswith(b"GET"):
                    body = msgspec.json.encode(log)
                    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
                        body
                    )
                    connection.sendall(head + body)
                    continue
                log = SentLog()
                count, _, rate = json.loads(request.split(b"\r\n\r\n", 1)[1])["model"].partition("@")
                if not _send(connection, packets(int(count)), float(rate), log):
                    break


def _read_request(connection: socket.socket) -> bytes | None:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return None
            data += part
        head, body = data.split(b"\r\n\r\n", 1)
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
    except OSError:
        return None
    return head + b"\r\n\r\n" + body


def _send(connection: socket.socket, stream: list[bytes], rate: float, log: SentLog) -> bool:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    try:
        connection.sendall(head)
        if not rate:
            connection.sendall(b"".join(stream))
        begun = time.monotonic()
        for number, packet in enumerate(stream if rate else ()):
            due = begun + (number + 1) / rate
            if _gone_before(connection, due):
                log.closed = time.monotonic()
                return False
            log.sent.append(time.monotonic())
            connection.sendall(packet)
        connection.sendall(b"0\r\n\r\n")
    except OSError:
        log.closed = time.monotonic()
        return False
    return True


def _gone_before(connection: socket.socket, due: float) -> bool:
    """Wait until *due*; tell whether the reader closed the connection first."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    while (left := due - time.monotonic()) > 0:
        # poll() counts in whole milliseconds; the rest is spent asking, on a core of this process's own
        if poll.poll(int(left * 1000) if left > 0.002 else 0):
            return True
    return False


def main() -> None:
    """Serve on loopback, on a core of its own; ends when standard input closes."""
    serve_on_loopback(serve, backlog=16)


if __name__ == "__main__":
    main()
