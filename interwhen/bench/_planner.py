"""The fork planner in simulated servers: what it loses to an oracle, and what it saves over always reading anew."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from interwhen._types.models import Route
from interwhen.strategies._fork_planning import Actual, ForkPlanner, Probe, Rates, Situation, calibrate

# A simulated server for the fork planner: its truth is of another kind than the planner's five rates.
#
# Reading a prompt grows faster than its length (attention) and goes in batches, a restore moves pages over a disk that
# seeks, a busy main stream slows everything, times are log-normal around that, and a held prefix is lost now and then.
# No model is involved.

PAGE = 16
"""Tokens of a page: what is held and restored is whole pages."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a simulated server is like."""

    prefill: float = 0.0004
    """Seconds a token of a short prompt."""
    attention: float = 1.2e-8
    """Seconds a token and token before it."""
    batch: int = 64
    decode: float = 0.02
    request: float = 0.004
    seek: float = 0.006
    restored: float = 1.5e-5
    """Seconds a token that is moved."""
    keeps: float = 0.8
    """How often a held prefix is still there."""
    parses: float = 0.3
    """How often a local parser has an answer."""
    busy: float = 1.3
    """By how much a main stream slows a fork, on the mean."""
    noise: float = 0.1
    timings: bool = True
    """Whether it says what reading and writing took."""


@dataclass(slots=True)
class Runner:
    """Runs forks on a simulated server."""

    server: Server
    seed: int
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311  a simulation, not a secret

    def situation(self, *, routes: frozenset[Route], size: int) -> Situation:
        """Return a fork that is due: its prefix is about *size* tokens."""
        rng = self._rng
        prefix = max(32, round(size * math.exp(rng.gauss(0.0, 0.4))))
        held = round(prefix * (0.0 if rng.random() < 0.1 else rng.uniform(0.5, 0.98)))
        stored = round(prefix * rng.uniform(0.6, 0.95))
        return Situation(
            prefix=prefix,
            side=rng.randint(8, 48),
            reply=rng.randint(2, 24),
            held=held,
            stored=stored if "restored" in routes else 0,
            summary=round(prefix * 0.15) + 40,
            routes=routes,
        )

    def run(self, route: Route, situation: Situation) -> Actual:
        """Return what a fork takes on this *route*, with luck."""
        server, rng = self.server, self._rng
        if route == "parser":
            if rng.random() < server.parses:
                return Actual(self._jitter(0.0004), parsed=True)
            # The fork that must be made then is counted by whoever makes it.
            return Actual(self._jitter(0.0004), parsed=False)
        cached = self._cached(route, situation, keeps=rng.random() < server.keeps)
        prompt = (situation.summary if route == "summary" else situation.prefix) + situation.side
        read = self._jitter(self._reading(prompt, cached))
        written = self._jitter(situation.reply * server.decode * server.busy)
        moved = self._jitter(server.seek + server.restored * situation.stored) if route == "restored" else 0.0
        seconds = self._jitter(server.request) + read + written + moved
        if not server.timings:
            return Actual(seconds, prompt, cached, situation.reply)
        return Actual(seconds, prompt, cached, situation.reply, read, written)

    def expected(self, route: Route, situation: Situation) -> float:
        """Return the mean seconds of a fork on this *route*: what an oracle knows, who has no luck either."""
        server = self.server
        if route == "parser":
            others = [other for other in situation.routes if other != "parser"]
            return 0.0004 + (1.0 - server.parses) * min(self.expected(other, situation) for other in others)
        total = 0.0
        for keeps, chance in ((True, server.keeps), (False, 1.0 - server.keeps)):
            cached = self._cached(route, situation, keeps=keeps)
            prompt = (situation.summary if route == "summary" else situation.prefix) + situation.side
            total += chance * self._reading(prompt, cached)
        total += server.request + situation.reply * server.decode * server.busy
        if route == "restored":
            total += server.seek + server.restored * situation.stored
        return total * math.exp(server.noise**2 / 2)

    def _cached(self, route: Route, situation: Situation, *, keeps: bool) -> int:
        if route == "restored":
            return situation.stored // PAGE * PAGE
        if route != "live":
            return 0
        return situation.held // PAGE * PAGE if keeps else min(situation.held, 64) // PAGE * PAGE

    def _reading(self, prompt: int, cached: int) -> float:
        server = self.server
        anew = max(prompt - cached, 1)
        batches = math.ceil(anew / server.batch)
        linear = server.prefill * (anew + 0.15 * batches * server.batch)
        return (linear + server.attention * anew * (prompt + cached)) * server.busy

    def _jitter(self, seconds: float) -> float:
        return seconds * math.exp(self._rng.gauss(0.0, self.server.noise))


