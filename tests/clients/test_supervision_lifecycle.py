"""Streams end as the SDK's do, and leave nothing behind; nothing bad happens on the way."""

import asyncio
import gc
import json
import threading
import time
from itertools import pairwise

import anyio
import anyio.to_thread
import interwhen
import openai
import pytest
from both import KINDS, ask, outcome, read
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Budgets, Monitor, Pass, UsageError, Violation, wrap
from interwhen.testing._server_script import delta
from interwhen.testing.server import Reset, Sleep, Stall, events, fault, tool_call
from responses_writer import Writer
from watchers import every_line, no_call_with, passing, word
from wires import MemoryWire, collect, read_naively, spelled, texts

pytestmark = pytest.mark.anyio


def slow_stream(*texts, pause=0.01):
    steps = []
    for step in events(texts, api="chat"):
        steps += [step, Sleep(pause)]
    return tuple(steps)


async def nothing_is_left(server, before):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        gc.collect()
        extra = [task for task in asyncio.all_tasks() if task not in before]
        if not extra and all(post.gone.is_set() for post in server.posts):
            return
        await asyncio.sleep(0.01)
    assert not extra, extra
    raise AssertionError("the server still has a connection in use")


@pytest.mark.parametrize("way", ["break", "close", "with", "forget", "cancel", "unread"])
async def test_a_stopped_reader_leaves_no_task_or_stream(way, serve, clients):
    server = serve((delta({"content": "one\n"}), delta({"content": "two"}), Stall()))
    client = wrap(clients(openai.AsyncOpenAI, server), [word(slow=60)])
    before = asyncio.all_tasks()
    stream = await ask(client, stream=True)
    if way == "with":
        async with stream:
            async for _ in stream:
                break
    elif way == "cancel":

        async def reader(source):
            async for _ in source:
                pass

        task = asyncio.create_task(reader(stream))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task, reader
    elif way != "unread":
        async for chunk in stream:
            if "two" in (chunk.choices[0].delta.content or ""):
                break
        if way == "close":
            await stream.close()
    del stream
    await nothing_is_left(server, before)


@pytest.mark.parametrize("way", ["break", "close", "with", "forget", "client", "unread"])
def test_plain_code_that_stops_leaves_no_stream(way, serve):
    server = serve((delta({"content": "one\n"}), delta({"content": "two"}), Stall()))
    client = wrap(openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0), [word(slow=60)])
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}], stream=True)
    if way == "with":
        with stream:
            next(stream)
    elif way != "unread":
        for _ in stream:
            break
        if way == "close":
            stream.close()
        if way == "client":
            client.close()
    if way != "client":
        del stream
    deadline = time.monotonic() + 60
    while not server.posts[0].gone.is_set() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert server.posts[0].gone.is_set()
    client.close()


async def test_another_task_can_read_a_stream_under_timeout(serve, clients):
    server = serve(slow_stream("one\n", "two"))
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    async with asyncio.timeout(60):
        stream = await asyncio.create_task(ask(client, stream=True))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(read, stream)
    assert stream.result.status == "verified"


@pytest.mark.parametrize("kind", KINDS)
async def test_many_calls_at_once_do_not_mix(kind, serve, clients):
    server = serve(lambda request: slow_stream(*[f"{request.json['user']}\n"] * 5, pause=0.002))
    client = wrap(clients(KINDS[kind], server), [passing()])
    contents = {}

    async def one(name):
        chunks = await read(await ask(client, stream=True, user=name))
        contents[name] = {chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content}

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, f"n{number}")
    assert contents == {f"n{number}": {f"n{number}\n"} for number in range(12)}


