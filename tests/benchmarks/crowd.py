"""Reads many paced streams at once: by a bare protocol, a transport, supervised runs, and other clients."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import httpx2
import msgspec
from interwhen import Delta, Monitor, run
from interwhen._types.log import log_warning
from interwhen.models import CompletionsModel
from interwhen.models._transport import HttpRequest, Transport
from interwhen.testing._paced_server import LoadTally
from interwhen.testing._scores import percentile

_EVENT = b"data: {"
_BEGUN = re.compile(rb'"(?:content|text)": ?"(\d+\.\d+)\\n"')
_BEGIN_WITHIN = 0.25
"""All streams begin at random times within this share of the length of a stream, as real ones do not begin together."""
_PATIENCE_SECONDS, _PATIENCE = 60.0, 10.0
"""The time limit of a stream: the first value in seconds, plus the second value times its length."""


class Reading(msgspec.Struct):
    """What one reader received of one stream: when it asked, and when each chunk came."""

    # Times are in seconds on the monotonic clock.

    asked: float
    begun: float | None = None
    """When the generator sent the first chunk."""
    arrivals: list[float] = []
    """When each chunk arrived."""
    ended: bool = False
    """Whether the stream reached its end."""

    def take(self, text: str) -> None:
        # The text of the first chunk is the time at which it was sent.
        self.arrivals.append(time.monotonic())
        if self.begun is None:
            self.begun = float(text)

    def take_bytes(self, data: bytes) -> None:
        # The text of the stream's first chunk is the time at which it was sent.
        self.arrivals.extend([time.monotonic()] * data.count(_EVENT))
        if self.begun is None and (match := _BEGUN.search(data)):
            self.begun = float(match[1])

    async def take_all(self, parts: AsyncIterator[bytes]) -> None:
        # The end mark sets `ended`. Then the chunk with the finish reason is not counted.
        tail = b""
        async for data in parts:
            self.take_bytes(tail + data)
            tail = data[-len(_EVENT) + 1 :]
            self.ended = self.ended or b"[DONE]" in data
        if self.ended:
            self.arrivals.pop()  # the chunk that ends the stream has no time of its own

    @property
    def first(self) -> float:
        # Seconds from the request to the first chunk. There must be one.
        return self.arrivals[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in itertools.pairwise(self.arrivals)]


class Crowd(msgspec.Struct, frozen=True):
    """A summary of many streams that were read at once: how many were lost, and how late their chunks came."""

    streams: int
    lost: int
    """Streams that did not reach their end, or that had missing chunks."""
    delivered: float
    """The rate at which chunks arrived, as a share of the scheduled rate: the mean over all streams.

    A lost stream counts as 0.
    """
    late_p50_ms: float
    """The median lateness of a chunk, in milliseconds, without lost streams; 0 if all are lost."""
    late_p99_ms: float
    """The 99th percentile of the lateness."""


class StreamReader(asyncio.Protocol):
    """A connection to the server at *base_url* that reads answers in turn, and records when the chunks arrive."""

    def __init__(self, base_url: str) -> None:
        self._url = urlsplit(base_url)
        self._transport: asyncio.Transport | None = None
        self._reading = Reading(0.0)
        self._done: asyncio.Future[None] | None = None
        self._tail = b""

    async def read(self, stream: str) -> Reading:
        # The first call connects, and raises `OSError` if that fails. If the connection breaks later, `ended` of the
        # result is false.
        loop = asyncio.get_running_loop()
        if self._transport is None:
            host, port = self._url.hostname or "", self._url.port or 80
            self._transport, _ = await loop.create_connection(lambda: self, host, port)
        messages = [{"role": "user", "content": "How many apples are left?"}]
        body = msgspec.json.encode({"model": stream, "stream": True, "messages": messages})
        head = f"POST {self._url.path}/chat/completions HTTP/1.1\r\nhost: {self._url.netloc}\r\n"
        kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._done = loop.create_future()
        reading, self._tail = Reading(time.monotonic()), b""
        self._reading = reading
        self._transport.write(f"{head}{kind}".encode() + body)
        await self._done
        if reading.ended:
            reading.arrivals.pop()  # the chunk that ends the stream has no time of its own
        return reading

    def data_received(self, data: bytes) -> None:
        reading, seen = self._reading, self._tail + data
        reading.take_bytes(seen)
        self._tail = seen[-len(_EVENT) + 1 :]
        if data.endswith(b"0\r\n\r\n"):
            reading.ended = b"[DONE]" in seen
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def read_crowd(base_url: str, streams: int, chunks: int, rate: float) -> list[Reading]:
    # Read `streams` streams at once, each with a `StreamReader`. Return what each reader received. Each stream has
    # `chunks` chunks, at `rate` chunks a second.
    async def one(_found: Reading) -> Reading:
        reader = StreamReader(base_url)
        try:
            return await reader.read(f"{chunks}@{rate:g}")
        finally:
            reader.close()

    return await _all(one, streams, chunks, rate)


async def transport_crowd(base_url: str, streams: int, chunks: int, rate: float, transport: Transport) -> list[Reading]:
    # Only HTTP is decoded, not the events.
    body = msgspec.json.encode({"model": f"{chunks}@{rate:g}", "prompt": "", "stream": True})
    request = HttpRequest("POST", f"{base_url}/completions", {"content-type": "application/json"}, body)

    async def one(reading: Reading) -> None:
        response = await transport.send(request, connect_timeout=_PATIENCE_SECONDS)
        await reading.take_all(iter_until(response.receive, b""))
        await response.aclose()

    return await _all(one, streams, chunks, rate)


async def run_crowd(
    base_url: str, streams: int, chunks: int, rate: float, transport: Transport, monitors: Sequence[Monitor]
) -> list[Reading]:
    model = CompletionsModel(base_url, f"{chunks}@{rate:g}", api_key="", transport=transport)

    async def one(reading: Reading) -> None:
        async with run(model, "", monitors=monitors) as supervised:
            async for event in supervised:
                if isinstance(event, Delta):
                    reading.take(event.text)
        reading.ended = supervised.result.status in ("verified", "unverified")

    return await _all(one, streams, chunks, rate)


async def httpx2_crowd(base_url: str, streams: int, chunks: int, rate: float) -> list[Reading]:
    # Only HTTP is decoded, not the events.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(limits=limits, timeout=_PATIENCE_SECONDS) as client:

        async def one(reading: Reading) -> None:
            body = {"model": f"{chunks}@{rate:g}", "prompt": "", "stream": True}
            async with client.stream("POST", f"{base_url}/completions", json=body) as response:
                await reading.take_all(response.aiter_raw())

        return await _all(one, streams, chunks, rate)


async def openai_crowd(base_url: str, streams: int, chunks: int, rate: float) -> list[Reading]:
    import openai

    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:

        async def one(reading: Reading) -> None:
            stream = await client.completions.create(model=f"{chunks}@{rate:g}", prompt="", stream=True)
            async for chunk in stream:
                if chunk.choices[0].text:
                    reading.take(chunk.choices[0].text)
                reading.ended = chunk.choices[0].finish_reason is not None

        return await _all(one, streams, chunks, rate)


async def iter_until(receive: Callable[[], Awaitable[bytes]], end: bytes) -> AsyncIterator[bytes]:
    while (data := await receive()) != end:
        yield data


async def _all(
    one: Callable[[Reading], Awaitable[Reading | None]], streams: int, chunks: int, rate: float
) -> list[Reading]:
    # A stream that fails or takes too long counts as lost.
    rng = random.Random(streams)
    begins = [rng.uniform(0, chunks / rate * _BEGIN_WITHIN) for _ in range(streams)]

    async def begin(number: int) -> Reading:
        await asyncio.sleep(begins[number])
        reading = Reading(time.monotonic())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS + _PATIENCE * chunks / rate):
                return await one(reading) or reading
        except Exception as error:  # noqa: BLE001  of any library: counted, and logged
            log_warning("bench.stream_lost", error=type(error).__name__)
            reading.ended = False
        return reading

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(begin(number)) for number in range(streams)]
    return [task.result() for task in tasks]


async def ask_generator(base_url: str) -> LoadTally:
    # Ask the load generator at `base_url` how many chunks it sent since the last call, and how late they were.
    async with httpx2.AsyncClient(timeout=_PATIENCE_SECONDS) as client:
        return msgspec.json.decode((await client.get(base_url.replace("/v1", "/tally"))).content, type=LoadTally)


def judge(readings: Sequence[Reading], chunks: int, rate: float) -> Crowd:
    whole = [(each, each.begun) for each in readings if each.ended and len(each.arrivals) == chunks and each.begun]
    late = [
        (arrival - begun - number / rate) * 1e3 for each, begun in whole for number, arrival in enumerate(each.arrivals)
    ] or [0.0]
    rates = [(chunks - 1) / rate / max(each.arrivals[-1] - begun, 1e-9) for each, begun in whole]
    return Crowd(
        streams=len(readings),
        lost=len(readings) - len(whole),
        delivered=sum(rates) / len(readings),
        late_p50_ms=percentile(late, 0.5),
        late_p99_ms=percentile(late, 0.99),
    )
