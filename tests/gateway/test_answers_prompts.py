"""Monitors of the prompt in a gateway: refused with 400 before the upstream is asked, or rewritten, and recorded."""

import json

import pytest
from helpers import ASK, post, refused
from interwhen.testing.server import events

SECRET = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
LEAKS = {**ASK, "messages": [{"role": "user", "content": f"use {SECRET}"}]}


@pytest.mark.parametrize("streamed", [True, False])
def test_a_refused_prompt_reaches_no_upstream(streamed, upstream, gateway, tmp_path):
    server = upstream(lambda _: events(["one\n"], api="chat"))
    path = tmp_path / "a.jsonl"
    running = gateway(server, prompt_monitors=["secrets"], audit={"path": str(path), "content": True})
    error = refused(post(running, {**LEAKS, "stream": streamed}), 400, "prompt_refused")
    assert "a GitHub token is in the prompt" in error["message"]
    assert SECRET not in error["message"]
    assert server.posts == []
    # A request cannot switch this off.
    refused(post(running, {**LEAKS, "interwhen": False}), 400, "prompt_refused")
    running.idle()
    running.gateway.audit.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["refused", "refused"]
    assert lines[0]["prompt_findings"][0]["monitor"] == "secrets"
    assert SECRET not in path.read_text()


def test_a_rewritten_prompt_reaches_the_upstream(upstream, gateway):
    server = upstream(lambda _: events(["one\n"], api="chat"))
    running = gateway(server, prompt_monitors=[{"name": "secrets", "action": "rewrite"}])
    answer = post(running, LEAKS)
    assert answer.status_code == 200
    assert server.posts[0].json["messages"][0]["content"] == "use [removed]"
    assert answer.json()["interwhen"]["result"]["prompt_findings"][0]["outcome"] == "rewritten"
