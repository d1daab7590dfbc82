"""What a refusal teaches about a server: by its structured fields only, for a while, and only where it is proved."""

import ast
import json
from pathlib import Path

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.models import UpstreamError
from interwhen.models._transport import REMEMBERED_SECONDS, FieldSupport, mentions, refusal, refuses
from structlog.testing import capture_logs

ASKED = {"model": "m", "messages": []}
OPENAI = {"error": {"message": "no", "type": "invalid_request_error", "param": "stream_options", "code": None}}
FASTAPI = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "no", "input": {}}]}


def error(body, status=422):
    return refusal(body if isinstance(body, bytes) else json.dumps(body).encode(), status=status)


@pytest.mark.parametrize(
    "body",
    [
        OPENAI,
        FASTAPI,
        {"message": "no", "param": "stream_options"},
        {"error": {"message": "no", "param": "stream_options.include_usage"}},
        {"detail": [{"loc": ["body", "top_k"]}, {"loc": ["body", "stream_options", "include_usage"]}]},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_field_named_in_error_fields_is_refused(body, status):
    assert refuses(error(body, status), "stream_options")
    assert not refuses(error(body, status), "stream")
    assert not refuses(error(body, 500), "stream_options")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "stream_options: is not allowed", "param": None}},
        {"error": {"message": "no", "param": "messages"}, "request": {"param": "stream_options"}},
        {"detail": [{"loc": ["body", "messages", 0, "stream_options"], "input": {"stream_options": {}}}]},
        {"detail": [{"loc": ["query", "stream_options"]}]},
        {"detail": "stream_options"},
        {"error": "stream_options"},
        {"error": {"param": ["stream_options"]}},
        {"error": {"param": "stream_options_of_mine"}},
        b"stream_options",
        b"[" * 5000,
        b'{"error": {"param": "stream_options"',
    ],
    ids=lambda body: str(body)[:60],
)
def test_what_an_error_says_elsewhere_is_not_believed(body):
    assert not refuses(error(body), "stream_options")


def test_words_are_worth_another_try():
    names = "stream", "streaming", "streamed"
    assert mentions(error(b"stream_options: extra inputs"), "stream_options")
    assert mentions(error(b"this model cannot stream"), *names)
    assert mentions(error(b"Streaming is off"), *names)
    for text in (b"the upstream failed", b"stream_options", b"streams"):
        assert not mentions(error(text), *names)
    assert not mentions(error(b"stream_options", 500), "stream_options")


@given(st.text(max_size=60), st.text(max_size=60))
def test_an_echo_of_the_request_teaches_nothing(user, name):
    asked = {**ASKED, "messages": [{"role": "user", "content": f"{user} stream_options"}], "user": name}
    for body in (asked, {"error": {"message": json.dumps(asked), "param": None}}, {"detail": asked, "body": asked}):
        support = FieldSupport("stream_options")
        support.learn(error(body), asked)
        assert support.is_likely


@pytest.mark.parametrize("key", ["error", "detail", "param"])
def test_a_request_shaped_like_an_error_teaches_nothing(key):
    support = FieldSupport("stream_options")
    asked = {**ASKED, key: {**OPENAI, **FASTAPI}.get(key, 1)}
    support.learn(error({**asked, **OPENAI}), asked)
    assert support.is_likely


@pytest.mark.anyio
async def test_what_was_learned_is_logged_and_expires(anyio_backend_name, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("interwhen.models._endpoint_support.anyio.current_time", lambda: now)
    support = FieldSupport("stream_options", "m@host")
    with capture_logs() as logs:
        support.learn(error(OPENAI), ASKED)
    assert not support.is_likely
    (log,) = logs
    assert (log["event"], log["field"], log["model"]) == ("endpoint.field_refused", "stream_options", "m@host")
    now += REMEMBERED_SECONDS
    assert support.is_likely


def test_a_carried_error_without_a_body_is_none():
    assert not refuses(UpstreamError("no", status=400), "stream_options")


def test_only_the_transport_searches_error_bodies_for_words():
    searches = []
    for path in Path(interwhen.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
                searches += [
                    f"{path}:{node.lineno}"
                    for right in node.comparators
                    if ast.unparse(right).endswith((".body", ".body.lower()"))
                ]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".search", ".findall")):
                searches += [
                    f"{path}:{node.lineno}" for each in node.args if ast.unparse(each) in ("error.body", "exc.body")
                ]
    assert [place for place in searches if "_transport.py" not in place] == []
    assert searches
