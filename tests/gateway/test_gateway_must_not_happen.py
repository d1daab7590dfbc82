"""What must not happen on the way through a gateway."""

import asyncio
import json
import threading
import time

import anyio
import httpx2
import interwhen
import pytest
from helpers import ASK, post, sse
from interwhen import Feedback, Fork, Monitor, Pass, Resample, Violation
from interwhen.remedies import Abstain
from interwhen.testing._server_script import data, delta
from interwhen.testing.server import Reset, Send, Sleep, Stall, events, tool_call
from responses_writer import Writer
from structlog.testing import capture_logs
from watchers import every_line, passing, word

pytestmark = pytest.mark.anyio


@pytest.mark.fault("V3", injected="a verifier that blocks, in the gateway", happens="no other call waits")
@pytest.mark.fault("S16", injected="a sync verifier blocks for 2 s", happens="other calls continue meanwhile")
def test_a_verifier_that_blocks_freezes_no_other_call(upstream, gateway):
    started, others_done = threading.Event(), threading.Event()

    @interwhen.verifier(name="blocking", deadline=120.0)
    def blocking(claim):
        started.set()
        assert others_done.wait(100)
        return Pass()

    monitor = Monitor(name="blocking", verifier=blocking, extractor=every_line)
    running = gateway(upstream(events(["one\n"], api="chat")), offers=[monitor])
    slow = threading.Thread(target=post, args=(running, {**ASK, "model": "m#blocking"}))
    slow.start()
    assert started.wait(60)
    assert post(running, ASK).status_code == 200
    assert httpx2.get(f"{running.root}/healthz").status_code == 200
    assert slow.is_alive()
    others_done.set()
    slow.join(100)


@pytest.mark.fault(
    "S17", injected="a sibling check that takes 100 s", happens="a violation closes the upstream at once"
)
async def test_slow_check_does_not_delay_an_interrupt(upstream, gateway):
    server = upstream((delta({"content": "fine\n"}), delta({"content": "BAD\n"}), Stall()))
    slow = word(bad="never", slow=100)
    slow = Monitor(name="slow", verifier=slow.verifier, extractor=every_line, delivery="observe")
    running = gateway(server, watchers=[slow, word(remedy=Abstain())])
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}) as answer,
    ):
        async for _ in answer.aiter_raw():
            until = time.monotonic() + 60
            while not server.posts[0].gone.is_set():
                assert time.monotonic() < until
                await anyio.sleep(0.005)
            break


@pytest.mark.fault("S18", injected="a word cut in two by the deltas", happens="it neither triggers nor avoids a rule")
@pytest.mark.parametrize("cut", range(1, 7))
def test_split_word_does_not_change_the_verdict(cut, upstream, gateway):
    @interwhen.verifier(name="whole words", worker="inline")
    def check(claim):
        return Violation(why="BAD") if "BAD" in claim.key.split() else Pass()

    monitor = Monitor(name="w", verifier=check, extractor=every_line, delivery="observe")
    text = "BADGE\na BAD b\n"
    running = gateway(
        upstream(events([text[:cut], text[cut : cut + 6], text[cut + 6 :]], api="chat")), watchers=[monitor]
    )
    chunks = sse(post(running, {**ASK, "stream": True}).text)[:-1]
    violations = [e for c in chunks for e in c.get("interwhen", {}).get("events", ()) if e["type"] == "violation_found"]
    assert [event["violation"]["key"] for event in violations] == ["a BAD b"]


