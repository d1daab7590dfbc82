"""``interwhen eval --engine ray``: tasks of a Ray cluster run the shards, with the code that runs them in one process.

Each task gets neighbouring shards, and writes their files in the shared folder of results. If its process or node dies,
Ray starts the task again, and it skips the rows that have a result.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from interwhen import InterwhenError, UsageError
from interwhen._types.errors import name_error
from interwhen.bench.evaluation._evaluation import Progress
from interwhen.bench.evaluation._fleet import EndpointReport
from interwhen.bench.evaluation._results import ResultRow, Results, rows_after, shard_name
from interwhen.bench.evaluation._settings import EvaluationEnd, EvaluationSettings, run_shards
from interwhen.toolkit import MissingExtraError

_GROUPS = 4
"""Tasks for each one that may run at the same time: fewer read the prompts less often, more share the work better."""
_RETRIES = 20
"""How often Ray starts a task again whose process or node died."""
_EACH = 1.0
"""Seconds between two looks at the results."""
_REACH = 5.0
"""How many seconds a cluster may take to accept a connection."""


class TaskResult(NamedTuple):
    """``error`` is the message of the error that ended the task; empty: none did."""

    progress: Progress | None
    """``None`` if an error ended the task."""
    endpoints: list[EndpointReport]
    """Empty if an error ended the task."""
    error: str = ""


def run_task(settings: EvaluationSettings, shards: tuple[int, ...], part: str) -> TaskResult:
    """Run *shards* in this process, a worker of Ray; *part* names its file of spending."""
    try:
        ended = anyio.run(lambda: run_shards(settings, shards=shards, part=part))
    except InterwhenError as error:  # as text: Ray would start the task again, or show its own traceback
        return TaskResult(None, [], str(error))
    return TaskResult(ended.progress, ended.endpoints)


def groups_of(shards: int, tasks: int) -> list[tuple[int, ...]]:
    """Divide the shards from 0 to *shards* - 1 into groups of neighbours, one for each Ray task.

    There are at most four groups for each of the *tasks* that may run at the same time.
    """
    size = max(1, math.ceil(shards / (tasks * _GROUPS)))
    return [tuple(range(start, min(start + size, shards))) for start in range(0, shards, size)]


class ResultTail:
    """Reads the rows that were added to the files of shards since the last call."""

    def __init__(self, place: str, shards: int) -> None:
        self._read = {Path(place) / shard_name(number): 0 for number in range(shards)}

    def rows(self) -> Iterator[ResultRow]:
        # At the first call, all rows. `rows_after` leaves an incomplete last line for a later call.
        for path, offset in self._read.items():
            for row, end in rows_after(path, offset):
                self._read[path] = end
                yield row


async def run_on_ray(
    settings: EvaluationSettings,
    *,
    address: str | None = None,
    tasks: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> EvaluationEnd:
    # Without `address`, Ray takes a running cluster or starts one here. `on_progress` is called about once a second.
    prompts = settings.open_prompts()
    # The manifest is written, or compared, before any task starts.
    with Results(settings.out, settings.manifest(prompts)):
        pass
    count = prompts.count if prompts.count is not None else sum(1 for _ in prompts.rows())
    shards = math.ceil(count / settings.shard_size)
    with _connected(address) as ray:
        parallel = tasks or max(1, int(ray.cluster_resources().get("CPU", 1)))
        groups = groups_of(shards, parallel)
        parallel = max(1, min(parallel, len(groups)))
        return await _Tasks(ray, settings, parallel, count, on_progress).run(groups)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            _vet_address(address)
            ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
        except Exception as error:  # of many kinds, also plain ones: a node that is not up in time, a full disk, a port
            raise UsageError(
                f"--ray-address must be a cluster that answers, or left out where Ray can start, got {address!r} "
                f"({name_error(error)}); look at `ray status` there, and at the log of Ray"
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _vet_address(address: str | None) -> None:
    # Ray itself would try to reach a dead address for minutes.
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_REACH).close()


class _Tasks:
    """Starts the Ray tasks, at most *parallel* at once, and collects their progress."""

    def __init__(
        self, ray: Any, settings: EvaluationSettings, parallel: int, count: int, on_progress: Callable[[Progress], None]
    ) -> None:
        self._ray, self._settings, self._parallel = ray, settings, parallel
        self._on_progress = on_progress
        self._progress = Progress(count)
        self._reports: dict[str, EndpointReport] = {}
        self._tail = ResultTail(settings.out, math.ceil(count / settings.shard_size))
        self._waiting: list[tuple[int, ...]] = []
        self._running: dict[Any, tuple[int, ...]] = {}
        self._remote = ray.remote(run_task).options(num_cpus=1, max_retries=_RETRIES)

    async def run(self, groups: list[tuple[int, ...]]) -> EvaluationEnd:
        begun = anyio.current_time()
        progress = self._progress
        progress.before = sum(1 for _ in self._tail.rows())
        self._waiting.extend(reversed(groups))
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._parallel and not self._is_budget_spent():
                    self._start(self._waiting.pop())
                if not self._running:
                    break
                await self._wait()
                self._look(begun)
        finally:
            for one in self._running:
                self._ray.cancel(one, force=True)
        self._look(begun)
        if progress.before + progress.rows == progress.known:
            progress.is_budget_spent = False  # the last row spent it, so nothing is left to do
        return EvaluationEnd(progress, list(self._reports.values()))

    def _start(self, shards: tuple[int, ...]) -> None:
        settings, share = self._settings, self._parallel
        budget = settings.budget_tokens
        if budget is not None:
            spent = settings.spent_tokens()
            # Tasks do not know of each other, so each may spend a part of what is left.
            budget = spent + max(1, (budget - spent) // share)
        mine = msgspec.structs.replace(
            settings,
            concurrency=max(1, settings.concurrency // share),
            max_concurrency=max(1, settings.max_concurrency // share),
            budget_tokens=budget,
        )
        self._running[self._remote.remote(mine, shards, f"-{shards[0]:05d}")] = shards

    def _is_budget_spent(self) -> bool:
        budget = self._settings.budget_tokens
        if budget is not None and self._settings.spent_tokens() >= budget:
            self._progress.is_budget_spent = True
        return self._progress.is_budget_spent

    async def _wait(self) -> None:
        # In a thread, since Ray blocks. It is not cancelled with the driver, but it ends within a second.
        running = list(self._running)
        ended, _ = await anyio.to_thread.run_sync(lambda: self._ray.wait(running, timeout=_EACH))
        for one in ended:
            shards = self._running.pop(one)
            try:
                task_result: TaskResult = self._ray.get(one)
            except self._ray.exceptions.RayError as error:
                raise UsageError(
                    f"the task of shards {shards[0]} to {shards[-1]} must end, and Ray could not finish it ({error}); "
                    "look at the nodes, and run the same command again to continue"
                ) from error
            self._add(task_result, shards)

    def _add(self, task_result: TaskResult, shards: tuple[int, ...]) -> None:
        if task_result.error:
            raise UsageError(task_result.error)
        assert task_result.progress is not None
        ours, theirs = self._progress, task_result.progress
        ours.left.extend(theirs.left)
        for name in ("tokens_again", "moved", "requests", "prompt_tokens"):
            setattr(ours, name, getattr(ours, name) + getattr(theirs, name))
        if theirs.is_budget_spent:  # it has spent its part; the whole budget may have more for it
            self._waiting.append(shards)
        for report in task_result.endpoints:
            known = self._reports.get(report.url)
            self._reports[report.url] = report if known is None else _sum(known, report)

    def _look(self, begun: float) -> None:
        progress = self._progress
        for row in self._tail.rows():
            progress.rows += 1
            progress.tokens += row.tokens
        progress.running = len(self._running)
        progress.seconds = anyio.current_time() - begun
        self._on_progress(progress)


def _sum(one: EndpointReport, other: EndpointReport) -> EndpointReport:
    # `other` is the later report, so its limit counts.
    return msgspec.structs.replace(
        other,
        runs=one.runs + other.runs,
        failures=one.failures + other.failures,
        refusals=one.refusals + other.refusals,
    )
