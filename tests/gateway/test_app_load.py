"""Clients that leave, that read slowly, and that come all at once."""

import asyncio
import json
import socket
import time

import anyio
import httpx2
import pytest
from helpers import ASK, post, refused, rest_of
from interwhen.testing._server_script import delta
from interwhen.testing.server import Sleep, Stall, events
from watchers import passing, word

pytestmark = pytest.mark.anyio


def call(fields):
    body = json.dumps(fields).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


async def gone(request, seconds=60):
    until = time.monotonic() + seconds
    while not request.gone.is_set():
        assert time.monotonic() < until, "the upstream still has a reader"
        await anyio.sleep(0.005)


@pytest.mark.fault("P1", injected="a client of the gateway that leaves", happens="the upstream is closed at once")
@pytest.mark.parametrize("watchers", [[word(slow=60)], []])
@pytest.mark.parametrize("steps", [(Stall(),), (delta({"content": "BAD\n"}), Stall())])
async def test_client_disconnect_closes_the_upstream_stream(watchers, steps, upstream, gateway):
    server = upstream(steps)
    running = gateway(server, watchers=watchers)
    async with httpx2.AsyncClient() as client:
        if len(steps) == 1:
            waiting = asyncio.create_task(
                client.post(f"{running.base_url}/chat/completions", json={**ASK, "stream": True})
            )
            while not server.posts:
                await anyio.sleep(0.005)
            waiting.cancel()
        else:
            async with client.stream(
                "POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}
            ) as answer:
                async for _ in answer.aiter_raw():
                    break
    await gone(server.posts[0])  # whose own end never comes
    running.idle()
    assert running.gateway.slots.taken == 0
    assert running.metric('interwhen_calls_total{api="chat",outcome="left"}') == 1


def flood(request):
    text = "x" * 20000 + "\n"
    return (*[delta({"content": text})] * 2000, *events([], api="chat"))


@pytest.mark.fault(
    "S12",
    injected="a reader that does not read",
    happens="dropped after limits.write_seconds, its upstream closed, others served meanwhile",
)
@pytest.mark.parametrize("watchers", [[passing()], []])
async def test_slow_reader_blocks_no_other_call(watchers, upstream, gateway):
    server = upstream(
        lambda request: flood(request) if request.json["model"] == "flood" else events(["one"], api="chat")
    )
    running = gateway(server, watchers=watchers, limits={"write_seconds": 1.0})
    client = socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    began = time.monotonic()
    client.sendall(call({**ASK, "model": "flood", "stream": True}))
    other = await anyio.to_thread.run_sync(lambda: post(running, ASK))
    assert other.status_code == 200
    await gone(server.posts[0])  # a reader that does not read at all is dropped, and its upstream with it
    assert time.monotonic() - began > 0.9
    running.idle()
    client.close()
    assert running.metric('interwhen_calls_total{api="chat",outcome="slow"}') == 1


@pytest.mark.fault(
    "S25",
    injected="a reader that reads little at a time, for longer than limits.write_seconds",
    happens="it gets all of its stream; its upstream is held back",
)
@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
async def test_slow_reader_gets_the_whole_stream(watchers, upstream, gateway):
    server = upstream(flood)
    limits = {"write_seconds": 4.0}
    running = gateway(server, watchers=watchers, limits=limits, budgets={"characters": 1 << 30})

    def read():
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            client.connect(("127.0.0.1", int(running.root.rpartition(":")[2])))
            client.settimeout(60)
            client.sendall(call({**ASK, "stream": True}))
            received = bytearray()
            slow_until = time.monotonic() + 4.5
            while time.monotonic() < slow_until:
                received += client.recv(1 << 16)
                time.sleep(0.04)
            held_back_at = server.posts[0].generated
            while not received.endswith(b"0\r\n\r\n"):
                data = client.recv(1 << 20)
                assert data, "it was cut off"
                received += data
            return held_back_at, bytes(received)

    held_back_at, received = await anyio.to_thread.run_sync(read)
    assert held_back_at < 2000
    assert server.posts[0].generated >= 2000
    assert received.count(b"xxx\\n") == 2000
    assert b"data: [DONE]" in received
    outcome = "steps verified" if watchers else "passed"
    assert running.metric(f'interwhen_calls_total{{api="chat",outcome="{outcome}"}}') == 1


@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
@pytest.mark.parametrize("steps", [(Stall(),), (delta({"content": "one\n"}), Stall())], ids=["silent", "begun"])
async def test_client_disconnect_closes_upstream_of_whole_answer(steps, watchers, upstream, gateway):
    server = upstream(steps)
    running = gateway(server, watchers=watchers)
    with socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])), timeout=60) as client:
        client.sendall(call(ASK))
        until = time.monotonic() + 60
        while not server.posts or (len(steps) > 1 and not server.posts[0].generated):
            assert time.monotonic() < until
            await anyio.sleep(0.005)
        assert not server.posts[0].gone.is_set()
    await gone(server.posts[0])
    assert running.metric('interwhen_calls_total{api="chat",outcome="left"}') == 1


