"""Chooses how each fork gets its prefix, such as recomputed or restored: usually the way with the least predicted time.

Why: docs/decisions/0027-planning-forks.md.
"""

from __future__ import annotations

import statistics
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

import msgspec

from interwhen._types.errors import ModelError, UsageError
from interwhen._types.models import Completion, Model, Piece, Prompt, Request, Route, Sampling
from interwhen.models._token_resume import shared
from interwhen.models._wrapper import ModelWrapper

# The input and feedback of a planner: frozen records, and one Protocol.


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSituation:
    """Describes a fork before it is sent: how long its prefix is, and how much of it is cached or saved, in tokens."""

    prefix: int
    """The length of the prompt and of the trace up to the end of the segment."""
    side: int
    """The length of the question that the fork asks."""
    reply: int
    """The assumed length of the answer."""
    held: int = 0
    """The part of the prefix that was in the server's cache after the last fork. It may have been evicted since."""
    stored: int = 0
    """The part of the prefix that a saved state covers."""
    summary: int = 0
    """The length of the prompt and the summary. It has no meaning without the route ``summary``."""
    routes: frozenset[Route] = field(default_factory=lambda: frozenset({"live"}))
    """The routes that the endpoint and the fork support; :data:`Route` explains their names."""


class Actual(NamedTuple):
    """The measured cost of a fork, by the clock and by the server's counters (``None`` if the server lacks one)."""

    seconds: float
    """The time of the whole request."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """The prompt tokens that came from the server's cache."""
    reply_tokens: int | None = None
    prompt_seconds: float | None = None
    """The server's time for the prompt."""
    reply_seconds: float | None = None
    """The server's time for the reply."""
    parsed: bool = True
    """For the route ``parser``: whether the local parser found an answer."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan for one fork: the chosen route (how the fork gets its prefix) and the predicted seconds."""

    route: Route
    situation: ForkSituation
    seconds: float
    """The predicted time on this route."""
    prefilled: float
    """The predicted number of prompt tokens that the server must process."""
    save: bool = False
    """Whether to save the state after the fork."""
    is_trial: bool = False
    """Whether the route is not the cheapest one, and is taken only to learn its cost."""
    others: tuple[tuple[Route, float], ...] = ()
    """The other possible routes, each with its predicted seconds, cheapest first."""


@runtime_checkable
class Planner(Protocol):
    """Chooses for each fork a route, which is how the fork gets its prefix.

    Both methods must return quickly and must not raise.
    """

    def choose(self, situation: ForkSituation) -> Planned:
        """Choose one of the routes of *situation*, and predict its time."""
        ...

    def learn(self, planned: Planned, actual: Actual) -> None:
        """Improve the predictions by the *actual* cost of the fork *planned*."""
        ...


# The cost of a request as a sum of five rates, and the rates from three probes.

LEAST = 1e-7
"""The smallest value of a rate in seconds."""
RESTORING = 0.05
"""The assumed cost of restoring a token, relative to prefilling it. It is used until a restore has been measured."""


class Rates(NamedTuple):
    """How many seconds a server needs for one unit of each kind of work.

    The kinds are a request, a prompt token to read, a token to write, a restore of a saved state, and a restored token.
    """

    request: float
    prefill: float
    decode: float
    restore: float
    restored: float


class Work(NamedTuple):
    """How much of each kind of work a request causes, in the order of :class:`Rates`."""

    requests: float
    prefilled: float
    decoded: float
    restores: float = 0.0
    restored: float = 0.0

    def seconds(self, rates: Rates) -> float:
        """Return the seconds that the work takes if each unit takes as long as in *rates*."""
        return sum(amount * rate for amount, rate in zip(self, rates, strict=True))


class Probe(NamedTuple):
    """The measurement of one probe request: the tokens that the server read and wrote, and the seconds."""

    prefilled: int
    decoded: int
    seconds: float


def work_of(route: Route, situation: ForkSituation, hit: float) -> Work:
    """Return the work that a fork in *situation* causes on *route*.

    *hit* is the expected share (0 to 1) of ``situation.held`` that is still in the server's cache.
    """
    side = situation.side
    match route:
        case "live":
            return Work(1.0, max(situation.prefix - hit * situation.held, 0.0) + side, situation.reply)
        case "restored":
            fresh = max(situation.prefix - situation.stored, 0)
            return Work(1.0, fresh + side, situation.reply, 1.0, situation.stored)
        case "summary":
            return Work(1.0, situation.summary + side, situation.reply)
        case "prefill":
            return Work(1.0, situation.prefix + side, situation.reply)
        case "parser":
            return Work(0.0, 0.0, 0.0)


