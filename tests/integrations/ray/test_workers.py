"""The pool on a cluster in this process: no check lost, none twice, and none where it should not be."""

import gc
import importlib.util
import math
import os
import random
import sys
import time
from pathlib import Path

import anyio
import interwhen
import pytest
from interwhen import Pass, Unknown, UsageError, load_monitor
from interwhen._types.verifiers import take_note
from interwhen.integrations.ray import RayWorkers
from interwhen.integrations.ray._placement import PROOFS
from interwhen.registry import PluginError, load_workers

pytestmark = pytest.mark.anyio


def _load(name):
    spec = importlib.util.spec_from_file_location(f"ray_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fake = _load("fake_cluster")
FakeCluster = fake.FakeCluster
HERE = f"pid {os.getpid()}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def monitor():
    return load_monitor("in_thread")


@pytest.fixture
def pool_on(monkeypatch):
    monkeypatch.setattr("interwhen.integrations.ray._workers.find_spec", lambda _name: True)

    def make(cluster, **options):
        monkeypatch.setattr("interwhen.integrations.ray._workers.RayCluster", lambda _address: cluster)
        return RayWorkers(**options)

    return make


async def until(condition):
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.002)


def work(key, **fields):
    from ray_checks import Work

    return Work(key=str(key), span=None, **{"ms": 6, **fields})


def leaves(pool, monitor, seconds=0.02):
    cost = pool._target(monitor.verifier).cost
    cost.seconds, cost.leaves = seconds, True


async def ask(pool, verifier, claim, seconds=60.0):
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        return await pool.check(verifier, claim, scope)
    return "late"


async def joined(pool, count):
    await until(lambda: len(pool._actors) == count)


def look(pool):
    pool._looks_at = 0.0
    pool._look_soon()


async def test_expensive_checks_run_on_the_cluster_each_once(monitor, pool_on):
    cluster, outcomes = FakeCluster(3), {}
    async with pool_on(cluster) as pool:
        await joined(pool, 3)
        leaves(pool, monitor)

        async def one(number):
            outcomes[number] = await ask(pool, monitor.verifier, work(number))

        await one(0)  # reads the code of the plug-in
        async with anyio.create_task_group() as group:
            for number in range(1, 200):
                group.start_soon(one, number)
    assert len(outcomes) == len(cluster.ran) == len({number for _, number in cluster.ran}) == 200
    assert {value.evidence for value, _ in outcomes.values()} <= {actor.name for actor in cluster.actors}
    assert sum(len(actor.requests) for actor in cluster.actors) <= 110  # waiting checks share a call
    assert cluster.is_closed
    assert all(actor.is_killed for actor in cluster.actors)


async def test_cheap_and_unnamed_checks_run_locally(monitor, pool_on):
    cluster = FakeCluster()
    async with pool_on(cluster) as pool:
        await joined(pool, 2)
        for number in range(2 * PROOFS):
            assert await ask(pool, monitor.verifier, work(number, ms=0.1)) == (Pass(HERE), None)

        @interwhen.verifier(name="mine", worker="thread")
        def mine(claim):
            return Unknown("mine")

        assert await ask(pool, mine, work(0)) == (Unknown("mine"), None)
    assert not cluster.ran


async def test_expensive_verifier_moves_to_the_cluster(monitor, pool_on):
    cluster = FakeCluster()
    async with pool_on(cluster) as pool:
        await joined(pool, 2)
        for number in range(PROOFS):
            await ask(pool, monitor.verifier, work(number, ms=9))
        assert not cluster.ran
        await ask(pool, monitor.verifier, work("gone"))
        assert len(cluster.ran) == 1


async def test_verifier_cheap_on_cluster_returns(monitor, pool_on):
    cluster = FakeCluster(is_quick=False)
    async with pool_on(cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 2)
        leaves(pool, monitor)
        group.start_soon(ask, pool, monitor.verifier, work(1))
        await until(lambda: any(actor.items for actor in cluster.actors))
        next(actor for actor in cluster.actors if actor.items).answer(spent=0.001)
        await until(lambda: not pool._target(monitor.verifier).cost.leaves)
        assert (await ask(pool, monitor.verifier, work(2)))[0].evidence == HERE


