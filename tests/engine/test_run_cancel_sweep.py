"""The reader is cancelled at every point there is: nothing is left behind, and the journal leads to the same end."""

import asyncio

import anyio
import anyio.lowlevel
import interwhen
import pytest
from interwhen import Feedback, verifier
from interwhen.models import Capabilities, CompletionsModel
from interwhen.testing.server import ScriptedServer, Sleep, events
from journals import LINES, THOUGHT, Kind, fork, goes_on, rest
from sums import judge, slow, watch

pytestmark = pytest.mark.anyio


async def turns(count):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def late(count):
    @verifier(name="late", deadline=1000.0)
    async def check(claim):
        await turns(count)
        return judge(claim)

    return check


def story(lines=LINES, **options):
    return lambda: goes_on(lines, size=6, forks=lambda _request: "a sum", **options)


TAGGED = Capabilities(resume="prefix", think_tags=("<think>", "</think>"))
SWEPT = {
    "interrupts": Kind(story(), lambda: [watch()]),
    "gates": Kind(story(), lambda: [watch(late(5), delivery="gate"), watch(name="final", delivery="final")]),
    "late checks": Kind(story(), lambda: [watch(late(9), remedy=Feedback()), watch(name="on", delivery="observe")]),
    "forks": Kind(story(), lambda: [watch(late(3), extractor=fork())]),
    "tags": Kind(story(THOUGHT, capabilities=TAGGED), lambda: [watch(late(2))]),
}


async def cancelled_after(count, run):
    async with anyio.create_task_group() as group:

        async def read():
            async with run:
                await run.drain()

        group.start_soon(read)
        await turns(count)
        group.cancel_scope.cancel()


async def turns_of(run):
    count = 0
    async with anyio.create_task_group() as group:

        async def read():
            async with run:
                await run.drain()
            group.cancel_scope.cancel()

        group.start_soon(read)
        while True:
            await turns(1)
            count += 1
            if group.cancel_scope.cancel_called:
                break
    return count


@pytest.mark.fault(
    "P2", injected="the reader cancelled at every turn of the loop", happens="nothing is left; the journal continues"
)
@pytest.mark.parametrize("name", SWEPT)
async def test_reader_cancelled_at_any_step_leaks_nothing(name, tmp_path, record_property):
    kind = SWEPT[name]
    async with kind.run() as run:
        whole = await run.drain()
    # Some more, since a run with a journal waits for its last write.
    last = await turns_of(kind.run()) + 9
    record_property("tries", last)
    assert last > 20
    for count in range(last):
        path = tmp_path / f"{count}.journal"
        model, streams = kind.model(), []
        keep_streams(model, streams)
        run = interwhen.run(model, "Q", monitors=kind.monitors(), **kind.options, journal=path)
        await cancelled_after(count, run)
        assert all(stream._is_closed for stream in streams)
        if not path.exists() or not path.stat().st_size:  # it was cancelled before it had begun
            assert count < 5
            continue
        assert interwhen.journal.read_journal(path).left_out == 0
        async with kind.resume(path) as again:
            assert (await again.drain()).text == whole.text, count


def keep_streams(model, streams):
    opened = model.stream

    async def stream(request):
        new_stream = await opened(request)
        streams.append(new_stream)
        return new_stream

    model.stream = stream


@pytest.mark.fault(
    "P2", injected="the reader cancelled around every event, on real sockets", happens="no task, no socket, a journal"
)
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_cancellation_leaks_no_task_or_socket(delivery, loop, tmp_path, record_property):
    def script(request):
        prefix = request.json["prompt"].removeprefix("Q")
        said = [
            step for line in rest(prefix).splitlines(keepends=True) for step in (*events([line])[:-2], Sleep(0.001))
        ]
        return [*said, *events([])]

    def monitors():
        return [watch(slow(0.002), delivery=delivery), watch(name="looks on", delivery="observe")]

    tries = 0
    async with ScriptedServer(script) as server:
        model = CompletionsModel(server.base_url, "scripted")
        async with interwhen.run(model, "Q", monitors=monitors()) as run:
            seen = [event async for event in run]
        await model.aclose()
        whole = run.result
        assert whole.ledger.remedies == 2
        for stop in range(len(seen)):
            for more in (0, 2):
                path = tmp_path / f"{stop}-{more}.journal"
                await server.settled()
                before = asyncio.all_tasks()
                model = CompletionsModel(server.base_url, "scripted")
                await _stopped(interwhen.run(model, "Q", monitors=monitors(), journal=path), stop, more)
                await model.aclose()
                await server.settled()
                left = asyncio.all_tasks() - before
                assert not [task for task in left if "ScriptedServer" not in task.get_name()]
                assert interwhen.journal.read_journal(path).left_out == 0
                tries += 1
            model = CompletionsModel(server.base_url, "scripted")
            async with interwhen.resume(path, model=model, monitors=monitors()) as again:
                assert (await again.drain()).text == whole.text
            await model.aclose()
    record_property("tries", tries)


async def _stopped(run, stop, more):
    async with anyio.create_task_group() as group:

        async def read():
            async with run:
                left = stop
                async for _ in run:
                    left -= 1
                    if left < 0:
                        group.start_soon(cancel)

        async def cancel():
            await turns(more)
            group.cancel_scope.cancel()

        group.start_soon(read)
