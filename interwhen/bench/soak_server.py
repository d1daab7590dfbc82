"""The other side of a soak, in a process of its own: a server that tells stories and breaks in every way it knows.

Started with a seed and a rate (chunks a second); prints the address it listens at, and ends with its standard input.
What breaks, and where, depends on the seed and on the number of the request alone.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence

import anyio
import anyio.to_thread

from interwhen.bench.soak_story import asked
from interwhen.testing.server import (
    Close,
    ReceivedRequest,
    Reset,
    ScriptedServer,
    Send,
    SendRaw,
    Sleep,
    Stall,
    Step,
    chunk,
    data,
    fault,
)

_BROKEN = 0.3
"""The share of the requests that meet a fault."""
_REMEMBERED = 256

_REFUSALS = ("http_429", "http_500", "http_503", "eof_before", "stall_headers")
"""Faults in place of an answer."""
_BREAKS: dict[str, Callable[[bytes], Sequence[Step]]] = {
    "rst_mid": lambda event: (Send(event[: len(event) // 2]), Reset()),
    "eof_mid": lambda event: (Send(event[: len(event) // 2]), Close()),
    "stall": lambda _event: (Stall(),),
    "keepalive_only": lambda _event: tuple(step for _ in range(100) for step in (Send(b": ping\n\n"), Sleep(0.5))),
    "malformed_json": lambda event: (Send(event[: len(event) // 2] + b"\n\n"),),
    "json_scalar": lambda _event: (Send(b"data: 42\n\n"),),
    "utf8_invalid": lambda event: (Send(event.replace(b'"text": "', b'"text": "\xff\xfe')),),
    "error_event": lambda _event: (Send(data({"error": {"message": "out of memory", "code": 503}})),),
    "bad_chunk_size": lambda _event: (SendRaw(b"zz\r\n"), Close()),
}
"""Faults in the middle of one."""
FAULTS = (*_REFUSALS, *_BREAKS, "no_done", "byte_drip", "crlf", "comments")
"""All that can happen to a request."""


class Teller:
    """Answers each request with its story, broken now and then; counts what it broke."""

    def __init__(self, seed: int, rate: float) -> None:
        self._seed = seed
        self._rate = rate
        self._number = 0
        self.injected = dict.fromkeys(FAULTS, 0)

    def __call__(self, request: ReceivedRequest) -> Sequence[Step]:
        """Return the steps of the answer to *request*."""
        self._number += 1
        rng = random.Random(f"{self._seed} {self._number}")  # noqa: S311  (a script, no secret)
        told, prefix = asked(request.json["prompt"])
        name = rng.choice(FAULTS) if rng.random() < _BROKEN else ""
        if name:
            self.injected[name] += 1
        if name in _REFUSALS:
            return fault(name)
        return tuple(self._told(rng, told.after(prefix), name))

    def _told(self, rng: random.Random, text: str, name: str) -> Iterator[Step]:
        events, at = list[bytes](), 0
        while at < len(text):
            size = rng.randint(1, 9)
            events.append(data(chunk("completions", text[at : at + size])))
            at += size
        breaks = rng.randrange(len(events) + 1)
        for number, event in enumerate(events):
            yield Sleep(rng.uniform(0.5, 1.5) / self._rate)
            if number == breaks and name in _BREAKS:
                yield from _BREAKS[name](event)
                if name in ("rst_mid", "eof_mid", "bad_chunk_size"):
                    return
            elif number == breaks and name == "comments":
                yield Send(b": hello\n\nevent: message\nid: 1\n\n")
            elif number == breaks and name == "no_done":
                return
            if name == "byte_drip" and number == breaks:
                yield from (Send(event[byte : byte + 1]) for byte in range(len(event)))
            else:
                yield Send(event.replace(b"\n", b"\r\n") if name == "crlf" else event)
        yield Send(data(chunk("completions", "", finish_reason="stop")))
        yield Send(b"data: [DONE]\n\n")


async def serve(seed: int, rate: float) -> None:
    """Serve until standard input ends; the last line printed says what was broken how often."""
    teller = Teller(seed, rate)
    async with ScriptedServer(teller) as server, anyio.create_task_group() as group:

        async def forget() -> None:
            # The server keeps its requests for tests to look at; an hour of them would be a leak of the soak's own.
            while True:
                await anyio.sleep(1)
                del server.requests[:-_REMEMBERED]

        group.start_soon(forget)
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
        group.cancel_scope.cancel()
        sys.stdout.write(json.dumps({"injected": teller.injected, "open": server.open_connections}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), float(sys.argv[2]))
