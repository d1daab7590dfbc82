"""Chooses how each fork gets its prefix: recompute or move, by what each would cost.

Why: docs/decisions/0027-planning-forks.md.
"""

from __future__ import annotations

import statistics
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import msgspec

from interwhen._types.errors import ModelError, UsageError
from interwhen._types.models import Capabilities, Completion, Model, Piece, Prompt, Request, Route, Sampling, Stream
from interwhen.models._local import shared

# What a planner decides on, and what it hears afterwards: frozen records, and one Protocol.


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One fork that is due, as far as is known before it is sent. All sizes are in tokens."""

    prefix: int
    """Of the prompt and the trace up to the end of the segment."""
    side: int
    """Of the question."""
    reply: int
    """Of the answer, as far as can be told."""
    held: int = 0
    """Of the prefix, what the server held when it was last asked; it may have given that up since."""
    stored: int = 0
    """Of the prefix, what lies in a saved state that can be restored."""
    summary: int = 0
    """Of the text that may stand for the whole prefix."""
    routes: frozenset[Route] = field(default_factory=lambda: frozenset({"live"}))
    """What the endpoint and the fork can do."""


class Actual(NamedTuple):
    """What a fork came to, by the clock and by the server's own counters (``None`` where it does not say)."""

    seconds: float
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reply_tokens: int | None = None
    prompt_seconds: float | None = None
    """What the server says that reading the prompt took."""
    reply_seconds: float | None = None
    """What it says that writing the reply took."""
    parsed: bool = True
    """Whether a local parser had an answer."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The route that a fork takes, and what it is thought to cost."""

    route: Route
    situation: Situation
    seconds: float
    prefilled: float
    """Prompt tokens that the server is thought to read anew."""
    save: bool = False
    """Whether the state behind the fork is worth saving."""
    is_trial: bool = False
    """Whether it is taken to learn what it costs."""
    others: tuple[tuple[Route, float], ...] = ()
    """What the other routes were thought to cost, in seconds."""


@runtime_checkable
class Planner(Protocol):
    """Chooses how each fork gets its prefix. Both methods must be quick and raise nothing."""

    def choose(self, situation: Situation) -> Planned:
        """Return the route for a fork in *situation*, one of its routes."""
        ...

    def learn(self, planned: Planned, actual: Actual) -> None:
        """Take in what a fork came to."""
        ...


# What a request costs, as a sum of five rates, and how they follow from three probes.

LEAST = 1e-7
"""No rate is thought to be less than so many seconds."""
RESTORING = 0.05
"""What restoring a token is thought to cost before it was tried, as a part of reading it anew."""


class Rates(NamedTuple):
    """Seconds a request, a token and a restore take. Their order is that of :class:`Work`."""

    request: float
    prefill: float
    decode: float
    restore: float
    restored: float


class Work(NamedTuple):
    """How much of each there is to do: requests, tokens read, tokens written, restores, tokens restored."""

    requests: float
    prefilled: float
    decoded: float
    restores: float = 0.0
    restored: float = 0.0

    def seconds(self, rates: Rates) -> float:
        """Return what it takes at these *rates*."""
        return sum(amount * rate for amount, rate in zip(self, rates, strict=True))


class Probe(NamedTuple):
    """One request that was made to learn the rates: what the server read and wrote, and how long it took."""

    prefilled: int
    decoded: int
    seconds: float


def work_of(route: Route, situation: Situation, hit: float) -> Work:
    """Return the work of a fork that takes *route*. *hit* is the part of what was held that is still there."""
    behind = situation.side
    match route:
        case "live":
            return Work(1.0, max(situation.prefix - hit * situation.held, 0.0) + behind, situation.reply)
        case "restored":
            anew = max(situation.prefix - situation.stored, 0)
            return Work(1.0, anew + behind, situation.reply, 1.0, situation.stored)
        case "summary":
            return Work(1.0, situation.summary + behind, situation.reply)
        case "prefill":
            return Work(1.0, situation.prefix + behind, situation.reply)
        case "parser":
            return Work(0.0, 0.0, 0.0)


