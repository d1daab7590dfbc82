"""Performs the orders of the core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import anyio
import msgspec
from anyio.abc import TaskGroup

from interwhen._core.machine import Core
from interwhen._core.messages import (
    Check,
    Close,
    Drop,
    Extract,
    Extracted,
    Fact,
    Finish,
    Invalidate,
    Open,
    Order,
    Settled,
    Splice,
    Suspend,
)
from interwhen._engine.loop_blocking import LoopBlocking, is_own_cancellation
from interwhen._engine.monitors import (
    RepairReading,
    Watcher,
    check_aside,
    check_inline,
    is_meant,
    is_mended,
    repaired_claims,
    repairs,
    without_repair,
)
from interwhen._engine.stream import Meter, ModelReader
from interwhen._types.errors import name_error
from interwhen._types.extensions import Task, WorkerPool
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Model, Prompt, Reply, Request, ResumeMode, Sampling
from interwhen._types.monitors import Fork
from interwhen._types.remedies import Auto, Remedy, Repair
from interwhen._types.verdicts import Cancelled, Errored, Outcome, TimedOut
from interwhen._types.verifiers import Verifier, WorkNote, take_note

# Forks: short side inferences on the same prefix.


class ForkMeter(msgspec.Struct):
    """The tokens of all forks of a run, as counted by the server."""

    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


async def infer(model: Model, base: Request, order: Extract, fork: Fork, meter: ForkMeter) -> str | Reply | Errored:
    """Ask *model* the question of *fork* after the trace in *order*, with the prompt and the options of *base*."""
    asked = replace(base.sampling, max_tokens=fork.max_tokens, stop=fork.stop, temperature=0.0)
    if fork.scores is not None:
        asked = replace(asked, logprobs=True, top_logprobs=fork.scores)
    try:
        asking = replace(base, pieces=order.pieces or (), sampling=asked, side=fork.prompt)
        reply = await model.complete(asking)
    except Exception as error:  # noqa: BLE001  (a fork is a check: its failure does not stop the stream)
        return Errored(f"fork: {name_error(error)}")
    except anyio.get_cancelled_exc_class():
        if is_own_cancellation():
            raise
        return Errored("fork: cancelled within the model adapter")
    meter.tokens += reply.usage.completion_tokens or 0
    meter.prompt_tokens += reply.usage.prompt_tokens or 0
    meter.cached_tokens += reply.usage.cached_tokens or 0
    if not reply.text and reply.finish_reason == "length":
        # A model that hides its reasoning spent all tokens on it. An empty reply would mean that there is no claim.
        return Errored(f"fork: the reply was cut before its first word; allow more than {fork.max_tokens} tokens")
    return Reply(reply.text, reply.tokens, reply.finish_reason) if fork.wants_reply else reply.text


LEAST_VETTING = 0.25
"""The shortest time limit, in seconds, for the check of a repair, unless the verifier's deadline is shorter."""


_SPARE = 2.0
"""How much longer than its deadline a check may take if the machine is starved, as a multiple of the deadline."""


class _OpenCheck(msgspec.Struct):
    """A check whose deadline counts only the time in which the machine runs this process, up to a limit."""

    scope: anyio.CancelScope
    deadline: float
    spare: float
    """How many seconds the deadline of ``scope`` may still be moved."""

    def extend(self, seconds: float, now: float) -> None:
        # Move the deadline by `seconds` in which the process was not run, but not beyond a whole deadline from `now`.
        # So the time counts from the moment when the check begins: before it, a pool sets a longer deadline.
        more = min(seconds, self.spare, now + self.deadline - self.scope.deadline)
        if more > 0:
            self.spare -= more
            self.scope.deadline += more