def calibrate(short: Probe, long: Probe, warm: Probe) -> Rates:
    """Compute how many seconds a server needs for one unit of each kind of work, from three probe requests.

    *short* and *long* have uncached prompts of different lengths, and equally long replies. *warm* has the prompt of
    *long*, which is cached now, and a longer reply. The two rates of a restore are assumed. Raises :class:`UsageError`
    if the server did not read more tokens for *long* than for *short*, or write more for *warm* than for *long*.
    """
    if long.prefilled <= short.prefilled or warm.decoded <= long.decoded:
        raise UsageError(
            "calibrate: the probe 'long' must read more tokens than 'short', and 'warm' write more "
            f"than 'long'; got {long.prefilled} and {short.prefilled} read, {warm.decoded} and "
            f"{long.decoded} written; use other prompts"
        )
    prefill = max((long.seconds - short.seconds) / (long.prefilled - short.prefilled), LEAST)
    written = warm.decoded - long.decoded
    read_less = prefill * (long.prefilled - warm.prefilled)
    decode = max((warm.seconds - (long.seconds - read_less)) / written, LEAST)
    request = max(short.seconds - prefill * short.prefilled - decode * short.decoded, LEAST)
    return Rates(request, prefill, decode, request, prefill * RESTORING)


# Tracks the five rates from the times of requests: a Kalman filter for slowly changing rates (Kalman 1960).
#
# The error of a rate is relative: it starts as a part of the rate, and grows a little with each request.

TRUST = 0.5
"""The relative standard deviation of a calibrated rate."""
DRIFT = 0.02
"""The relative change of a rate from one request to the next."""
NOISE = 0.15
"""The relative standard deviation of the time of a request."""
SURPRISE = 2.0
"""A request is a surprise if its time differs from the prediction by this factor."""
SURPRISES = 2
"""After this many consecutive surprises in one direction, the old estimates are no longer trusted."""

_Matrix = list[list[float]]


@dataclass(slots=True)
class Tracking:
    """Estimates how many seconds a server needs for a unit of each kind of work, and how certain this is."""

    rates: Rates
    """The present estimates."""
    surprises: int = 0
    """Consecutive surprises: above 0 if requests took longer than predicted, below 0 if shorter."""
    _errors: _Matrix = field(default_factory=list)

    def __post_init__(self) -> None:
        self._errors = self._spread(TRUST)

    def learn(self, work: Work, seconds: float) -> bool:
        """Improve the estimates with a request that caused *work* and took *seconds*.

        Return whether the earlier estimates are no longer trusted: after two consecutive requests that both took much
        longer, or both much less time, than predicted.
        """
        expected = max(work.seconds(self.rates), LEAST)
        doubted = self._doubt(seconds / expected)
        for index, rate in enumerate(self.rates):
            self._errors[index][index] += (DRIFT * rate) ** 2
        noise = (NOISE * expected) ** 2
        if self.surprises and not doubted:
            noise *= 25.0  # The first surprise has little weight: this request may have waited for others.
        self._update(work, seconds - expected, noise)
        return doubted

    def _doubt(self, ratio: float) -> bool:
        if 1.0 / SURPRISE < ratio < SURPRISE:
            self.surprises = 0
            return False
        step = 1 if ratio >= SURPRISE else -1
        self.surprises = self.surprises + step if self.surprises * step >= 0 else step
        if abs(self.surprises) < SURPRISES:
            return False
        self.surprises = 0
        self._errors = self._spread(1.0)
        return True

    def _spread(self, share: float) -> _Matrix:
        size = range(len(self.rates))
        return [[(share * self.rates[row]) ** 2 if row == column else 0.0 for column in size] for row in size]

    def _update(self, work: Work, off: float, noise: float) -> None:
        errors = self._errors
        size = range(len(work))
        spread = [sum(errors[row][column] * work[column] for column in size) for row in size]
        variance = sum(work[row] * spread[row] for row in size) + noise
        gain = [value / variance for value in spread]
        self.rates = Rates(*(max(rate + gain[row] * off, rate / 10.0, LEAST) for row, rate in enumerate(self.rates)))
        self._errors = [[errors[row][column] - gain[row] * spread[column] for column in size] for row in size]


