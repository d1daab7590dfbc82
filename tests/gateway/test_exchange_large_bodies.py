"""Large and many bodies: bounded in sum, in values, and never in the way of other calls."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest
from helpers import ASK, post, refused, rest_of
from interwhen.testing.server import Sleep, events
from watchers import passing

pytestmark = pytest.mark.anyio
M = 16 << 20


def address_of(running):
    return "127.0.0.1", int(running.root.rpartition(":")[2])


def begun(running, size, sent):
    client = socket.create_connection(address_of(running), timeout=60)
    length = b"transfer-encoding: chunked" if size == "chunked" else b"content-length: %d" % size
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + length + b"\r\n\r\n")
    client.sendall(b"%x\r\n" % len(sent) + sent if size == "chunked" else sent)
    return client


def settled(running, size):
    until = time.monotonic() + 60
    while running.gateway.bodies.bytes != size:
        assert time.monotonic() < until, running.gateway.bodies.bytes
        time.sleep(0.005)


@pytest.mark.fault("G12", injected="half bodies beyond the bytes in flight", happens="429, closed; others are served")
@pytest.mark.parametrize("size", [800_000, "chunked"])
def test_half_bodies_are_bounded_in_sum(size, upstream, gateway):
    running = gateway(
        upstream(events(["one\n"], api="chat")), watchers=[passing()], limits={"bytes_in_flight": 1_000_000}
    )
    first = begun(running, size, b" " * 600_000)
    settled(running, 600_000)
    for _ in range(5):
        if size == "chunked":  # closed while its bytes are on their way, so that the answer may be lost
            with begun(running, size, b" " * 600_000) as second, suppress(OSError):
                rest_of(second)
            continue
        with begun(running, size, b"") as second:
            answer = rest_of(second)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 2" in answer
        assert b"connection: close" in answer
    settled(running, 600_000)
    assert post(running, ASK).status_code == 200
    first.close()
    settled(running, 0)
    assert post(running, json.dumps(ASK).encode().ljust(900_000)).status_code == 200
    settled(running, 0)
    assert running.metric('interwhen_http_errors_total{code="too_many_requests"}') == 5


@pytest.mark.fault("G12", injected="1,000 half bodies of 16 MiB", happens="429 once the bytes in flight are taken")
def test_half_sent_bodies_stay_within_byte_limit(upstream, gateway, record_property):
    record_property("tries", 1000)
    limit = 2_000_000
    running = gateway(upstream(events(["one\n"], api="chat")), watchers=[passing()], limits={"bytes_in_flight": limit})
    clients = []
    most = 0
    for _ in range(1000):
        client = socket.create_connection(address_of(running), timeout=60)
        clients.append(client)
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        client.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        most = max(most, running.gateway.bodies.bytes)
    assert most <= limit
    assert post(running, json.dumps(ASK).encode()).status_code in (200, 429)
    for client in clients:
        client.close()
    settled(running, 0)
    assert post(running, ASK).status_code == 200


def test_bytes_count_as_in_flight_while_served(upstream, gateway):
    may_end = threading.Event()

    def held(_request):
        while not may_end.is_set():
            yield Sleep(0.02)
        yield from events(["one\n"], api="chat")

    server = upstream(held)
    running = gateway(server, watchers=[passing()], limits={"bytes_in_flight": 1000})
    body = json.dumps(ASK).encode().ljust(800)
    slow = threading.Thread(target=post, args=(running, body))
    slow.start()
    settled(running, 800)
    refused(post(running, body), 429, "too_many_requests", retry_after=True)
    may_end.set()
    slow.join(60)
    settled(running, 0)
    assert post(running, body).status_code == 200


DEEP = b'{"model": "m", "messages": [' + b"{}," * (M // 3 - 20) + b"{}]}"


@pytest.mark.fault("G12", injected="16 MiB of {},{},…", happens="413, and other calls are answered meanwhile")
@pytest.mark.parametrize("watchers", [[passing()], []], ids=["supervised", "relayed"])
def test_overly_complex_body_is_refused_without_stalling(watchers, upstream, gateway):
    server = upstream(events(["one\n"], api="chat"))
    running = gateway(server, watchers=watchers)
    error = refused(post(running, DEEP), 413, "request_too_complex")
    assert "100,000 JSON values" in error["message"]
    assert server.posts == []
    assert post(running, ASK).status_code == 200


@pytest.mark.fault("G12", injected="16 MiB of one text", happens="served")
def test_a_large_text_is_served(upstream, gateway):
    server = upstream(events(["one\n"], api="chat"))
    running = gateway(server, watchers=[passing()])
    prose = "hello, {this} is [prose], " * 500_000
    answer = post(running, {"model": "m", "messages": [{"role": "user", "content": prose}]})
    assert answer.status_code == 200
    assert len(server.posts[0].body) > 13_000_000
