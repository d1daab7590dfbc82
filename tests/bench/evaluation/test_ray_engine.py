"""The engine on Ray, on a stand-in for Ray that runs tasks at once. tests/integrations/ray has real clusters."""

import math
from types import SimpleNamespace

import anyio
import pytest
from interwhen import UsageError
from interwhen.bench.evaluation import _ray_engine
from interwhen.bench.evaluation._ray_engine import ResultTail, groups_of, run_on_ray, run_task
from interwhen.bench.evaluation._results import read_rows
from interwhen.models import Retries
from interwhen.toolkit import MissingExtraError

from .support import serving, written
from .test_settings import settings


class RayError(Exception):
    pass


class AtOnceTask:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments


class AtOnce:
    """A fake of the module ``ray``, which runs each task in this process, in the call of ``wait``."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self):
        self.cancelled, self.asked = [], []

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": 2.0}

    def remote(self, function):
        remote = SimpleNamespace(options=lambda **options: remote)
        remote.remote = lambda *arguments: self.asked.append(arguments) or AtOnceTask(function, arguments)
        return remote

    def wait(self, tasks, timeout):
        tasks[0].found = tasks[0].function(*tasks[0].arguments)
        return tasks[:1], tasks[1:]

    def get(self, task):
        return task.found

    def cancel(self, task, force):
        self.cancelled.append(task)


@pytest.fixture
def ray(monkeypatch):
    stand_in = AtOnce()
    monkeypatch.setitem(__import__("sys").modules, "ray", stand_in)
    return stand_in


def test_groups_partition_shards_and_occupy_all_tasks():
    for shards, tasks in ((1, 8), (7, 2), (1000, 16)):
        groups = groups_of(shards, tasks)
        assert [shard for group in groups for shard in group] == list(range(shards))
        assert len(groups) >= min(shards, tasks)
        assert len(groups) <= math.ceil(4 * tasks)


def test_ray_tasks_produce_each_row_once(tmp_path, ray):
    written(tmp_path, 45)
    with serving() as url:
        given = settings(tmp_path, url, shard_size=5)
        seen = []
        ended = anyio.run(lambda: run_on_ray(given, on_progress=lambda progress: seen.append(progress.rows)))
    rows = [row.row for row in read_rows(given.out)]
    assert sorted(rows) == list(range(45))
    assert ended.progress.rows == seen[-1] == 45
    assert ended.progress.affinity == 1.0
    assert ended.endpoints[0].runs == 45
    assert not ray.cancelled
    # Two tasks share the limit of a server.
    assert {asked[0].concurrency for asked in ray.asked} == {4}


def test_second_start_only_reads_results(tmp_path, ray):
    written(tmp_path, 12)
    with serving() as url:
        given = settings(tmp_path, url, shard_size=5)
        anyio.run(lambda: run_on_ray(given))
        ended = anyio.run(lambda: run_on_ray(given))
    assert (ended.progress.before, ended.progress.rows) == (12, 0)


def test_token_budget_ends_ray_tasks(tmp_path, ray):
    written(tmp_path, 60)
    with serving() as url:
        given = settings(tmp_path, url, shard_size=5, budget_tokens=60, concurrency=1)
        ended = anyio.run(lambda: run_on_ray(given))
    assert ended.progress.is_budget_spent
    assert 0 < ended.progress.rows < 60
    assert given.spent_tokens() < 120


def test_exactly_spent_budget_leaves_no_row(tmp_path, ray):
    written(tmp_path, 5)
    with serving() as url:
        first = anyio.run(lambda: run_on_ray(settings(tmp_path, url, shard_size=5)))
        given = settings(tmp_path, url, shard_size=5, budget_tokens=first.progress.tokens)
        again = anyio.run(lambda: run_on_ray(given))
    assert (again.progress.before, again.progress.rows, again.progress.is_budget_spent) == (5, 0, False)


def test_failing_task_ends_all_and_is_named(tmp_path, ray, monkeypatch):
    written(tmp_path, 20)
    monkeypatch.setattr("interwhen.bench.evaluation._fleet._RETRIES", Retries(base=0.01, cap=0.01))
    given = settings(tmp_path, "http://127.0.0.1:9/v1", shard_size=5, patience=0.05, tries=100)
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9"):
        anyio.run(lambda: run_on_ray(given))
    assert ray.cancelled


def test_lost_task_error_names_its_shards(tmp_path, ray, monkeypatch):
    written(tmp_path, 10)

    def lost(task):
        raise RayError("the node died")

    monkeypatch.setattr(ray, "get", lost)
    monkeypatch.setattr(ray, "wait", lambda tasks, timeout: (tasks[:1], tasks[1:]))
    with pytest.raises(UsageError, match=r"shards 0 to 0 .*the node died"):
        anyio.run(lambda: run_on_ray(settings(tmp_path, "http://127.0.0.1:9/v1", shard_size=5)))


def test_missing_ray_error_names_the_extra(tmp_path, monkeypatch):
    written(tmp_path, 1)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[ray\]"):
        anyio.run(lambda: run_on_ray(settings(tmp_path, "http://a/v1")))


def test_the_tail_reads_whole_new_lines_only(tmp_path):
    written(tmp_path, 6)
    with serving() as url:
        given = settings(tmp_path, url, shard_size=3)
        tail = ResultTail(given.out, 2)
        assert run_task(given, (0,), "-0").error == ""
        assert sorted(row.row for row in tail.rows()) == [0, 1, 2]
        path = tmp_path / "out" / "shard-00001.jsonl"
        path.write_bytes(b'{"row":3,"name":"n","sta')
        assert list(tail.rows()) == []
        assert _ray_engine.run_task(given, (1,), "-1").error == ""
        assert sorted(row.row for row in tail.rows()) == [3, 4, 5]


@pytest.mark.parametrize("line", [b'{"row":0}', b'{"row":0,"name":"\xff"}'])
def test_invalid_result_line_is_refused(tmp_path, line):
    path = tmp_path / "shard-00000.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(UsageError, match=r"shard-00000\.jsonl', the line at byte 0 must be a row of results"):
        list(ResultTail(str(tmp_path), 1).rows())


@pytest.mark.parametrize("address", [None, "127.0.0.1:6379"])
@pytest.mark.parametrize(
    "error", [Exception("The node timed out\nduring startup"), OSError(28, "No space left")], ids=str
)
def test_failing_ray_start_is_a_usage_error(address, error, tmp_path, ray, monkeypatch):
    def init(**options):
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init, raising=False)
    monkeypatch.setattr(_ray_engine.socket, "create_connection", lambda *_, **__: SimpleNamespace(close=bool))
    written(tmp_path, 2)
    with pytest.raises(UsageError, match="ray"):
        anyio.run(lambda: run_on_ray(settings(tmp_path, "http://localhost:9/v1"), address=address))


def test_unreachable_cluster_is_refused_at_once(tmp_path, ray, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    written(tmp_path, 2)
    with pytest.raises(UsageError, match="--ray-address must be"):
        anyio.run(lambda: run_on_ray(settings(tmp_path, "http://localhost:9/v1"), address="ray://127.0.0.1:1"))
