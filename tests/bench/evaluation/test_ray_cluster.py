"""The engine on real raylets of this machine: a killed worker process and a killed node lose no row and make none twice."""

import os
import signal
import threading
import time
from pathlib import Path

import anyio
import pytest
from interwhen.bench.evaluation._ray_engine import run_on_ray
from interwhen.bench.evaluation._results import read_rows, summarize

from .support import doubling, serving, written
from .test_settings import settings

ROWS = 120


@pytest.fixture
def cluster(monkeypatch):
    # A node of a busy machine needs more than the default of 30 s until it is known to the cluster.
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        ray_cluster.second = ray_cluster.add_node(num_cpus=1)
        ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")
        yield ray_cluster
    finally:
        ray.shutdown()
        ray_cluster.shutdown()


def holders(folder):
    pids = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            files = [str(file.readlink()) for file in (place / "fd").iterdir()]
        except OSError:
            continue
        if any(file.startswith(f"{folder}/shard-") for file in files):
            pids.append(int(place.name))
    return pids


def wait_for(condition, seconds=90):
    until = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < until, "the condition was never met"
        time.sleep(0.02)
    return met


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_killed_process_and_node_lose_no_row(tmp_path, cluster):
    written(tmp_path, ROWS)
    done = []

    def kill():
        wait_for(lambda: (tmp_path / "out").exists() and summarize(given.out).rows >= ROWS // 6)
        os.kill(wait_for(lambda: holders(given.out))[0], signal.SIGKILL)
        done.append("process")
        wait_for(lambda: summarize(given.out).rows >= ROWS // 2)
        cluster.remove_node(cluster.second, allow_graceful=False)
        done.append("node")

    with serving(lambda request: doubling(request, 0.1)) as url:
        given = settings(tmp_path, url, shard_size=15, concurrency=4, max_concurrency=4)
        killer = threading.Thread(target=kill)
        killer.start()
        ended = anyio.run(lambda: run_on_ray(given))
        killer.join()
    rows = list(read_rows(given.out))
    assert done == ["process", "node"]
    assert sorted(row.row for row in rows) == list(range(ROWS))
    assert {row.grade for row in rows} == {"right"}
    assert ended.progress.rows == ROWS
    assert not wait_for(lambda: [] if holders(given.out) else [None])[0]
