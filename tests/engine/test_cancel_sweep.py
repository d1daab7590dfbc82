"""The reader is cancelled at every point there is: nothing is left behind, and the record goes on to the same end."""

import asyncio

import anyio
import anyio.lowlevel
import interwhen
import pytest
from interwhen.models.completions import CompletionsModel
from interwhen.testing.server import ScriptedServer, Sleep, events
from journals import KINDS, rest
from sums import slow, watch

pytestmark = pytest.mark.anyio

SWEPT = ("repairs", "gates", "slow checks", "forks", "tags", "gives up")


async def turns(count):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def cancelled_after(count, run):
    """Read *run* for *count* turns of the loop; whether it was cut short."""
    async with anyio.create_task_group() as group:

        async def read():
            async with run:
                await run.drain()
            group.cancel_scope.cancel()

        group.start_soon(read)
        await turns(count)
        group.cancel_scope.cancel()
    try:
        return run.result.doubts[:1] == (interwhen.Doubt("", None, "the reader left before the end"),)
    except (interwhen.UsageError, AttributeError):
        return True


@pytest.mark.fault(
    "P2", injected="the reader cancelled at every turn of the loop", happens="nothing is left; the journal goes on"
)
@pytest.mark.parametrize("name", SWEPT)
async def test_a_reader_cancelled_at_any_turn_leaves_nothing(name, tmp_path, record_property):
    kind = KINDS[name]
    async with kind.run() as run:
        whole = await run.drain()
    model_of, streams = kind.model, []

    def counted():
        model = model_of()
        opened = model.stream

        async def stream(request):
            found = await opened(request)
            streams.append(found)
            return found

        model.stream = stream
        return model

    count = 0
    while True:
        path = tmp_path / f"{count}.journal"
        streams.clear()
        run = interwhen.run(counted(), "Q", monitors=kind.monitors(), **kind.options, journal=path)
        short = await cancelled_after(count, run)
        assert all(stream._is_closed for stream in streams)
        if path.exists():
            try:
                found = interwhen.read_journal(path)
            except interwhen.JournalError as error:
                assert count < 5, error  # noqa: PT017  (before the header)
            else:
                assert found.left_out == 0
                async with kind.resume(path) as again:
                    assert (await again.drain()).text == whole.text
        if not short:
            break
        count += 1
    record_property("tries", count)
    assert count > 20


@pytest.mark.fault(
    "P2", injected="the reader cancelled around every event, on real sockets", happens="no task, no socket, a journal"
)
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_no_task_and_no_socket_is_left(delivery, loop, tmp_path, record_property):
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
            for more in (0, 1, 3):
                path = tmp_path / f"{stop}-{more}.journal"
                await server.settled()
                before = asyncio.all_tasks()
                model = CompletionsModel(server.base_url, "scripted")
                await _stopped(interwhen.run(model, "Q", monitors=monitors(), journal=path), stop, more)
                await model.aclose()
                await server.settled()
                assert asyncio.all_tasks() <= before
                assert interwhen.read_journal(path).left_out == 0
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
