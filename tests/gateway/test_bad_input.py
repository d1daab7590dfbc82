"""What each kind of bad input gets: a clear error body of the API's form, and nothing else."""

import asyncio
import json
import socket
import time

import anyio
import httpx2
import openai
import pytest
from interwhen.testing.server import Reset, Send, Sleep, Stall, data, delta, events, fault, reply
from test_calls import ASK, post, sse
from watchers import passing, word

pytestmark = pytest.mark.anyio


def refused(answer, status, code, *, retry_after=False):
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert ("retry-after" in answer.headers) == retry_after
    return error


@pytest.fixture
def sound(upstream, gateway):
    server = upstream(events(["one\n"], api="chat"))
    running = gateway(server, watchers=[passing()], limits={"body_bytes": 2000})
    running.posts = server.posts
    return running


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"model": "m",}', b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b"[" * 1500]
)
def test_a_malformed_body(body, sound):
    refused(post(sound, body), 400, "malformed_body")
    assert sound.posts == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"tools": {"a": 1}}, "tools"),
        ({"stream": "yes"}, "stream"),
        ({"model": 7}, "model"),
        ({"stream_options": True}, "stream_options"),
        ({"tools": [{"type": ["function"]}]}, None),
    ],
)
def test_a_body_of_another_form(fields, param, sound):
    assert refused(post(sound, {**ASK, **fields}), 400, "invalid_type")["param"] == param
    assert sound.posts == []


def test_several_answers_at_once_cannot_be_watched(sound):
    assert "n=2" in refused(post(sound, {**ASK, "n": 2}), 400, "invalid_request")["message"]


def test_an_unknown_model(upstream, gateway):
    server = upstream(
        reply(404, b'{"error": {"message": "no model x", "type": "NotFoundError", "param": null, "code": 404}}')
    )
    running = gateway(server, watchers=[passing()])
    answer = post(running, {**ASK, "model": "x"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no model x")
    routed = gateway(f"gpt-*={server.base_url}", watchers=[passing()])
    error = refused(post(routed, {**ASK, "model": "x"}), 404, "model_not_found")
    assert "gpt-*" in error["message"]


def test_an_unknown_monitor(sound):
    for options in (
        {"json": {**ASK, "interwhen": {"monitors": ["none-such"]}}},
        {"json": ASK, "headers": {"x-interwhen-monitors": "none-such"}},
        {"json": {**ASK, "model": "m#none-such"}},
    ):
        error = refused(httpx2.post(f"{sound.base_url}/chat/completions", **options), 400, "unknown_monitor")
        assert "none-such" in error["message"]
        assert "passing" in error["message"]
    assert sound.posts == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"reeding": "gate"}, "unknown_option"),
        ({"reading": "upside down"}, "invalid_value"),
        ({"reading": ["gate"]}, "invalid_value"),
        ({"monitors": [1]}, "invalid_type"),
        ("on", "invalid_type"),
    ],
)
def test_a_wrong_word_to_us(said, code, sound):
    refused(post(sound, {**ASK, "interwhen": said}), 400, code)


def test_an_oversize_body(sound):
    big = {**ASK, "user": "x" * 3000}
    refused(post(sound, big), 413, "request_too_large")

    def pieces():
        for _ in range(100):
            yield b" " * 100

    refused(httpx2.post(f"{sound.base_url}/chat/completions", content=pieces()), 413, "request_too_large")
    assert post(sound, ASK).status_code == 200


def test_a_body_that_does_not_come(upstream, gateway):
    running = gateway(upstream(()), watchers=[passing()], limits={"body_seconds": 0.2})
    with socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])), timeout=10) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert b" 408 " in client.recv(4096)


def test_no_such_path_and_no_such_method(sound):
    refused(httpx2.get(f"{sound.root}/nothing"), 404, "not_found")
    refused(httpx2.get(f"{sound.root}/v2/models"), 404, "not_found")
    refused(httpx2.request("PATCH", f"{sound.base_url}/models"), 405, "method_not_allowed")


KEY = "sk-of-the-gateway"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": KEY},
        {"authorization": f"Bearer {KEY}x"},
        {"x-interwhen-key": "wrong"},
        {"authorization": "Bearer \xfc"},
    ],
)
def test_a_wrong_key(headers, upstream, gateway):
    server = upstream(events(["one"], api="chat"))
    running = gateway(server, watchers=[passing()], keys=(KEY, "another-key"))
    refused(
        post(running, ASK, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()]),
        401,
        "invalid_api_key",
    )
    assert server.requests == []
    assert httpx2.get(f"{running.base_url}/models").status_code == 401
    assert httpx2.get(f"{running.root}/healthz").status_code == 200