GUESS = Rates(request=0.005, prefill=0.001, decode=0.02, restore=0.005, restored=0.00005)
"""Assumed rates for a planner that was not calibrated. They are corrected after a few forks."""
TRIALS: tuple[Route, ...] = ("restored", "live")
"""The routes whose cost cannot be derived from other routes. Each is tried early, and again later, if that is not
expensive."""
TRIAL_EVERY = 4
"""At most one of this many forks is a trial."""
TRIAL_COST = 4.0
"""The largest predicted cost of a trial, relative to the best route."""
STALE = 64
"""The number of forks after which an unused route is tried again, if its predicted cost is near the best."""
NEARLY = 1.5
"""The largest predicted cost of a route that is tried again, relative to the best route."""
KEPT = 512
"""The number of latest forks that are kept for display."""


class Shown(NamedTuple):
    """A fork that was answered: the plan for it, and what it really cost."""

    planned: Planned
    actual: Actual


@dataclass(slots=True)
class _Share:
    """An exponentially weighted moving average of a share: *hits* divided by *tries*."""

    hits: float
    tries: float

    @property
    def value(self) -> float:
        return self.hits / self.tries

    def learn(self, hit: float) -> None:
        self.hits = 0.9 * self.hits + hit
        self.tries = 0.9 * self.tries + 1.0


class ForkPlanner:
    """Chooses for each fork the route (how it gets its prefix) with the shortest predicted time.

    Now and then it tries another route, to learn its cost. *rates* come from :func:`~interwhen.strategies.calibrate`;
    by default, they are guessed. One planner serves one endpoint, and any number of runs.
    """

    def __init__(self, rates: Rates = GUESS) -> None:
        self.tracking = Tracking(rates)
        self.shown: deque[Shown] = deque(maxlen=KEPT)
        """The latest forks."""
        self._hits = _Share(2.0, 2.0)
        self._parses = _Share(1.0, 2.0)
        self._parsing = _Share(0.0005, 1.0)
        self._count = 0
        self._trial = -TRIAL_EVERY
        self._taken: dict[Route, int] = {}

    @property
    def rates(self) -> Rates:
        """The present estimates of how many seconds each kind of work takes."""
        return self.tracking.rates

    @property
    def hit(self) -> float:
        """The expected share of the previously cached prefix that is still in the server's cache."""
        return self._hits.value

    def choose(self, situation: ForkSituation) -> Planned:
        """Plan a fork in *situation* on the cheapest route, or now and then on another one to measure its cost.

        The choice is counted for later trials.
        """
        costs = self.costs(situation)
        ranked = sorted(costs, key=lambda route: (costs[route], route))
        trial = self._due(situation, costs, costs[ranked[0]])
        route = trial or ranked[0]
        is_trial = route != ranked[0]
        self._count += 1
        if is_trial:
            self._trial = self._count
        self._taken[route] = self._count
        others = tuple((other, costs[other]) for other in ranked if other != route)
        work = work_of(route, situation, self.hit)
        save = "restored" in situation.routes and self._is_worth_saving(situation)
        return Planned(route, situation, costs[route], work.prefilled, save, is_trial, others)

    def learn(self, planned: Planned, actual: Actual) -> None:
        """Update the estimates with the *actual* cost of the fork *planned*, and keep both for display."""
        self.shown.append(Shown(planned, actual))
        if planned.route == "parser":
            self._parses.learn(float(actual.parsed))
            self._parsing.learn(actual.seconds)
            return
        situation = planned.situation
        work = work_of(planned.route, situation, self.hit)
        if actual.prompt_tokens is not None and actual.cached_tokens is not None:
            fresh = max(actual.prompt_tokens - actual.cached_tokens, 0)
            work = work._replace(prefilled=float(fresh))
            if planned.route == "live" and situation.held > 0:
                self._hits.learn(min(actual.cached_tokens / situation.held, 1.0))
        if actual.reply_tokens is not None:
            work = work._replace(decoded=float(actual.reply_tokens))
        if self._follow(work, actual):
            self._taken.clear()

    # ------------------------------------------------------------------ costs

    def costs(self, situation: ForkSituation) -> dict[Route, float]:
        """Return the predicted seconds of each route that is possible in *situation*.

        The route ``restored`` needs a saved state. If no route other than ``parser`` is possible, ``live`` is added.
        """
        rates = self.rates
        costs: dict[Route, float] = {
            route: work_of(route, situation, self.hit).seconds(rates)
            for route in situation.routes
            if route != "parser" and not (route == "restored" and not situation.stored)
        }
        if not costs:
            costs["live"] = work_of("live", situation, self.hit).seconds(rates)
        if "parser" in situation.routes:
            # If the parser finds no answer, the fork is sent after all.
            costs["parser"] = self._parsing.value + (1.0 - self._parses.value) * min(costs.values())
        return costs

    def _due(self, situation: ForkSituation, costs: dict[Route, float], best: float) -> Route | None:
        """Return a route that should be tried now, to measure its cost; ``None`` if no route needs a trial."""
        if self._count - self._trial < TRIAL_EVERY:
            return None
        for route in TRIALS:
            if route not in costs or (route == "live" and not situation.held):
                continue
            last = self._taken.get(route)
            if last is None and costs[route] <= TRIAL_COST * best:
                return route
            if last is not None and self._count - last >= STALE and costs[route] <= NEARLY * best:
                return route
        return None

    def _is_worth_saving(self, situation: ForkSituation) -> bool:
        """Tell whether saving the state after this fork costs less than it is expected to save at the next one."""
        rates, size = self.rates, situation.prefix + situation.side
        move = rates.restore + rates.restored * size
        lost = (1.0 - self.hit) * max(rates.prefill * size - move, 0.0)
        return move < lost

    def _follow(self, work: Work, actual: Actual) -> bool:
        """Update the estimated rates of the server with the measured times *actual* of *work*.

        Return whether the old estimates became unreliable.
        """
        read, written = actual.prompt_seconds, actual.reply_seconds
        if read is None or written is None:
            return self.tracking.learn(work, actual.seconds)
        # The rest of the measured time is for the request itself, and for a restore if there was one.
        doubted = False
        if work.prefilled > 0:
            doubted |= self.tracking.learn(Work(0.0, work.prefilled, 0.0), read)
        if work.decoded > 0:
            doubted |= self.tracking.learn(Work(0.0, 0.0, work.decoded), written)
        rest = Work(work.requests, 0.0, 0.0, work.restores, work.restored)
        return self.tracking.learn(rest, max(actual.seconds - read - written, 0.0)) or doubted


