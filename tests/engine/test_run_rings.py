"""A run that is over goes at once: it leaves no ring of objects for the garbage collector, which stops everything."""

import contextlib
import gc
import time
import weakref

import anyio
import interwhen
import pytest
from interwhen.events import Finished
from interwhen.testing import ScriptedModel
from sums import slow, watch

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def let_go_of(gone):
    until = time.monotonic() + 30
    while gone() is not None and time.monotonic() < until:
        await anyio.sleep(0.01)
    assert gone() is None, gc.get_referrers(gone())


async def read(run):
    async for _ in run:
        pass


async def leave(run):
    await anext(run)


async def let_go(run):
    with anyio.move_on_after(0.5):
        await read(run)


async def fail(run):
    await anext(run)
    raise RuntimeError("of the reader")


SCENES = {
    # Not one whose stream broke: the traceback of an error knows the run.
    "verified": ({"script": ["1+1=2\n2+2=4\n"]}, [watch()], read),
    "repaired": ({"script": ["1+1=3\n2+2=4\n", "\n2+2=4\n"]}, [watch()], read),
    "checked aside": ({"script": ["1+1=3\n2+2=4\n", "\n2+2=4\n"]}, [watch(slow(0.002))], read),
    "gated": ({"script": ["1+1=2\n2+2=4\n"]}, [watch(delivery="gate")], read),
    "gated, left": ({"script": ["1+1=2\n2+2=4\n"], "delay": 1.0}, [watch(delivery="gate")], leave),
    "gated, cancelled": ({"script": ["1+1=2\n2+2=4\n"], "delay": 1.0}, [watch(delivery="gate")], let_go),
    "left": ({"script": ["1+1=2\n2+2=4\n"], "delay": 1.0}, [watch()], leave),
    "cancelled": ({"script": ["1+1=2\n2+2=4\n"], "delay": 1.0}, [watch()], let_go),
    "left by an error": ({"script": ["1+1=2\n2+2=4\n"], "delay": 0.1}, [watch()], fail),
}


@pytest.mark.parametrize("scene", SCENES)
async def test_finished_run_is_freed_without_gc(scene, loop, no_collector):
    told, monitors, use = SCENES[scene]
    for _ in range(2):  # what is made once for all, is made by the first one
        model = ScriptedModel(**told)
        with contextlib.suppress(RuntimeError):
            async with interwhen.run(model, "Q", monitors=monitors) as run:
                await use(run)
        assert run.is_over
        gone = weakref.ref(run._core)
        del run, model
        await anyio.sleep(0.01)
    await let_go_of(gone)


async def test_journal_keeps_no_reference_to_run(loop, no_collector, tmp_path):
    for number in range(2):
        model = ScriptedModel(["1+1=2\n2+2=4\n"])
        async with interwhen.run(model, "Q", monitors=[watch()], journal=tmp_path / str(number)) as run:
            await read(run)
        gone = weakref.ref(run._core)
        del run, model
    await let_go_of(gone)


async def test_abandoned_run_still_reports_its_result(loop):
    model = ScriptedModel(["1+1=2\n2+2=4\n"], delay=0.001)
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        await anext(run)
    assert run.is_over
    assert [event async for event in run][-1] == Finished(run.result)
    assert run.text == run.result.text
