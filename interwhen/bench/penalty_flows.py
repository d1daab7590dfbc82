"""One measured run: a model's stream read bare, or supervised, with the time at which each piece of text came."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence

import msgspec

from interwhen.bench.penalty_attribution import Clocked, MonitorCost, Watched
from interwhen.events import CheckSettled, Delta, StreamEnded
from interwhen.models.base import Model, Request
from interwhen.results import Result
from interwhen.running import run


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """How one run went; times are in seconds since it began."""

    arrivals: tuple[float, ...]
    """When each piece of the model's text reached its reader."""
    total: float
    """Until the reader knew that it is over; supervised, that includes the checks that were still open."""
    tail: float = 0.0
    """From the end of the stream to that moment."""
    tokens: int
    text_sha256: str
    fork_spans: tuple[tuple[float, float], ...] = ()
    """When each fork was asked and answered."""
    forks: int = 0
    fork_tokens: int = 0
    fork_prompt_tokens: int = 0
    costs: tuple[MonitorCost, ...] = ()
    why_not: str = ""
    """Why this was no run in which all went well; empty: it was."""

    @property
    def gaps(self) -> list[float]:
        """Seconds between the arrivals."""
        return [later - earlier for earlier, later in itertools.pairwise(self.arrivals)]


async def read_bare(model: Model, request: Request) -> Flow:
    """Read what *model* says to *request*, and do nothing else. Raises what the model raises."""
    clock, arrivals, tokens, texts = time.perf_counter, [], 0, []
    begun = clock()
    stream = await model.stream(request)
    try:
        while chunks := await stream.receive():
            now = clock() - begun
            for chunk in chunks:
                tokens += chunk.tokens
                if chunk.text:
                    arrivals.append(now)
                    texts.append(chunk.text)
        total = clock() - begun
    finally:
        await stream.aclose()
    return Flow(arrivals=tuple(arrivals), total=total, tokens=tokens, text_sha256=_sha256("".join(texts)))


async def read_supervised(model: Model, request: Request, monitors: Sequence[Clocked]) -> Flow:
    """Read the same through a run that *monitors* watch, as a user of :func:`interwhen.run` does."""
    clock, arrivals = time.perf_counter, []
    watched = Watched(model)
    last_check: dict[str, float] = {}
    ended = 0.0
    begun = watched.begun = clock()
    for monitor in monitors:
        monitor.reset()
    async with run(
        watched, request.prompt, monitors=[each.monitor for each in monitors], sampling=request.sampling
    ) as supervised:
        async for event in supervised:
            if type(event) is Delta:
                if event.origin == "model":
                    arrivals.append(clock() - begun)
            elif type(event) is CheckSettled:
                last_check[event.check.monitor] = clock() - begun
            elif type(event) is StreamEnded:
                ended = clock() - begun
        total = clock() - begun
    result = supervised.result
    return Flow(
        arrivals=tuple(arrivals),
        total=total,
        tail=result.timing.tail,
        tokens=result.ledger.kept + result.ledger.discarded,
        text_sha256=_sha256(result.text),
        fork_spans=tuple(watched.forks),
        forks=result.ledger.forks,
        fork_tokens=result.ledger.fork_tokens,
        fork_prompt_tokens=result.ledger.fork_prompt_tokens,
        costs=tuple(monitor.cost(result, last_check, ended) for monitor in monitors),
        why_not=_why_not(result),
    )


def _why_not(result: Result) -> str:
    """Say why this was no correct run: it was interrupted, or did not come to its end."""
    acted = [violation for violation in result.violations if violation.interrupted]
    if acted:
        return f"interrupted by {acted[0].monitor}: {acted[0].why}"
    if result.status in ("abstained", "failed"):
        return result.status
    return ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
