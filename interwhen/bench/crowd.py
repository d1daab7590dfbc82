"""Readers of many paced streams at once: of their bytes alone, and as supervised runs."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Coroutine, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from interwhen.bench.stats import percentile
from interwhen.events import Delta
from interwhen.models.completions import CompletionsModel
from interwhen.models.transport import Transport
from interwhen.monitors import Monitor
from interwhen.running import run

_EVENT = b"data: {"
_BEGUN = re.compile(rb'"(?:content|text)":"(\d+\.\d+)\\n"')
_SPREAD_SECONDS = 2.0
"""Over how long the streams of a crowd begin."""


class Reading(msgspec.Struct):
    """What one reader saw; times are on the monotonic clock."""

    asked: float
    begun: float | None = None
    """When the first chunk left the generator."""
    arrivals: list[float] = []
    """When each chunk came."""
    ended: bool = False
    """Whether the stream came to its end."""

    @property
    def first(self) -> float:
        """Seconds from the request to the first chunk."""
        return self.arrivals[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        """Seconds between chunks."""
        return [b - a for a, b in itertools.pairwise(self.arrivals)]


class Crowd(msgspec.Struct, frozen=True):
    """Many streams at once."""

    streams: int
    lost: int
    """Streams that did not come to their end, or not with all chunks."""
    delivered: float
    """The rate at which chunks came, as a share of the rate at which they were sent."""
    late_p50_ms: float
    """How much later than it was due at the generator a chunk came."""
    late_p99_ms: float


class _Protocol(asyncio.Protocol):
    """Reads one answer after the other from a connection, and counts its chunks."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reading = Reading(0.0)
        self.done: asyncio.Future[None] | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def begin(self, request: bytes) -> asyncio.Future[None]:
        assert self.transport is not None
        self.done = asyncio.get_running_loop().create_future()
        self.reading, self._tail = Reading(time.monotonic()), b""
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        now, reading = time.monotonic(), self.reading
        seen = self._tail + data
        reading.arrivals.extend([now] * seen.count(_EVENT))
        self._tail = seen[-len(_EVENT) + 1 :]
        if reading.begun is None and (found := _BEGUN.search(data)):
            reading.begun = float(found[1])
        if data.endswith(b"0\r\n\r\n"):
            reading.ended = b"[DONE]" in seen
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._end()

    def _end(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


class Reader:
    """A connection that reads the bytes of streams and nothing else."""

    def __init__(self, base_url: str) -> None:
        self._url = urlsplit(base_url)
        self._protocol: _Protocol | None = None

    async def read(self, stream: str) -> Reading:
        """Read *stream* (``CHUNKS@PER_SECOND``) to its end."""
        if self._protocol is None:
            _, self._protocol = await asyncio.get_running_loop().create_connection(
                _Protocol, self._url.hostname or "", self._url.port or 80
            )
        body = msgspec.json.encode(
            {"model": stream, "stream": True, "messages": [{"role": "user", "content": "How many apples are left?"}]}
        )
        head = f"POST {self._url.path}/chat/completions HTTP/1.1\r\nhost: {self._url.netloc}\r\n"
        kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        await self._protocol.begin(f"{head}{kind}".encode() + body)
        found = self._protocol.reading
        if found.ended:
            found.arrivals.pop()  # the chunk that ends it has no time of its own
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()


async def read_crowd(base_url: str, streams: int, chunks: int, rate: float) -> list[Reading]:
    """Read *streams* streams at once, as bytes."""

    async def one(number: int) -> Reading:
        await asyncio.sleep(_SPREAD_SECONDS * number / streams)
        reader = Reader(base_url)
        try:
            return await reader.read(f"{chunks}@{rate:g}")
        finally:
            reader.close()

    return await _all([one(number) for number in range(streams)])


async def run_crowd(
    base_url: str, streams: int, chunks: int, rate: float, transport: Transport, monitors: Sequence[Monitor]
) -> list[Reading]:
    """Read *streams* streams at once, each as a supervised run."""

    async def one(number: int) -> Reading:
        await asyncio.sleep(_SPREAD_SECONDS * number / streams)
        model = CompletionsModel(base_url, f"{chunks}@{rate:g}", api_key="", transport=transport)
        found = Reading(time.monotonic())
        async with run(model, "", monitors=monitors) as supervised:
            async for event in supervised:
                if isinstance(event, Delta):
                    found.arrivals.append(time.monotonic())
                    if found.begun is None:
                        found.begun = float(event.text)
        found.ended = supervised.result.status in ("verified", "unverified")
        return found

    return await _all([one(number) for number in range(streams)])


async def _all(readers: Sequence[Coroutine[Any, Any, Reading]]) -> list[Reading]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reader) for reader in readers]
    return [task.result() for task in tasks]


def judge(readings: Sequence[Reading], chunks: int, rate: float) -> Crowd:
    """Return what *readings* of one crowd come to."""
    whole = [each for each in readings if each.ended and len(each.arrivals) == chunks and each.begun is not None]
    late = [
        (arrival - each.begun - number / rate) * 1e3
        for each in whole
        if each.begun is not None
        for number, arrival in enumerate(each.arrivals)
    ]
    rates = [(chunks - 1) / max(each.arrivals[-1] - each.arrivals[0], 1e-9) / rate for each in whole]
    return Crowd(
        streams=len(readings),
        lost=len(readings) - len(whole),
        delivered=sum(rates) / len(readings),
        late_p50_ms=percentile(late, 0.5) if late else 0.0,
        late_p99_ms=percentile(late, 0.99) if late else 0.0,
    )
