"""A load generator in its own process: it sends streams as a model server does, each chunk in a packet at its time.

It is no model. The ``model`` of a request says what is sent: ``CHUNKS@PER_SECOND`` of a fixed text (0: as fast as
possible), or, if a file of recorded streams was named on the command line, ``NUMBER@SPEED`` or ``NUMBER@SPEED:CHUNKS``
of that file. A request that is not a stream is a fork: it is answered at once with no text. ``GET /log`` tells when the
chunks of the last stream were sent, and when the reader closed it.
"""

from __future__ import annotations

import bisect
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import msgspec

from interwhen.bench._loopback import STREAM_END, STREAM_HEAD, event, reply, serve_on_loopback, split_request

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
"""Characters in a chunk: the mean length of a token."""
_CARD = {"object": "list", "data": [{"id": "0@1", "object": "model", "owned_by": "interwhen"}]}
_NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_FORKED = {"id": "f", "object": "text_completion", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}


class SentLog(msgspec.Struct):
    """What happened on one stream; times are of the system-wide monotonic clock, in seconds."""

    sent: list[float] = []
    closed: float | None = None


class Packet(NamedTuple):
    """One chunk as it is sent, and how many seconds after the request it is due."""

    due: float
    data: bytes


class TimedText(NamedTuple):
    """One text of a recorded stream, and when it came."""

    at: float
    text: str


Schedule = Callable[[str, str], list[Packet]]
"""Gives the packets for the model and the prompt of a request."""


def chunk_texts(count: int) -> list[str]:
    """Return the texts of *count* chunks."""
    text = PAGE * (count * TOKEN // len(PAGE) + 1)
    return [text[at : at + TOKEN] for at in range(0, count * TOKEN, TOKEN)]


def at_fixed_rate(model: str, _prompt: str) -> list[Packet]:
    """Return the packets of ``CHUNKS@PER_SECOND``, the end included."""
    count, _, rate = model.partition("@")
    data = [*map(event, chunk_texts(int(count))), event("", reason="stop")]
    if not float(rate):
        return [Packet(0.0, b"".join(data))]
    return [Packet((number + 1) / float(rate), packet) for number, packet in enumerate(data)]


def as_recorded(recordings: Sequence[Sequence[TimedText]], model: str, prompt: str) -> list[Packet]:
    """Return the packets of ``NUMBER@SPEED:CHUNKS`` that follow the text in *prompt*, the end included."""
    number, _, rest = model.partition("@")
    speed, _, chunks = rest.partition(":")
    recording = recordings[int(number)][: int(chunks) if chunks else None]
    ends = list(accumulate(len(arrival.text) for arrival in recording))
    left = recording[bisect.bisect_right(ends, len(prompt)) if prompt else 0 :]
    origin = left[0].at if prompt and left else 0.0
    sent = [Packet((arrival.at - origin) / float(speed), event(arrival.text)) for arrival in left]
    usage = {"prompt_tokens": 0, "completion_tokens": len(sent), "total_tokens": len(sent)}
    return [*sent, Packet(sent[-1].due if sent else 0.0, event("", reason="stop", usage=usage))]


def read_file(path: Path) -> list[list[TimedText]]:
    """Return the texts of the recordings in the file at *path*, which is known to hold some."""
    # interwhen.testing.load_recordings() would do the same, but importing it takes this process a second.
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line)["arrivals"] for line in lines if line.strip()]
    return [
        [TimedText(row["at"], row["chunk"]["text"]) for row in arrivals if row["chunk"]["text"]] for arrivals in rows
    ]


class _Pacer:
    """Serves each connection in a thread."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._log = SentLog()

    def serve(self, listener: socket.socket) -> None:
        """Serve until the process ends."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        with connection:
            try:
                while part := connection.recv(65536):
                    data += part
                    if (request := split_request(data)) is not None:
                        head, body, data = request
                        self._answer(connection, head, body)
            except OSError:
                pass  # the reader closed the connection

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            connection.sendall(reply(msgspec.to_builtins(self._log) if b"/log " in head.split(b"\r\n")[0] else _CARD))
            return
        asked = json.loads(body)
        if not asked.get("stream"):
            connection.sendall(reply({**_FORKED, "usage": _NOTHING}))
            return
        packets = self._schedule(asked["model"], asked["prompt"])
        log = self._log = SentLog()
        begun = time.monotonic()
        try:
            connection.sendall(STREAM_HEAD)
            for due, data in packets:
                if _closed_before(connection, begun + due, spins=self._schedule is at_fixed_rate):
                    raise ConnectionResetError
                log.sent.append(time.monotonic())
                connection.sendall(data)
            connection.sendall(STREAM_END)
        except OSError:
            log.closed = time.monotonic()
            raise


def _closed_before(connection: socket.socket, due: float, *, spins: bool) -> bool:
    """Wait until *due*; return whether the reader closed the connection first.

    With *spins* it looks all the time in the last milliseconds, so that it knows exactly when that was.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    while (left := due - time.monotonic()) > 0:
        # poll() counts in whole milliseconds. Spinning is for a single stream: this process has a core of its own.
        if left > 0.002 or spins:
            if poll.poll(int(left * 1000) if left > 0.002 else 0):
                return True
        else:
            time.sleep(left)
    return False


def main() -> None:
    """Serve streams at a fixed rate, or the recordings in the file named on the command line."""
    schedule = partial(as_recorded, read_file(Path(sys.argv[1]))) if len(sys.argv) > 1 else at_fixed_rate
    serve_on_loopback(_Pacer(schedule).serve)


if __name__ == "__main__":
    main()
