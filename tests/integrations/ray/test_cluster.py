"""Real clusters of several nodes on this machine: nodes, actors and the program are killed at random moments.

The job ``ray`` of CI runs these tests; by hand: ``INTERWHEN_RAY_CLUSTER=1 pytest tests/integrations/ray``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from interwhen import Pass, load_monitor
from interwhen.integrations.ray import RayWorkers

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("INTERWHEN_RAY_CLUSTER"),
        reason="starts clusters: run by the job `ray`, or with INTERWHEN_RAY_CLUSTER=1",
    ),
    pytest.mark.timeout(280),
    # Ray leaves files and sockets of its own processes open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
HERE = Path(__file__).parent
KILLS = int(os.environ.get("INTERWHEN_RAY_KILLS", "20"))
MEMORY = 100 << 20


@pytest.fixture(scope="module")
def cluster():
    os.environ["PYTHONPATH"] = str(HERE / "plugin")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    os.environ |= {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "2000"}
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    made._shutdown_at_exit = False  # nodes are added in threads, where no signal handler can be set
    made.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield made
    import ray

    until = time.monotonic() + 30
    while ray.is_initialized() and time.monotonic() < until:  # a pool that was closed while it connected
        time.sleep(0.1)
    made.shutdown()


def descendants():
    processes = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            inside = (path / "environ").read_bytes()
        except OSError:
            continue
        is_ours = str(HERE / "plugin").encode() in inside and int(path.name) != os.getpid()
        if is_ours and ("CheckActor" in words or ("multiprocessing" in words and "spawn_main" in words)):
            processes.append((int(path.name), words.strip()))
    return processes


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return 0


def actors():
    # A worker process that is being started has the command line of its actor for a moment.
    pids = [pid for pid, words in descendants() if "CheckActor" in words]
    return [pid for pid in pids if parent(pid) not in pids]


async def until_none_is_left():
    with anyio.move_on_after(30):
        while descendants():
            await anyio.sleep(0.2)
    assert descendants() == []


def work(number, ms=20):
    from ray_checks import Work

    return Work(key=str(number), span=None, ms=ms, say="wrong" if number % 7 == 0 else "pass")


async def ask(pool, verifier, claim, seconds=20.0):
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        return await pool.check(verifier, claim, scope)
    return "late"


async def warm(pool, verifier, count):
    with anyio.fail_after(100):
        while len(pool._actors) < count:
            await anyio.sleep(0.05)
            pool._look_soon()
    leaves(pool, verifier)


def leaves(pool, verifier):
    cost = pool._target(verifier).cost
    cost.seconds, cost.leaves = 0.02, True


class Stream:
    """Asks for one check after another in several tasks, and keeps what each got."""

    def __init__(self, pool, verifier):
        self.pool, self.verifier = pool, verifier
        self.results, self.twice, self.number, self.stops = {}, [], 0, False

    async def run(self, group, tasks=4):
        for _ in range(tasks):
            group.start_soon(self._ask)

    async def _ask(self):
        while not self.stops:
            self.number += 1
            number = self.number
            outcome = await ask(self.pool, self.verifier, work(number))
            if number in self.results:
                self.twice.append(number)
            self.results[number] = outcome

    def judge(self):
        errors = []
        for number, outcome in self.results.items():
            value, failure = outcome if isinstance(outcome, tuple) else (None, outcome)
            if failure is not None:
                errors.append(failure)
            elif number % 7 == 0:
                assert type(value).__name__ == "Violation", (number, value)
            else:
                assert type(value) is Pass, (number, value)
        assert sorted(self.results) == list(range(1, self.number + 1))
        assert self.twice == []
        return errors


async def play(cluster, seed, kill, moments):
    rng = random.Random(seed)
    monitor = load_monitor("work")
    async with RayWorkers(address=cluster.address, actors=2) as pool:
        await warm(pool, monitor.verifier, 1)
        stream = Stream(pool, monitor.verifier)
        async with anyio.create_task_group() as group:
            await stream.run(group)
            for _ in range(moments):
                await anyio.sleep(rng.uniform(0.05, 0.6))
                await kill(rng, pool)
            await anyio.sleep(0.3)
            stream.stops = True
    errors = stream.judge()
    print(f"{stream.number} checks, {moments} kills, {len(errors)} errors: {errors[:3]}")  # noqa: T201
    return errors


async def test_actors_killed_in_their_checks_lose_nothing(cluster):
    killed = 0

    async def kill(rng, pool):
        nonlocal killed
        with anyio.fail_after(100):
            while not any(actor.checks for actor in pool._actors) or not (pids := actors()):
                await anyio.sleep(0.02)
        os.kill(rng.choice(pids), signal.SIGKILL)
        killed += 1

    errors = await play(cluster, 1, kill, KILLS)
    assert killed == KILLS
    assert errors == []  # the checks of a lost actor run on this machine
    await until_none_is_left()


async def test_nodes_killed_in_their_checks_lose_nothing(cluster):
    added = list(cluster.worker_nodes)

    async def kill(rng, pool):
        def replace():
            node = added.pop() if added else None
            if node is not None:
                cluster.remove_node(node, allow_graceful=False)
            if rng.random() < 0.7:
                added.append(cluster.add_node(num_cpus=1, object_store_memory=MEMORY, wait=False))

        while not added:
            added.append(
                await anyio.to_thread.run_sync(
                    lambda: cluster.add_node(num_cpus=1, object_store_memory=MEMORY, wait=False)
                )
            )
        await anyio.to_thread.run_sync(replace)

    errors = await play(cluster, 2, kill, KILLS)
    assert errors == []  # the checks of a lost actor run on this machine
    await until_none_is_left()


async def test_a_killed_program_leaves_no_process(cluster, tmp_path):
    rng = random.Random(3)
    for moment in range(KILLS):
        out = tmp_path / f"{moment}.jsonl"
        with subprocess.Popen(
            [sys.executable, HERE / "program.py", cluster.address, out],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as program:  # fmt: skip
            until = time.monotonic() + rng.uniform(1.0, 6.0)
            while time.monotonic() < until and program.poll() is None:
                await anyio.sleep(0.05)
            program.kill()
        if out.exists():
            for line in out.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # the last one may be torn
                    number, kind = json.loads(line)
                    assert kind == ("Violation" if number % 7 == 0 else "Pass")
    await until_none_is_left()
