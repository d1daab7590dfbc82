"""The pool on a cluster in this process: no check lost, none twice, and none where it should not be."""

import asyncio
import gc
import importlib.util
import math
import random
import sys
from pathlib import Path

import anyio
import interwhen
import pytest
from interwhen import Pass, Unknown, UsageError
from interwhen._types.verifiers import take_note
from interwhen.integrations.ray import RayWorkers
from interwhen.integrations.ray._placement import PROOFS
from interwhen.registry import load_monitor, load_workers
from interwhen.testing.complexity import count_steps

pytestmark = pytest.mark.anyio


def _load(name):
    spec = importlib.util.spec_from_file_location(f"ray_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


fake = _load("fake_cluster")
FakeCluster = fake.FakeCluster


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def monitor():
    return load_monitor("in_thread")


async def until(condition):
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.005)


def work(key, **fields):
    from ray_checks import Work

    return Work(key=str(key), span=None, **{"ms": 6, **fields})


def expensive(pool, monitor):
    """Let *pool* know that the checks of *monitor* are expensive, and what its code is."""
    target = pool._target(monitor.verifier)
    for _ in range(PROOFS):
        pool._costs.learn(target.key, 0.02)
    pool._codes[target.name] = "c0de"


async def ask(pool, verifier, claim, seconds=60.0):
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        return await pool.check(verifier, claim, scope)
    return "cancelled"


async def joined(pool, count):
    await until(lambda: len(pool._links) == count)


async def test_expensive_checks_are_made_on_the_cluster_each_once(monitor):
    cluster = FakeCluster(3)
    async with RayWorkers(cluster=cluster) as pool:
        await joined(pool, 3)
        expensive(pool, monitor)
        found = {}

        async def one(number):
            found[number] = await ask(pool, monitor.verifier, work(number))

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)
    assert len(found) == len(cluster.ran) == 200
    assert len({item.id for _, item in cluster.ran}) == 200
    assert {value.evidence for value, _ in found.values()} <= {actor.name for actor in cluster.actors}
    assert sum(len(actor.requests) for actor in cluster.actors) <= 110  # checks of one moment share a call
    assert cluster.is_closed
    assert all(actor.killed for actor in cluster.actors)


async def test_cheap_and_unnamed_checks_stay_here(monitor):
    cluster = FakeCluster()
    async with RayWorkers(cluster=cluster) as pool:
        await joined(pool, 2)
        for number in range(2 * PROOFS):
            assert await ask(pool, monitor.verifier, work(number, ms=0.1)) == (Pass(f"pid {_pid()}"), None)

        @interwhen.verifier(name="mine", worker="thread")
        def mine(claim):
            return Unknown("mine")

        assert await ask(pool, mine, work(0)) == (Unknown("mine"), None)
        assert pool._target(mine) is None
    assert not cluster.ran


def _pid():
    import os

    return os.getpid()


async def test_a_verifier_leaves_after_it_was_measured(monitor):
    cluster = FakeCluster()
    async with RayWorkers(cluster=cluster) as pool:
        await joined(pool, 2)
        for number in range(PROOFS):
            await ask(pool, monitor.verifier, work(number, ms=9))
        assert not cluster.ran
        await ask(pool, monitor.verifier, work("code", ms=9))  # while the keeper reads the code
        await until(lambda: any(pool._codes.values()))
        await ask(pool, monitor.verifier, work("gone"))
        assert len(cluster.ran) == 1


async def test_a_verifier_that_was_cheap_on_the_cluster_comes_home(monitor):
    cluster = FakeCluster(is_quick=False)
    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 2)
        expensive(pool, monitor)
        group.start_soon(ask, pool, monitor.verifier, work(1))
        await until(lambda: any(actor.checks for actor in cluster.actors))
        next(actor for actor in cluster.actors if actor.checks).answer(spent=0.001)
        await until(lambda: not pool._open)
        assert (await ask(pool, monitor.verifier, work(2)))[0].evidence.startswith("pid")


async def test_a_dead_actor_is_not_asked_again_and_its_checks_are_made_elsewhere_once(monitor):
    cluster = FakeCluster(2, is_quick=False)
    found = {}

    async def one(number):
        found[number] = await ask(pool, monitor.verifier, work(number))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 2)
        expensive(pool, monitor)
        cluster.starts = False
        for number in range(20):
            group.start_soon(one, number)
        await until(lambda: all(actor.checks for actor in cluster.actors))
        dead, other = cluster.actors
        dead.die()
        await joined(pool, 1)
        while len(found) < 20:
            if other.checks:
                other.answer()
            await anyio.sleep(0)
    assert not cluster.asked_dead
    assert len({item.id for _, item in cluster.ran}) == len(cluster.ran) == 20
    assert {name for name, _ in cluster.ran} == {other.name}
    assert all(failure is None for _, failure in found.values())