def test_a_right_key_is_not_sent_on_and_the_upstreams_is(upstream, gateway):
    server = upstream(events(["one"], api="chat"))
    running = gateway(server, watchers=[passing()], keys=(KEY, "another-key"))
    assert post(running, ASK, headers={"authorization": f"bearer {KEY}"}).status_code == 200
    assert post(running, ASK, headers={"x-interwhen-key": KEY, "authorization": "Bearer theirs"}).status_code == 200
    first, second = (request.headers for request in server.posts)
    assert "authorization" not in first
    assert second["authorization"] == "Bearer theirs"
    assert KEY not in str(first) + str(second)


def test_the_upstreams_key_of_the_environment_is_for_requests_without_one(upstream, gateway, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", "operators")
    server = upstream(events(["one"], api="chat"))
    running = gateway(watchers=[passing()], upstreams=({"url": server.base_url, "key_env": "UPSTREAM_KEY"},))
    post(running, ASK)
    post(running, ASK, headers={"authorization": "Bearer own"})
    assert [request.headers["authorization"] for request in server.posts] == ["Bearer operators", "Bearer own"]


def test_a_page_of_another_site_may_not_call(upstream, gateway):
    server = upstream(events(["one"], api="chat"))
    running = gateway(server, watchers=[passing()])
    refused(post(running, ASK, headers={"origin": "https://evil.example"}), 403, "origin_not_allowed")
    assert server.requests == []
    allowed = gateway(server, watchers=[passing()], origins=("https://app.example",))
    answer = post(allowed, ASK, headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize("watchers", [[passing()], []])
@pytest.mark.parametrize("streamed", [True, False])
def test_an_upstream_that_is_down(watchers, streamed, gateway):
    running = gateway("http://127.0.0.1:9/v1", watchers=watchers)
    error = refused(post(running, {**ASK, "stream": streamed}), 502, "upstream_unreachable")
    assert error["type"] == "upstream_error"
    assert "content_filter" not in json.dumps(error)
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 1
    assert running.metric('interwhen_calls_total{api="chat",outcome="abstained"}') == 0
    assert running.metric('interwhen_upstream_errors_total{code="upstream_unreachable",upstream="127.0.0.1:9"}') == 1


@pytest.mark.parametrize("name", ["http_429", "http_400", "http_400_ctx", "http_500"])
@pytest.mark.parametrize("watchers", [[passing()], []])
def test_what_an_upstream_answers_comes_through(name, watchers, upstream, gateway):
    server = upstream(fault(name, "chat"))
    direct = httpx2.post(f"{server.base_url}/chat/completions", json=ASK)
    answer = post(gateway(server, watchers=watchers), ASK)
    assert (answer.status_code, answer.json()) == (direct.status_code, direct.json())
    assert answer.headers.get("retry-after") == direct.headers.get("retry-after")
    assert len(server.posts) == 2  # once direct, once through the gateway: to try again is the client's choice


def test_an_upstream_that_says_nothing_in_time(upstream, gateway):
    patience = {"first_token": 0.2, "inter_token": 0.2}
    for steps in ((Stall(),), (delta({"content": "a"}), Stall())):
        running = gateway(upstream(steps), watchers=[passing()], patience=patience)
        refused(post(running, ASK), 504, "upstream_timeout")


@pytest.mark.parametrize("name", ["error_event", "rst_mid", "eof_mid", "malformed_json"])
def test_an_upstream_that_fails_mid_stream(name, upstream, gateway):
    running = gateway(upstream(fault(name, "chat")), watchers=[passing()])
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks if "choices" in chunk) == "one "
    assert "error" in chunks[-1]
    assert "[DONE]" not in chunks
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ()))
    refused_whole = post(running, ASK)
    assert refused_whole.status_code == (503 if name == "error_event" else 502)
    assert "error" in refused_whole.json()
    assert running.metric('interwhen_calls_total{api="chat",outcome="failed"}') == 2


def test_the_sdk_raises_what_fails_mid_stream(upstream, gateway):
    steps = (delta({"content": "one "}), Send(data({"error": {"message": "out of memory", "code": 500}})))
    running = gateway(upstream(steps), watchers=[passing()])
    client = openai.OpenAI(base_url=running.base_url, api_key="k", max_retries=0)
    seen = []
    with pytest.raises(openai.APIError, match="out of memory"):
        seen.extend(client.chat.completions.create(**ASK, stream=True))
    client.close()


def test_a_connection_that_breaks_mid_stream_breaks_what_passes_through(upstream, gateway):
    running = gateway(upstream((delta({"content": "one "}), Reset())))
    with pytest.raises(httpx2.RemoteProtocolError):
        post(running, {**ASK, "stream": True})


def test_no_stream_is_taken_up_twice_so_no_text_is_said_twice(upstream, gateway):
    server = upstream((delta({"content": "one "}), Reset()))
    running = gateway(server, watchers=[passing()])
    post(running, {**ASK, "stream": True})
    assert len(server.posts) == 1