def calibrate(short: Probe, long: Probe, warm: Probe) -> Rates:
    """Return the rates that three probes show.

    *short* and *long* are read anew and write equally much; *warm* repeats *long*, so that little is read, and writes
    more. What restoring costs is not probed: it is guessed, and tried early.
    """
    if long.prefilled <= short.prefilled or warm.decoded <= long.decoded:
        raise UsageError("calibrate: the second probe must read more than the first, the third one write more than it")
    prefill = max((long.seconds - short.seconds) / (long.prefilled - short.prefilled), LEAST)
    written = warm.decoded - long.decoded
    read_less = prefill * (long.prefilled - warm.prefilled)
    decode = max((warm.seconds - (long.seconds - read_less)) / written, LEAST)
    request = max(short.seconds - prefill * short.prefilled - decode * short.decoded, LEAST)
    return Rates(request, prefill, decode, request, prefill * RESTORING)


# Follows the five rates from what requests took: a Kalman filter for rates that wander (Kalman 1960).
#
# The error of a rate is relative: it starts as a part of the rate itself, and grows a little with every request.

TRUST = 0.5
"""Standard deviation of a rate that was calibrated, as a part of it."""
DRIFT = 0.02
"""By how much a rate may wander from one request to the next, as a part of it."""
NOISE = 0.15
"""Standard deviation of what a request takes around what its work explains, as a part of it."""
SURPRISE = 2.0
"""A request that takes so many times as much, or as little, as was thought is a surprise."""
SURPRISES = 2
"""So many surprises on end, to the same side, and what was known is believed no more."""

_Matrix = list[list[float]]


@dataclass(slots=True)
class Tracking:
    """The rates as they are thought to be now, with the covariance of their errors."""

    rates: Rates
    surprises: int = 0
    """Surprises on end: above 0 where requests took longer than was thought, below 0 where they were shorter."""
    _errors: _Matrix = field(default_factory=list)

    def __post_init__(self) -> None:
        self._errors = self._spread(TRUST)

    def learn(self, work: Work, seconds: float) -> bool:
        """Take in that *work* took so many *seconds*. Return whether what was known has been given up."""
        expected = max(work.seconds(self.rates), LEAST)
        doubted = self._doubt(seconds / expected)
        for index, rate in enumerate(self.rates):
            self._errors[index][index] += (DRIFT * rate) ** 2
        noise = (NOISE * expected) ** 2
        if self.surprises and not doubted:
            noise *= 25.0  # One request may have waited for somebody else.
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
"""Rates of nobody's machine, for a planner that was not calibrated: they are soon put right."""
TRIALS: tuple[Route, ...] = ("restored", "live")
"""Routes of which the others tell too little: they are tried once, early."""
TRIAL_EVERY = 4
"""At most one of so many forks is a trial."""
TRIAL_COST = 4.0
"""No trial is thought to cost more than so many times the best route."""
STALE = 64
"""Forks after which a route that was not taken is tried again, if it is thought to be nearly as good."""
NEARLY = 1.5
KEPT = 512
"""Forks that are remembered, to be shown."""


class Shown(NamedTuple):
    """One fork: what was thought, and what came."""

    planned: Planned
    actual: Actual


@dataclass(slots=True)
class _Share:
    """A share that is learnt, the latest news weighing most."""

    hits: float
    tries: float

    @property
    def value(self) -> float:
        return self.hits / self.tries

    def learn(self, hit: float) -> None:
        self.hits = 0.9 * self.hits + hit
        self.tries = 0.9 * self.tries + 1.0


