"""Calls are collected by context, the last one is kept, and the caller's functions cost no call anything."""

import contextvars
import subprocess
import sys
import threading
import time

import interwhen
import interwhen.clients
import interwhen.integrations
import openai
import pytest
import structlog
from anyio.from_thread import start_blocking_portal
from interwhen import Claim, Lines, Monitor, Pass, Repair, Violation
from interwhen._engine import callbacks, run_results
from interwhen.testing import ScriptedModel
from interwhen.testing.server import ScriptedServer, events


@interwhen.verifier(name="word", worker="inline")
def check(claim):
    SEEN.append(REQUEST.get())
    at = claim.key.find("BAD")
    return Pass() if at < 0 else Violation(why="BAD is no word", where=interwhen.Span(at, at + 3), repair="good")


def extract(segment):
    yield Claim(key=segment.text, span=segment.span)


SEEN = []
REQUEST = contextvars.ContextVar("request", default="")
WORD = Monitor(name="word", verifier=check, extractor=extract, trigger=Lines(), remedy=Repair())


def script(request):
    return events(["one\n", "BAD\n"] if request.number == 0 else ["\n"], api="chat")


@pytest.fixture
def server():
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer(script)) as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def _no_thread_is_left(monkeypatch):
    monkeypatch.setattr(callbacks, "_IDLE_SECONDS", 0.05)
    yield
    wait_for(lambda: not any(thread.name == "interwhen callbacks" for thread in threading.enumerate()))


def sync_client(server, **options):
    bare = openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    return interwhen.wrap(bare, monitors=[WORD], **options)


def ask(client, **options):
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}], **options)
    return list(answer) if options.get("stream") else answer


def model():
    return ScriptedModel(["one\nBAD\n", "\n"])


def wait_for(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("stream", [True, False])
def test_watched_call_is_available_when_it_returns(server, stream):
    with interwhen.integrations.watching() as seen, sync_client(server) as client:
        answer = ask(client, stream=stream)
        info = (answer[-1] if stream else answer).interwhen
        [call] = seen
    assert (call.call_id, call.result, call.source, call.api, call.model) == (
        info.call_id,
        info.result,
        "wrap",
        "chat",
        "m",
    )
    assert [violation.why for violation in seen.violations] == ["BAD is no word"]
    kinds = {type(event).__name__ for event in call.events}
    assert {"ViolationFound", "Remedied", "CheckSettled", "Finished"} <= kinds
    assert "Delta" not in kinds
    assert interwhen.integrations.last().call_id == call.call_id
    ask(client)
    assert len(seen) == 1  # outside of the block


def test_a_run_is_collected_with_its_events(server):
    with interwhen.integrations.watching() as outer, interwhen.integrations.watching() as seen:
        with interwhen.run_sync(model(), "q", monitors=[WORD]) as run:
            told = [event for event in run if not isinstance(event, interwhen.Delta)]
        [call] = seen
        assert list(outer) == [call]
    assert list(call.events) == told
    assert (call.source, call.result, interwhen.integrations.last().result) == ("run", run.result, run.result)
    assert call.text == run.result.text


def test_events_after_reader_exit_are_collected():
    with interwhen.integrations.watching() as seen:
        with interwhen.run_sync(model(), "q", monitors=[WORD]) as run:
            next(iter(run))
        [call] = seen
    assert isinstance(call.events[-1], interwhen.events.Finished)
    assert seen._events == {}


def test_a_guarded_function_is_collected_under_its_name():
    @interwhen.guard(results=[WORD], on_refused=str)
    def tool():
        return "BAD\n"

    with interwhen.integrations.watching() as seen:
        assert "BAD is no word" in tool()
    assert [(call.source, call.model, len(call.violations)) for call in seen] == [("guard", "tool", 1)]


def test_strategy_counts_as_one_call(server):
    with interwhen.integrations.watching() as seen, sync_client(server, strategy="best-of-n:n=2") as client:
        answer = ask(client)
    [call] = seen
    assert call.call_id == answer.interwhen.call_id


def test_watching_is_per_context_unless_everywhere(server):
    with sync_client(server) as client:
        with interwhen.integrations.watching() as mine, interwhen.integrations.watching(everywhere=True) as every:
            thread = threading.Thread(target=contextvars.Context().run, args=(ask, client))
            copied = threading.Thread(target=contextvars.copy_context().run, args=(ask, client))
            for one in (thread, copied):
                one.start()
            for one in (thread, copied):
                one.join()
        assert (len(mine), len(every)) == (1, 2)
        assert callbacks.EVERYWHERE == []


@pytest.mark.parametrize("stream", [True, False])
def test_loop_thread_sees_the_caller_context(server, stream):
    SEEN.clear()
    token = REQUEST.set("r1")
    got = []
    try:
        with sync_client(server, on_result=lambda _: got.append(REQUEST.get())) as client:
            ask(client, stream=stream)
    finally:
        REQUEST.reset(token)
    assert set(SEEN) == {"r1"}
    wait_for(lambda: got)
    assert got == ["r1"]


def test_a_failed_call_is_collected():
    with (
        interwhen.integrations.watching() as seen,
        openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0) as c,
    ):
        wrapped = interwhen.wrap(c, monitors=[WORD])
        with pytest.raises(openai.APIConnectionError):
            ask(wrapped)
    [call] = seen
    assert call.label == "failed"
    assert str(call).startswith("wrap 'm': failed")