@pytest.mark.fault(
    "S19", injected="a client that leaves, an upstream that fails", happens="no task and no place is left"
)
@pytest.mark.parametrize(("way", "outcome"), [("to the end", "steps verified"), ("left", "left"), ("failed", "failed")])
async def test_no_task_is_left_after_a_call(way, outcome, portal, upstream, gateway):
    steps = {
        "to the end": events(["one\n"], api="chat"),
        "left": (delta({"content": "one\n"}), Stall()),
        "failed": (delta({"content": "one\n"}), Sleep(0.05), Reset()),
    }[way]
    running = gateway(upstream(steps), watchers=[word(slow=30) if way == "left" else passing()])

    def tasks():
        return {task.get_name() for task in asyncio.all_tasks() if "interwhen" in repr(task.get_coro())}

    async def count():
        return tasks()

    before = portal.call(count)
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", f"{running.base_url}/chat/completions", json={**ASK, "stream": True}) as answer,
    ):
        async for _ in answer.aiter_raw():
            if way == "left":
                break
    running.idle()
    with anyio.move_on_after(60):
        while not portal.call(count) <= before | {"count"}:
            await anyio.sleep(0.01)
    assert portal.call(count) <= before | {"count"}
    assert running.gateway.slots.taken == 0
    assert running.metric(f'interwhen_calls_total{{api="chat",outcome="{outcome}"}}') == 1


TOOLS = [{"type": "function", "function": {"name": "act", "parameters": {"type": "object", "required": ["on"]}}}]


