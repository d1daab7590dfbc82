"""Loops in threads end: with their client, on command, and with the process otherwise."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import openai
import pytest
from interwhen import wrap
from interwhen._engine.loop_thread import LoopThread, Running
from interwhen.testing.server import events
from watchers import passing

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}

SCRIPTS = {
    "a loop that was not ended": """
        from interwhen._engine.loop_thread import LoopThread
        loop = LoopThread()
        loop.running()
        """,
    "a loop with a task that continues": """
        import anyio
        from interwhen._engine.loop_thread import LoopThread
        loop = LoopThread()
        loop.running().start(anyio.sleep_forever)
        """,
    "a loop that is collected without its end": """
        from interwhen._engine.loop_thread import Running
        Running()
        """,
    "a tool that was guarded": """
        import interwhen
        @interwhen.guard
        def act(on):
            return on
        print(act("x"))
        """,
    "a client that was not closed": """
        import sys, interwhen, openai
        client = interwhen.wrap(openai.OpenAI(base_url=sys.argv[1], api_key="k"), ["arithmetic"])
        ask = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
        print(client.chat.completions.create(**ask).choices[0].message.content)
        """,
    "a stream that was not read": """
        import sys, interwhen, openai
        client = interwhen.wrap(openai.OpenAI(base_url=sys.argv[1], api_key="k"), ["arithmetic"])
        ask = {"model": "m", "messages": [{"role": "user", "content": "q"}], "stream": True}
        stream = client.chat.completions.create(**ask)
        next(stream)
        """,
    "a fork of a process with a loop": """
        import os, sys
        from interwhen._engine.loop_thread import LoopThread
        loop = LoopThread()
        async def seven():
            return 7
        loop.running().call(seven)
        child = os.fork()
        assert loop.running().call(seven) == 7
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_process_ends_without_a_word(name, serve):
    if "fork" in name and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    server = serve(events(["one\n", "two"], api="chat"))
    code = textwrap.dedent(SCRIPTS[name])
    # Python warns of every fork beside threads, from 3.12 on: what is tested is that this one works all the same.
    warnings = ["-W", "ignore" if "fork" in name else "error"]
    ended = subprocess.run(
        [sys.executable, *warnings, "-c", code, server.base_url],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_garbage_collected_client_ends_its_loop_thread(serve):
    server = serve(events(["one"], api="chat"))
    client = wrap(openai.OpenAI(base_url=server.base_url, api_key="k"), [passing()])
    client.chat.completions.create(**ASK)
    thread = client._interwhen_loop.running()._thread
    assert thread.is_alive()
    del client
    deadline = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert not thread.is_alive()


def test_an_ended_loop_refuses_calls_and_is_replaced():
    thread = LoopThread()
    first = thread.running()
    assert thread.running() is first
    thread.close()
    thread.close()
    with pytest.raises(RuntimeError):
        first.call(anyio.sleep, 0)
    first.soon(lambda: None)
    second = thread.running()
    assert second is not first
    second.call(anyio.sleep, 0)
    thread.close()


def test_a_loop_can_end_from_its_own_thread():
    loop = Running()

    async def end():
        loop.end()

    loop.start(end)
    loop._thread.join(60)
    assert not loop._thread.is_alive()


def test_ending_a_blocked_loop_does_not_hang_forever(monkeypatch):
    monkeypatch.setattr("interwhen._engine.loop_thread._END_SECONDS", 0.1)
    loop, blocked = Running(), threading.Event()
    loop.soon(lambda: blocked.wait(100))
    began = time.monotonic()
    loop.end()
    assert time.monotonic() - began < 60
    assert loop._thread.is_alive()
    blocked.set()
    loop._thread.join(60)
    assert not loop._thread.is_alive()


def test_a_loop_start_error_reaches_the_caller(monkeypatch):
    def fail(_main, **_options):
        raise OSError("no more files")

    monkeypatch.setattr(anyio, "run", fail)
    with pytest.raises(OSError, match="no more files"):
        Running()