class Jobs:
    """Runs extractions, checks and forks in parallel with the stream."""

    # A fact that is known at once is returned; `tell` gets each fact that comes later. `owns_workers`: `close` also
    # closes the pool `workers`. Creating the object starts to watch the event loop for code that blocks it, if
    # `workers` has a limit for this.

    def __init__(
        self,
        group: TaskGroup,
        watchers: Sequence[Watcher],
        tell: Callable[[Fact], None],
        clock: Callable[[], float],
        workers: WorkerPool,
        *,
        owns_workers: bool,
    ) -> None:
        self._group = group
        self.watchers = watchers
        self._tell = tell
        self._clock = clock
        self._workers = workers
        self._owns_workers = owns_workers
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._open: dict[int, _OpenCheck] = {}
        """The checks that run outside of the engine, by job."""
        self.forks = ForkMeter()
        self.cluster_away = ""
        """As in :class:`~interwhen._types.ledger.Timing`."""
        self.loop_blocking = LoopBlocking(workers.blocked_loop_after, self._starve)
        self.loop_blocking.start()

    def prepare(self, task: Task) -> None:
        for watcher in self.watchers:
            if not watcher.is_ready:
                self._group.start_soon(self._prepare, watcher, task, name=f"prepare {watcher.monitor.name}")

    def extract(self, order: Extract) -> Fact | None:
        watcher = self.watchers[order.monitor]
        if not watcher.is_ready:
            watcher.hold(order)
            return None
        begun = self._clock()
        fact = watcher.extract(order)
        seconds = self._clock() - begun
        if seconds > self.loop_blocking.limit:
            self.loop_blocking.record_call(f"extractor of {watcher.monitor.name!r}", seconds, watcher.reader)
        return fact

    def check(self, order: Check) -> Fact | None:
        # A new try waits first (`order.after`), so it runs in a task even if the verifier is inline.
        verifier = self.watchers[order.monitor].verifier
        if verifier.worker == "inline" and not order.after:
            return self._check_inline(verifier, order)
        # Create the scope before the task, because the job may be dropped before its task runs.
        begun = self._clock() + order.after
        scope = self._scopes[order.job] = anyio.CancelScope(deadline=begun + verifier.deadline)
        self._group.start_soon(self._check, order, scope, begun, name=f"check {order.job}")
        return None

    def fork(self, order: Extract, model: Model, base: Request) -> None:
        """Start the fork of *order* in its own task. Its result goes to the core, unless its job is dropped before."""
        watcher = self.watchers[order.monitor]
        fork = watcher.monitor.extractor
        assert isinstance(fork, Fork)
        begun = self._clock()
        scope = self._scopes[order.job] = anyio.CancelScope(deadline=begun + fork.deadline)

        turn, mine = watcher.line_up()
        note = WorkNote()

        async def task() -> None:
            try:
                await ask()
            finally:
                mine.set()

        async def ask() -> None:
            fact: Extracted | Settled | None = None
            if order.job not in self._scopes:
                return
            with scope:
                fact = await self._answer(order, fork, turn, begun, model, base, note)
            if self._scopes.pop(order.job, None) is None:
                return  # dropped meanwhile
            if fact is None:
                log_warning("extractor.timed_out", monitor=watcher.monitor.name, seconds=fork.deadline)
            fact = fact or Settled(order.job, TimedOut(fork.deadline), self._clock() - begun)
            self._tell(msgspec.structs.replace(fact, queued=note.waited, worker=note.worker))

        self._group.start_soon(task, name=f"fork {order.job}")

    async def _answer(
        self,
        order: Extract,
        fork: Fork,
        turn: anyio.Event | None,
        begun: float,
        model: Model,
        base: Request,
        note: WorkNote,
    ) -> Extracted | Settled:
        # `turn` is the event to wait for before a tracker may read the reply, `begun` the time at which the job began.
        # `note` gets who answered.
        watcher = self.watchers[order.monitor]
        if fork.local is not None:
            await watcher.until_ready()
        if watcher.has_answer:  # `prepare` has failed or returned `None`
            return watcher.extract(order, seconds=self._clock() - begun)
        if fork.local is not None:
            waited = self._clock() - begun
            answer = watcher.locally(order, waited)
            if answer is not None:
                note.worker, note.waited = "local", waited
                return answer
        note.worker, note.waited = "model", self._clock() - begun
        reply = await infer(model, base, order, fork, self.forks)
        if isinstance(reply, Errored):
            log_warning("extractor.failed", monitor=watcher.monitor.name)
            return Settled(order.job, reply, self._clock() - begun)
        await watcher.until_ready()
        if turn is not None:
            await turn.wait()
        if order.job not in self._scopes:
            # The text was cut while the model answered, so a tracker must not read the reply.
            return Settled(order.job, Cancelled("its text was cut"), self._clock() - begun)
        return watcher.extract(order, reply, self._clock() - begun)

    def forget(self, order: Drop | Invalidate) -> None:
        for watcher in self.watchers:
            watcher.forget(order)
        scope = self._scopes.pop(order.job, None) if isinstance(order, Drop) else None
        if scope is not None:
            scope.cancel()

    async def close(self) -> None:
        # The tasks of the jobs end with their task group.
        self.loop_blocking.stop()
        if self._owns_workers:
            await self._workers.aclose()

    def _check_inline(self, verifier: Verifier, order: Check) -> Settled:
        begun = self._clock()
        outcome = check_inline(verifier, order.claim)
        if self._would_write(order, outcome) and not any(
            is_mended(reading, [check_inline(verifier, claim) for claim in reading.claims])
            for reading in self._reread(order, outcome)
        ):
            outcome = self._unrepaired(order, outcome)
        seconds = self._clock() - begun
        if seconds > self.loop_blocking.limit:
            self.loop_blocking.record_call(f"verifier {verifier.name!r}", seconds, verifier.check)
        if isinstance(outcome, Errored):
            log_warning("verifier.failed", verifier=verifier.name)
        return Settled(order.job, outcome, seconds)

    def _would_write(self, order: Check, outcome: Outcome) -> bool:
        verifier = self.watchers[order.monitor].monitor.verifier
        # Monitors with the same verifier share its verdicts, but the order names only the first monitor that asked.
        sharing = (each.monitor for each in self.watchers if each.monitor.verifier is verifier)
        return repairs(outcome) is not None and any(
            _writes_repairs(each.remedy) and each.delivery != "observe" for each in sharing
        )

    def _reread(self, order: Check, outcome: Outcome) -> Iterable[RepairReading]:
        watcher, violation = self.watchers[order.monitor], repairs(outcome)
        if order.segment is None or violation is None:
            return ()
        return repaired_claims(order.segment, order.claim, violation, watcher.read)

    def _unrepaired(self, order: Check, outcome: Outcome) -> Outcome:
        log_info("repair.refused", monitor=self.watchers[order.monitor].monitor.name)
        return without_repair(outcome)

    async def _vet(self, order: Check, outcome: Outcome, verifier: Verifier, took: float) -> Outcome:
        """Check the repair of *outcome*; return *outcome*, without the repair if the repaired text is not right.

        *took* is the time of the check that refuted the claim. An async verifier is not asked again: the extractor must
        find the refuted claim with the wrong part replaced by the repair.
        """
        violation = repairs(outcome)
        if verifier.worker == "async" and violation is not None:
            sound = any(is_meant(each.claims, order.claim, violation) for each in self._reread(order, outcome))
            return outcome if sound else self._unrepaired(order, outcome)
        # The stream is still open and its text will be cut, so a busy worker must not delay the interrupt.
        seconds = min(verifier.deadline, max(2 * took, LEAST_VETTING))
        deadline = self._clock() + seconds
        limit = self._scopes[order.job] = anyio.CancelScope(deadline=deadline)
        # A pool may extend the deadline of the inner scope while it waits for a free process.
        with limit, anyio.CancelScope(deadline=deadline) as scope:
            for reading in self._reread(order, outcome):
                claims = reading.claims
                outcomes = [await check_aside(verifier, claim, workers=self._workers, scope=scope) for claim in claims]
                if is_mended(reading, outcomes):
                    return outcome
        return self._unrepaired(order, outcome)

    def _starve(self, seconds: float) -> Callable[[], object] | None:
        return (lambda: self._extend(seconds)) if self._open else None

    def _extend(self, seconds: float) -> None:
        for check in self._open.values():
            check.extend(seconds, self._clock())

    async def _prepare(self, watcher: Watcher, task: Task) -> None:
        for fact in await watcher.prepare(task):
            self._tell(fact)

    async def _check(self, order: Check, scope: anyio.CancelScope, begun: float) -> None:
        if order.job not in self._scopes:
            return
        verifier = self.watchers[order.monitor].verifier
        outcome: Outcome = TimedOut(verifier.deadline)
        asked = 0.0
        note = take_note()
        with scope:
            if order.after:
                await anyio.sleep(order.after)
            if verifier.worker == "inline":
                if self._scopes.pop(order.job, None) is None:
                    return  # dropped during the pause
                self._tell(self._check_inline(verifier, order))
                return
            asked = self._clock() - begun
            if verifier.worker not in ("thread", "process"):
                note.worker = "loop"
            self._open[order.job] = _OpenCheck(scope, verifier.deadline, _SPARE * verifier.deadline)
            outcome = await check_aside(verifier, order.claim, workers=self._workers, scope=scope)
        self._open.pop(order.job, None)
        self.cluster_away = note.cluster_away or self.cluster_away
        if self._would_write(order, outcome) and order.job in self._scopes:
            outcome = await self._vet(order, outcome, verifier, self._clock() - begun - order.after)
        if self._scopes.pop(order.job, None) is None:
            return  # dropped meanwhile
        if isinstance(outcome, TimedOut):
            log_warning("verifier.timed_out", verifier=verifier.name, seconds=verifier.deadline)
        elif isinstance(outcome, Errored):
            log_warning("verifier.failed", verifier=verifier.name)
        seconds = self._clock() - begun
        queued = max(asked + note.waited, 0.0) if note.worker else seconds
        self._tell(Settled(order.job, outcome, seconds, queued, note.worker))


