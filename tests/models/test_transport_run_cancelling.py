"""A supervised run that is cancelled at any turn of the loop leaves a client that works, and nothing else."""

import asyncio
import gc

import anyio
import pytest
from interwhen.models import Retries
from interwhen.testing.server import ScriptedServer, faulty
from wire_cases import STORY, WHOLE, WRONG, open_model, supervised

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_collector():
    yield
    gc.collect()


async def turns(count):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def tasks_of(way):
    return len(asyncio.all_tasks()) if way.startswith("asyncio") else 0


@pytest.mark.fault(
    "W32", injected="a cancel at every turn of the loop", happens="the client works; no task, no socket left"
)
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_after_cancelling_anytime_the_next_run_is_whole(api, way, transport, record_property):
    whole = faulty("stall_violation", story=STORY, wrong=WRONG)

    def script(request):
        request.number = 1 if "2+2=4" in request.kept else 0  # each run has the fault
        return whole(request)

    async with ScriptedServer(script) as server:
        async with open_model(api, server.base_url, transport=transport, retries=Retries(attempts=0)) as model:
            await anyio.wait_all_tasks_blocked()
            tasks = tasks_of(way)
            finished = count = tries = 0
            while finished < 2:
                done = False

                async def use(scope):
                    nonlocal done
                    with scope:
                        run, _ = await supervised(model)
                        assert (run.result.status, run.result.text) == ("verified", WHOLE)
                        done = True

                scope = anyio.CancelScope()
                async with anyio.create_task_group() as group:
                    group.start_soon(use, scope)
                    await turns(count)
                    scope.cancel()
                finished = finished + 1 if done else 0
                tries += 1
                count += 1 if count < 60 else 7
                assert count < 3000, "the sweep never let a run finish"
                with anyio.fail_after(60):
                    # Only the server has tasks: one for each connection that the client keeps.
                    while server.running or tasks_of(way) > tasks + server.open_connections:
                        await anyio.sleep(0.001)
            with anyio.fail_after(60):
                run, _ = await supervised(model)
            assert (run.result.status, run.result.text) == ("verified", WHOLE)
        await server.settled(5)
    record_property("tries", tries)
    assert tries > 20
