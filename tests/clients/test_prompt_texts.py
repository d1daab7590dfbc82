"""Prompt monitors read every text of a request, of each API, and the server gets what they let pass."""

import json

import interwhen
import interwhen.integrations
import pytest
from both import KINDS, ask
from interwhen import Span
from interwhen.clients import PromptRefused
from interwhen.clients._calls import read_call
from interwhen.clients._prompt_texts import checked_call, texts_of
from interwhen.testing.server import events
from interwhen.toolkit import PromptFinding, PromptMonitor
from responses_writer import Writer
from watchers import word

pytestmark = pytest.mark.anyio


def find(text):
    at = text.text.find("BAD")
    return [PromptFinding(Span(at, at + 3), "a bad word")] if at >= 0 else []


def monitor(action="refuse", **options):
    rewrite = (lambda text, finding: "***") if action == "rewrite" else None
    return PromptMonitor(name="m", find=find, action=action, rewrite=rewrite, **options)


CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "t0"},
        {"role": "user", "content": [{"type": "text", "text": "t1"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "t2",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "t3"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "t4"},
        {"role": "function", "name": "f", "content": "t5"},
        {"role": "robot", "surprise": {"deep": ["t6"]}},
        {"role": ["user"], "content": "t9"},
    ],
    "documents": [{"title": "t7", "text": "t8"}],
}
RESPONSES = {
    "model": "m",
    "instructions": "t0",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "t1"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "t2"},
        {"type": "function_call_output", "call_id": "c", "output": "t3"},
        {"type": "file_search_call", "id": "x", "queries": ["t4"], "results": [{"text": "t5", "filename": "t6"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t7"}], "encrypted_content": "e"},
    ],
}


def test_predictions_and_stored_prompt_variables_are_read():
    call = read_call(
        "chat", {**CHAT, "messages": [], "documents": None, "prediction": {"type": "content", "content": "t0"}}
    )
    assert [one.text.text for one in texts_of(call)] == ["t0"]
    prompt = {"id": "p", "version": "2", "variables": {"url": "t0", "file": {"type": "input_text", "text": "t1"}}}
    call = read_call("responses", {"model": "m", "input": "t2", "prompt": prompt})
    assert [one.text.text for one in texts_of(call)] == ["t0", "t1", "t2"]


def test_all_texts_of_a_chat_are_read():
    roles = {one.text.text: one.text.role for one in texts_of(read_call("chat", CHAT))}
    assert roles == {
        "t0": "system",
        "t1": "user",
        "t2": "assistant",
        "t3": "assistant",
        "t4": "tool",
        "t5": "tool",
        "t6": "user",
        "t7": "tool",
        "t8": "tool",
        "t9": "user",
    } | ({"f": "tool"} if "f" in roles else {})


def test_all_texts_of_responses_are_read():
    texts = {one.text.text: one.text.role for one in texts_of(read_call("responses", RESPONSES))}
    roles = {"t0": "system", "t1": "user", "t2": "assistant", "t7": "assistant"}
    assert texts == {f"t{n}": roles.get(f"t{n}", "tool") for n in range(8)}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("completions", {"prompt": "t0"}),
        ("completions", {"prompt": ["t0"]}),
        ("responses", {"input": "t0"}),
        ("chat", {"messages": "t0"}),
    ],
)
def test_a_plain_text_is_read(api, body):
    [one] = texts_of(read_call(api, body))
    assert (one.text.text, one.text.role) == ("t0", "user")


@pytest.mark.parametrize(("api", "body"), [("chat", CHAT), ("responses", RESPONSES)])
@pytest.mark.parametrize("number", range(9))
async def test_each_text_can_be_rewritten_without_other_changes(api, body, number):
    text = f'"t{number}"'
    plain = json.dumps(body)
    if text not in plain:
        return
    call = read_call(api, json.loads(plain.replace(text, '"a BAD b"')))
    changed, records = await checked_call(call, [monitor("rewrite")])
    assert json.dumps(changed.body) == plain.replace(text, '"a *** b"')
    assert [one.outcome for one in records] == ["rewritten"]
    with pytest.raises(PromptRefused):
        await checked_call(call, [monitor()])


# Wrapped clients


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
async def test_the_server_gets_the_rewritten_prompt(kind, api, serve, clients):
    def script(request):
        return Writer("r").text("one\n").steps() if api == "responses" else events(["one\n"], api=api)

    server = serve(script)
    client = interwhen.wrap(clients(KINDS[kind], server), prompt_monitors=[monitor("rewrite")])
    said = {"messages": [{"role": "user", "content": "a BAD b"}]} if api == "chat" else {}
    said = said or {"prompt" if api == "completions" else "input": "a BAD b"}
    answer = await ask(client, api, **said)
    assert "BAD" not in json.dumps(server.posts[0].json)
    assert "a *** b" in json.dumps(server.posts[0].json)
    assert [one.outcome for one in answer.interwhen.result.prompt_findings] == ["rewritten"]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("stream", [True, False])
async def test_refused_prompts_are_unsent_and_recorded_without_text(kind, stream, serve, clients, tmp_path):
    from interwhen.clients._audit import open_audit

    server = serve(lambda _: events(["one\n"], api="chat"))
    audit = {"path": str(tmp_path / "a.jsonl"), "content": True}
    bare = clients(KINDS[kind], server)
    client = interwhen.wrap(bare, monitors=[word()], prompt_monitors=[monitor()], audit=audit)
    with interwhen.integrations.watching() as seen, pytest.raises(PromptRefused, match="a bad word"):
        await ask(client, messages=[{"role": "user", "content": "BAD"}], stream=stream)
    assert server.posts == []
    open_audit(audit).close()
    written = (tmp_path / "a.jsonl").read_text()
    assert "BAD" not in written
    line = json.loads(written)
    assert (line["outcome"], line["prompt_findings"][0]["outcome"]) == ("abstained", "refused")
    assert line["prompt_findings"][0]["span"] == {"start": 0, "end": 3}
    assert [call.call_id for call in seen] == [line["call_id"]]
    await ask(client, messages=[{"role": "user", "content": "BAD"}], interwhen=False)
    assert len(server.posts) == 1  # switched off for this call


async def test_a_strategy_gets_the_rewritten_prompt(serve, clients):
    server = serve(lambda _: events(["one\n"], api="chat"))
    client = interwhen.wrap(
        clients(KINDS["async"], server),
        monitors=[word()],
        prompt_monitors=[monitor("rewrite")],
        strategy="best-of-n:n=2",
    )
    answer = await ask(client, messages=[{"role": "user", "content": "BAD"}])
    assert "BAD" not in json.dumps([post.json for post in server.posts])
    assert [one.outcome for one in answer.interwhen.result.prompt_findings] == ["rewritten"]


def test_retrieved_documents_are_a_part_of_the_problem():
    prompt = read_call("chat", CHAT).prompt
    assert prompt[0].role == "tool"
    assert "t8" in prompt[0].content
    assert read_call("chat", {key: CHAT[key] for key in ("model", "messages")}).prompt == prompt[1:]