class ForkPlanner:
    """Chooses the route that is thought to take the least time, and is put right by what each fork took.

    *rates* come from :func:`~interwhen.strategies.calibrate` (three probes); without them it begins with a guess. One
    planner serves one endpoint, and any number of runs.
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
        """What things are thought to take now, in seconds."""
        return self.tracking.rates

    @property
    def hit(self) -> float:
        """The part of a prefix that a server still holds when it is asked again."""
        return self._hits.value

    def choose(self, situation: Situation) -> Planned:
        """Return the route for a fork in *situation*."""
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
        """Take in what a fork came to."""
        self.shown.append(Shown(planned, actual))
        if planned.route == "parser":
            self._parses.learn(float(actual.parsed))
            self._parsing.learn(actual.seconds)
            return
        situation = planned.situation
        work = work_of(planned.route, situation, self.hit)
        if actual.prompt_tokens is not None and actual.cached_tokens is not None:
            anew = max(actual.prompt_tokens - actual.cached_tokens, 0)
            work = work._replace(prefilled=float(anew))
            if planned.route == "live" and situation.held > 0:
                self._hits.learn(min(actual.cached_tokens / situation.held, 1.0))
        if actual.reply_tokens is not None:
            work = work._replace(decoded=float(actual.reply_tokens))
        if self._follow(work, actual):
            self._taken.clear()

    # ------------------------------------------------------------------ costs

    def costs(self, situation: Situation) -> dict[Route, float]:
        """Return what each route is thought to take in *situation*, in seconds."""
        rates = self.rates
        costs: dict[Route, float] = {
            route: work_of(route, situation, self.hit).seconds(rates)
            for route in situation.routes
            if route != "parser" and not (route == "restored" and not situation.stored)
        }
        if not costs:
            costs["live"] = work_of("live", situation, self.hit).seconds(rates)
        if "parser" in situation.routes:
            # Where the parser has no answer, the fork is made after all.
            costs["parser"] = self._parsing.value + (1.0 - self._parses.value) * min(costs.values())
        return costs

    def _due(self, situation: Situation, costs: dict[Route, float], best: float) -> Route | None:
        """Return a route that should be taken to learn what it costs."""
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

    def _is_worth_saving(self, situation: Situation) -> bool:
        """Tell whether saving the state is less than what it is thought to save at the next fork."""
        rates, size = self.rates, situation.prefix + situation.side
        move = rates.restore + rates.restored * size
        lost = (1.0 - self.hit) * max(rates.prefill * size - move, 0.0)
        return move < lost

    def _follow(self, work: Work, actual: Actual) -> bool:
        """Let the rates follow; the server's own timings say more than the sum."""
        read, written = actual.prompt_seconds, actual.reply_seconds
        if read is None or written is None:
            return self.tracking.learn(work, actual.seconds)
        # What the server's timings leave of the clock's is the request itself, and the restore if there was one.
        doubted = False
        if work.prefilled > 0:
            doubted |= self.tracking.learn(Work(0.0, work.prefilled, 0.0), read)
        if work.decoded > 0:
            doubted |= self.tracking.learn(Work(0.0, 0.0, work.decoded), written)
        rest = Work(work.requests, 0.0, 0.0, work.restores, work.restored)
        return self.tracking.learn(rest, max(actual.seconds - read - written, 0.0)) or doubted


# A model whose forks are planned: each gets its prefix by the route that is thought to take the least time.

MOST_PROMPTS = 64
"""Prompts of which it is remembered what the server was asked last."""
CHARACTERS = 4.0
"""Characters of a token, until the server's counts say it better."""
_LIVE: frozenset[Route] = frozenset({"live"})


@runtime_checkable
class Shelving(Protocol):
    """A model that can choose how a fork gets its prefix, and keep states to be restored."""

    @property
    def routes(self) -> frozenset[Route]:
        """The routes it can take: what stands in ``Request.route``."""
        ...

    def stored(self, request: Request) -> int:
        """Return how many characters of the prefix of *request* lie in a saved state."""
        ...

    async def save(self, request: Request) -> None:
        """Save the state behind *request*, which was the last fork of its prompt; where it is gone, do nothing."""
        ...


