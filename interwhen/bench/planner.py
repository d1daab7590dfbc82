"""The fork planner in simulated servers: what it loses to an oracle, and what it saves over always reading anew."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import msgspec

from interwhen.bench.planner_world import Runner, Server
from interwhen.models.base import Route
from interwhen.planning import ForkPlanner, Probe, Rates, Situation, calibrate

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