async def burst(running, count, body, answered):
    """Many clients at once, each on a connection of its own; their statuses and answers.

    *answered* is called with the status of each, once its answer is whole.
    """

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.root.rpartition(":")[2]))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        answered(int(head.split()[1]))
        return int(head.split()[1]), head.lower(), rest

    return await asyncio.gather(*[one() for _ in range(count)])


@pytest.mark.fault(
    "S13", injected="1,000 clients at once", happens="served whole, or 429 with Retry-After; no place is lost"
)
async def test_overload_serves_clients_or_answers_429(upstream, gateway, record_property):
    refusals = []

    def held(_request):
        yield delta({"content": "one\n"})
        while len(refusals) < 950:  # all places are taken until all others have been refused
            yield Sleep(0.02)
        yield from events([], api="chat")

    def answered(status):
        if status == 429:
            refusals.append(status)

    server = upstream(held)
    running = gateway(server, watchers=[passing()], limits={"concurrent": 20, "waiting": 30, "wait_seconds": 600.0})
    body = json.dumps({**ASK, "stream": True}).encode()
    replies = await burst(running, 1000, body, answered)
    record_property("tries", len(replies))
    served = [rest for status, _, rest in replies if status == 200]
    assert {status for status, _, _ in replies} == {200, 429}
    assert len(served) == 50
    assert all(b"[DONE]" in rest for rest in served)
    turned_away = [(head, rest) for status, head, rest in replies if status == 429]
    assert all(b"retry-after: " in head and b'"too_many_requests"' in rest for head, rest in turned_away)
    assert len(server.posts) == len(served)
    running.idle()
    assert running.gateway.slots.taken == running.gateway.slots.waiting == 0


async def test_queue_timeout_answers_503_with_retry_after(upstream, gateway):
    running = gateway(upstream((Stall(),)), limits={"concurrent": 1, "waiting": 5, "wait_seconds": 0.2})
    async with httpx2.AsyncClient() as client:
        first = asyncio.create_task(client.post(f"{running.base_url}/chat/completions", json=ASK))
        while not running.gateway.slots.taken:
            await anyio.sleep(0.005)
        refused(
            await client.post(f"{running.base_url}/chat/completions", json=ASK), 503, "overloaded", retry_after=True
        )
        first.cancel()
        while running.gateway.slots.taken:
            await anyio.sleep(0.005)


async def test_client_leaving_queue_frees_its_place(upstream, gateway):
    running = gateway(upstream((Stall(),)), limits={"concurrent": 1, "waiting": 5, "wait_seconds": 60.0})
    async with httpx2.AsyncClient() as client:
        first = asyncio.create_task(client.post(f"{running.base_url}/chat/completions", json=ASK))
        while not running.gateway.slots.taken:
            await anyio.sleep(0.005)
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(f"{running.base_url}/chat/completions", json=ASK, timeout=httpx2.Timeout(20, read=0.3))
        while running.gateway.slots.waiting:
            await anyio.sleep(0.005)
        first.cancel()
        while running.gateway.slots.taken:
            await anyio.sleep(0.005)


def half(running, sent=b"{"):
    client = socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])), timeout=60)
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n" + sent)
    return client


async def parted(running, count):
    until = time.monotonic() + 60
    while running.gateway.bodies.parted != count:
        assert time.monotonic() < until
        await anyio.sleep(0.005)


@pytest.mark.fault(
    "S21",
    injected="many bodies that come in parts, at once",
    happens="429 with Retry-After beyond concurrent + waiting; whole requests are served meanwhile",
)
async def test_concurrent_body_reads_are_limited(upstream, gateway):
    running = gateway(upstream(events(["one"], api="chat")), limits={"concurrent": 1, "waiting": 2})
    readers = []
    for count in range(3):
        readers.append(half(running, b" " * 1_000_000))
        await parted(running, count + 1)
    for _ in range(20):
        with half(running) as further:
            head, _, rest = (await anyio.to_thread.run_sync(rest_of, further)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 2" in head
        assert b"connection: close" in head
        assert json.loads(rest)["error"]["code"] == "too_many_requests"
    assert (await anyio.to_thread.run_sync(post, running, ASK)).status_code == 200
    for reader in readers:
        reader.close()
    await parted(running, 0)
    body = json.dumps(ASK).encode().ljust(5_000_000)
    assert (await anyio.to_thread.run_sync(post, running, body)).status_code == 200
    assert running.metric('interwhen_http_errors_total{code="too_many_requests"}') == 20