SIZES = (256, 1024, 4096, 16384)
SERVERS: dict[str, Server] = {
    "as usual": Server(),
    "slow reader": Server(prefill=0.004, attention=1e-7, decode=0.06),
    "fast reader": Server(prefill=0.00003, attention=1e-9, decode=0.008),
    "forgetful": Server(keeps=0.15),
    "slow disk": Server(seek=0.15, restored=0.0003),
    "tells no timings": Server(timings=False, noise=0.2),
}
ROUTES: dict[str, frozenset[Route]] = {
    "live, prefill": frozenset({"live", "prefill"}),
    "and restored": frozenset({"live", "prefill", "restored"}),
    "and parser": frozenset({"live", "prefill", "restored", "parser"}),
    "and summary": frozenset({"live", "prefill", "restored", "summary"}),
}
WRONG: dict[str, Rates] = {
    "reads ten times as fast": Rates(1.0, 0.1, 1.0, 1.0, 1.0),
    "reads a tenth as fast": Rates(1.0, 10.0, 1.0, 1.0, 1.0),
    "restores ten times as fast": Rates(1.0, 1.0, 1.0, 0.1, 0.1),
    "restores a tenth as fast": Rates(1.0, 1.0, 1.0, 10.0, 10.0),
    "all ten times as fast": Rates(0.1, 0.1, 0.1, 0.1, 0.1),
    "all a tenth as fast": Rates(10.0, 10.0, 10.0, 10.0, 10.0),
}
"""By what the true calibration is multiplied."""
RIGHT_AGAIN = 20


class Cell(msgspec.Struct, frozen=True):
    """One server, one size of prefixes, one set of routes. Costs are mean seconds a fork, without luck."""

    server: str
    routes: str
    size: int
    planned: float
    oracle: float
    """Of whoever knows the true mean costs."""
    anew: float
    """Of whoever always reads the prefix anew."""

    @property
    def regret(self) -> float:
        """Return by how much the planner takes longer than the oracle, in percent."""
        return 100.0 * (self.planned / self.oracle - 1.0)


class Recovery(msgspec.Struct, frozen=True):
    """A planner whose rates are wrong by much, over the whole grid."""

    wrong: str
    first: float
    """Regret over the first forks, in percent."""
    after: float
    """Regret over the forks behind those, in percent."""
    worst_after: float
    """The worst of any server."""


class PlannerReport(msgspec.Struct, frozen=True):
    """What a simulation of the planner showed. No model was asked."""

    forks: int
    seed: int
    cells: tuple[Cell, ...]
    regret: float
    """Over all cells, in percent, each cell weighing the same."""
    worst: float
    times_cheaper: float
    """How many times as long always reading anew takes, over all forks."""
    times_cheaper_in_a_cell: float
    """The same in the median cell: where prefixes are short, writing the reply is most of a fork."""
    recoveries: tuple[Recovery, ...]


class _Costs(NamedTuple):
    planned: float
    oracle: float
    anew: float


