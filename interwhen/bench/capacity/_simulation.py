"""The queueing model: streams share one event loop and a pool of workers. A discrete-event simulation with simpy.

A *station* has servers and one queue, first come, first served. The event loop is a station with one server, and the
workers are another station. Tokens reach the event loop in steps, and it wakes up once for each step.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from interwhen.bench._statistics import percentile
from interwhen.bench.capacity._costs import AnswerLoad, Costs
from interwhen.toolkit import MissingExtraError

if TYPE_CHECKING:
    import simpy

Steps: TypeAlias = "Generator[simpy.Event, Any, None]"
_MICRO = 1e-6
_IDLE_SECONDS = 0.01
"""The period of the work that an event loop does without tokens. It is spread evenly over the time."""


class Simulated(NamedTuple):
    """What the model says about one process with its streams and workers, after a warm-up. 0 stands for no data."""

    loop_busy: float
    """The share of time in which the event loop uses its core."""
    late_mean_ms: float
    """From the step with which a token reaches the event loop until the loop has handled it: the mean."""
    late_p99_ms: float
    """The 99th percentile of the same time."""
    workers_busy: float
    """How many workers are busy, in the mean."""
    check_mean_ms: float
    """From the claim to the verdict: the mean."""
    check_p99_ms: float
    """The 99th percentile of the same time."""
    checks: int
    """The number of checks that ended in the observed time."""


class Station:
    """A simulated queue for *servers* workers, first come, first served.

    It records the waiting and the working times.
    """

    def __init__(self, env: simpy.Environment, servers: int) -> None:
        import simpy

        self._env = env
        self._resource = simpy.Resource(env, capacity=servers)
        self.waits: list[float] = []
        """How long each job waited before it began, in seconds."""
        self.busy = 0.0
        """The seconds that all servers worked on jobs that have ended."""

    def reset(self) -> None:
        """Forget the waiting times and the busy time so far, at the end of the warm-up."""
        self.waits.clear()
        self.busy = 0.0

    def serve(self, seconds: float) -> Steps:
        """Wait for a free server, occupy it for *seconds*, and record the waiting and the working time."""
        asked = self._env.now
        with self._resource.request() as turn:
            yield turn
            self.waits.append(self._env.now - asked)
            yield self._env.timeout(seconds)
            self.busy += seconds


def environment() -> simpy.Environment:
    """Return a new simulation of simpy, with its clock at 0."""
    try:
        import simpy
    except ImportError as error:
        raise MissingExtraError("the capacity model", "capacity") from error
    return simpy.Environment()


def queue_waits(
    gap: Callable[[], float], service: Callable[[], float], *, servers: int, jobs: int, warm_up: int = 0
) -> list[float]:
    """Simulate one station alone, and return the waiting times of *jobs* jobs in seconds, after *warm_up* others.

    The functions *gap* and *service* draw the time between two arrivals and the time of a job, in seconds.
    """
    env = environment()
    station = Station(env, servers)

    def arrive() -> Steps:
        for _ in range(warm_up + jobs):
            yield env.timeout(gap())
            env.process(station.serve(service()))

    env.process(arrive())
    env.run()
    return station.waits[warm_up:]


class ProcessModel:
    """The model of one process: *streams* streams that never pause, and *workers* workers.

    *costs* says what each kind of work costs, and *load* how much of it an answer needs.
    """

    def __init__(self, costs: Costs, load: AnswerLoad, *, streams: int, workers: int, seed: int = 0) -> None:
        self._costs, self._load = costs, load
        self._env = environment()
        self._rng = random.Random(seed)  # noqa: S311  (a simulation)
        self._loop = Station(self._env, 1)
        self._woken = -1.0
        """The step for which the loop has woken up last."""
        self._workers = Station(self._env, workers)
        self._late: list[float] = []
        self._checked: list[float] = []
        idle = costs.process_us + streams * costs.stream_us
        self._env.process(self._idle(idle * _IDLE_SECONDS * _MICRO))
        for _ in range(streams):
            self._env.process(self._stream())

    def run(self, seconds: float) -> Simulated:
        """Simulate *seconds* seconds, after a quarter of that time as warm-up, and return what was observed.

        Call it only once: the simulated clock does not go back.
        """
        self._env.run(until=seconds / 4)
        for station in (self._loop, self._workers):
            station.reset()
        self._late.clear()
        self._checked.clear()
        self._env.run(until=1.25 * seconds)
        late, checked = self._late or [0.0], self._checked or [0.0]
        return Simulated(
            loop_busy=self._loop.busy / seconds,
            late_mean_ms=1e3 * sum(late) / len(late),
            late_p99_ms=1e3 * percentile(late, 0.99),
            workers_busy=self._workers.busy / seconds,
            check_mean_ms=1e3 * sum(checked) / len(checked),
            check_p99_ms=1e3 * percentile(checked, 0.99),
            checks=len(self._checked),
        )

    def _idle(self, seconds: float) -> Steps:
        while True:
            yield self._env.timeout(_IDLE_SECONDS)
            yield from self._loop.serve(seconds)

    def _stream(self) -> Steps:
        env, load, draw = self._env, self._load, self._rng.random
        gap = 1 / load.rate
        token = self._costs.token_us * _MICRO
        extras = tuple(self._extras())
        # Streams are in the middle of their answers when the simulation begins, each at another place.
        yield env.timeout(gap * draw())
        while True:
            env.process(self._token(token))
            for share, steps in extras:
                # Each kind of work comes with the same chance at each token, which is its mean over an answer.
                for _ in range(int(share) + (draw() < share % 1)):
                    env.process(steps())
            yield env.timeout(gap)

    def _extras(self) -> Iterator[tuple[float, Callable[[], Steps]]]:
        """Yield the work beside the tokens: how often it comes per token, and a function that simulates it."""
        costs, load = self._costs, self._load
        yield 1 / load.tokens, lambda: self._loop.serve(costs.run_us * _MICRO)
        yield load.checks / load.tokens, self._check
        yield load.forks / load.tokens, lambda: self._loop.serve(costs.fork_us * _MICRO)
        yield load.remedies / load.tokens, lambda: self._loop.serve(costs.remedy_us * _MICRO)

    def _token(self, seconds: float) -> Steps:
        step = self._costs.batch_ms / 1e3
        number = math.ceil(self._env.now / step)
        yield self._env.timeout(max(number * step - self._env.now, 0.0))
        due = self._env.now
        if number != self._woken:
            self._woken = number
            seconds += self._costs.wake_us * _MICRO
        yield from self._loop.serve(seconds)
        self._late.append(self._env.now - due)

    def _check(self) -> Steps:
        begun = self._env.now
        yield from self._loop.serve(self._costs.check_us * _MICRO)
        yield from self._workers.serve(self._load.check_ms / 1e3 + self._costs.worker_us * _MICRO)
        self._checked.append(self._env.now - begun)


def simulate(
    costs: Costs, load: AnswerLoad, *, streams: int, workers: int = 2, tokens: int = 10_000, seed: int = 0
) -> Simulated:
    """Simulate one process until its streams had about *tokens* tokens in all, and return what was observed.

    *seed* makes the result repeatable. The other parameters are those of :class:`ProcessModel`.
    """
    seconds = tokens / (streams * load.rate)
    return ProcessModel(costs, load, streams=streams, workers=workers, seed=seed).run(seconds)
