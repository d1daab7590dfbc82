"""Heads of requests that come in parts, late, too large or not at all, by each of the parsers there may be."""

import json
import socket
import threading
import time

import pytest
from helpers import ASK, post, refused, rest_of
from interwhen.gateway import _server
from interwhen.testing._server_script import delta
from interwhen.testing.server import Sleep, events

BODY = json.dumps({**ASK, "stream": True}).encode()
CALL = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(params=["httptools", "h11"])
def parser(request, monkeypatch):
    if request.param == "h11":
        monkeypatch.setattr(_server, "find_spec", lambda name: None)
    else:
        pytest.importorskip("httptools")
    return request.param


@pytest.fixture
def start(parser, upstream, gateway):
    def start(steps=(), **limits):
        return gateway(upstream(steps or events(["one"], api="chat")), limits=limits)

    return start


def connected(running):
    return socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])), timeout=60)


def told(client):
    head, _, body = rest_of(client).partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    return int(head.split()[1]), error["code"]


@pytest.mark.fault("S23", injected="a request head without an end", happens="431 beyond limits.head_bytes, and closed")
@pytest.mark.parametrize("path", [b"/v1/models", b"/healthz"])
def test_head_growing_beyond_limit_is_refused(path, start):
    running = start(head_bytes=10_000)
    with connected(running) as client:
        client.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\n" % path)
        time.sleep(0.1)
        client.sendall(b"x-long: " + b"a" * 10_000)
        assert told(client) == (431, "request_head_too_large")
    assert running.metric('interwhen_http_errors_total{code="request_head_too_large"}') == 1


def test_oversized_head_sent_at_once_is_refused(start):
    running = start(head_bytes=1000)
    answer = post(running, ASK, headers={"x-long": "a" * 1000})
    refused(answer, 431, "request_head_too_large")
    assert answer.headers["connection"] == "close"
    refused(post(running, ASK, f"chat/completions?{'a' * 1000}"), 431, "request_head_too_large")
    assert post(running, ASK, headers={"x-long": "a" * 500}).status_code == 200


@pytest.mark.fault(
    "S24", injected="a request head that comes slowly or never", happens="408 after limits.head_seconds, and closed"
)
@pytest.mark.parametrize("sent", [b"G", b"GET /v1/models HTTP/1.1\r\nhost:"])
def test_incomplete_head_times_out(sent, start):
    with connected(start(head_seconds=1.0)) as client:
        for byte in sent:  # a single byte does not restart the timer
            client.sendall(bytes([byte]))
            time.sleep(0.03 / len(sent))
        assert told(client) == (408, "request_timeout")


def test_idle_connection_is_closed(start, monkeypatch):
    monkeypatch.setattr(_server, "_KEEP_ALIVE_SECONDS", 0.2)
    with connected(start()) as client:
        assert client.recv(100) == b""


def test_partial_head_resets_its_limits_after_reading(start):
    # Longer than each head takes, also on a busy machine, and shorter than all of them.
    running = start(head_seconds=2.5, head_bytes=150)
    with connected(running) as client:
        for _ in range(6):
            client.sendall(CALL[:60])
            time.sleep(0.05)
            client.sendall(CALL[60:])
            seen = b""
            while b"[DONE]" not in seen:
                data = client.recv(65536)
                assert data, seen
                seen += data
            time.sleep(0.5)


def test_next_request_may_begin_during_an_answer(start):
    may_end = threading.Event()

    def held(_request):
        yield delta({"content": "one\n"})
        while not may_end.is_set():
            yield Sleep(0.02)
        yield from events(["two"], api="chat")

    with connected(start(held, head_seconds=0.2)) as client:
        client.sendall(CALL + CALL[:30])
        time.sleep(0.5)
        client.sendall(CALL[30:])
        may_end.set()
        seen = b""
        while seen.count(b"[DONE]") < 2:
            data = client.recv(65536)
            assert data
            seen += data
    assert b"HTTP/1.1 4" not in seen


@pytest.mark.parametrize(
    "sent",
    [b"NONSENSE\r\n\r\n", b"GET /v1/models HTTP/1.1\r\nhost: x\r\nbad name: x\r\n\r\n"],
)
def test_malformed_http_gets_api_shaped_error(sent, start):
    with connected(start()) as client:
        client.sendall(sent)
        assert told(client) == (400, "malformed_request")


@pytest.mark.fault("S26", injected="trailers, or a chunk's extension, without an end", happens="refused, and closed")
@pytest.mark.parametrize("end", [b"0\r\nx-long: ", b"1;x="], ids=["trailer", "extension"])
def test_trailers_after_body_are_bounded(end, parser, start):
    running = start(head_bytes=10_000)
    with connected(running) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        client.sendall(b"%x\r\n%b\r\n%b" % (len(BODY), BODY, end))
        ended = None
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                client.sendall(b"a" * 1000)
                time.sleep(0.001)
        except OSError as error:
            ended = error
        assert ended is not None
    if parser == "httptools":
        assert running.metric('interwhen_http_errors_total{code="request_head_too_large"}') == 1
    assert running.gateway.bodies.parted == 0


def test_chunked_body_is_read_and_trailers_ignored(parser, upstream, gateway):
    _server = upstream(events(["one"], api="chat"))
    running = gateway(_server, limits={"head_bytes": 500})
    chunks = b"".join(b"1;extension=%d\r\n%c\r\n" % (number, byte) for number, byte in enumerate(BODY.ljust(2000)))
    with connected(running) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(chunks), 1000):
            client.sendall(chunks[at : at + 1000])
        client.sendall(b"0\r\nx-trailer: 1\r\n\r\n")
        seen = b""
        while b"[DONE]" not in seen:
            data = client.recv(65536)
            assert data
            seen += data
    assert seen.startswith(b"HTTP/1.1 200 ")
    assert _server.posts[0].body == BODY.ljust(2000)
    assert "x-trailer" not in _server.posts[0].headers
