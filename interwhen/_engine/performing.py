"""What the core orders is done here: the model is asked, segments are read, claims are checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from anyio.abc import TaskGroup

from interwhen._core.core import Core
from interwhen._core.messages import Check, Close, Disown, Drop, Extract, Fact, Finish, Open, Order, Suspend
from interwhen._engine.jobs import Jobs
from interwhen._engine.outcome import log_suspended
from interwhen._engine.upstream import Upstream
from interwhen._engine.watch import Meter
from interwhen._engine.watchers import Watcher
from interwhen.models.base import Model, Prompt, ResumeMode, Sampling
from interwhen.worker_pool import WorkerPool


class Performer:
    """Tells the core each fact by *step*, and does at once what it orders; *on_told* hears of every fact but text."""

    __slots__ = (
        "_model", "_on_finish", "_on_told", "_prompt", "_sampling", "_step", "jobs", "upstream",
    )  # fmt: skip

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
        """What runs beside the stream."""
        self.upstream = Upstream(
            model, prompt, sampling, mode, core, group, meter, step=step, do=self.do, tell=self.tell, clock=clock
        )
        """The model's side."""

    def part(self) -> None:
        """Forget the run, which is over: what knows each other in a ring would wait for the collector, and stop others.

        The core orders nothing any more.
        """
        self._on_told, self._on_finish = _nothing, _nothing
        del self.jobs, self.upstream

    def tell(self, fact: Fact) -> None:
        """Tell the core *fact*, and do what it orders."""
        self.do(self._step(fact))
        self._on_told()

    def do(self, orders: list[Order]) -> None:
        """Do what the core ordered. What can be answered on the spot is, in order."""
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
                case Drop() | Disown() | Suspend() | Finish():
                    self._take_note(order)

    def _take_note(self, order: Drop | Disown | Suspend | Finish) -> None:
        match order:
            case Drop() | Disown():
                self.jobs.forget(order)
            case Suspend(verifier=verifier, failures=failures):
                log_suspended(verifier, failures)
            case Finish():
                self._on_finish(order)

    def _begin(self, order: Extract | Check) -> Fact | None:
        """Answer on the spot, or start what will be told later."""
        if type(order) is Check:
            return self.jobs.check(order)
        assert isinstance(order, Extract)
        if order.pieces is None:
            return self.jobs.extract(order)
        self.jobs.fork(order, self._model, self._prompt, self._sampling)
        return None


def _nothing(*_: object) -> None:
    """Hear what nobody needs any more."""
