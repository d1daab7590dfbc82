"""``interwhen bench planner``: compares the fork planner with an oracle and with always rereading, in simulation."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from interwhen.bench._experiment import Experiment, command_of, require_positive, say
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate
from interwhen.strategies import Actual, ForkPlanner, ForkSituation, Probe, Rates, Route, calibrate

# A simulated server for the fork planner. Its cost model differs from the planner's model with five rates.
#
# The time to read a prompt grows faster than its length (attention), and prompts are read in batches. A restore moves
# pages from a disk with a seek time. A busy main stream slows everything down. Times have log-normal noise. A held
# prefix is sometimes lost. No model is involved.

PAGE = 16
"""Tokens per page. The server holds and restores whole pages."""


@dataclass(frozen=True, slots=True)
class SimulatedServer:
    """The parameters of a simulated model server: the seconds for each kind of work, and the randomness."""

    prefill: float = 0.0004
    """Seconds per token of a short prompt."""
    attention: float = 1.2e-8
    """Seconds per pair of a new token and an earlier token."""
    batch: int = 64
    """Tokens of the prompt that are read at once. A batch that is not full costs more per token."""
    decode: float = 0.02
    """Seconds per generated token."""
    request: float = 0.004
    """Seconds per request, beside reading and writing."""
    seek: float = 0.006
    """Seconds until a restore begins to move tokens."""
    restored: float = 1.5e-5
    """Seconds per token that a restore moves."""
    keeps: float = 0.8
    """The probability that a held prefix is still in the cache."""
    parses: float = 0.3
    """The probability that a local parser finds an answer."""
    busy: float = 1.3
    """The factor by which a main stream slows down reading and writing in a fork, before the noise."""
    noise: float = 0.1
    """Standard deviation of the logarithm of the random factor of each time."""
    timings: bool = True
    """Whether the server reports how long reading and writing took."""


class Runner:
    """Draws random forks, and simulates how long they take on a simulated server."""

    def __init__(self, server: SimulatedServer, seed: int) -> None:
        self.server = server
        self._rng = random.Random(seed)  # noqa: S311  a simulation, not a secret

    def situation(self, *, routes: frozenset[Route], size: int) -> ForkSituation:
        """Draw a random next fork: how long its prefix is, and how much of it is cached or stored.

        *routes* are the ways to give the fork its prefix, which has about *size* tokens.
        """
        rng = self._rng
        prefix = max(32, round(size * math.exp(rng.gauss(0.0, 0.4))))
        held = round(prefix * (0.0 if rng.random() < 0.1 else rng.uniform(0.5, 0.98)))
        stored = round(prefix * rng.uniform(0.6, 0.95))
        return ForkSituation(
            prefix=prefix,
            side=rng.randint(8, 48),
            reply=rng.randint(2, 24),
            held=held,
            stored=stored if "restored" in routes else 0,
            summary=round(prefix * 0.15) + 40,
            routes=routes,
        )

    def run(self, route: Route, situation: ForkSituation) -> Actual:
        """Simulate one fork in *situation* that gets its prefix by *route*.

        Return its time and tokens, which are random.
        """
        server, rng = self.server, self._rng
        if route == "parser":
            # If the parser finds no answer, a fork must follow. The caller counts its cost.
            parsed = rng.random() < server.parses
            return Actual(self._jitter(0.0004), parsed=parsed)
        cached = self._cached(route, situation, keeps=rng.random() < server.keeps)
        prompt = (situation.summary if route == "summary" else situation.prefix) + situation.side
        read = self._jitter(self._reading(prompt, cached))
        written = self._jitter(situation.reply * server.decode * server.busy)
        moved = self._jitter(server.seek + server.restored * situation.stored) if route == "restored" else 0.0
        seconds = self._jitter(server.request) + read + written + moved
        if not server.timings:
            return Actual(seconds, prompt, cached, situation.reply)
        return Actual(seconds, prompt, cached, situation.reply, read, written)

    def expected(self, route: Route, situation: ForkSituation) -> float:
        """Return the expected seconds of a fork in *situation* that gets its prefix by *route*."""
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

    def _cached(self, route: Route, situation: ForkSituation, *, keeps: bool) -> int:
        if route == "restored":
            return situation.stored // PAGE * PAGE
        if route != "live":
            return 0
        return situation.held // PAGE * PAGE if keeps else min(situation.held, 64) // PAGE * PAGE

    def _reading(self, prompt: int, cached: int) -> float:
        server = self.server
        new = max(prompt - cached, 1)
        batches = math.ceil(new / server.batch)
        linear = server.prefill * (new + 0.15 * batches * server.batch)
        return (linear + server.attention * new * (prompt + cached)) * server.busy

    def _jitter(self, seconds: float) -> float:
        return seconds * math.exp(self._rng.gauss(0.0, self.server.noise))


SIZES = (256, 1024, 4096, 16384)
SERVERS: dict[str, SimulatedServer] = {
    "as usual": SimulatedServer(),
    "slow reader": SimulatedServer(prefill=0.004, attention=1e-7, decode=0.06),
    "fast reader": SimulatedServer(prefill=0.00003, attention=1e-9, decode=0.008),
    "forgetful": SimulatedServer(keeps=0.15),
    "slow disk": SimulatedServer(seek=0.15, restored=0.0003),
    "reports no timings": SimulatedServer(timings=False, noise=0.2),
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
"""Factors by which the calibrated rates are multiplied to make them wrong."""
RIGHT_AGAIN = 20


class ForkCosts(NamedTuple):
    """The expected seconds of one fork, without noise, for three ways to choose its route."""

    planned: float
    """Seconds on the route that the planner chose."""
    oracle: float
    """Seconds on the best route by the true expected costs."""
    reread: float
    """Seconds when the fork always reads the whole prefix."""


def planner(*, forks: int = 200, seed: int = 1, minutes: float | None = None) -> Report:
    """Simulate the fork planner: how close to the best its choices are, on many servers and prefixes.

    A route is a way to give a fork its prefix, such as reading it again. Some runs begin with rates (seconds per unit
    of work) that are wrong by factors of ten, to see how fast the planner corrects them.

    This is a simulation without a model. The costs of the servers follow another formula than that of the planner,
    which gets its rates from three probes with random noise. Its choices are compared with those of an oracle that
    knows the true mean costs.

    Parameters
    ----------
    forks
        How many forks are simulated for each combination of server and prefix.
    seed
        The seed of the prefixes and of the random costs.
    minutes
        Begin no further combination after this many minutes.
    """
    require_positive(forks=forks)
    grid = list(itertools.product(SERVERS, ROUTES, SIZES))
    cells: list[tuple[tuple[str, str, int], ForkCosts]] = []
    for number, _ in Experiment(("planner",), len(grid), seed, warm_up=0, minutes=minutes).rounds():
        server, routes, size = grid[number]
        costs = list(play(SERVERS[server], ROUTES[routes], size, forks=forks, seed=seed + number))
        cells.append((grid[number], ForkCosts(*map(statistics.fmean, zip(*costs, strict=True)))))
    say(f"{len(cells)} cells of the grid")
    every = [costs for _, costs in cells]
    regrets = [_regret([costs]) for costs in every]
    cheaper = sum(costs.reread for costs in every) / sum(costs.planned for costs in every)
    cheaper_in_a_cell = statistics.median(costs.reread / costs.planned for costs in every)
    rows: list[Row] = [
        {"what": "regret over the grid", "simulated": Estimate(statistics.fmean(regrets), "%", limit=10.0)},
        {"what": "regret in the worst cell", "simulated": Estimate(max(regrets), "%")},
        {
            "what": "cheaper than always rereading, all forks",
            "simulated": Estimate(cheaper, "times", limit=3.0, at_least=True),
        },
        {"what": "  in the median cell", "simulated": Estimate(cheaper_in_a_cell, "times")},
    ]
    for wrong in WRONG:
        rows += _recovery_rows(wrong, seed)
        say(f"rates wrong: {wrong}")
    title = f"{len(cells)} cells of {forks} forks, seed {seed}"
    return Report(
        benchmark="planner",
        subject="SIMULATION",
        tables=(Table(title, tuple(rows), "Where prefixes are short, writing the reply is most of a fork."),),
        observations=tuple({"server": s, "routes": r, "size": z, **c._asdict()} for (s, r, z), c in cells),
    )


def _recovery_rows(wrong: str, seed: int) -> Iterator[Row]:
    """Yield table rows about a planner that starts with rates that are wrong by the factors named *wrong*."""
    first: list[float] = []
    after: dict[str, list[float]] = {}
    for number, (server, size) in enumerate(itertools.product(SERVERS, SIZES)):
        routes = ROUTES["and restored"]
        costs = list(play(SERVERS[server], routes, size, forks=100, seed=seed + number, wrong=WRONG[wrong]))
        first.append(_regret(costs[:RIGHT_AGAIN]))
        after.setdefault(server, []).append(_regret(costs[RIGHT_AGAIN:]))
    means = [statistics.fmean(values) for values in after.values()]
    yield {
        "what": f"rates wrong ({wrong}): regret of forks 1 to 20",
        "simulated": Estimate(statistics.fmean(first), "%"),
    }
    yield {"what": "  after those", "simulated": Estimate(statistics.fmean(means), "%", limit=10.0)}
    yield {"what": "  after those, worst server", "simulated": Estimate(max(means), "%")}


def _regret(costs: Sequence[ForkCosts]) -> float:
    return 100.0 * (sum(cost.planned for cost in costs) / sum(cost.oracle for cost in costs) - 1.0)


def play(
    server: SimulatedServer, routes: frozenset[Route], size: int, *, forks: int, seed: int, wrong: Rates | None = None
) -> Iterator[ForkCosts]:
    """Simulate *forks* forks on *server* with a planner that three probes calibrated.

    Yield the mean costs of each fork. *routes* are the ways to give a fork its prefix, which has about *size* tokens.
    *wrong* has factors that make the calibrated rates wrong.
    """
    runner = Runner(server, seed)
    rates = probed(runner)
    if wrong is not None:
        rates = Rates(*(rate * factor for rate, factor in zip(rates, wrong, strict=True)))
    planner = ForkPlanner(rates)
    for _ in range(forks):
        situation = runner.situation(routes=routes, size=size)
        oracle = min(runner.expected(route, situation) for route in routes)
        yield ForkCosts(_one(planner, runner, situation), oracle, runner.expected("prefill", situation))


def _one(planner: ForkPlanner, runner: Runner, situation: ForkSituation) -> float:
    planned = planner.choose(situation)
    actual = runner.run(planned.route, situation)
    planner.learn(planned, actual)
    if planned.route == "parser":
        rest = replace(situation, routes=situation.routes - {"parser"})
        if actual.parsed:
            # The counted cost has no noise: it is the expected cost, whether or not the parser found an answer.
            costs = planner.costs(rest)
            best = min(costs, key=lambda route: costs[route])
        else:
            again = planner.choose(rest)
            planner.learn(again, runner.run(again.route, rest))
            best = again.route
        return 0.0004 + (1.0 - runner.server.parses) * runner.expected(best, rest)
    return runner.expected(planned.route, situation)


def probed(runner: Runner) -> Rates:
    """Return the rates (seconds per unit of work) that the planner gets from three random probes of the server."""
    routes: frozenset[Route] = frozenset({"live", "prefill"})
    small = ForkSituation(prefix=64, side=1, reply=1, routes=routes)
    large = ForkSituation(prefix=1024, side=1, reply=1, routes=routes)
    again = ForkSituation(prefix=1024, side=1, reply=17, held=1024, routes=routes)
    probes = []
    asked: tuple[tuple[Route, ForkSituation], ...] = (("prefill", small), ("prefill", large), ("live", again))
    for route, situation in asked:
        done = runner.run(route, situation)
        new = (done.prompt_tokens or 0) - (done.cached_tokens or 0)
        probes.append(Probe(new, situation.reply, done.seconds))
    return calibrate(*probes)


command = command_of(planner)
