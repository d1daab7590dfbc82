"""Every route is decided by one table: supervised, refused, or passed on purpose; and nothing unwatched is silent."""

from pathlib import Path

import httpx2
import pytest
from helpers import ASK, post, refused
from hypothesis import example, given
from hypothesis import strategies as st
from interwhen import UsageError
from interwhen.gateway import Config
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._routes import DECISIONS, ROUTES, route_of
from interwhen.testing.server import events, reply
from server_routes import MODES, SERVERS, found_of, page, routes
from watchers import passing

PAGE = Path(__file__).parents[2] / "docs" / "routes.md"
FLAGS = {"open": {}, "passing": {"pass_unsupervised": True}, "locked": {"locked": True}}
ALL = sorted({route for server in SERVERS for route in routes(server)} | {("GET", "/v1/chat/completions/{id}")})
PATHS = sorted({path for methods in ROUTES.values() for paths in methods.values() for path in paths})


def unsupervised(running, why):
    return running.metric(f'interwhen_unsupervised_answers_total{{why="{why}"}}')


def test_route_page_matches_the_code():
    assert PAGE.read_text() == page(), "run python tests/gateway/server_routes.py > docs/routes.md"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "models/../responses/x"),
        ("GET", "models/x/../../responses/x"),
        ("GET", "models/.."),
        ("GET", "models/./x"),
        ("GET", "files/."),
        ("POST", "uploads/../parts"),
        ("DELETE", "models/../responses/x"),
    ],
)
def test_path_with_dot_segments_is_unknown(method, path):
    assert route_of(method, path, path).kind == "unknown"
    assert route_of(method, path.replace("..", "%2e%2e"), path).kind == "unknown"
    assert route_of("GET", "models/a..b/.c/d.", "models/a..b/.c/d.").kind == "plain"


@pytest.mark.fault("G3", injected="each route of vLLM, llama.cpp, LiteLLM, Ollama", happens="as docs/routes.md says")
@pytest.mark.parametrize("mode", MODES)
def test_route_table_decides_every_server_route(mode, upstream, gateway, record_property):
    record_property("tries", len(ALL))

    def script(request):
        return events(["fine\n"], api="chat") if b"messages" in request.body else reply(200, b'{"text": "unseen"}')

    server = upstream(script)
    running = gateway(server, watchers=[passing()], **FLAGS[mode])
    counted = dict.fromkeys(("stored", "generated", "unknown"), 0)
    for method, path in ALL:
        before = len(server.requests)
        route = found_of(method, path)
        decision = "none" if route is None else DECISIONS[route.kind][mode]
        if route is not None and route.kind == "supervised" and path != "/v1/chat/completions":
            continue  # the other two need an answer of their own API, and are tested with it
        answer = httpx2.request(
            method, running.root + path.replace("{id}", "x-1"), json=ASK if method == "POST" else None, timeout=60
        )
        sent = len(server.requests) - before
        if decision in ("none", "refuse"):
            code = ("not_found", "locked" if mode == "locked" else "unsupervised")[decision == "refuse"]
            refused(answer, 404 if decision == "none" else 403, code)
            assert sent == 0, (method, path)
            continue
        assert (answer.status_code, sent) == (200, 1), (method, path)
        watched = "passing" if decision == "supervise" else "none"
        if path != "/v1/models":
            assert answer.headers["x-interwhen-monitors"] == watched, (method, path)
        if decision == "pass unsupervised":
            counted[route.kind] += 1
    assert {why: unsupervised(running, why) for why in counted} == counted
    assert (sum(counted.values()) > 10) == (mode == "passing")


def test_route_refusal_suggests_a_solution(upstream, gateway):
    running = gateway(upstream(()), watchers=[passing()])
    message = refused(post(running, ASK, "messages"), 403, "unsupervised")["message"]
    assert "POST /v1/messages" in message
    assert "/v1/chat/completions" in message
    assert "--pass-unsupervised" in message
    assert running.metric('interwhen_http_errors_total{code="unsupervised"}') == 1