class PlannedModel:
    """*model*, with its forks planned by *planner*. Everything else goes to the model as it is.

    Which routes there are is the model's matter: any model has the live prefix (as the server likes), a local model
    with a shelf has all. A fork that brings a summary can take that.
    """

    def __init__(
        self, model: Model, planner: Planner | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.model = model
        self.planner: Planner = planner or ForkPlanner()
        self._clock = clock
        self._characters = CHARACTERS
        self._last: OrderedDict[Prompt, str] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        # What a model may have beside the protocol (timeouts, feedback, retries) is that of the model.
        if name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    async def capabilities(self) -> Capabilities:
        """Say what the model can do."""
        return await self.model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Stream a continuation, as the model does."""
        return await self.model.stream(request)

    async def complete(self, request: Request) -> Completion:
        """Answer *request*; a fork by the route that is planned for it."""
        if request.side is None:
            return await self.model.complete(request)
        planned = self.planner.choose(self._situation(request))
        begun = self._clock()
        answer = await self.model.complete(_routed(request, planned.route))
        seconds = self._clock() - begun
        self._learn(request, planned, answer, seconds)
        if planned.save and isinstance(self.model, Shelving):
            await self._save(self.model, request)
        return answer

    async def aclose(self) -> None:
        """Close the model."""
        await self.model.aclose()

    async def __aenter__(self) -> Self:
        enter = getattr(self.model, "__aenter__", None)
        if enter is not None:
            await enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ what is known

    def _situation(self, request: Request) -> Situation:
        shelf = self.model if isinstance(self.model, Shelving) else None
        routes = _LIVE if shelf is None else shelf.routes
        if request.summary is not None:
            routes |= {"summary"}
        prompt, prefix = _length(request.prompt), request.prefix
        before = self._last.get(request.prompt)
        held = 0 if before is None else prompt + shared(before, prefix)
        stored = 0 if shelf is None else shelf.stored(request)
        return Situation(
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
            return  # It only would have saved time.

    def _tokens(self, characters: int) -> int:
        return round(characters / self._characters)


def _routed(request: Request, route: Route) -> Request:
    """Return *request* as it is sent by *route*."""
    if route != "summary" or request.summary is None:
        return replace(request, route=route)
    phase = request.pieces[-1].phase if request.pieces else "answer"
    return replace(request, pieces=(Piece(request.summary, phase=phase),), route=route)


def _length(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(message.content) for message in prompt)


# Three requests to a real endpoint, from which the rates of a planner follow.

_SHORT = 20
_LONG = 120
"""Lines of the two probes; fewer of the second where the context is short."""
_WRITTEN = 17


async def probe_rates(model: Model, *, mark: str = "probe", clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Return what requests to *model* take, by three short ones. They cost about two thousand tokens.

    *mark* begins their prompts: it should be new at each time, or the server may hold them still. Raises
    :class:`~interwhen.ModelError`, and :class:`~interwhen.UsageError` where they show nothing.
    """
    await _ask(model, f"{mark}:\n", 1, "live", clock)  # not counted: the first request of all opens and loads things
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


# A planner at work on a real endpoint: what it thought that each fork would take, and what it took.

_ROOM = 0.6
"""The part of the context that the trace may grow to."""
_LINES = 4
"""Lines that come between two forks."""


class Explained(msgspec.Struct, frozen=True):
    """One fork. Times are in milliseconds, sizes in tokens."""

    route: Route
    why: str
    """What speaks for it: the route that was thought to come next, and what it would have taken."""
    prefix: int
    predicted: float
    actual: float
    predicted_prefill: float
    actual_prefill: int | None
    """``None``: the server does not say."""
    saved: bool


class Explanation(msgspec.Struct, frozen=True):
    """A planner at work on one endpoint."""

    model: str
    before: Rates
    """The rates that were probed, in seconds."""
    after: Rates
    forks: tuple[Explained, ...]

    @property
    def off(self) -> float:
        """Return by how much the prediction of the median fork of the second half was off, in percent."""
        late = self.forks[len(self.forks) // 2 :]
        return statistics.median(100.0 * abs(fork.predicted / fork.actual - 1.0) for fork in late)


async def explain(
    model: Model, rates: Rates, *, forks: int, disturb: int, say: Callable[[str], None] = lambda _: None
) -> Explanation:
    """Fork *forks* times off a growing trace, and let others ask something after each *disturb* forks.

    Raises :class:`~interwhen.ModelError`.
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
    """Return what *shown* says, in words and milliseconds."""
    planned, actual = shown
    why = "tried, to learn what it takes" if planned.is_trial else "the only one"
    if planned.others and not planned.is_trial:
        route, seconds = planned.others[0]
        why = f"{route} would take {1e3 * seconds:.1f} ms"
    anew = None
    if actual.prompt_tokens is not None and actual.cached_tokens is not None:
        anew = actual.prompt_tokens - actual.cached_tokens
    return Explained(
        planned.route,
        why,
        planned.situation.prefix,
        1e3 * planned.seconds,
        1e3 * actual.seconds,
        planned.prefilled,
        anew,
        planned.save,
    )


def _fork(trace: str) -> Request:
    sampling = Sampling(max_tokens=4, temperature=0.0)
    return Request("Add nine to each number.\n", (Piece(trace),), sampling, side="The last sum was ")


async def _disturb(model: Model, number: int) -> None:
    """Ask for something else on every slot, so that the server may have to give up what it holds."""
    for place in range(3):
        text = f"{number} {place} " + "something else altogether. " * 8
        try:
            await model.complete(Request(text, (), Sampling(max_tokens=1, temperature=0.0)))
        except ModelError:
            return