# A model whose forks get their prefix by the route that the planner chooses.

MOST_PROMPTS = 64
"""The number of prompts for which the prefix of the last fork is remembered."""
CHARACTERS = 4.0
"""Characters per token, until the server's counts are known."""
_LIVE: frozenset[Route] = frozenset({"live"})


@runtime_checkable
class Shelving(Protocol):
    """A model that supports several routes for the prefix of a fork, and can save and restore states."""

    @property
    def routes(self) -> frozenset[Route]:
        """The routes that the model supports. ``Request.route`` selects one of them."""
        ...

    def stored(self, request: Request) -> int:
        """Return how many characters at the start of the trace in *request* are in a saved state for its prompt.

        0 if there is no such state.
        """
        ...

    async def save(self, request: Request) -> None:
        """Save the state after *request*, the last fork of its prompt. Do nothing if the server has lost the state.

        Raises :class:`~interwhen.ModelError` if the server fails.
        """
        ...


class PlannedModel(ModelWrapper):
    """Plans the forks of *model* with *planner*. Other calls go to the model unchanged.

    A model that is :class:`Shelving` says which routes it supports; another model supports ``live``. A fork with a
    summary can also take the route ``summary``.
    """

    def __init__(
        self, model: Model, planner: Planner | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(model)
        self.planner: Planner = planner or ForkPlanner()
        self._clock = clock
        self._characters = CHARACTERS
        self._last: OrderedDict[Prompt, str] = OrderedDict()

    async def complete(self, request: Request) -> Completion:
        """Return the answer to *request*. If it is a fork, the planner chooses its route and learns from the time.

        A failed save of the state is ignored. Raises :class:`~interwhen.ModelError` if the model fails.
        """
        if request.side is None:
            return await self._model.complete(request)
        planned = self.planner.choose(self._situation(request))
        begun = self._clock()
        answer = await self._model.complete(_routed(request, planned.route))
        seconds = self._clock() - begun
        self._learn(request, planned, answer, seconds)
        if planned.save and isinstance(self._model, Shelving):
            await self._save(self._model, request)
        return answer

    async def __aenter__(self) -> Self:
        enter = getattr(self._model, "__aenter__", None)
        if enter is not None:
            await enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ situations

    def _situation(self, request: Request) -> ForkSituation:
        shelf = self._model if isinstance(self._model, Shelving) else None
        routes = _LIVE if shelf is None else shelf.routes
        if request.summary is not None:
            routes |= {"summary"}
        prompt, prefix = _length(request.prompt), request.prefix
        before = self._last.get(request.prompt)
        held = 0 if before is None else prompt + shared(before, prefix)
        stored = 0 if shelf is None else shelf.stored(request)
        return ForkSituation(
            prefix=self._tokens(prompt + len(prefix)),
            side=self._tokens(len(request.side or "")),
            reply=request.sampling.max_tokens or 64,
            held=self._tokens(held),
            stored=self._tokens(prompt + stored) if stored else 0,
            summary=self._tokens(prompt + len(request.summary or "")),
            routes=routes,
        )

    def _learn(self, request: Request, planned: Planned, answer: Completion, seconds: float) -> None:
        usage = answer.usage
        self.planner.learn(
            planned,
            Actual(
                seconds,
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.completion_tokens,
                usage.prompt_seconds,
                usage.completion_seconds,
            ),
        )
        sent = _routed(request, planned.route)
        if usage.prompt_tokens:
            size = _length(request.prompt) + len(sent.prefix) + len(request.side or "")
            news = 1.0 if not self._last else 0.2
            self._characters += news * (max(size / usage.prompt_tokens, 0.1) - self._characters)
        self._last[request.prompt] = sent.prefix
        self._last.move_to_end(request.prompt)
        while len(self._last) > MOST_PROMPTS:
            self._last.popitem(last=False)

    async def _save(self, shelf: Shelving, request: Request) -> None:
        try:
            await shelf.save(request)
        except ModelError:
            return  # the state would only have saved time

    def _tokens(self, characters: int) -> int:
        return round(characters / self._characters)


def _routed(request: Request, route: Route) -> Request:
    """Return *request* with *route*. For the route ``summary``, the summary replaces the trace."""
    if route != "summary" or request.summary is None:
        return replace(request, route=route)
    phase = request.pieces[-1].phase if request.pieces else "answer"
    return replace(request, pieces=(Piece(request.summary, phase=phase),), route=route)


def _length(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)


# Three probes of a real endpoint, for the rates of a planner.

_SHORT = 20
_LONG = 120
"""The numbers of lines of the two probes. The second probe has fewer if the context window is small."""
_WRITTEN = 17


async def probe_rates(model: Model, *, mark: str = "probe", clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Send a warm-up request and three probes to *model*, and return its rates: seconds per unit of work.

    They cost up to about three thousand tokens, most of them prompt tokens. The prompts begin with *mark*, which should
    be new each time, because the server may have cached earlier prompts. Raises :class:`~interwhen.ModelError` if the
    model fails, and :class:`~interwhen.UsageError` if the probes give no rates.
    """
    await _ask(
        model, f"{mark}:\n", 1, "live", clock
    )  # warm-up: the first request opens connections and loads the model
    short = await _ask(model, _lines(f"{mark} a", _SHORT), 1, "prefill", clock)
    context = (await model.capabilities()).context_tokens
    most = _LONG if context is None else int(0.5 * context / max(short.prefilled, 1) * _SHORT)
    text = _lines(f"{mark} b", max(min(_LONG, most), 2 * _SHORT))
    long = await _ask(model, text, 1, "prefill", clock)
    warm = await _ask(model, text, _WRITTEN, "live", clock)
    return calibrate(short, long, warm)


async def _ask(model: Model, text: str, tokens: int, route: Route, clock: Callable[[], float]) -> Probe:
    request = Request(text, (), Sampling(max_tokens=tokens, temperature=0.0), side="Count on:", route=route)
    begun = clock()
    usage = (await model.complete(request)).usage
    seconds = clock() - begun
    size = len(text) // 4 if usage.prompt_tokens is None else usage.prompt_tokens
    cached = usage.cached_tokens or 0
    return Probe(max(size - cached, 1), usage.completion_tokens or tokens, seconds)


def _lines(mark: str, count: int) -> str:
    return "".join(f"{mark}: {number} + 7 = {number + 7}\n" for number in range(10, 10 + count))


# A planner on a real endpoint: the predicted and the measured time of each fork.

_ROOM = 0.6
"""The largest share of the context window that the trace may use."""
_LINES = 4
"""The number of lines that the trace grows by between two forks."""


class Explained(msgspec.Struct, frozen=True):
    """The predicted and the measured cost of one fork. Times are in milliseconds, sizes in tokens."""

    route: Route
    """How the fork got its prefix."""
    why: str
    """The reason for the route, in words."""
    prefix: int
    """The length of the prompt and of the trace."""
    predicted: float
    """The predicted time."""
    actual: float
    """The measured time."""
    predicted_prefill: float
    """The predicted number of prompt tokens that the server reads."""
    actual_prefill: int | None
    """The number of prompt tokens that it read; ``None`` if the server does not count prompt and cached tokens."""
    saved: bool
    """Whether the plan was to save the state after the fork."""


class Explanation(msgspec.Struct, frozen=True):
    """The predicted and measured costs of forks on one endpoint, with its rates before and after."""

    model: str
    before: Rates
    """The probed rates in seconds."""
    after: Rates
    """The rates that the planner has learnt after all forks."""
    forks: tuple[Explained, ...]

    @property
    def off(self) -> float:
        """The error of the predicted times in percent: the median over the second half of :attr:`forks`.

        There must be at least one fork.
        """
        late = self.forks[len(self.forks) // 2 :]
        return statistics.median(100.0 * abs(fork.predicted / fork.actual - 1.0) for fork in late)


async def explain(
    model: Model, rates: Rates, *, forks: int, disturb: int, say: Callable[[str], None] = lambda _: None
) -> Explanation:
    """Send *forks* forks from a growing trace, and return the predicted and the measured times of the last 512 at most.

    The planner begins with *rates*. After each *disturb* forks, other requests are sent, so that the server may evict
    its cache (0: never). *say* receives a line of progress after each fork. Raises :class:`~interwhen.ModelError` if
    the model fails.
    """
    planner = ForkPlanner(rates)
    planned = PlannedModel(model, planner)
    able = await model.capabilities()
    most = 10**6 if able.context_tokens is None else int(_ROOM * able.context_tokens)
    trace, number = "", 10
    for fork in range(forks):
        for _ in range(_LINES):
            trace += f"{number} + 9 = {number + 9}\n"
            number += 1
        before = planner.shown[-1] if planner.shown else None
        if before is not None and before.planned.situation.prefix > most:
            trace = trace[len(trace) // 2 :]
        await planned.complete(_fork(trace))
        say(f"fork {fork + 1} of {forks}")
        if disturb and fork % disturb == disturb - 1:
            await _disturb(model, fork)
    return Explanation(model.name, rates, planner.rates, tuple(explained(shown) for shown in planner.shown))


def explained(shown: Shown) -> Explained:
    """Convert *shown* for display, with times in milliseconds and the reason for the route in words."""
    planned, actual = shown
    why = "trial, to learn its cost" if planned.is_trial else "the only route"
    if planned.others and not planned.is_trial:
        route, seconds = planned.others[0]
        why = f"{route} would take {1e3 * seconds:.1f} ms"
    fresh = None
    if actual.prompt_tokens is not None and actual.cached_tokens is not None:
        fresh = actual.prompt_tokens - actual.cached_tokens
    return Explained(
        planned.route,
        why,
        planned.situation.prefix,
        1e3 * planned.seconds,
        1e3 * actual.seconds,
        planned.prefilled,
        fresh,
        planned.save,
    )


def _fork(trace: str) -> Request:
    sampling = Sampling(max_tokens=4, temperature=0.0)
    return Request("Add nine to each number.\n", (Piece(trace),), sampling, side="The last sum was ")


async def _disturb(model: Model, number: int) -> None:
    """Send three requests with prompts that *number* makes new, so that the server may have to evict its cache."""
    for place in range(3):
        text = f"{number} {place} " + "something else altogether. " * 8
        try:
            await model.complete(Request(text, (), Sampling(max_tokens=1, temperature=0.0)))
        except ModelError:
            return
