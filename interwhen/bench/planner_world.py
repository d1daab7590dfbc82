"""A simulated server for the fork planner: its truth is of another kind than the planner's five rates.

Reading a prompt grows faster than its length (attention) and goes in batches, a restore moves pages over a disk that
seeks, a busy main stream slows everything, times are log-normal around that, and a held prefix is lost now and then.
No model is involved.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from interwhen.models.base import Route
from interwhen.planning import Actual, Situation

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