@pytest.mark.parametrize("way", ["dies", "answers garbage", "answers nothing", "is disconnected"])
async def test_checks_of_lost_actor_run_locally(way, monitor, pool_on):
    cluster, outcomes, notes = FakeCluster(1, is_quick=False), [], []

    async def one(number):
        notes.append(take_note())
        outcomes.append(await ask(pool, monitor.verifier, work(number)))

    async with pool_on(cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        leaves(pool, monitor)
        cluster.is_away, cluster.is_lost = True, way == "is disconnected"
        for number in range(5):
            group.start_soon(one, number)
        actor = cluster.actors[0]
        if not cluster.is_lost:
            await until(lambda: actor.items)
        match way:
            case "dies":
                actor.die()
            case "answers garbage":
                actor.call.set_result({"what": "ever"})
            case "answers nothing":
                actor.call.set_result(b"\x90")
                actor.items = []
                await until(lambda: outcomes)
                if len(outcomes) < 5:  # the others came later
                    await until(lambda: actor.items)
                    actor.die()
        await until(lambda: len(outcomes) == 5)
    assert {value.evidence for value, _ in outcomes} == {HERE}
    assert all(note.cluster_away for note in notes)
    assert actor.is_killed  # here at the latest when the pool is closed


async def test_note_explains_the_missing_cluster(monitor, pool_on):
    cluster = FakeCluster()
    cluster.is_away = True
    async with pool_on(cluster) as pool:
        leaves(pool, monitor)
        await until(lambda: "it does not answer" in pool._away)
        note = take_note()
        value, failure = await ask(pool, monitor.verifier, work(1))
        assert (value.evidence, failure) == (HERE, None)
        assert "it does not answer" in note.cluster_away
        cluster.is_away = False
        look(pool)
        await joined(pool, 2)
        note = take_note()
        assert (await ask(pool, monitor.verifier, work(1)))[0].evidence in [each.name for each in cluster.actors]
        assert (note.cluster_away, note.worker[:4]) == ("", "ray ")


async def test_an_actor_that_cannot_start_is_replaced(monitor, pool_on):
    cluster = FakeCluster(1)
    cluster.starts = False
    async with pool_on(cluster) as pool:
        await until(lambda: cluster.actors)
        cluster.starts = True
        cluster.actors[0].die()
        await until(lambda: "its node is gone" in pool._away)
        look(pool)
        await joined(pool, 1)
    assert len(cluster.actors) == 2


async def test_unpicklable_claim_is_checked_locally(monitor, pool_on):
    cluster = FakeCluster()
    async with pool_on(cluster) as pool:
        await joined(pool, 2)
        leaves(pool, monitor)
        for claim in (work("x" * (1 << 20)), work("y", say=lambda: None)):
            note = take_note()
            assert (await ask(pool, monitor.verifier, claim))[1] is None
            assert "cannot be pickled" in note.cluster_away
    assert not cluster.ran


async def test_a_check_waits_a_minute_for_an_actor(monitor, pool_on, monkeypatch):
    monkeypatch.setattr("interwhen.integrations.ray._workers.BOOT_SECONDS", 0.1)
    cluster, outcomes = FakeCluster(1, is_quick=False), []

    async def one(number):
        outcomes.append(await ask(pool, monitor.verifier, work(number)))

    async with pool_on(cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        leaves(pool, monitor)
        group.start_soon(one, 0)
        await until(lambda: cluster.actors[0].items)
        group.start_soon(one, 1)
        await until(lambda: outcomes)
        assert outcomes == ["late"]
        cluster.actors[0].answer()
        await until(lambda: len(outcomes) == 2)
        assert not pool._waiting


async def test_a_cancelled_check_is_cancelled_on_its_actor(monitor, pool_on):
    cluster = FakeCluster(1, is_quick=False)
    async with pool_on(cluster) as pool:
        await joined(pool, 1)
        leaves(pool, monitor)
        [actor] = cluster.actors
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(ask, pool, monitor.verifier, work(number))
            await until(lambda: actor.items and len(pool._waiting) + len(actor.items) == 6)
            sent = [item.id for item in actor.items]
            group.cancel_scope.cancel()
        assert sorted(actor.cancelled) == sorted(sent)
        assert not pool._waiting
        actor.answer()
        await until(lambda: not next(iter(pool._actors)).checks)


async def test_a_late_check_has_timed_out(monitor, pool_on):
    cluster, outcomes = FakeCluster(1, is_quick=False), []

    async def one():
        outcomes.append(await ask(pool, monitor.verifier, work(1)))

    async with pool_on(cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        leaves(pool, monitor)
        group.start_soon(one)
        await until(lambda: cluster.actors[0].items)
        cluster.actors[0].answer(verdict=None, is_late=True, spent=0.0)
        await until(lambda: outcomes)
        assert (outcomes, cluster.actors[0].is_killed) == (["late"], False)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_silent_actor_is_abandoned(is_cancelled, monitor, pool_on, monkeypatch):
    cluster, outcomes = FakeCluster(1, is_quick=False), []

    async def one(seconds):
        outcomes.append(await ask(pool, monitor.verifier, work(1), seconds))

    async with pool_on(cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        leaves(pool, monitor)
        monkeypatch.setattr("interwhen.integrations.ray._workers.BOOT_SECONDS", 0.1)
        async with anyio.create_task_group() as first:
            first.start_soon(one, 0.1)
            await until(lambda: cluster.actors[0].items)
            if is_cancelled:
                first.cancel_scope.cancel()
        assert outcomes == ([] if is_cancelled else ["late"])
        await until(lambda: all(actor.expires < time.monotonic() for actor in pool._actors))
        monkeypatch.setattr("interwhen.integrations.ray._workers.BOOT_SECONDS", 60.0)
        cluster.is_away = True
        group.start_soon(one, 60.0)
        await until(lambda: len(outcomes) == 2 - is_cancelled)
        assert outcomes[-1][0].evidence == HERE
        assert cluster.actors[0].is_killed


async def test_deaths_at_random_lose_no_check(monitor, pool_on):
    for seed in range(20):
        rng, cluster, outcomes, wanted = random.Random(seed), FakeCluster(3, is_quick=False), {}, 60

        async def one(number):
            outcomes[number] = await ask(pool, monitor.verifier, work(number, ms=0), 60.0)  # noqa: B023

        async with pool_on(cluster) as pool, anyio.create_task_group() as group:
            await joined(pool, 3)
            leaves(pool, monitor)
            for number in range(wanted):
                group.start_soon(one, number)
            with anyio.fail_after(60):
                while len(outcomes) < wanted:
                    busy = [actor for actor in cluster.actors if actor.items]
                    if busy and rng.random() < 0.1:
                        rng.choice(busy).die()
                    elif busy:
                        rng.choice(busy).answer()
                    await anyio.sleep(0)
        assert all(type(value) is Pass for value, _ in outcomes.values()), seed
        ran = [number for _, number in cluster.ran]
        assert len(ran) == len(set(ran)), seed


async def test_closing_ends_open_checks(monitor, pool_on):
    cluster, outcomes = FakeCluster(1, is_quick=False), []

    async def one(number):
        outcomes.append(await ask(pool, monitor.verifier, work(number)))

    async with anyio.create_task_group() as group, pool_on(cluster) as pool:
        await joined(pool, 1)
        leaves(pool, monitor)
        for number in range(20):
            group.start_soon(one, number)
        await until(lambda: len(cluster.actors[0].items) + len(pool._waiting) == 20)
    assert {failure for _, failure in outcomes} == {"the workers were closed during the check"}
    assert cluster.is_closed
    look(pool)
    assert not pool._lock.acquire(blocking=False)  # no later look can start an actor


async def test_pool_loads_by_name(monkeypatch, pool_on):
    from interwhen.testing import ScriptedModel

    cluster, made = FakeCluster(), []
    cluster.is_away = True

    def pool(*, actors: int = 5):
        made.append(pool_on(cluster, actors=actors))
        leaves(made[-1], monitor)
        return made[-1]

    monkeypatch.setattr("interwhen.registry._split_factory", lambda *_: ("ray", pool, "actors=7"))
    monitor = load_monitor("speaking")
    async with interwhen.run(ScriptedModel(["one\n"] * 30), "", monitors=[monitor], workers="ray:actors=7") as run:
        async for _ in run:
            pass
    away = run.result.timing.cluster_away
    assert away == "the cluster was not connected yet" or "it does not answer" in away
    assert run.result.status == "verified"
    assert made[0]._wanted == 7
    with pytest.raises(UsageError, match="workers must be a WorkerPool or None"):
        load_workers(7)


def test_wrong_values_and_options_are_refused():
    for wrong in (-1, 1.5, math.nan):
        with pytest.raises(UsageError, match="RayWorkers"):
            RayWorkers(actors=wrong)
    with pytest.raises(
        PluginError, match="actors, address, blocked_loop_after, memory, processes, threads, got 'queue'"
    ):
        load_workers("ray:queue=5")


def test_missing_ray_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("interwhen.integrations.ray._workers.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'interwhen\[ray\]'"):
        load_workers("ray:actors=2")


def test_a_source_lives_as_long_as_its_verifier():
    from interwhen import registry

    monitor = load_monitor("prepared")
    key = id(monitor.verifier), id(monitor.prepare)
    assert registry.source_of(monitor.verifier, monitor.prepare).name == "prepared"
    assert registry.source_of(monitor.verifier) is None
    del monitor
    gc.collect()
    assert key not in registry._sources
