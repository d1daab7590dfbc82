"""A load generator: an OpenAI server on loopback in a separate process that sends many streams on a schedule.

:func:`paced_server` starts the server. The field ``model`` of a request selects what is sent:

- ``CHUNKS@PER_SECOND``: CHUNKS chunks of a fixed text, at PER_SECOND chunks a second; 0 sends all of them at once.
- ``NUMBER@SPEED`` or ``NUMBER@SPEED:CHUNKS`` instead, if the server was started with a file of recordings: recording
  NUMBER (from 0), or its first CHUNKS chunks, at the recorded times divided by SPEED. A ``prompt`` that is not empty
  counts as the beginning of the recorded text: chunks within its length are left out, and the first of the others is
  sent at once. A request of the chat API has no ``prompt``, so no chunk is left out.

A request with ``"stream": false`` is answered at once with an empty text. ``GET /log`` returns the :class:`SentLog` of
the stream that began last, ``GET /tally`` a :class:`LoadTally`, and any other GET request a list of one model.
"""

from __future__ import annotations

import asyncio
import bisect
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from interwhen.models._replay import Recording, load_recordings
from interwhen.testing._server_script import DONE, Api, chunk, data

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
"""A page of a worked solution."""
# In the solutions of ProcessBench, a line has 125 characters, 0.9 to 1.3 sentences and 0.55 equations in the mean; a
# line of this page has 115, 1 and 0.75.
TOKEN = 4
"""Characters in a chunk of the page: the mean length of a token."""


class SentLog(msgspec.Struct):
    """When packets of one stream were sent and the client closed it, by ``time.monotonic()``."""

    sent: list[float] = []
    """When each packet was given to the socket, or was queued after unsent bytes."""
    closed: float | None = None
    """When the connection was closed or broken; ``None`` if it is open."""


class LoadTally(msgspec.Struct, frozen=True):
    """Counts of packets and their delays since the last request for this tally or the start of the server."""

    sent: int
    late_p99_ms: float
    """The delay of packets after their due time, in milliseconds; rounded down to a tenth, at most 100."""
    late_max_ms: float
    """Neither rounded nor limited."""
    held: int
    """Packets that waited because the client had not read earlier ones."""
    busy: float
    """The CPU time of the process, as a share of the time of this tally."""


class Schedule(NamedTuple):
    """The packets of one stream (chunks of HTTP), and when each is due, in seconds after the request."""

    packets: Sequence[bytes]
    due: Sequence[float]


