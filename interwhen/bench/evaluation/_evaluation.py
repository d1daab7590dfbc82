"""Runs the prompts of an evaluation on the servers of a fleet, and commits each result once."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import msgspec

from interwhen import (
    Budgets,
    Delta,
    InterwhenError,
    Monitor,
    Result,
    Sampling,
    Unverified,
    UsageError,
    Verified,
    Workers,
)
from interwhen._run.run import run as start
from interwhen._types.errors import UnexpectedForm
from interwhen._types.models import Model
from interwhen.bench.evaluation._fleet import Endpoint, Fleet
from interwhen.bench.evaluation._prompts import PromptRow, Prompts
from interwhen.bench.evaluation._results import ResultRow, Results
from interwhen.models import UpstreamError
from interwhen.registry import MonitorSpec

_EACH = 1.0
"""Seconds between two writes of what running rows have spent."""
_REFUSED = (429, 503)
_MISSET = (401, 402, 403, 404, 405, 407)
"""Statuses that say that the key, the URL or the model is wrong. They end the evaluation."""
_NO_RECONNECTS = 0
"""A run does not reconnect, because the fleet must learn of the failure, and choose a server."""


@dataclass(slots=True)
class Progress:
    """How many rows of an evaluation are done, and what they have cost. A *start* is one call of the command."""

    # With Ray, `running` counts tasks, and some other counts are of finished rows or ended tasks.

    known: int | None
    """``None``: not known yet."""
    before: int = 0
    """Rows that earlier starts have finished, as far as the source was read."""
    rows: int = 0
    """Rows that this start has finished."""
    running: int = 0
    tokens: int = 0
    """Generated tokens of this start: of finished rows, of running ones (at least), and of attempts that failed."""
    prompt_tokens: int = 0
    """Of the rows that this start has finished."""
    tokens_again: int = 0
    """Tokens of attempts of this start that ended without a row."""
    moved: int = 0
    """How often a row began again on another server than the one that failed or refused it."""
    requests: int = 0
    """Requests to all servers, with those of forks, in runs that have ended."""
    left: list[int] = field(default_factory=list)
    """The numbers of rows that failed too often in this start. The next start tries them again."""
    is_budget_spent: bool = False
    """Then no further row begins."""
    seconds: float = 0.0
    """From this start to the last report."""

    @property
    def affinity(self) -> float | None:
        return None if not self.requests else 1 - self.moved / self.requests


class _Try(NamedTuple):
    row: PromptRow
    failures: int = 0
    """How often its server has failed; refusals do not count."""
    last: str = ""
    """The server of the last try."""


@dataclass(slots=True)
class _Attempt:
    row: PromptRow
    endpoint: Endpoint
    begun: float
    """On the clock of the event loop."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The id of the try in the files of results."""
    tokens: int = 0
    """One for each piece of the model's text until the run has ended, then those of its ledger."""
    is_counted: bool = False
    """Whether the end of the try was recorded in ``endpoint``."""


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Runs the rows of an evaluation until each has a result or has failed too often, or until the budget is spent.

    *models* has the model on each server, by URL. *monitors* returns the monitors for the descriptions in a row.
    *shards* selects files of rows by number; ``None``: all. A row is tried *tries* times if its server fails; refusals
    of a busy server do not count. *budget_tokens* stops new rows when all starts together have generated about so many
    tokens.
    """

    prompts: Prompts
    results: Results
    fleet: Fleet
    models: Mapping[str, Model]
    monitors: Callable[[tuple[MonitorSpec, ...]], Collection[Monitor]]
    sampling: Sampling = field(default_factory=Sampling)
    budgets: Budgets = field(default_factory=Budgets)
    shards: Collection[int] | None = None
    tries: int = 3
    budget_tokens: int | None = None
    spent_tokens: int = 0
    """Tokens that earlier starts have spent."""
    on_progress: Callable[[Progress], None] = lambda _progress: None
    """Called about once a second, and at the end."""
    progress: Progress = field(init=False)
    _again: deque[_Try] = field(init=False, default_factory=deque)
    _running: dict[str, _Attempt] = field(init=False, default_factory=dict)
    _open_rows: dict[int, int] = field(init=False, default_factory=dict)
    """For each shard that is being worked on, its rows without a result."""
    _failed: InterwhenError | None = field(init=False, default=None)
    """Ends the evaluation: for example, a monitor that a row names is not installed."""
    _workers: Workers = field(init=False)
    _ended: anyio.Event = field(init=False)

    async def run(self) -> Progress:
        # Raises `UsageError` if the prompts cannot be read, if results cannot be written, if a server answers that the
        # key, the URL or the model is wrong, or if no server answers any more, and `PluginError` if a monitor that a
        # row names cannot be loaded.
        self.progress = Progress(self.prompts.count)
        begun = anyio.current_time()
        async with AsyncExitStack() as stack:
            self._workers = await stack.enter_async_context(Workers())
            stack.callback(self._spend)
            keeper = await stack.enter_async_context(anyio.create_task_group())
            keeper.start_soon(self._keep, begun)
            failed: InterwhenError | None = None
            async with anyio.create_task_group() as group:
                try:
                    await self._start_all(group)
                except InterwhenError as error:  # raised below, since the group would wrap it
                    failed = error
                    group.cancel_scope.cancel()
            keeper.cancel_scope.cancel()
        if failed is not None:
            raise failed
        self.progress.seconds = anyio.current_time() - begun
        self.on_progress(self.progress)
        return self.progress

    async def _start_all(self, group: anyio.abc.TaskGroup) -> None:
        rows = self._rows()
        exhausted = False
        while True:
            self._ended = anyio.Event()
            if self._failed is not None:
                raise self._failed
            todo = self._again.popleft() if self._again else None
            if todo is None and not exhausted:
                row = next(rows, None)
                exhausted = row is None
                todo = None if row is None else _Try(row)
            if todo is not None:
                if self._is_budget_spent():
                    self.progress.is_budget_spent = True
                    return
                endpoint = await self.fleet.take()
                if self._is_budget_spent():  # others have spent it while this row waited for a server
                    endpoint.drop()
                    self.progress.is_budget_spent = True
                    return
                group.start_soon(self._try, todo, endpoint)
            elif not self._running and exhausted and self._failed is None:
                return
            elif exhausted:
                await self._ended.wait()
            # Let the tasks begin: otherwise a fast source would be read far ahead of them.
            await anyio.lowlevel.checkpoint()

    def _rows(self) -> Iterator[PromptRow]:
        # The rows without a result. On the way, the files of the shards are opened (`done`) and closed (`_close`).
        size, current, done = self.results.manifest.shard_size, -1, frozenset[int]()
        for row in self.prompts.rows():
            shard = row.number // size
            if self.shards is not None and shard not in self.shards:
                if shard > max(self.shards):
                    break
                continue
            if shard != current:
                self._close(current)
                current, done = shard, self.results.done(shard)
                self._open_rows.setdefault(shard, 1)  # one for the shard itself, while its rows are still read
            if row.number in done:
                self.progress.before += 1
                continue
            self._open_rows[shard] += 1
            yield row
        self._close(current)

    def _close(self, shard: int) -> None:
        # One open row of `shard` has ended, or all of its rows are read. At zero, the next flush closes its file.
        if shard in self._open_rows:
            self._open_rows[shard] -= 1
            if not self._open_rows[shard]:
                del self._open_rows[shard]
                self.results.leave(shard)

    def _is_budget_spent(self) -> bool:
        if self.budget_tokens is None:
            return False
        # Running rows are expected to need as many tokens as the finished ones did.
        mean = self.progress.tokens / self.progress.rows if self.progress.rows else 0
        running = sum(max(mean, one.tokens) - one.tokens for one in self._running.values())
        return self.spent_tokens + self.progress.tokens + running >= self.budget_tokens

    async def _try(self, todo: _Try, endpoint: Endpoint) -> None:
        attempt = _Attempt(todo.row, endpoint, anyio.current_time())
        self._running[attempt.name] = attempt
        self.progress.running = len(self._running)
        if todo.last and todo.last != endpoint.url:
            self.progress.moved += 1
        try:
            await self._run(todo, attempt)
        except InterwhenError as error:
            self._failed = self._failed or error
        finally:
            if not attempt.is_counted:
                endpoint.drop()
            del self._running[attempt.name]
            self.progress.running = len(self._running)
            self.fleet.wake()
            self._ended.set()

    async def _run(self, todo: _Try, attempt: _Attempt) -> None:
        row, endpoint = attempt.row, attempt.endpoint
        monitors = tuple(self.monitors(row.monitors))
        run = start(
            self.models[endpoint.url],
            row.prompt,
            monitors=monitors,
            sampling=self.sampling,
            budgets=msgspec.structs.replace(self.budgets, reconnects=_NO_RECONNECTS),
            workers=self._workers,
        )
        async with run:
            async for event in run:
                if isinstance(event, Delta) and event.origin == "model":
                    attempt.tokens += 1
                    self.progress.tokens += 1
        now, result, error = anyio.current_time(), run.result, run.error
        self.progress.tokens += result.ledger.total_tokens - attempt.tokens
        attempt.tokens = result.ledger.total_tokens
        self.progress.requests += result.ledger.requests + result.ledger.forks
        if isinstance(error, UpstreamError) and error.status in _MISSET:
            raise UsageError(
                f"--endpoint, --model and OPENAI_API_KEY must be right for {endpoint.url}, got {error}; correct them, "
                "and run the same command again to continue"
            )
        attempt.is_counted = True
        if error is None or not (error.retryable or isinstance(error, UnexpectedForm)):
            endpoint.end(attempt.begun, now, result.timing.first_token)
            self._commit(attempt, result, now, monitors)
            return
        self.results.spend({attempt.name: self._spent(attempt)})
        self.progress.tokens_again += attempt.tokens
        failures = todo.failures
        if isinstance(error, UpstreamError) and error.status in _REFUSED:
            endpoint.refuse(attempt.begun, now, error.retry_after, str(error))
        else:
            endpoint.fail(now, error)
            failures += 1
        if failures < self.tries:
            self._again.append(_Try(row, failures, endpoint.url))
        else:
            self.progress.left.append(row.number)

    def _commit(self, attempt: _Attempt, result: Result, now: float, monitors: Collection[Monitor]) -> None:
        row, ledger = attempt.row, result.ledger
        in_workers = {str(one.verifier.name) for one in monitors if one.verifier.worker in ("thread", "process")}
        worked = [check.seconds for check in result.checks if check.verifier in in_workers]
        # Reasoning is not graded: the model may drop what it says there.
        grade = "" if row.grade is None else "right" if row.grade(result.answer) else "wrong"
        self.results.commit(
            ResultRow(
                row=row.number,
                name=row.name,
                status=result.status,
                scope=result.certificate.scope if isinstance(result, Verified) else "",
                why=_why(result),
                grade=grade,
                answer=result.answer,
                text=result.text,
                violations=len(result.violations),
                remedies=ledger.remedies,
                checks=len(result.checks),
                worker_checks=len(worked),
                worker_seconds=sum(worked),
                forks=ledger.forks,
                fork_tokens=ledger.fork_tokens,
                fork_prompt_tokens=ledger.fork_prompt_tokens,
                tokens=ledger.total_tokens,
                prompt_tokens=ledger.total_prompt_tokens,
                cached_tokens=ledger.cached_tokens,
                requests=ledger.requests + ledger.forks,
                seconds=now - attempt.begun,
                first_token_seconds=result.timing.first_token or 0.0,
                endpoint=attempt.endpoint.url,
                attempt=attempt.name,
            )
        )
        self.progress.rows += 1
        self.progress.prompt_tokens += ledger.total_prompt_tokens
        self._close(row.number // self.results.manifest.shard_size)

    async def _keep(self, begun: float) -> None:
        while True:
            await anyio.sleep(_EACH)
            try:
                self._spend()
                await anyio.to_thread.run_sync(self.results.flush)
            except InterwhenError as error:  # raised where the rows are started, since this group would wrap it
                self._failed = self._failed or error
                self.fleet.wake()
                self._ended.set()
                return
            self.progress.seconds = anyio.current_time() - begun
            self.on_progress(self.progress)

    def _spend(self) -> None:
        self.results.spend({name: self._spent(attempt) for name, attempt in self._running.items()})

    @staticmethod
    def _spent(attempt: _Attempt) -> tuple[int, int, int]:
        return attempt.row.number, attempt.tokens, 1


def _why(result: Result) -> str:
    if isinstance(result, Unverified):
        return "; ".join(dict.fromkeys(reason.why for reason in result.unverified_reasons))
    return "" if isinstance(result, Verified) else str(getattr(result, "reason", "") or getattr(result, "error", ""))
