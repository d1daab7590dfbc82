"""``python -m tests.integrations.ray.measure``: what a call to the cluster costs, what is sent, and how busy the cores are.

It starts a cluster on this machine, so it must be quiet. ``--quick`` makes a tenth of the checks. Each number is the
median of several short rounds, in which what is compared takes turns, so one disturbed second decides nothing.

*Busy* is the CPU time that the checks burn, in their own threads, as a share of the time of all cores from the first
call to the last answer. Starting and stopping, what Ray and other programs do, and idle cores all count against it; the
command says how much each of them took.
"""

import argparse
import os
import pickle
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
ROUNDS = 7


def monitor(spec):
    from interwhen import load_monitor

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


async def ready(pool, actors):
    with anyio.fail_after(120):
        while len(pool._actors) < actors:
            pool._look_soon()
            await anyio.sleep(0.05)


def leaves(pool, verifier, ms):
    cost = pool._target(verifier).cost
    cost.seconds, cost.leaves = ms / 1000, True


async def dispatch(address, calls):
    from interwhen.integrations.ray import RayWorkers

    verifier = monitor("work").verifier
    async with RayWorkers(address=address, actors=1) as pool:
        await ready(pool, 1)
        times = []
        for number in range(calls):
            leaves(pool, verifier, 8)
            begun = time.perf_counter()
            await ask(pool, verifier, claim(number, 0.0))
            times.append((time.perf_counter() - begun) * 1e6)
    times.sort()
    print(f"a call alone: {times[calls // 2]:.0f} us p50, {times[calls * 99 // 100]:.0f} us p99")


def spent():
    seconds = dict.fromkeys(("worker processes", "actors", "this program", "Ray"), 0.0)
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes()
            if int(path.name) == os.getpid():
                whose = "this program"
            elif b"spawn_main" in words and str(PLUGIN).encode() in (path / "environ").read_bytes():
                whose = "worker processes"
            elif words.startswith(b"ray::CheckActor"):
                whose = "actors"
            elif b"site-packages/ray/" in words or words.startswith(b"ray::"):
                whose = "Ray"
            else:
                continue
            seconds[whose] += sum(int((each / "schedstat").read_text().split()[0]) / 1e9 for each in _tasks(path))
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    seconds["all"] = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return seconds


def _tasks(path):
    return list((path / "task").iterdir())


def shares(before, after, seconds, cores):
    percents = {name: (after[name] - before[name]) / seconds / cores * 100 for name in after}
    busy = percents.pop("all")
    return {**percents, "other programs": max(busy - sum(percents.values()), 0.0), "idle": max(100 - busy, 0.0)}


def told(found):
    return ", ".join(f"{name} {share:.1f}" for name, share in found.items())


async def idle(cores, seconds):
    before = spent()
    await anyio.sleep(seconds)
    percents = shares(before, spent(), seconds, cores)
    print(f"without checks, % of the time of {cores} cores: {told(percents)}; idle is the ceiling for checks")


async def mixed(address, actors, count):
    from interwhen.integrations.ray import RayWorkers

    rng = random.Random(1)
    verifiers = {ms: monitor(f"sized:ms={ms}").verifier for ms in MIX}
    sent = []
    async with RayWorkers(address=address, actors=actors) as pool:
        await ready(pool, actors)
        away = pool._check_away

        async def counted(target, data, scope):
            sent.append(pickle.loads(data).ms)
            return await away(target, data, scope)

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


async def busy(address, cores, ms, count):
    from interwhen import Workers
    from interwhen.integrations.ray import RayWorkers

    verifier = monitor("work").verifier
    names = ("processes", "Ray")
    percents, needed = ({name: [] for name in names} for _ in range(2))
    async with Workers(processes=cores) as here, RayWorkers(address=address, actors=cores) as there:
        leaves(there, verifier, ms)
        await ready(there, cores)
        for turn in range(ROUNDS + 1):
            for name, pool in random.Random(turn).sample(list(zip(names, (here, there), strict=True)), 2):
                before, begun = spent(), time.perf_counter()
                async with anyio.create_task_group() as group:
                    for number in range(count if turn else 2 * cores):
                        group.start_soon(ask, pool, verifier, claim(f"{turn} {number}", ms))
                if turn:  # the first one starts the processes
                    took = time.perf_counter() - begun
                    percents[name].append(count * ms / 1000 / cores / took * 100)
                    needed[name].append(shares(before, spent(), took, cores))
        if ms < 50:
            await idle(cores, 5)
    left = [
        share / (100 - round_["other programs"]) * 100
        for share, round_ in zip(percents["Ray"], needed["Ray"], strict=True)
    ]
    bar = {20: 85, 100: 95}[ms]
    apart = statistics.median(ray - process for process, ray in zip(*percents.values(), strict=True))
    here, there = map(statistics.median, percents.values())
    print(
        f"checks of {ms} ms: {there:.1f} % of the time of {cores} cores on Ray (bar {bar}; {min(percents['Ray']):.1f} to "
        f"{max(percents['Ray']):.1f} in {ROUNDS} rounds), {here:.1f} % on processes ({apart:+.1f} on Ray in pairs)"
    )
    print(f"    on Ray, of the time that other programs left: {statistics.median(left):.1f} %")
    for name in names:
        medians = {each: statistics.median(round_[each] for round_ in needed[name]) for each in needed[name][0]}
        print(f"    on {name}, % of the cores: {told(medians)}")


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
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}")
    try:
        anyio.run(idle, cores, 5)
        anyio.run(dispatch, cluster.address, 2000 // part)
        anyio.run(mixed, cluster.address, cores, 10_000 // part)
        anyio.run(busy, cluster.address, cores, 20, 300 // part)
        anyio.run(busy, cluster.address, cores, 100, 100 // part)  # the last ones end apart: 60 are too few
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