def measure(*, forks: int, seed: int, say: Callable[[str], None]) -> PlannerReport:
    """Play *forks* forks in every cell of the grid, and again with wrong rates."""
    cells = []
    for number, (server, routes, size) in enumerate(itertools.product(SERVERS, ROUTES, SIZES)):
        costs = list(play(SERVERS[server], ROUTES[routes], size, forks=forks, seed=seed + number))
        means = [statistics.fmean(column) for column in zip(*costs, strict=True)]
        cells.append(Cell(server, routes, size, *means))
    say(f"{len(cells)} cells of the grid")
    recoveries = []
    for wrong in WRONG:
        recoveries.append(_recovery(wrong, seed))
        say(f"rates wrong: {wrong}")
    regrets = [cell.regret for cell in cells]
    return PlannerReport(
        forks,
        seed,
        tuple(cells),
        regret=statistics.fmean(regrets),
        worst=max(regrets),
        times_cheaper=sum(cell.anew for cell in cells) / sum(cell.planned for cell in cells),
        times_cheaper_in_a_cell=statistics.median(cell.anew / cell.planned for cell in cells),
        recoveries=tuple(recoveries),
    )


def _recovery(wrong: str, seed: int) -> Recovery:
    first, after, by_server = [], [], []
    for number, (server, size) in enumerate(itertools.product(SERVERS, SIZES)):
        routes = ROUTES["and restored"]
        costs = list(play(SERVERS[server], routes, size, forks=100, seed=seed + number, wrong=WRONG[wrong]))
        early, late = costs[:RIGHT_AGAIN], costs[RIGHT_AGAIN:]
        first.append(_regret(early))
        after.append(_regret(late))
        by_server.append((server, after[-1]))
    worst = max(statistics.fmean(value for name, value in by_server if name == server) for server in SERVERS)
    return Recovery(wrong, statistics.fmean(first), statistics.fmean(after), worst)


def _regret(costs: list[_Costs]) -> float:
    return 100.0 * (sum(cost.planned for cost in costs) / sum(cost.oracle for cost in costs) - 1.0)


def play(
    server: Server, routes: frozenset[Route], size: int, *, forks: int, seed: int, wrong: Rates | None = None
) -> Iterator[_Costs]:
    """Yield the mean costs of each fork, of a planner that is calibrated by three probes of that server."""
    runner = Runner(server, seed)
    rates = probed(runner)
    if wrong is not None:
        rates = Rates(*(rate * factor for rate, factor in zip(rates, wrong, strict=True)))
    planner = ForkPlanner(rates)
    for _ in range(forks):
        situation = runner.situation(routes=routes, size=size)
        oracle = min(runner.expected(route, situation) for route in routes)
        yield _Costs(_one(planner, runner, situation), oracle, runner.expected("prefill", situation))


def _one(planner: ForkPlanner, runner: Runner, situation: Situation) -> float:
    planned = planner.choose(situation)
    actual = runner.run(planned.route, situation)
    planner.learn(planned, actual)
    if planned.route == "parser":
        rest = replace(situation, routes=situation.routes - {"parser"})
        if actual.parsed:
            # Without luck: whether or not there was an answer, the mean of both is counted.
            costs = planner.costs(rest)
            best = min(costs, key=lambda route: costs[route])
        else:
            again = planner.choose(rest)
            planner.learn(again, runner.run(again.route, rest))
            best = again.route
        return 0.0004 + (1.0 - runner.server.parses) * runner.expected(best, rest)
    return runner.expected(planned.route, situation)


def probed(runner: Runner) -> Rates:
    """Return the rates by three probes of the server, with their luck."""
    routes: frozenset[Route] = frozenset({"live", "prefill"})
    small = Situation(prefix=64, side=1, reply=1, routes=routes)
    large = Situation(prefix=1024, side=1, reply=1, routes=routes)
    again = Situation(prefix=1024, side=1, reply=17, held=1024, routes=routes)
    probes = []
    asked: tuple[tuple[Route, Situation], ...] = (("prefill", small), ("prefill", large), ("live", again))
    for route, situation in asked:
        done = runner.run(route, situation)
        anew = (done.prompt_tokens or 0) - (done.cached_tokens or 0)
        probes.append(Probe(anew, situation.reply, done.seconds))
    return calibrate(*probes)
