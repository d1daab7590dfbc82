"""What each kind of bad request gets: a clear error body of the API's form, and nothing else."""

import socket
from types import SimpleNamespace

import httpx2
import pytest
from helpers import ASK, post, refused
from interwhen.gateway._config import Keys
from interwhen.testing.server import events, reply
from watchers import passing


@pytest.fixture
def sound(upstream, gateway):
    server = upstream(events(["one\n"], api="chat"))
    running = gateway(server, watchers=[passing()], limits={"body_bytes": 2000})
    running.upstream = server
    return running


@pytest.mark.fault("S5", injected="a body that is not a JSON object", happens="400 malformed_body, nothing sent on")
@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"model": "m",}', b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b"[" * 1500]
)
def test_malformed_body_is_refused(body, sound):
    refused(post(sound, body), 400, "malformed_body")
    assert sound.upstream.posts == []


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
def test_body_with_wrong_types_is_refused(fields, param, sound):
    assert refused(post(sound, {**ASK, **fields}), 400, "invalid_type")["param"] == param
    assert sound.upstream.posts == []


@pytest.mark.parametrize("parameters", [{"required": 5}, {"required": "ab"}, {"required": None}, 3, "x"], ids=repr)
def test_invalid_tool_schema_is_passed_to_upstream(parameters, sound):
    tools = [{"type": "function", "function": {"name": "a", "parameters": parameters}}]
    assert post(sound, {**ASK, "tools": tools}).status_code == 200
    assert sound.upstream.posts[0].json["tools"] == tools


def test_several_answers_at_once_cannot_be_watched(sound):
    assert (
        "n must be 1 in a supervised call, got 2"
        in refused(post(sound, {**ASK, "n": 2}), 400, "invalid_request")["message"]
    )


@pytest.mark.fault(
    "S6", injected="a model that no upstream serves", happens="404 model_not_found, or the upstream's own 404"
)
def test_unknown_model_is_a_404(upstream, gateway):
    server = upstream(
        reply(404, b'{"error": {"message": "no model x", "type": "NotFoundError", "param": null, "code": 404}}')
    )
    running = gateway(server, watchers=[passing()])
    answer = post(running, {**ASK, "model": "x"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no model x")
    routed = gateway(f"gpt-*={server.base_url}", watchers=[passing()])
    error = refused(post(routed, {**ASK, "model": "x"}), 404, "model_not_found")
    assert "gpt-*" in error["message"]


@pytest.mark.fault(
    "S7",
    injected="a monitor that does not exist",
    happens="400 unknown_monitor with the known names, nothing sent on",
)
def test_unknown_monitor_is_refused(sound):
    for options in (
        {"json": {**ASK, "interwhen": {"monitors": ["none-such"]}}},
        {"json": ASK, "headers": {"x-interwhen-monitors": "none-such"}},
        {"json": {**ASK, "model": "m#none-such"}},
    ):
        error = refused(httpx2.post(f"{sound.base_url}/chat/completions", **options), 400, "unknown_monitor")
        assert "none-such" in error["message"]
        assert "passing" in error["message"]
    assert sound.upstream.posts == []


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
def test_invalid_interwhen_option_is_refused(said, code, sound):
    refused(post(sound, {**ASK, "interwhen": said}), 400, code)


@pytest.mark.fault(
    "S8", injected="a body over the limit, declared or not", happens="413, the connection closed, others served"
)
def test_oversize_body_is_refused(sound):
    big = {**ASK, "user": "x" * 3000}
    refused(post(sound, big), 413, "request_too_large")

    def pieces():
        for _ in range(100):
            yield b" " * 100

    refused(httpx2.post(f"{sound.base_url}/chat/completions", content=pieces()), 413, "request_too_large")
    assert post(sound, ASK).status_code == 200


def test_incomplete_body_times_out(upstream, gateway):
    running = gateway(upstream(()), watchers=[passing()], limits={"body_seconds": 0.2})
    with socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])), timeout=60) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert b" 408 " in client.recv(4096)


def test_unknown_path_or_method_is_refused(sound):
    refused(httpx2.get(f"{sound.root}/nothing"), 404, "not_found")
    refused(httpx2.get(f"{sound.root}/v2/models"), 404, "not_found")
    for method in ("PATCH", "PUT", "OPTIONS"):
        for path in ("models", "chat/completions"):
            answer = httpx2.request(method, f"{sound.base_url}/{path}")
            refused(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "GET, HEAD, POST, DELETE"


@pytest.mark.parametrize("page", ["healthz", "readyz", "metrics"])
def test_pages_allow_only_get_and_head(page, sound):
    for method in ("POST", "OPTIONS", "DELETE", "PUT"):
        answer = httpx2.request(method, f"{sound.root}/{page}")
        refused(answer, 405, "method_not_allowed")
        assert {each.strip() for each in answer.headers["allow"].split(",")} == {"GET", "HEAD"}
    assert httpx2.head(f"{sound.root}/{page}").status_code == 200


def test_head_response_matches_get_headers(upstream, gateway):
    server = upstream(())
    one, two = gateway(server, watchers=[passing()]), gateway(f"a={server.base_url}", f"b={server.base_url}")
    for running in (one, two):
        with httpx2.Client() as client:
            for _ in range(2):  # on a connection that is kept: nothing follows the head
                answer = client.head(f"{running.base_url}/models")
                assert (answer.status_code, answer.content) == (200, b"")
                assert "json" in answer.headers["content-type"]
    assert {request.method for request in server.requests} == {"GET"}


KEY = "sk-of-the-gateway"


@pytest.mark.fault("S9", injected="no key, a wrong one, half of one", happens="401 invalid_api_key, nothing sent on")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": KEY},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"x-interwhen-key": KEY[:1]},
        {"x-interwhen-key": ""},
        {"x-interwhen-key": "wrong"},
        {"authorization": "Bearer \xfc"},
    ],
)
def test_wrong_key_is_refused(headers, upstream, gateway):
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


def test_every_key_is_compared_in_constant_time(monkeypatch):
    calls = []

    def compare(given, known):
        calls.append((given, known))
        return known == b"another-key"  # whatever was given

    monkeypatch.setattr("interwhen.gateway._config.hmac", SimpleNamespace(compare_digest=compare))
    keys = Keys((KEY, "another-key", "a-third-key"))
    assert keys.admit({"x-interwhen-key": "given"}) == "x-interwhen-key"
    assert calls == [(b"given", known) for known in (KEY.encode(), b"another-key", b"a-third-key")]


def test_gateway_key_is_replaced_by_upstream_key(upstream, gateway):
    server = upstream(events(["one"], api="chat"))
    running = gateway(server, watchers=[passing()], keys=(KEY, "another-key"))
    assert post(running, ASK, headers={"authorization": f"bearer {KEY}"}).status_code == 200
    assert post(running, ASK, headers={"x-interwhen-key": KEY, "authorization": "Bearer theirs"}).status_code == 200
    first, second = (request.headers for request in server.posts)
    assert "authorization" not in first
    assert second["authorization"] == "Bearer theirs"
    assert KEY not in str(first) + str(second)


def test_environment_key_serves_requests_without_own_key(upstream, gateway, monkeypatch):
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