async def test_a_check_whose_second_actor_died_too_is_an_error(monitor):
    cluster = FakeCluster(1, is_quick=False)
    found = []

    async def one():
        found.append(await ask(pool, monitor.verifier, work(1)))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        cluster.processors = 2
        pool._keeper.wake()
        await joined(pool, 2)
        expensive(pool, monitor)
        group.start_soon(one)
        for _ in range(2):
            await until(lambda: any(actor.checks for actor in cluster.alive))
            next(actor for actor in cluster.alive if actor.checks).die()
        await until(lambda: found)
    [(value, failure)] = found
    assert value is None
    assert "two actors ended" in failure


async def test_without_a_cluster_the_checks_run_here_and_the_note_says_why(monitor):
    cluster = FakeCluster()
    cluster.is_away = True
    async with RayWorkers(cluster=cluster) as pool:
        expensive(pool, monitor)
        note = take_note()
        value, failure = await ask(pool, monitor.verifier, work(1))
        assert (value.evidence, failure) == (f"pid {_pid()}", None)
        assert note.cluster_away == "it does not answer"
        cluster.is_away = False
        pool._keeper.wake()
        await joined(pool, 2)
        note = take_note()
        assert (await ask(pool, monitor.verifier, work(1)))[0].evidence in [each.name for each in cluster.actors]
        assert (note.cluster_away, note.worker[:4]) == ("", "ray ")


async def test_when_the_last_actor_dies_its_checks_run_here(monitor):
    cluster = FakeCluster(1, is_quick=False)
    found, notes = [], []

    async def one(number):
        notes.append(take_note())
        found.append(await ask(pool, monitor.verifier, work(number)))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        expensive(pool, monitor)
        cluster.is_away = True
        for number in range(10):
            group.start_soon(one, number)
        await until(lambda: cluster.actors[0].checks)
        cluster.actors[0].die()
        await until(lambda: len(found) == 10)
    assert {value.evidence for value, _ in found} == {f"pid {_pid()}"}
    assert all("its node is gone" in note.cluster_away or note.cluster_away == "it does not answer" for note in notes)


async def test_a_full_cluster_is_back_pressure_and_then_unknown(monitor):
    cluster = FakeCluster(1, is_quick=False)
    found = []

    async def one(number):
        found.append(await ask(pool, monitor.verifier, work(number)))

    async with RayWorkers(cluster=cluster, queue=3, patience=0.5) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        expensive(pool, monitor)
        for number in range(10):
            group.start_soon(one, number)
        await until(lambda: cluster.actors[0].checks)
        held = len(cluster.actors[0].checks)
        await until(lambda: len(found) == 10 - held)
        for value, failure in found:
            assert type(value) is Unknown
            assert "the cluster was full" in value.why
            assert failure is None
        while cluster.actors[0].checks:
            cluster.actors[0].answer()
        await until(lambda: len(found) == 10)
        assert sum(type(value) is Pass for value, _ in found) == held
        assert len(pool._waiting) == 0


async def test_a_cancelled_check_is_cancelled_on_its_actor_and_while_it_waits(monitor):
    cluster = FakeCluster(1, is_quick=False)
    async with RayWorkers(cluster=cluster) as pool:
        await joined(pool, 1)
        expensive(pool, monitor)
        [actor] = cluster.actors
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(ask, pool, monitor.verifier, work(number))
            await until(lambda: len(actor.checks) == 2)
            sent = [item.id for item in actor.checks]
            group.cancel_scope.cancel()
        assert sorted(actor.cancelled) == sorted(sent)
        assert not pool._open
        assert len(pool._waiting) == len(pool._links[actor.name].lane.checks) == 0
        assert not actor.dead