class Performer:
    """Passes facts to the core with *step*, and performs the core's orders with the model and the jobs."""

    # It calls `on_told` after each fact that `tell` gets, and `on_finish` with the order that ends the run.

    __slots__ = (
        "_model",
        "_on_finish",
        "_on_told",
        "_prompt",
        "_sampling",
        "_step",
        "jobs",
        "upstream",
    )

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        sampling: Sampling,
        mode: ResumeMode,
        core: Core,
        group: TaskGroup,
        meter: Meter,
        watchers: Sequence[Watcher],
        workers: WorkerPool,
        *,
        owns_workers: bool,
        step: Callable[[Fact], list[Order]],
        clock: Callable[[], float],
        on_told: Callable[[], None],
        on_finish: Callable[[Finish], None],
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._sampling = sampling
        self._step = step
        self._on_told = on_told
        self._on_finish = on_finish
        self.jobs = Jobs(group, watchers, self.tell, clock, workers, owns_workers=owns_workers)
        self.upstream = ModelReader(
            model, prompt, sampling, mode, core, group, meter, step=step, do=self.do, tell=self.tell, clock=clock
        )

    def release(self) -> None:
        # Break the reference cycle of run, performer and reader, so that a finished run is freed without a GC pass.
        self._on_told, self._on_finish = _nothing, _nothing
        del self.jobs, self.upstream

    def tell(self, fact: Fact) -> None:
        self.do(self._step(fact))
        self._on_told()

    def do(self, orders: list[Order]) -> None:  # noqa: C901  one case an order
        # A loop instead of a recursion: a fact that is known at once gives new orders, which may give such facts, too.
        pending = deque(orders)
        step = self._step
        while pending:
            order = pending.popleft()
            match order:
                case Extract() | Check():
                    fact = self._begin(order)
                    if fact is not None:
                        pending.extend(step(fact))
                case Close():
                    self.upstream.close()
                case Open():
                    self.upstream.wanted = order
                case Splice():
                    self.upstream.splice(order)
                case Drop() | Invalidate():
                    self.jobs.forget(order)
                case Suspend(verifier=verifier, failures=0):
                    log_info("verifier.restored", verifier=verifier)
                case Suspend(verifier=verifier, failures=failures):
                    log_warning("verifier.suspended", verifier=verifier, failures=failures)
                case Finish():
                    self._on_finish(order)

    def _begin(self, order: Extract | Check) -> Fact | None:
        if type(order) is Check:
            return self.jobs.check(order)
        assert isinstance(order, Extract)
        if order.pieces is None:
            return self.jobs.extract(order)
        # A model that continues from token ids gets those of the stream, so that the fork has exactly the same prefix.
        base = Request(self._prompt, sampling=self._sampling, trail=self.upstream.trail)
        self.jobs.fork(order, self._model, base)
        return None


def _writes_repairs(remedy: Remedy) -> bool:
    return isinstance(remedy, Repair) or (isinstance(remedy, Auto) and "repair" in remedy.order)


def _nothing(*_: object) -> None:
    """Do nothing, in place of the callbacks of a run that has ended."""