@pytest.mark.fault(
    "S1", injected="a correction in a call with reasoning and tools", happens="reasoning and tools are all there, twice"
)
@pytest.mark.parametrize("reading", ["live", "gate", "final"])
def test_neither_reasoning_nor_tools_are_dropped(reading, upstream, gateway):
    def script(request):
        call = tool_call("act", json.dumps({"on": "it"}))
        said = (delta({"content": "BAD\n"}), *events([], api="chat"))
        done = (*call, *events([], api="chat", finish_reason="tool_calls"))
        thought = (delta({"reasoning_content": f"thought {request.number}a, "}), delta({"reasoning_content": "b\n"}))
        return (*thought, *(done if request.number else said))

    server = upstream(script)
    running = gateway(server, watchers=[word(remedy=Resample())])
    asked = {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False, "temperature": 0.5, "top_k": 7}
    body = {**ASK, **asked, "stream": True, "interwhen": {"reading": reading}}
    chunks = [chunk for chunk in sse(post(running, body).text)[:-1] if chunk["choices"]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(each.get("reasoning_content") or "" for each in deltas) == "thought 0a, b\nthought 1a, b\n"
    pieces = [piece for each in deltas for piece in each.get("tool_calls") or ()]
    assert "".join(piece["function"].get("arguments") or "" for piece in pieces) == '{"on": "it"}'
    assert not any(each.get("content") for each in deltas)
    assert len(server.posts) == 2
    for sent in server.posts:
        assert {name: sent.json[name] for name in asked} == asked


@interwhen.verifier(name="unable", worker="inline")
def raises(claim):
    raise ValueError("no")


@interwhen.verifier(name="unable", worker="inline")
def says_nothing(claim):
    return "yes, that is right"


@interwhen.verifier(name="unable", worker="async", deadline=0.05)
async def is_late(claim):
    await anyio.sleep(60)


UNABLE = {
    "errored": Monitor(name="unable", verifier=raises, extractor=every_line),
    "garbage": Monitor(name="unable", verifier=says_nothing, extractor=every_line),
    "timedout": Monitor(name="unable", verifier=is_late, extractor=every_line),
    "skipped": Monitor(name="unable", verifier=raises, extractor=Fork("Is that so?", lambda answer, segment: ())),
}


@pytest.mark.fault("S2", injected="a check that cannot be made", happens="it is counted and logged as not made")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("why", UNABLE)
def test_unmade_check_is_never_reported_as_passed(why, streamed, upstream, gateway, configured):
    running = gateway(upstream(events(["a\n"], api="chat")), watchers=[UNABLE[why]], budgets={"forks": 0})
    with capture_logs() as logs:
        answer = post(running, {**ASK, "stream": streamed, "interwhen": {"detail": "full"}})
        running.idle()
    told = sse(answer.text)[-2]["interwhen"]["result"] if streamed else answer.json()["interwhen"]["result"]
    assert told["type"] == "unverified"
    assert all(check["outcome"]["type"] != "Judged" for check in told["checks"])
    assert [log["outcome"] for log in logs if log["event"] == "call.ended"] == ["unverified"]
    counted = "errored" if why == "garbage" else why
    assert running.metric(f'interwhen_checks_total{{monitor="unable",outcome="{counted}"}}') >= 1
    assert running.metric('interwhen_checks_total{monitor="unable",outcome="pass"}') == 0
    assert running.metric('interwhen_calls_total{api="chat",outcome="steps verified"}') == 0


@pytest.mark.fault("S3", injected="the connection breaks mid-stream, budgets.reconnects=1", happens="no text twice")
@pytest.mark.parametrize("reading", ["live", "gate"])
def test_resumed_stream_repeats_no_text(reading, upstream, gateway):
    broken = (delta({"role": "assistant", "content": "one\n"}), delta({"content": "two"}), Sleep(0.3), Reset())
    server = upstream(lambda request: events([" three\n"], api="chat") if request.number else broken)
    running = gateway(server, watchers=[passing()], budgets={"reconnects": 1}, resume="prefill")
    chunks = sse(post(running, {**ASK, "stream": True, "interwhen": {"reading": reading}}).text)
    assert chunks[-1] == "[DONE]"
    texts = [choice["delta"].get("content") or "" for chunk in chunks[:-1] for choice in chunk["choices"]]
    assert "".join(texts) == "one\ntwo three\n"
    assert len(server.posts) == 2
    assert server.posts[1].json["messages"][1] == {"role": "assistant", "content": "one\ntwo"}


@pytest.mark.fault("S4", injected="a violation in each of many lines, every reading", happens="no fact is text")
@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@pytest.mark.parametrize("detail", ["brief", "full", "off"])
def test_supervision_facts_never_enter_the_text(detail, reading, upstream, gateway):
    server = upstream(
        lambda request: events(["fine\n", "BAD\n", "x\n"] if request.number < 2 else ["so\n"], api="chat")
    )
    running = gateway(server, watchers=[word(remedy=Feedback("rewind"), slow=0.005)], reading=reading, detail=detail)
    text = ""
    for chunk in sse(post(running, {**ASK, "stream": True}).text)[:-1]:
        for choice in chunk["choices"]:
            assert set(choice["delta"]) <= {"role", "content"}
            text += choice["delta"].get("content") or ""
    assert len(server.posts) == 3
    for word_of_ours in ("{", "violation", "retract", "verif", "interwhen", "<"):
        assert word_of_ours not in text.lower()


@pytest.mark.parametrize("detail", ["brief", "full"])
def test_event_type_with_line_breaks_injects_nothing(detail, upstream, gateway):
    hidden = "response.x\n\nevent: response.output_text.delta\rdata: BAD"
    writer = Writer().text("fine\n")
    writer.steps()
    writer.events.insert(-1, {"type": hidden, "sequence_number": 99})
    running = gateway(upstream([Send(data(event)) for event in writer.events]), watchers=[word()], detail=detail)
    answer = post(running, {"model": "m", "input": "q", "stream": True}, "responses")
    lines = answer.text.splitlines()
    assert "fine" in answer.text
    assert all(line.startswith(("event: response.", "data: {")) for line in lines if line)
    assert len([line for line in lines if line.startswith("event:")]) == len(sse(answer.text))


def test_empty_upstream_event_keeps_supervision_facts(upstream, gateway):
    server = upstream([delta({"content": "one\n"}), Send(b"data: {}\n\n"), delta({}, finish_reason="stop")])
    running = gateway(server, watchers=[passing()], detail="full")
    chunks = sse(post(running, {**ASK, "stream": True}).text)
    assert [chunk for chunk in chunks if isinstance(chunk, dict) and set(chunk) == {"interwhen"}]