def test_callbacks_get_events_in_order_before_the_result(server):
    got = []
    with sync_client(server, on_event=lambda *told: got.append(told), on_result=got.append) as client:
        answer = ask(client)
    wait_for(lambda: got and isinstance(got[-1], interwhen.clients.SupervisedCall))
    *told, call = got
    assert call.result == answer.interwhen.result
    assert {call_id for _, call_id in told} == {call.call_id}
    assert [event for event, _ in told[:-1]] == list(answer.interwhen.events)
    assert told[-1][0] == interwhen.events.Finished(call.result)
    with interwhen.run_sync(model(), "q", monitors=[WORD], on_result=got.append) as run:
        run.drain()
    wait_for(lambda: len(got) == len(told) + 2)
    assert got[-1].result == run.result


def test_a_function_that_raises_costs_no_call(server):
    with structlog.testing.capture_logs() as logs, sync_client(server, on_result=lambda _: 1 / 0) as client:
        assert ask(client).interwhen.result.status == "verified"
        wait_for(lambda: any(log["event"] == "callback.failed" for log in logs))
        failed = len([log for log in logs if log["event"] == "callback.failed"])
        assert ask(client).interwhen.result is not None
        wait_for(lambda: len([log for log in logs if log["event"] == "callback.failed"]) > failed)


def test_a_function_that_waits_delays_no_call(server):
    free = threading.Event()
    got = []
    with sync_client(server, on_result=lambda call: free.wait(60) and got.append(call)) as client:
        began = time.monotonic()
        for _ in range(3):
            ask(client, stream=True)
        assert not got
        assert time.monotonic() - began < 30
        free.set()
        wait_for(lambda: len(got) == 3)


def test_too_many_jobs_are_dropped_and_logged(monkeypatch):
    monkeypatch.setattr(callbacks, "_QUEUED", 2)
    free, got = threading.Event(), []
    told = callbacks.Callbacks(None, lambda event, _: free.wait(60) and got.append(event))
    with structlog.testing.capture_logs() as logs:
        told.saw("c", ["a", "b", "c", "d"])
        free.set()
        wait_for(lambda: len(got) == 2)
    assert [log["event"] for log in logs] == ["callback.dropped"]
    assert got == ["a", "b"]


def test_a_thread_ends_when_it_is_idle():
    got = []
    callbacks.Callbacks(None, lambda *told: got.append(told)).saw("c", ["a"])
    wait_for(lambda: got and not callbacks._CallbackThread.known)


def test_program_exit_waits_for_callbacks():
    code = """
import time, interwhen
from interwhen.testing import ScriptedModel
def slow(call):
    time.sleep(0.3)
    print(call.label)
with interwhen.run_sync(ScriptedModel(["one"]), "q", on_result=slow) as run:
    run.drain()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["unverified"]


async def later(_):
    """An async function."""


class Later:
    """An object that is called like an async function."""

    async def __call__(self, _):
        pass


@pytest.mark.parametrize("function", [later, Later(), "print"])
def test_async_callbacks_are_refused(function):
    with pytest.raises(interwhen.UsageError, match="on_result must be a function"):
        interwhen.run(ScriptedModel(["x"]), "q", on_result=function)
    with pytest.raises(interwhen.UsageError, match="on_result must be a function"):
        interwhen.wrap(openai.OpenAI(api_key="k"), on_result=function)


def test_call_summary_is_one_safe_line(server):
    with interwhen.integrations.watching() as seen, interwhen.run_sync(model(), "q", monitors=[WORD]) as run:
        run.drain()
    [call] = seen
    assert str(call) == (
        f"run 'scripted': steps verified, 2 checks, 1 violations: word: BAD is no word (repair), "
        f"{run.result.ledger.total_tokens} tokens [{call.call_id}]"
    )
    assert str(seen) == str(call)
    assert repr(call) == f"SupervisedCall(steps verified, 1 violations, {call.call_id})"
    hostile = run_results.result_line(
        interwhen.Abstained(text="", reasoning="", answer="", finish_reason=None, reason="\x1b[31m\u202ered\n" * 100)
    )
    assert len(hostile) < 200
    assert hostile.isprintable()
    info = interwhen.clients.SupervisionInfo(result=run.result, call_id="c1")
    assert str(info).startswith("steps verified, 2 checks")
    assert repr(info) == "SupervisionInfo(steps verified, 0 events, 0 violations)"
    violations = tuple(event for event in call.events if isinstance(event, interwhen.events.ViolationFound))
    assert str(interwhen.clients.SupervisionInfo(events=violations)) == (
        "in progress, 0 checks ended, 1 violations: word: BAD is no word"
    )