@pytest.mark.fault("G3", injected="GET and DELETE of stored answers, locked", happens="403, nothing sent on")
@pytest.mark.parametrize("path", ["chat/completions/chatcmpl-1", "responses/resp_1", "Responses/resp_1/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_locked_gateway_refuses_access_to_stored_answers(method, path, upstream, gateway):
    server = upstream(reply(200, b"{}"))
    running = gateway(server, watchers=[passing()], locked=True)
    assert httpx2.request(method, f"{running.base_url}/{path}").status_code == 403
    assert server.requests == []


def test_unmonitored_call_is_counted(upstream, gateway):
    running = gateway(upstream(events(["fine\n"], api="chat")), watchers=[passing()])
    post(running, ASK)
    assert unsupervised(running, "unmonitored") == 0
    post(running, {**ASK, "interwhen": False})
    assert unsupervised(running, "unmonitored") == 1


def test_error_answer_is_not_counted_as_unsupervised(upstream, gateway):
    running = gateway(upstream(reply(400, b'{"error": {"message": "no"}}')), pass_unsupervised=True)
    post(running, ASK, "messages")
    post(running, ASK)
    assert unsupervised(running, "generated") == unsupervised(running, "unmonitored") == 0


def test_locked_and_passing_exclude_each_other():
    with pytest.raises(UsageError, match="must not be used together"):
        Gateway(Config(upstreams=("http://localhost:1/v1",), locked=True, pass_unsupervised=True))


SEGMENTS = st.text(st.sampled_from("abz09._:@~+-"), min_size=1, max_size=6)


@given(st.sampled_from(PATHS), st.sampled_from(["GET", "POST", "DELETE"]), st.lists(SEGMENTS, min_size=1, max_size=2))
@example("embeddings", "POST", ["anything"])
@example("moderations", "POST", ["x"])
def test_subpath_of_route_is_another_route(path, method, more):
    inner = "/".join([path.replace("{id}", "x").replace("{path}", "x"), *more])
    route = route_of(method, inner, inner)
    if method != "GET" and not (method == "DELETE" and inner.startswith("models/")):
        assert route.kind != "plain", inner
    assert route.kind != "supervised"
    if route.kind == "unknown":
        assert "refuse" in DECISIONS["unknown"].values()


@given(st.sampled_from(PATHS), st.sampled_from(["GET", "HEAD", "POST", "DELETE"]), st.data())
def test_spelling_variants_give_same_route(path, method, data):
    inner = path.replace("{id}", "x-1").replace("{path}", "org/model")
    want = route_of(method, inner, inner)
    upper = "".join(letter.upper() if data.draw(st.booleans()) else letter for letter in inner)
    route = route_of(method, f"{upper}/", f"{upper}/")
    assert route.kind == want.kind
    assert route.api == want.api
    if route.kind == "supervised":
        assert route.path == want.path


def test_head_request_is_routed_like_get():
    for path in ("files", "files/x", "models/a/b", "responses/x"):
        assert route_of("HEAD", path, path) == route_of("GET", path, path)
        assert route_of("HEAD", path, path).kind != "unknown"


@given(st.text(max_size=40), st.sampled_from(["GET", "POST", "DELETE"]))
@example("files/\u0664", "GET")
def test_allowed_path_has_only_safe_ascii_characters(text, method):
    route = route_of(method, text, text)
    if route.kind != "unknown":
        assert route.path.isascii()
        assert not set(route.path) & set("?#%&;\\ \t\r\n\0")


@pytest.mark.parametrize("kind", DECISIONS)
def test_the_stricter_mode_never_passes_more(kind):
    open_, passing_, locked = (DECISIONS[kind][mode] for mode in ("open", "passing", "locked"))
    strictness = ["pass", "pass unsupervised", "supervise", "refuse"]
    assert strictness.index(locked) >= strictness.index(open_)
    assert passing_ != "refuse"
    assert "pass" not in {open_, passing_, locked} or kind in ("plain", "managed")


def test_no_route_is_in_two_kinds():
    seen = [(method, path) for methods in ROUTES.values() for method, paths in methods.items() for path in paths]
    assert len(seen) == len(set(seen))
    assert not {path for _, path in seen if path.startswith("/") or path.endswith("/") or path != path.lower()}