def chunk_texts(count: int) -> list[str]:
    text = PAGE * (count * TOKEN // len(PAGE) + 1)
    return [text[at : at + TOKEN] for at in range(0, count * TOKEN, TOKEN)]


def stream_events(count: int) -> list[bytes]:
    ending = data(chunk("completions", "", finish_reason="stop")) + DONE
    return [*(_event(text, "completions") for text in chunk_texts(count)), ending]


@functools.cache
def schedule_page(count: int, rate: float, api: Api) -> Schedule:
    packets = [*(_frame(_event(text, api)) for text in chunk_texts(count)), _ending(api)]
    if not rate:
        return Schedule([b"".join(packets)], [0.0])
    return Schedule(packets, [number / rate for number in range(count + 1)])


def schedule_recording(recording: Recording, speed: float, chunks: int | None, kept: str, api: Api) -> Schedule:
    # `kept` is the text that a resuming client already has; chunks that end in it are left out, the next is due at
    # once.
    arrivals = [arrival for arrival in recording.arrivals if arrival.chunk.text][:chunks]
    ends = list(itertools.accumulate(len(arrival.chunk.text) for arrival in arrivals))
    first = bisect.bisect_right(ends, len(kept)) if kept else 0
    rest = arrivals[first:]
    origin = rest[0].at if kept and rest else 0.0
    packets = [_frame(_event(arrival.chunk.text, api)) for arrival in rest]
    due = [(arrival.at - origin) / speed for arrival in rest]
    usage = {"prompt_tokens": 0, "completion_tokens": len(rest), "total_tokens": len(rest)}
    return Schedule([*packets, _ending(api, usage=usage)], [*due, due[-1] if due else 0.0])


class Load:
    """Selects what the server sends for a request."""

    # With `stamped`, the text of the first chunk is the `time.monotonic()` at which the server began the answer.

    def __init__(self, recordings: Sequence[Recording] = (), *, stamped: bool = False) -> None:
        self.recordings = recordings
        self.stamped = stamped

    def schedule(self, model: str, kept: str, api: Api) -> Schedule:
        number, _, rest = model.partition("@")
        speed, _, chunks = rest.partition(":")
        if not self.recordings:
            return schedule_page(int(number), float(speed), api)
        recording = self.recordings[int(number)]
        return schedule_recording(recording, float(speed), int(chunks) if chunks else None, kept, api)


def _event(text: str, api: Api) -> bytes:
    return data(chunk(api, text))


def _ending(api: Api, **top: Any) -> bytes:
    return _frame(data(chunk(api, "", finish_reason="stop") | top) + DONE) + b"0\r\n\r\n"


def _frame(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


# The process has one event loop, whose timers send the packets.

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_TICK = 0.001
"""In seconds. With few streams, the last part of a wait is a sleep, because ``epoll`` rounds up to milliseconds."""
_FEW = 4


class _PacedConnection(asyncio.Protocol):
    """A connection, and its current stream. The event loop keeps bytes that the client does not read yet."""

    def __init__(self, server: _LoadServer) -> None:
        self.log = SentLog()
        self._server = server
        self._received = b""
        self._schedule = Schedule((), ())
        self._next = 0
        self._begun = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
        if separator and len(rest) >= length:
            self._received = rest[length:]
            self._server.answer(self, head, rest[:length])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.log.closed = time.monotonic()
        self._stop()

    def reply(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        self._transport.write(head % (len(body), body))

    def begin(self, schedule: Schedule, stamp: Callable[[float], bytes] | None) -> None:
        """Send the head of the response and start *schedule*.

        *stamp* builds the first packet from the current time, in place of the one in *schedule*.
        """
        self.log, self._schedule, self._next = SentLog(), schedule, 0
        self._begun = time.monotonic()
        if stamp is not None:
            self._schedule = Schedule([stamp(self._begun), *schedule.packets[1:]], schedule.due)
        self._transport.write(_HEAD)
        self._server.streams += 1
        self._send()

    def _send(self) -> None:
        is_few = self._server.streams <= _FEW
        while self._next < len(self._schedule.due):
            due = self._begun + self._schedule.due[self._next]
            left = due - time.monotonic()
            if left > (_TICK if is_few else 0.0):
                self._timer = asyncio.get_running_loop().call_at(due - _TICK if is_few else due, self._send)
                return
            if left > 0:
                time.sleep(left)
            now = time.monotonic()
            self._server.count(now - due, held=self._transport.get_write_buffer_size() > 0)
            self.log.sent.append(now)
            self._transport.write(self._schedule.packets[self._next])
            self._next += 1
        self._stop()

    def _stop(self) -> None:
        if self._schedule.due:
            self._server.streams -= 1
            self._schedule = Schedule((), ())
        if self._timer is not None:
            self._timer.cancel()


class _LoadServer:
    def __init__(self, load: Load) -> None:
        self.streams = 0
        """The number of streams that have packets left."""
        self._load = load
        self._log = SentLog()
        self._begin_tally()

    def _begin_tally(self) -> None:
        self._late = [0] * 1001
        """Entry *n* counts packets that were *n* tenths of a millisecond late; the last one, also later ones."""
        self._held = 0
        self._longest = 0.0
        self._since = time.monotonic(), time.process_time()

    def answer(self, connection: _PacedConnection, head: bytes, body: bytes) -> None:
        line = head.split(b"\r\n", 1)[0]
        if line.startswith(b"GET"):
            connection.reply(self._page(line))
            return
        asked = json.loads(body)
        api: Api = "chat" if b"/chat/completions" in line else "completions"
        if not asked.get("stream", True):
            usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            content: dict[str, Any] = {"text": ""} if api == "completions" else {"message": {"content": ""}}
            choice = {"index": 0, "finish_reason": "stop", **content}
            connection.reply(msgspec.json.encode({"id": "paced", "choices": [choice], "usage": usage}))
            return
        schedule = self._load.schedule(asked["model"], asked.get("prompt", ""), api)

        def stamp(now: float) -> bytes:
            return _frame(_event(f"{now:.6f}\n", api))

        connection.begin(schedule, stamp if self._load.stamped else None)
        self._log = connection.log

    def count(self, late: float, *, held: bool) -> None:
        # `held`: earlier packets are still unsent.
        self._late[min(int(late * 10000), 1000)] += 1
        self._held += held
        self._longest = max(self._longest, late)

    def _page(self, line: bytes) -> bytes:
        path = line.split(b" ")[1]
        if path.endswith(b"/log"):
            return msgspec.json.encode(self._log)
        if path.endswith(b"/tally"):
            return msgspec.json.encode(self._tally())
        card = {"id": "0@1", "object": "model", "owned_by": "interwhen"}
        return msgspec.json.encode({"object": "list", "data": [card]})

    def _tally(self) -> LoadTally:
        count, seen, late = sum(self._late), 0, 0
        while late < 1000 and (seen := seen + self._late[late]) < 0.99 * count:
            late += 1
        wall, cpu = time.monotonic() - self._since[0], time.process_time() - self._since[1]
        tally = LoadTally(count, late / 10, self._longest * 1e3, self._held, cpu / max(wall, 1e-9))
        self._begin_tally()
        return tally


def serve(listener: socket.socket, load: Load) -> None:
    async def main() -> None:
        server = _LoadServer(load)
        listening = await asyncio.get_running_loop().create_server(lambda: _PacedConnection(server), sock=listener)
        await listening.serve_forever()

    asyncio.run(main())


# Processes that serve on loopback: the process itself, and its parent.


def serve_on_loopback(serve: Callable[[socket.socket], None], *, last_core: bool = True) -> None:
    # The process ends when standard input closes, that is, with its parent.
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores) if last_core else min(cores)})
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(listener)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


@contextmanager
def loopback_process(module: str, *arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (a module of ours)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
    finally:
        child.kill()
        child.communicate()


@contextmanager
def paced_server(recordings: Path | None = None, *, stamped: bool = False) -> Iterator[str]:
    # The server replays the file `recordings`, or else sends the fixed text. With `stamped`, the text of the first
    # chunk of each stream is the `time.monotonic()` at which the answer began. The rate in the name of
    # the model must then be above 0: at 0 all chunks are one packet, which the time would replace.
    arguments = ["--stamped"] if stamped else []
    arguments += [] if recordings is None else [str(recordings)]
    with loopback_process("interwhen.testing._paced_server", *arguments) as url:
        yield url


def main(arguments: Sequence[str]) -> None:
    # `arguments` are `--stamped` and the path of a file of recordings; each may be left out.
    recordings = [load_recordings(path) for path in arguments if path != "--stamped"]
    load = Load(recordings[0] if recordings else (), stamped="--stamped" in arguments)
    serve_on_loopback(functools.partial(serve, load=load))


if __name__ == "__main__":
    main(sys.argv[1:])
