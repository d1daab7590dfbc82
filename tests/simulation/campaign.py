"""Plays many worlds on several cores, counts the coverage labels that they reach, and shrinks the first failures."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from tests.simulation.cases import BrokenInvariant
from tests.simulation.coverage import reached
from tests.simulation.generation import generate, shrink
from tests.simulation.invariants import examine
from tests.simulation.worlds import World

_BATCH = 200
"""Worlds per task of a worker."""
_MOST = 20
"""The maximum number of failures that are kept, because one defect breaks many worlds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed whose world breaks invariants, and the broken invariants."""

    seed: int
    broken: tuple[BrokenInvariant, ...]


@dataclass(slots=True)
class Campaign:
    """The results of a number of worlds."""

    worlds: int = 0
    seconds: float = 0.0
    """CPU time, in all workers."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """For each coverage label (its kind and name), how many worlds reached it."""
    failures: list[Failure] = field(default_factory=list)
    """The failures with the lowest seeds, at most 20."""
    failed: int = 0
    """How many worlds failed in all."""

    def add(self, other: Campaign) -> None:
        self.worlds += other.worlds
        self.seconds += other.seconds
        self.counts.update(other.counts)
        self.failed += other.failed
        self.failures = sorted([*self.failures, *other.failures], key=lambda failure: failure.seed)[:_MOST]


def run_batch(seeds: range) -> Campaign:
    # The garbage collector of Python is off meanwhile, and on afterwards.
    campaign = Campaign()
    begun = time.process_time()
    gc.disable()  # collections during many short worlds would cost a tenth of the time
    try:
        for seed in seeds:
            examined = examine(generate(seed))
            campaign.counts.update(reached(examined.played))
            if examined.broken:
                campaign.failed += 1
                campaign.failures = [*campaign.failures, Failure(seed, examined.broken)][:_MOST]
    finally:
        gc.enable()
        gc.collect()
    campaign.worlds = len(seeds)
    campaign.seconds = time.process_time() - begun
    return campaign


def run_campaign(seeds: range, *, jobs: int = 1, progress: Callable[[Campaign], None] | None = None) -> Campaign:
    # If `jobs` is at most 1, this process plays them. The function `progress` is called after each batch, with the
    # results so far.
    whole = Campaign()
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    for batch in _batches(batches, jobs):
        whole.add(batch)
        if progress is not None:
            progress(whole)
    return whole


def _batches(batches: list[range], jobs: int) -> Iterator[Campaign]:
    if jobs <= 1:
        yield from map(run_batch, batches)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_batch, batches)


def shrink_failure(world: World, broken: tuple[BrokenInvariant, ...], *, plays: int = 1500) -> World:
    # At most `plays` worlds are examined.
    return shrink(world, partial(_breaks, broken[0].invariant), plays=plays)


def _breaks(invariant: str, world: World) -> bool:
    return any(one.invariant == invariant for one in examine(world).broken)