async def test_a_late_check_is_a_timeout_and_a_silent_actor_is_given_up(monitor, monkeypatch):
    cluster = FakeCluster(1, is_quick=False)
    found = []

    async def one(seconds):
        found.append(await ask(pool, monitor.verifier, work(1), seconds))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        expensive(pool, monitor)
        [actor] = cluster.actors
        group.start_soon(one, 60.0)
        await until(lambda: actor.checks)
        actor.answer(verdict=None, is_late=True)
        await until(lambda: found)
        assert (found.pop(), actor.dead) == ("cancelled", False)
        monkeypatch.setattr("interwhen.integrations.ray._workers._GRACE", 0.05)
        monkeypatch.setattr("interwhen.integrations.ray._workers._BOOT_SECONDS", 0.05)
        group.start_soon(one, 0.1)
        await until(lambda: found)
        assert found == ["cancelled"]
        await until(lambda: actor.killed)


async def test_one_timer_keeps_the_limits_of_all_checks_of_an_actor(monitor, monkeypatch):
    """A later check with a shorter limit is given up in time, and an earlier limit ends no check that began later."""
    monkeypatch.setattr("interwhen.integrations.ray._workers._GRACE", 0.0)
    monkeypatch.setattr("interwhen.integrations.ray._workers._BOOT_SECONDS", 0.0)
    cluster = FakeCluster(1, is_quick=False)
    found = []

    async def one(number, seconds):
        found.append((number, await ask(pool, monitor.verifier, work(number), seconds)))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        expensive(pool, monitor)
        [actor] = cluster.actors
        link = pool._links[actor.name]
        group.start_soon(one, 1, 300.0)
        await until(lambda: actor.checks)
        first = link.rings_at
        group.start_soon(one, 2, 200.0)
        await until(lambda: len(actor.checks) == 2)
        assert link.rings_at == first  # the second one has not begun
        actor.answer()
        await until(lambda: len(found) == 1)
        assert link.rings_at == link.late_at < first
        second = link.rings_at
        group.start_soon(one, 3, 400.0)
        await until(lambda: len(actor.checks) == 2)
        actor.answer()
        await until(lambda: len(found) == 2)
        assert link.rings_at == second < link.late_at
        pool._ring(link)  # the limit of the second check is over, and the third one still has time
        assert not actor.dead
        assert link.rings_at == link.late_at
        link.late_at = pool._now()
        pool._ring(link)
        await until(lambda: len(found) == 3)
        assert found[2] == (3, "cancelled")
        await until(lambda: actor.killed)


async def test_checks_whose_results_come_together_all_know_their_worker(monitor):
    cluster = FakeCluster(1, is_quick=False)
    notes = []

    async def one(number):
        notes.append(take_note())
        await ask(pool, monitor.verifier, work(number))

    async with RayWorkers(cluster=cluster) as pool, anyio.create_task_group() as group:
        await joined(pool, 1)
        expensive(pool, monitor)
        [actor] = cluster.actors
        for number in range(2):
            group.start_soon(one, number)
        await until(lambda: len(actor.checks) == 2)
        actor._reply([actor._end_first(), actor._end_first()])
        await until(lambda: not pool._open)
        await until(lambda: all(note.worker for note in notes))
    assert [note.worker for note in notes] == [f"ray {actor.name}"] * 2
    assert all(note.waited >= 0 for note in notes)


def test_a_check_in_a_batch_costs_few_instructions():
    """How much the pool adds to each of ten checks that are asked for together, with the actor in this process.

    It was 1,485 instructions when each check had an event and two timers of its own.
    """

    class Instant:
        async def check(self, _verifier, _claim, _scope):
            return None, None

    async def tens(pool, verifier, count):
        for turn in range(count):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(ask, pool, verifier, work(turn, ms=0))

    async def opened(verifier):
        pool = await RayWorkers(cluster=FakeCluster(1)).__aenter__()
        await joined(pool, 1)
        expensive(pool, monitor)
        pool._costs.seconds = lambda _key: 0.0
        await tens(pool, verifier, 2)
        return pool

    monitor = load_monitor("in_thread")
    with asyncio.Runner() as runner:
        pool = runner.run(opened(monitor.verifier))
        away, instant = (count_steps(runner.run, tens(each, monitor.verifier, 5)) / 50 for each in (pool, Instant()))
        runner.run(pool.aclose())
    added = away - instant
    assert 100 < added < 1300, added


@pytest.mark.parametrize("change", [{"version": "0"}, {"python": "2.7"}, {"code": "x"}])
async def test_a_cluster_with_other_code_is_refused(change):
    cluster = FakeCluster(greeting=fake.other_greeting(**change))
    with pytest.raises(UsageError, match="the cluster must run the code of this program"):
        async with RayWorkers(cluster=cluster):
            pass
    assert all(actor.killed for actor in cluster.actors)
    assert cluster.is_closed


