"""What must not happen on the way through a gateway."""

import asyncio
import threading
import time

import anyio
import httpx2
import interwhen
import pytest
from helpers import ASK, post, sse
from interwhen import Abstain, Monitor, Pass, Violation
from interwhen.testing.server import Sleep, Stall, delta, events
from watchers import every_line, passing, word

pytestmark = pytest.mark.anyio


@pytest.mark.fault("V3", injected="a verifier that blocks, behind the gateway", happens="no other call waits")
def test_a_verifier_that_blocks_freezes_no_other_call(upstream, gateway):
    started = threading.Event()

    @interwhen.verifier(name="blocking", deadline=30.0)
    def blocking(claim):
        started.set()
        time.sleep(2.0)
        return Pass()

    monitor = Monitor(name="blocking", verifier=blocking, extractor=every_line)
    running = gateway(upstream(events(["one\n"], api="chat")), offers=[monitor])
    slow = threading.Thread(target=post, args=(running, {**ASK, "model": "m#blocking"}))
    slow.start()
    assert started.wait(10)
    began = time.monotonic()
    assert post(running, ASK).status_code == 200
    assert httpx2.get(f"{running.root}/healthz").status_code == 200
    assert time.monotonic() - began < 1.5
    slow.join(10)


async def test_a_slow_check_beside_does_not_delay_an_interrupt(upstream, gateway):
    server = upstream((delta({"content": "fine\n"}), delta({"content": "BAD\n"}), Stall()))
    slow = word(bad="never", slow=20)
    slow = Monitor(name="slow", verifier=slow.verifier, extractor=every_line, delivery="observe")
    running = gateway(server, watchers=[slow, word(remedy=Abstain())])
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}) as answer,
    ):
        async for _ in answer.aiter_raw():
            until = time.monotonic() + 5
            while not server.posts[0].gone.is_set():
                assert time.monotonic() < until
                await anyio.sleep(0.005)
            break


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_word_in_two_deltas_neither_trips_nor_dodges_a_rule(cut, upstream, gateway):
    @interwhen.verifier(name="whole words", worker="inline")
    def check(claim):
        return Violation(why="BAD") if "BAD" in claim.key.split() else Pass()

    monitor = Monitor(name="w", verifier=check, extractor=every_line, delivery="observe")
    text = "BADGE\na BAD b\n"
    running = gateway(
        upstream(events([text[:cut], text[cut : cut + 6], text[cut + 6 :]], api="chat")), watchers=[monitor]
    )
    chunks = sse(post(running, {**ASK, "stream": True}).text)[:-1]
    found = [e for c in chunks for e in c.get("interwhen", {}).get("events", ()) if e["type"] == "violation_found"]
    assert [event["violation"]["key"] for event in found] == ["a BAD b"]


@pytest.mark.parametrize("way", ["to the end", "left", "failed"])
async def test_no_task_is_left_after_a_call(way, portal, upstream, gateway):
    steps = {
        "to the end": events(["one\n"], api="chat"),
        "left": (delta({"content": "one\n"}), Stall()),
        "failed": (delta({"content": "one\n"}), Sleep(0.05)),
    }[way]
    running = gateway(upstream(steps), watchers=[word(slow=30) if way == "left" else passing()])

    def tasks():
        return {task.get_name() for task in asyncio.all_tasks() if "interwhen" in repr(task.get_coro())}

    async def count():
        return tasks()

    before = portal.call(count)
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}) as answer,
    ):
        async for _ in answer.aiter_raw():
            if way == "left":
                break
    running.idle()
    await anyio.sleep(0.05)
    assert portal.call(count) <= before | {"count"}
    assert running.gateway.places.taken == 0
