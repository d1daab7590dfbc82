"""Threads that hang in a verifier are counted, and a verifier in which too many hang gets no further one."""

import threading

import anyio
import anyio.lowlevel
import interwhen
import pytest
from interwhen import Claim, Pass, Workers, verifier
from interwhen._engine.workers import hanging_threads
from interwhen.testing import ScriptedModel
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio
CLAIM = Claim(key="k", span=None)


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Hanging:
    """A verifier that hangs in its thread until it may end."""

    worker, deadline, version = "thread", 60.0, "1"

    def __init__(self, name):
        self.name = name
        self.runs, self.may_end = threading.Event(), threading.Event()

    def check(self, _claim):
        self.runs.set()
        self.may_end.wait()
        return Pass()


@verifier(name="right", worker="thread", deadline=60.0)
def right(_claim):
    return Pass()


async def abandon(who, *, seconds_left):
    who.runs.clear()
    scope = anyio.CancelScope(deadline=anyio.current_time() + seconds_left)
    async with Workers(threads=2) as workers, anyio.create_task_group() as group:
        group.start_soon(workers.check, who, CLAIM, scope)
        while not who.runs.is_set():
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def end(who):
    who.may_end.set()
    while hanging_threads(who.name):
        await anyio.lowlevel.checkpoint()


async def outcome_of_a_run(who):
    monitor = interwhen.Monitor(
        name="m", verifier=who, extractor=lambda segment: [Claim(key=segment.text, span=segment.span)]
    )
    run = interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor], workers=Workers(threads=2))
    async with run:
        return (await run.drain()).checks[0].outcome


@pytest.mark.fault(
    "V2",
    injected="a verifier that hangs in its thread, in each run",
    happens="after `threads` of them it fails at once",
)
async def test_hanging_verifier_is_limited_to_two_threads():
    hangs = Hanging("hangs")
    for _ in range(2):
        await abandon(hangs, seconds_left=0.0)
    with capture_logs() as log:
        outcome = await outcome_of_a_run(hangs)
    assert outcome.error.startswith("2 threads hang in verifier 'hangs'")
    refused = [entry for entry in log if entry["event"] == "verifier.refused"]
    assert [(entry["verifier"], entry["hanging_threads"]) for entry in refused] == [("hangs", 2)]
    assert hanging_threads() == hanging_threads("hangs") == 2
    assert type(await outcome_of_a_run(right)).__name__ == "Judged"
    await end(hangs)
    assert type(await outcome_of_a_run(hangs)).__name__ == "Judged"


async def test_thread_with_time_left_does_not_count_hanging():
    slow = Hanging("slow")
    for _ in range(2):
        await abandon(slow, seconds_left=60.0)
    assert hanging_threads("slow") == 0
    await end(slow)
