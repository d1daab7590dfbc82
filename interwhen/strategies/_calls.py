"""Strategies of the catalogue for single calls: of a wrapped client, or of a gateway."""

from __future__ import annotations

from dataclasses import replace

from interwhen._types.errors import ModelError, OutOfTokens, UsageError
from interwhen._types.models import WARM
from interwhen._types.monitors import Monitor
from interwhen._types.strategies import LiveRun, StrategyChoice, StrategyTask
from interwhen.registry import STRATEGIES, names_of
from interwhen.strategies._answers import read_answer, read_json
from interwhen.strategies._baselines import BestOf, Greedy, Vote
from interwhen.strategies._catalog import SHIPPED, load_strategy
from interwhen.strategies._interrupt import Interrupt
from interwhen.strategies._strategy import Question, Strategy, StrategyContext
from interwhen.strategies._traces import Trace

_TEXTS = 4
"""How many texts a strategy begins for one call at most, unless its options say otherwise."""


class CallCatalog:
    """All installed strategies by name. Implements :class:`~interwhen._types.strategies.StrategyCatalog`."""

    def names(self) -> frozenset[str]:
        return frozenset((*SHIPPED, *names_of(STRATEGIES)))

    def load(self, spec: str) -> CatalogStrategy:
        # Without options, a strategy begins at most 4 texts. Raises the errors of `load_strategy`.
        strategy = load_strategy(spec)
        return CatalogStrategy(strategy if "=" in spec else _short(strategy))


class CatalogStrategy:
    # It implements `CallStrategy`.

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    @property
    def name(self) -> str:
        # The name of a shipped strategy shows the options that were given.
        return self._strategy.name

    def live(self, number: int, monitors: tuple[Monitor, ...]) -> LiveRun | None:
        """Return the settings of run *number* (from 0).

        ``None`` if the strategy allows no such run, or is neither ``greedy`` nor an interrupting one.
        """
        match self._strategy:
            case Interrupt() as strategy:
                if number > strategy.restarts:
                    return None
                return LiveRun(
                    monitors=strategy.remedied(monitors),
                    greedy=strategy.is_greedy(number),
                    seed=strategy.seed_of(number),
                )
            case Greedy():
                return None if number else LiveRun(monitors=monitors, greedy=True)
            case _:
                return None

    async def choose(self, task: StrategyTask) -> StrategyChoice:
        # If the call has temperature 0, samples are drawn at 0.7. Without an answer within the budget, the strategy has
        # given up. Raises `UsageError` if the strategy cannot answer such a task, and `ModelError` if the model fails.
        # After such a failure, some strategies choose among earlier samples instead.
        self._vet(task)
        question = _CallQuestion(
            name="call",
            prompt=task.prompt,
            read=read_json if task.is_structured else read_answer,
            monitors=task.monitors,
            starts_in=task.starts_in,
        )
        sampling = task.sampling
        if sampling.temperature == 0.0:
            sampling = replace(sampling, temperature=WARM)
        context = StrategyContext(model=task.model, sampling=sampling, seed=task.seed, workers=task.workers)
        try:
            solution = await self._strategy.solve(question, context)
        except OutOfTokens as error:
            return StrategyChoice(gave_up=str(error))
        if solution.failed:
            raise ModelError(solution.failed)
        trace = solution.trace
        return StrategyChoice(
            chunks=trace.chunks,
            finish_reason=trace.finish_reason,
            recording=trace.recording,
            gave_up=solution.gave_up,
            remedies=solution.remedies,
        )

    def _vet(self, task: StrategyTask) -> None:
        name, strategy = self._strategy.name, self._strategy
        if not task.monitors and _rates(strategy):
            raise UsageError(
                f"strategy {name!r} needs a monitor that rates the samples, and this call has none: add a monitor, or "
                "choose self-consistency, which needs none"
            )
        stops_early = isinstance(strategy, BestOf) and strategy.until_verified
        if stops_early and all(monitor.scope == "steps" for monitor in task.monitors):
            raise UsageError(
                f"strategy {name!r} samples until an answer is verified, and the monitors of this call verify only "
                f"steps ({', '.join(monitor.name for monitor in task.monitors)}): add one that knows the task, or "
                "choose best-of-n"
            )


def _short(strategy: Strategy) -> Strategy:
    match strategy:
        case BestOf() | Vote():
            return replace(strategy, samples=min(strategy.samples, _TEXTS))
        case Interrupt():
            return replace(strategy, restarts=min(strategy.restarts, _TEXTS - 1))
        case _:
            return strategy


def _rates(strategy: Strategy) -> bool:
    if isinstance(strategy, Vote):
        return strategy.weighted != "not"
    return isinstance(strategy, BestOf)


class _CallQuestion(Question):
    """The question of a call. Tool calls count as an answer, and reasoning does not."""

    __slots__ = ()

    def answer(self, trace: Trace) -> str | None:
        calls = [chunk.text for chunk in trace.chunks if chunk.call is not None]
        if calls:
            return "\n".join(calls)
        if any(chunk.phase == "reasoning" for chunk in trace.chunks):
            answer = tuple(chunk for chunk in trace.chunks if chunk.phase == "answer")
            trace = Trace(answer, trace.finish_reason)
        return self.read(trace.said)