async def test_without_entering_it_a_refused_cluster_is_an_error_of_each_check(monitor):
    cluster = FakeCluster(greeting=fake.other_greeting(version="0"))
    pool = RayWorkers(cluster=cluster)
    pool.bind()
    expensive(pool, monitor)
    await ask(pool, monitor.verifier, work(0))
    await until(lambda: pool._refused)
    value, failure = await ask(pool, monitor.verifier, work(1))
    assert value is None
    assert "interwhen must be" in failure
    await pool.aclose()


async def test_deaths_at_random_lose_no_check_and_make_none_twice(monitor):
    """Simulated: 30 histories of arrivals, answers, cancellations and deaths."""
    for seed in range(30):
        rng = random.Random(seed)
        cluster = FakeCluster(3, is_quick=False)
        found, wanted = {}, 60

        async def one(number):
            found[number] = await ask(pool, monitor.verifier, work(number), 30.0)  # noqa: B023

        async with RayWorkers(cluster=cluster, queue=20) as pool, anyio.create_task_group() as group:
            await joined(pool, 3)
            expensive(pool, monitor)
            for number in range(wanted):
                group.start_soon(one, number)
            deaths = 0
            with anyio.fail_after(60):
                while len(found) < wanted:
                    busy = [actor for actor in cluster.alive if actor.checks]
                    if busy:
                        actor = rng.choice(busy)
                        if deaths < 6 and rng.random() < 0.15:
                            deaths += 1
                            actor.die()
                        else:
                            actor.answer()
                    await anyio.sleep(0)
        ends = [failure for _, failure in found.values()]
        assert len(ends) == wanted
        assert all(failure is None or "two actors ended" in failure for failure in ends), seed
        ran = [item.id for _, item in cluster.ran]
        assert len(ran) == len(set(ran)), seed
        assert len(cluster.asked_dead) == len(set(cluster.asked_dead)), (
            seed
        )  # an idle one is known to be dead when asked


async def test_closing_ends_open_checks(monitor):
    cluster = FakeCluster(1, is_quick=False)
    found = []

    async def one():
        found.append(await ask(pool, monitor.verifier, work(1)))

    async with anyio.create_task_group() as group, RayWorkers(cluster=cluster) as pool:
        await joined(pool, 1)
        expensive(pool, monitor)
        group.start_soon(one)
        await until(lambda: cluster.actors[0].checks)
    assert found[0][1] == "the workers were closed during the check"
    assert cluster.is_closed


async def test_a_run_gets_the_pool_by_name_and_says_that_the_cluster_is_away(monkeypatch):
    from interwhen.testing import ScriptedModel

    cluster = FakeCluster()
    cluster.is_away = True
    made = []

    def pool(*, queue: int = 5):
        made.append(RayWorkers(queue=queue, cluster=cluster))
        expensive(made[-1], monitor)
        return made[-1]

    monkeypatch.setattr("interwhen.registry._split_factory", lambda *_: ("ray", pool, "queue=7"))
    monitor = load_monitor("speaking")
    async with interwhen.run(ScriptedModel(["one\n"] * 30), "", monitors=[monitor], workers="ray:queue=7") as run:
        async for _ in run:
            pass
    assert run.result.timing.cluster_away in ("it does not answer", "the cluster was not connected yet")
    assert run.result.status == "verified"
    assert made[0]._closed
    assert made[0]._waiting.most == 7
    with pytest.raises(UsageError, match="must be a pool"):
        load_workers(7)


def test_wrong_values_are_refused():
    for wrong in ({"actors": -1}, {"queue": 0}, {"patience": "x"}, {"patience": math.nan}):
        with pytest.raises(UsageError, match="RayWorkers"):
            RayWorkers(cluster=FakeCluster(), **wrong)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("interwhen.integrations.ray._workers.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'interwhen\[ray\]'"):
        load_workers("ray:actors=2")


def test_a_source_lives_as_long_as_its_verifier(monkeypatch):
    from interwhen import registry

    monitor = load_monitor("prepared")
    key = id(monitor.verifier), id(monitor.prepare)
    assert registry.source_of(monitor.verifier, monitor.prepare).name == "prepared"
    assert registry.source_of(monitor.verifier) is None
    del monitor
    gc.collect()
    assert key not in registry._sources