async def gone(request, seconds=5):
    until = time.monotonic() + seconds
    while not request.gone.is_set():
        assert time.monotonic() < until, "the upstream still has a reader"
        await anyio.sleep(0.005)


@pytest.mark.parametrize("watchers", [[word(slow=60)], []])
@pytest.mark.parametrize("steps", [(Stall(),), (delta({"content": "BAD\n"}), Stall())])
async def test_a_client_that_leaves_ends_the_upstream_at_once(watchers, steps, upstream, gateway):
    server = upstream(steps)
    running = gateway(server, watchers=watchers)
    async with httpx2.AsyncClient() as client:
        if len(steps) == 1:
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(f"{running.base_url}/chat/completions", json={**ASK, "stream": True}, timeout=0.5)
        else:
            async with client.stream(
                "POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}
            ) as answer:
                async for _ in answer.aiter_raw():
                    break
        left = time.monotonic()
    await gone(server.posts[0])
    assert time.monotonic() - left < 1.0
    running.idle()
    assert running.gateway.places.taken == 0
    assert running.metric('interwhen_calls_total{api="chat",outcome="left"}') == 1


def flood(request):
    text = "x" * 20000 + "\n"
    return (*[delta({"content": text})] * 2000, *events([], api="chat"))


@pytest.mark.parametrize("watchers", [[passing()], []])
async def test_a_slow_reader_holds_nothing_but_itself(watchers, upstream, gateway):
    """It gets all of its stream as slowly as it reads; meanwhile the upstream is held back, and others are served."""
    server = upstream(
        lambda request: flood(request) if request.json["model"] == "flood" else events(["one"], api="chat")
    )
    running = gateway(server, watchers=watchers, limits={"write_seconds": 1.0})
    client = socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps({**ASK, "model": "flood", "stream": True}).encode()
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    began = time.monotonic()
    other = await anyio.to_thread.run_sync(lambda: post(running, ASK))
    assert other.status_code == 200
    await gone(server.posts[0], 10)  # a reader that takes nothing at all is dropped, and its upstream with it
    assert time.monotonic() - began > 0.9
    running.idle()
    client.close()
    assert running.metric('interwhen_calls_total{api="chat",outcome="slow"}') == 1


async def burst(running, count, body):
    """Many clients at once, each on a connection of its own; their statuses, and what they were told."""

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.root.rpartition(":")[2]))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), head.lower(), rest

    return await asyncio.gather(*[one() for _ in range(count)])


async def test_many_sudden_clients_are_served_or_told_to_come_back(upstream, gateway):
    steps = (delta({"content": "one\n"}), Sleep(0.5), *events([], api="chat"))
    server = upstream(steps)
    running = gateway(server, watchers=[passing()], limits={"concurrent": 20, "waiting": 30, "wait_seconds": 60.0})
    body = json.dumps({**ASK, "stream": True}).encode()
    found = await burst(running, 1000, body)
    served = [rest for status, _, rest in found if status == 200]
    assert {status for status, _, _ in found} == {200, 429}
    assert len(served) >= 50
    assert all(b"[DONE]" in rest for rest in served)
    turned_away = [(head, rest) for status, head, rest in found if status == 429]
    assert all(b"retry-after: " in head and b'"too_many_requests"' in rest for head, rest in turned_away)
    assert len(server.posts) == len(served)
    running.idle()
    assert running.gateway.places.taken == running.gateway.places.waiting == 0


async def test_who_waits_too_long_is_told_to_come_back(upstream, gateway):
    running = gateway(upstream((Stall(),)), limits={"concurrent": 1, "waiting": 5, "wait_seconds": 0.2})
    async with httpx2.AsyncClient() as client:
        first = asyncio.create_task(client.post(f"{running.base_url}/chat/completions", json=ASK))
        while not running.gateway.places.taken:
            await anyio.sleep(0.005)
        refused(
            await client.post(f"{running.base_url}/chat/completions", json=ASK), 503, "overloaded", retry_after=True
        )
        first.cancel()
        while running.gateway.places.taken:
            await anyio.sleep(0.005)


async def test_who_leaves_the_queue_leaves_no_place_taken(upstream, gateway):
    running = gateway(upstream((Stall(),)), limits={"concurrent": 1, "waiting": 5, "wait_seconds": 60.0})
    async with httpx2.AsyncClient() as client:
        first = asyncio.create_task(client.post(f"{running.base_url}/chat/completions", json=ASK))
        while not running.gateway.places.taken:
            await anyio.sleep(0.005)
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(f"{running.base_url}/chat/completions", json=ASK, timeout=0.3)
        while running.gateway.places.waiting:
            await anyio.sleep(0.005)
        first.cancel()
        while running.gateway.places.taken:
            await anyio.sleep(0.005)
