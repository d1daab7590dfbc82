"""The gateway as a process: its start, its end, and what it writes."""

import signal
import socket
import threading
import time

import httpx2
import pytest
from helpers import ASK, post, rest_of, sse
from interwhen.testing._server_script import delta
from interwhen.testing.server import Sleep, Stall, events
from processes import serving

STREAM = {**ASK, "stream": True}


class Slow:
    """A script that sends lines until it may end."""

    def __init__(self):
        self.may_end = threading.Event()
        self.lines = 0

    def __call__(self, _request):
        until = time.monotonic() + 100
        while not (self.may_end.is_set() and self.lines) and time.monotonic() < until:
            self.lines += 1
            yield delta({"content": "one\n"})
            yield Sleep(0.02)
        yield from events([], api="chat")


def refuses(running):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2]))).close()
        except OSError:
            return True
        time.sleep(0.01)
    return False


class Reader(threading.Thread):
    """Reads a stream to its end, in a thread."""

    def __init__(self, running):
        super().__init__()
        self.running = running
        self.text = ""
        self.error = None
        self.begun = threading.Event()
        self.start()
        assert self.begun.wait(60)

    def run(self):
        try:
            with httpx2.stream("POST", f"{self.running.base_url}/chat/completions", json=STREAM, timeout=60) as answer:
                for piece in answer.iter_text():
                    self.text += piece
                    self.begun.set()
        except httpx2.HTTPError as error:
            self.error = error
        finally:
            self.begun.set()


def test_serve_uses_command_line_options(upstream):
    server = upstream(lambda r: events(["2 + 2 = 5\n"] if r.number == 0 else ["\n"], api="chat"))
    with serving(server.base_url, "--monitor", "arithmetic", "--reading", "gate") as running:
        answer = post(running, {**ASK, "messages": [{"role": "user", "content": "2 + 2?"}]})
        assert answer.json()["choices"][0]["message"]["content"] == "2 + 2 = 4\n"
        assert answer.headers["x-interwhen-status"] == "answer verified"
        assert running.end(signal.SIGTERM) == 0
    assert "Traceback" not in running.output


def test_sigterm_drains_calls_and_refuses_new_ones(upstream):
    slow = Slow()
    with serving(upstream(slow).base_url, "--monitor", "arithmetic") as running:
        reader = Reader(running)
        running.child.send_signal(signal.SIGTERM)
        assert refuses(running)
        assert reader.is_alive()
        slow.may_end.set()
        reader.join(60)
        assert sse(reader.text)[-1] == "[DONE]"
        assert reader.text.count("one") == slow.lines
        assert running.wait() == 0


def test_drain_timeout_ends_calls_with_error(upstream):
    server = upstream((delta({"content": "one\n"}), Stall()))
    with serving(server.base_url, "--monitor", "arithmetic", "--drain-seconds", "0.3") as running:
        reader = Reader(running)
        assert running.end(signal.SIGTERM) == 0
        reader.join(60)
        assert sse(reader.text)[-1]["error"]["code"] == "shutting_down"
        until = time.monotonic() + 60
        while not server.posts[0].gone.is_set():  # by the thread of the server
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.fault(
    "S22",
    injected="SIGTERM while a client is still sending its request",
    happens="503 shutting_down at once; running calls are finished",
)
@pytest.mark.parametrize("sent", [b"", b"{"], ids=["nothing of the body", "a part of it"])
def test_incomplete_request_does_not_delay_shutdown(sent, upstream):
    slow = Slow()
    with serving(upstream(slow).base_url, "--monitor", "arithmetic") as running:
        port = int(running.root.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as head,
            socket.create_connection(("127.0.0.1", port), timeout=60) as body,
        ):
            head.sendall(b"POST /v1/chat/comp")
            body.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + sent)
            reader = Reader(running)
            running.child.send_signal(signal.SIGTERM)
            assert b'"shutting_down"' in rest_of(body)
            assert reader.is_alive()
            assert head.recv(4096) == b""
            slow.may_end.set()
            assert running.wait(60) == 0
        reader.join(60)
        assert sse(reader.text)[-1] == "[DONE]"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_the_gateway_at_once(number, upstream):
    with serving(upstream((delta({"content": "one\n"}), Stall())).base_url) as running:
        reader = Reader(running)
        running.child.send_signal(number)
        assert refuses(running)  # the first signal has been taken; two at once are one
        assert reader.is_alive()
        assert running.end(number) == (130 if number == signal.SIGINT else 0)
        reader.join(60)
    assert "Traceback" not in running.output


def test_readiness_fails_before_the_listener_closes(upstream, tmp_path):
    (tmp_path / "interwhen.toml").write_text("[limits]\nready_seconds = 60.0\n")
    with serving(upstream(events(["one"], api="chat")).base_url, cwd=tmp_path) as running:
        assert httpx2.get(f"{running.root}/readyz").status_code == 200
        running.child.send_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while httpx2.get(f"{running.root}/readyz").status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert post(running, ASK).status_code == 200
        assert running.end(signal.SIGTERM) == 0  # does not wait for the rest of the minute


SECRETS = (
    "sk-upstream-secret",
    "sk-gateway-secret",
    "what-the-user-asks",
    "what-the-model-says",
    "query-secret",
    "url-secret",
)


@pytest.mark.parametrize("end", ["well", "badly"])
def test_neither_keys_nor_texts_are_logged(end, upstream, tmp_path):
    (tmp_path / "keys").write_text("sk-gateway-secret\n")
    server = upstream(events(["what-the-model-says 2 + 2 = 5\n"], api="chat"))
    url = (server.base_url if end == "well" else "http://127.0.0.1:9/v1").replace("//", "//someone:url-secret@")
    arguments = ["--monitor", "arithmetic", "--keys-file", str(tmp_path / "keys")]
    with serving(url, *arguments, log_level="debug") as running:
        body = {**STREAM, "messages": [{"role": "user", "content": "what-the-user-asks"}]}
        headers = {"x-interwhen-key": "sk-gateway-secret", "authorization": "Bearer sk-upstream-secret"}
        for _ in range(2):
            post(running, body, "chat/completions?key=query-secret", headers=headers)
        post(running, b"{", headers=headers)
        post(running, body, headers={"authorization": "Bearer sk-upstream-secret"})
        post(running, {"input": "what-the-user-asks"}, "embeddings?key=query-secret", headers=headers)
        metrics = httpx2.get(f"{running.root}/metrics").text
        assert running.end(signal.SIGTERM) == 0
    assert "call.ended" in running.output
    for secret in SECRETS:
        assert secret not in running.output
        assert secret not in metrics


def test_public_listener_without_keys_logs_warning(upstream, tmp_path):
    with serving(upstream(()).base_url, "--host", "0.0.0.0") as running:
        assert "may call" in running.said
    (tmp_path / "keys").write_text("sk-gateway-secret\n")
    with serving(upstream(()).base_url, "--host", "0.0.0.0", "--keys-file", str(tmp_path / "keys")) as running:
        assert "may call" not in running.said


def test_occupied_port_is_a_one_line_error(upstream, capsys):
    from interwhen_launcher.__main__ import main

    server = upstream(())
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--upstream", server.base_url, "--port", str(server.port)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "must be free to listen on" in error
    assert error.count("\n") == 1
