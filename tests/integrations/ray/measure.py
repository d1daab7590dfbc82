"""``python -m tests.integrations.ray.measure``: what a call to the cluster costs, what is sent, and how busy the cores are.

It starts a cluster on this machine, so it must be quiet. ``--quick`` makes a tenth of the checks.
"""

import argparse
import os
import random
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

import anyio

PLUGIN = Path(__file__).parent / "plugin"
MIX = (0.05, 0.5, 1.0, 2.0, 4.0, 6.0, 10.0, 20.0)
SHARES = (40, 20, 15, 10, 5, 4, 4, 2)


class Always:
    """In place of :class:`CostHistory`: every check leaves, whatever it costs."""

    def leaves(self, key):
        return True

    def seconds(self, key):
        return 0.0

    def learn(self, key, spent):
        pass


def monitor(spec):
    from interwhen.registry import load_monitor

    return load_monitor(spec)


def claim(key, ms):
    from ray_checks import Work

    return Work(key=str(key), span=None, ms=ms)


async def ask(pool, verifier, each, seconds=60.0):
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        value, failure = await pool.check(verifier, each, scope)
        assert failure is None, failure
        return value
    raise TimeoutError


async def ready(pool, verifier, actors):
    with anyio.fail_after(120):
        target = pool._target(verifier)
        while len(pool._links) < actors or not pool._is_encoded(target):
            await anyio.sleep(0.05)


async def dispatch(address, actors, calls):
    from interwhen.integrations.ray import RayWorkers

    verifier = monitor("work").verifier
    async with RayWorkers(address=address, actors=actors) as pool:
        pool._costs = Always()
        await ready(pool, verifier, actors)
        await asking(pool, verifier, 100)
        (alone, batched, times), loop = await asking(pool, verifier, calls), await asking(Instant(), verifier, calls)
    print(
        f"dispatch alone: {times[calls // 2] * 1e6:.0f} us p50 (bar 900), {times[calls * 99 // 100] * 1e6:.0f} us p99"
    )
    print(
        f"driver CPU: {(alone - loop[0]) * 1e6:.0f} us alone (bar 160), {(batched - loop[1]) * 1e6:.1f} us each in batches "
        f"of ten (bar 25); besides, tasks and deadlines of this loop: {loop[0] * 1e6:.1f} and {loop[1] * 1e6:.1f} us"
    )


class Instant:
    """A pool that answers at once: what is left is the loop that asks, with its tasks and deadlines."""

    async def check(self, verifier, claim, scope):
        return None, None


async def asking(pool, verifier, calls):
    """Return the CPU time of a call alone, of one in batches of ten, and the sorted times of those alone."""
    times, cpu = [], time.process_time()
    for number in range(calls):
        begun = time.perf_counter()
        await ask(pool, verifier, claim(number, 0.0))
        times.append(time.perf_counter() - begun)
    alone = (time.process_time() - cpu) / calls
    cpu = time.process_time()
    for turn in range(calls // 10):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask, pool, verifier, claim(f"{turn}", 0.0))
    return alone, (time.process_time() - cpu) / calls, sorted(times)


def cpu_of_ray():
    """The CPU seconds of the processes of Ray on this machine."""
    spent = 0.0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes()
            if b"site-packages/ray/" in words or words.startswith(b"ray::"):
                spent += sum(
                    int((each / "schedstat").read_text().split()[0]) / 1e9 for each in (path / "task").iterdir()
                )
    return spent


def idle(cores, seconds):
    before = cpu_of_ray()
    time.sleep(seconds)
    share = (cpu_of_ray() - before) / seconds / cores
    print(f"Ray without work: {share * 100:.2f} % of the time of {cores} cores")


async def mixed(address, actors, count):
    from interwhen.integrations.ray import RayWorkers

    rng = random.Random(1)
    verifiers = {ms: monitor(f"sized:ms={ms}").verifier for ms in MIX}
    sent = []
    async with RayWorkers(address=address, actors=actors) as pool:
        for verifier in verifiers.values():
            await ready(pool, verifier, actors)
        away = pool._check_away

        async def counted(target, key, data, scope):
            sent.append(float(key.partition(" ")[2]))
            return await away(target, key, data, scope)

        pool._check_away = counted
        drawn = iter([(number, rng.choices(MIX, SHARES)[0], rng.uniform(0.8, 1.2)) for number in range(count)])

        async def some():
            for number, ms, factor in drawn:
                each = claim(f"{number} {ms * factor}", ms * factor)
                await ask(pool, verifiers[ms], each)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(some)
    cheap = sum(ms < 5 for ms in sent)
    print(f"{count} mixed checks: {len(sent)} sent away, of these {cheap} under 5 ms of CPU (bar 0)")


async def busy(address, cores, ms, count, rounds):
    from interwhen import Workers
    from interwhen.integrations.ray import RayWorkers

    verifier = monitor("work").verifier
    shares = {"local": [], "ray": []}
    async with Workers(processes=cores) as here, RayWorkers(address=address, actors=cores) as there:
        there._costs.learn(there._target(verifier).key, ms / 1000)
        there._costs.leaves = lambda _key: True
        await ready(there, verifier, cores)
        for turn in range(rounds + 1):
            for name, pool in random.Random(turn).sample([("local", here), ("ray", there)], 2):
                begun = time.perf_counter()
                async with anyio.create_task_group() as group:
                    for number in range(count if turn else 2 * cores):
                        group.start_soon(ask, pool, verifier, claim(f"{turn} {number}", ms))
                if turn:  # the first one starts the processes
                    shares[name].append(count * ms / 1000 / cores / (time.perf_counter() - begun))
    bar = {20: 90, 100: 97}[ms]
    here, there = (statistics.median(each) * 100 for each in shares.values())
    print(
        f"checks of {ms} ms: {there:.1f} % of the time of {cores} cores on Ray (bar {bar}), {here:.1f} % on processes"
    )


def main():
    parser = argparse.ArgumentParser(prog="tests.integrations.ray.measure")
    parser.add_argument("--quick", action="store_true")
    part = 10 if parser.parse_args().quick else 1
    sys.path.insert(0, str(PLUGIN))
    os.environ["PYTHONPATH"] = str(PLUGIN)
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    from ray.cluster_utils import Cluster

    cores = os.cpu_count() or 1
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cores, "object_store_memory": 100 << 20, "include_dashboard": False},
    )
    try:
        idle(cores, 10)
        anyio.run(dispatch, cluster.address, 1, 2000 // part)
        anyio.run(mixed, cluster.address, cores, 10_000 // part)
        anyio.run(busy, cluster.address, cores, 20, 300 // part, 5)
        anyio.run(busy, cluster.address, cores, 100, 60 // part, 5)
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
