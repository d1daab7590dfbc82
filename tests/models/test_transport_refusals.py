import json
import time

import pytest
from interwhen.models import ContextOverflow, RateLimited, UpstreamError
from interwhen.models._transport import refusal, retry_after


@pytest.mark.parametrize(
    "body",
    [
        # OpenAI, vLLM, SGLang, llama.cpp, TGI: recorded wordings
        {"error": {"message": "Your messages resulted in 9000 tokens.", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 4096 tokens. However, ...", "code": 400}},
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},
        {
            "error": {
                "message": "The input (9000 tokens) is longer than the model's context length (4096).",
                "code": 400,
            }
        },
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_ctx": 4096,
            }
        },
        {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}},
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
            "error_type": "validation",
        },
    ],
)
def test_too_long_context_raises_its_own_error_type(body):
    error = refusal(json.dumps(body).encode(), status=400)
    assert isinstance(error, ContextOverflow)
    assert error.status == 400
    assert not error.retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500, 503])
def test_other_refusals_are_upstream_errors(status):
    error = refusal(b'{"error": {"message": "no", "code": "nope", "type": "x"}}', status=status)
    assert type(error) is UpstreamError
    assert (error.status, error.code) == (status, "nope")
    assert error.retryable == (status >= 500)


def test_a_server_error_mentioning_context_is_no_overflow():
    assert type(refusal(b"context window cache failed", status=500)) is UpstreamError


def test_429_says_when_to_come_back():
    error = refusal(b"", status=429, headers={"retry-after": "2.5"})
    assert isinstance(error, RateLimited)
    assert error.retry_after == 2.5


def test_non_json_error_bodies_are_quoted_and_bounded():
    error = refusal(b"\xff<html>" + b"x" * 100_000, status=502)
    assert "<html>" in str(error)
    assert len(str(error)) < 400
    assert len(error.body) == 2000


@pytest.mark.parametrize(
    "body", [b"[]", b"3", b'{"error": 3}', b'{"error": null}', b'{"error": {"message": 3}}', b'"x"']
)
def test_odd_json_is_survived(body):
    assert refusal(body, status=500).status == 500


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:40 GMT"}, 0.0),
        ({"retry-after": "Mon, 99999999999999999999 Jan 2024 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 +99999999999999"}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, now=90.0) == seconds


def test_retry_after_dates_in_old_form_are_utc(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after({"retry-after": "Thu Jan  1 00:01:40 1970"}, now=90.0) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()