def test_a_client_for_plain_code_serves_many_threads(serve):
    server = serve(lambda request: slow_stream(*[f"{request.json['user']}\n"] * 5, pause=0.001))
    client = wrap(openai.OpenAI(base_url=server.base_url, api_key="k"), [passing()])
    texts = {}

    def one(name):
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "q"}], stream=True, user=name
        )
        texts[name] = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    threads = [threading.Thread(target=one, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert texts == {f"t{number}": f"t{number}\n" * 5 for number in range(8)}


async def test_a_blocking_verifier_never_freezes_the_event_loop(serve, clients):
    is_read = threading.Event()

    @interwhen.verifier(name="blocking", deadline=60.0)
    def blocking(claim):
        assert is_read.wait(30)
        return Pass()

    monitor = Monitor(name="blocking", verifier=blocking, extractor=every_line)
    server = serve(slow_stream(*[f"{n}\n" for n in range(6)], pause=0.005))
    client = wrap(clients(openai.AsyncOpenAI, server), [monitor])
    stream = await ask(client, stream=True)
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if text.endswith("5\n"):
            is_read.set()
    assert stream.result.status == "verified"


def held_back(delivery):
    begun, ended, may_end = [], [], anyio.Event()

    @interwhen.verifier(name="slow", worker="async", deadline=120.0)
    async def slow(claim):
        begun.append(claim.key)
        await may_end.wait()
        ended.append(claim.key)
        return Pass()

    return Monitor(name="slow", verifier=slow, extractor=every_line, delivery=delivery), begun, ended, may_end


def wrong_behind_a_line(request):
    # What is wrong stands behind a line that is still being checked; the server would never end.
    if request.number:
        return events(["fine"], api="chat")
    return (delta({"content": "one\n"}), Sleep(0.05), delta({"content": "BAD\n"}), Stall())


async def test_a_slow_observer_does_not_delay_an_interrupt(serve, clients):
    slow, begun, ended, _ = held_back("observe")
    server = serve(wrong_behind_a_line)
    client = wrap(clients(openai.AsyncOpenAI, server), [word(), slow])
    with anyio.fail_after(60):
        stream = await ask(client, stream=True)
        async for chunk in stream:
            if "fine" in (chunk.choices[0].delta.content or ""):
                break
    assert "one" in begun
    assert ended == []
    with anyio.fail_after(60):
        while not server.posts[0].gone.is_set():  # by the thread of the server
            await anyio.sleep(0.01)
    await stream.close()


async def test_a_wrong_stream_closes_while_another_check_runs(serve, clients):
    slow, begun, ended, may_end = held_back("interrupt")
    server = serve(wrong_behind_a_line)
    client = wrap(clients(openai.AsyncOpenAI, server), [word(), slow])
    with anyio.fail_after(60):
        stream = await ask(client, stream=True)
        async with anyio.create_task_group() as group:
            chunks = []

            async def reader():
                chunks.extend([chunk async for chunk in stream])

            group.start_soon(reader)
            while not server.posts[0].gone.is_set():
                await anyio.sleep(0.01)
            assert "one" in begun
            assert ended == []
            assert len(server.posts) == 1
            may_end.set()
    assert "one" in ended
    assert "fine" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(chunks[-1].interwhen.result.violations) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_outage_does_not_look_like_a_block(kind, serve, clients):
    server = serve(
        lambda request: (
            events(["BAD\n", "x"], api="chat") if request.number == 0 else (delta({"content": "a"}), Reset())
        )
    )
    client = wrap(clients(KINDS[kind], server), [word()])
    chunks, error = await outcome(client, stream=True)
    assert isinstance(error, openai.APIConnectionError)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_second_request_raises_the_sdk_error(kind, serve, clients):
    server = serve(
        lambda request: events(["BAD\n", "x"], api="chat") if request.number == 0 else fault("http_500", "chat")
    )
    client = wrap(clients(KINDS[kind], server), [word()])
    _, error = await outcome(client)
    assert isinstance(error, openai.InternalServerError)
    assert error.status_code == 500


@pytest.mark.parametrize("kind", KINDS)
async def test_a_block_is_no_failure_of_the_server(kind, serve, clients):
    server = serve(events(["BAD\n", "x"], api="chat"))
    client = wrap(clients(KINDS[kind], server, max_retries=3), [word(remedy=interwhen.remedies.Abstain())])
    answer = await ask(client)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.interwhen.result.status == "abstained"
    assert len(server.posts) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("resume", "rest", "seen"),
    [
        ("prefill", " three", "one\ntwo three"),
        ("turn", "two three\nfour", "one\ntwo three\nfour"),
        ("turn", "two", "one\ntwo"),
        ("turn", "ten", "one\ntwo\nten"),
        ("turn", "tw", "one\ntwo"),
    ],
)
async def test_a_resumed_stream_repeats_no_text(resume, rest, seen, size):
    from interwhen.models import ConnectError

    pieces = [rest[at : at + size] for at in range(0, len(rest), size)]
    transport = MemoryWire(
        lambda number, _: [*texts(["one\n", "t", "wo"])[:-2], ConnectError("gone")] if number == 0 else texts(pieces)
    )
    settings = {"budgets": Budgets(reconnects=1), "resume": resume}
    parts, result = await collect(transport, [passing()], settings=settings)
    assert read_naively(parts) == seen
    assert spelled(parts) == result.text == ("one\ntwo three" if resume == "prefill" else f"one\n{rest}")
    assert result.ledger.reconnects == 1


async def test_a_broken_stream_is_not_resumed_by_default():
    from interwhen.models import ConnectError

    transport = MemoryWire(lambda *_: [*texts(["one\n"])[:-2], ConnectError("gone")])
    with pytest.raises(ConnectError):
        await collect(transport, [passing()])
    assert len(transport.bodies) == 1


@given(st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=40)
def test_how_deltas_cut_words_decides_nothing(borders):
    text = "the embargo is BADly made\nno BAD\nBADGE\n"

    @interwhen.verifier(name="whole words", worker="inline")
    def check(claim):
        return Violation(why="BAD") if "BAD" in claim.key.split() else Pass()

    monitor = Monitor(name="w", verifier=check, extractor=every_line, delivery="observe")
    places = sorted({0, len(text), *borders})
    pieces = [text[a:b] for a, b in pairwise(places)]
    _, result = anyio.run(lambda: collect(MemoryWire(lambda *_: texts(pieces)), [monitor]))
    assert [violation.key for violation in result.violations] == ["no BAD"]


@pytest.mark.parametrize(
    "options", [{"n": 2}, {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}]
)
async def test_unwatchable_requests_are_refused_before_they_are_sent(options, serve, clients):
    server = serve(events(["a"], api="chat"))
    client = wrap(clients(openai.AsyncOpenAI, server), [passing()])
    with pytest.raises(UsageError, match=r"interwhen={'monitors': \[\]}"):
        await ask(client, **options)
    assert server.posts == []
    await ask(client, **options, stream=True, interwhen={"monitors": []})
    assert len(server.posts) == 1


async def test_no_fact_is_ever_text():
    transport = MemoryWire(lambda number, _: texts([["a\n", "BAD\n", "b\n"], ["c\n"]][number]))
    parts, _ = await collect(transport, [word(good="good", slow=0.001)])
    said = read_naively(parts)
    assert "violation" not in said.lower()
    assert "{" not in said


@pytest.mark.parametrize("refused", [0, 1, 9])
@pytest.mark.parametrize("lead", ["", "\n\n"])
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_white_space_before_a_call_is_no_content(api, lead, refused, serve, clients):
    def script(request):
        arguments = json.dumps({"to": "BAD" if request.number < refused else "fine"})
        if api == "responses":
            writer = Writer(f"resp_{request.number}")
            return (writer.text(lead) if lead and request.number < refused else writer).call(arguments).steps()
        text = (delta({"content": lead}),) if lead else ()
        return (*text, *tool_call("move", arguments), *events([], api="chat", finish_reason="tool_calls"))

    client = wrap(clients(openai.AsyncOpenAI, serve(script)), [no_call_with()])
    function = {"name": "move", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", **function} if api == "responses" else {"type": "function", "function": function}]
    answer = await ask(client, api, tools=tools)
    if api == "responses":
        assert [item.type for item in answer.output] == ([] if refused > 4 else ["function_call"])
    else:
        assert answer.choices[0].message.content is None
        assert bool(answer.choices[0].message.tool_calls) == (refused < 4)
