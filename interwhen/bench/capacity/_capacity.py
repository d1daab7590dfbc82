"""Reads the capacity model: how many streams a core carries, what many streams need, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from interwhen.bench.capacity._costs import Measured
from interwhen.bench.capacity._simulation import Simulated, simulate

BUSY = 0.7
"""The share of a core or of workers that is planned for. Above it, waiting times grow fast."""
LATE_MS = 10.0
"""The 99th percentile of the delay that the event loop may add to a token."""
_DAY = 86_400.0
_FILES_OF_STREAM = 2
"""A gateway has a connection to the client and one to the model server."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """The processes, cores, machines, memory and rates of tokens that *streams* simultaneous streams need."""

    streams: int
    loop_processes: int
    """Processes with an event loop: gateways or drivers."""
    worker_cores: float
    """Cores for checks in workers."""
    machines: int
    """Machines like the measured one, by cores and memory."""
    memory_mb: float
    """The memory of all streams, in MB (a million bytes), without that of a process without streams."""
    tokens_per_second: float
    """What the model servers generate for the answers."""
    fork_tokens_per_second: float
    """What they generate for forks, in addition."""
    journal_gb_per_day: float
    """The size of the journals of one day, in GB, if every answer has one."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that is used up at *streams* simultaneous streams, and what helps then."""

    what: str
    streams: int
    """At how many simultaneous streams it is used up."""
    then: str


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the capacity model says: streams per core, the needs of many streams, and the limits that they reach."""

    streams_per_core: int
    """About how many streams one event loop carries."""
    workers_per_thousand: float
    """Worker processes for a thousand streams."""
    fork_tokens_per_answer: float
    """The tokens that all forks of an answer generate, in the mean."""
    journal_bytes_per_answer: float
    """The expected size of the journal of an answer."""
    at: Simulated
    """The simulation of one process with as many streams as a core carries."""
    needs: tuple[Needs, ...]
    limits: tuple[Limit, ...]
    """The one that breaks first comes first."""


def cpu_share(measured: Measured, streams: float) -> float:
    """Compute the share of a core that the event loop of *streams* streams needs, from the measured costs."""
    costs, load = measured.costs, measured.load
    rate = streams * load.rate
    batches = rate * costs.batch_ms / 1e3
    wakes = (1 - math.exp(-batches)) / costs.batch_ms * 1e3
    answers = streams / load.seconds
    extras = costs.run_us + load.checks * costs.check_us + load.forks * costs.fork_us + load.remedies * costs.remedy_us
    idle = costs.process_us + streams * costs.stream_us
    return (idle + wakes * costs.wake_us + rate * costs.token_us + answers * extras) / 1e6


def workers_for(measured: Measured, streams: float) -> float:
    """Return how many workers are busy on average with the checks of *streams* streams, from the measured costs."""
    load = measured.load
    return streams / load.seconds * load.checks * (load.check_ms / 1e3 + measured.costs.worker_us / 1e6)


def streams_per_core(
    measured: Measured, *, seed: int = 0, on_simulated: Callable[[int], None] = lambda _: None
) -> tuple[int, Simulated]:
    """Return about how many streams one event loop carries (at least 1), and the simulation of these streams.

    The loop may be busy for :data:`BUSY` of the time, and may delay tokens by :data:`LATE_MS` in the 99th percentile.
    *on_simulated* is called with the number of streams of each simulation.
    """
    # The first is computed, the second is simulated, with a tenth fewer streams each time until it holds or one is
    # left.
    low, high = 1, 2
    while cpu_share(measured, high) <= BUSY:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cpu_share(measured, middle) <= BUSY else (low, middle)
    streams = low
    while True:
        workers = max(1, math.ceil(workers_for(measured, streams) / BUSY))
        found = simulate(measured.costs, measured.load, streams=streams, workers=workers, seed=seed)
        on_simulated(streams)
        if found.late_p99_ms <= LATE_MS or streams == 1:
            return streams, found
        streams = max(1, int(streams * 0.9))


def read_capacity(
    measured: Measured,
    streams: tuple[int, ...],
    *,
    seed: int = 0,
    on_simulated: Callable[[int], None] = lambda _: None,
) -> Capacity:
    """Compute what each number of *streams* needs and what breaks first. The same arguments give the same result.

    *on_simulated* is called with the number of streams of each simulation.
    """
    each, at = streams_per_core(measured, seed=seed, on_simulated=on_simulated)
    limits = sorted(_limits(measured, each), key=lambda limit: limit.streams)
    return Capacity(
        streams_per_core=each,
        workers_per_thousand=workers_for(measured, 1000) / BUSY,
        fork_tokens_per_answer=measured.load.fork_tokens,
        journal_bytes_per_answer=journal_bytes(measured),
        at=at,
        needs=tuple(_needs(measured, each, number) for number in streams),
        limits=tuple(limits),
    )


def journal_bytes(measured: Measured) -> float:
    """Return the expected size of the journal of an average answer, in bytes, from the measured costs."""
    costs, load = measured.costs, measured.load
    return costs.journal_run_bytes + load.tokens * costs.journal_token_bytes + load.checks * costs.journal_check_bytes


def _needs(measured: Measured, each: int, streams: int) -> Needs:
    load, machine = measured.load, measured.machine
    processes = math.ceil(streams / each)
    workers = workers_for(measured, streams) / BUSY
    memory = max(streams * measured.costs.stream_kb * 1024 / 1e6, 0.0)
    return Needs(
        streams=streams,
        loop_processes=processes,
        worker_cores=workers,
        machines=max(math.ceil((processes + workers) / machine.cores), math.ceil(memory / machine.memory_mb)),
        memory_mb=memory,
        tokens_per_second=streams * load.rate,
        fork_tokens_per_second=streams / load.seconds * load.fork_tokens,
        journal_gb_per_day=streams / load.seconds * _DAY * journal_bytes(measured) / 1e9,
    )


def _limits(measured: Measured, each: int) -> Iterator[Limit]:
    machine, load, costs = measured.machine, measured.load, measured.costs
    yield _limit("one event loop", each, "start more gateway processes behind one port")
    cores = each * machine.cores / (1 + each * workers_for(measured, 1) / BUSY)
    yield _limit(
        f"the {machine.cores} cores of this machine",
        cores,
        "use more machines; checks of 5 ms and more can go to a Ray cluster (workers='ray')",
    )
    if costs.stream_kb > 0:  # 0 where the system does not report the memory of a process
        yield _limit(
            "the memory of this machine",
            machine.memory_mb * 1e6 / 1024 / costs.stream_kb,
            "use more machines or memory",
        )
    yield _limit(
        "the open files of one process",
        machine.open_files / _FILES_OF_STREAM,
        "raise the limit of open files, or start more processes",
    )
    yield _limit(
        "the ports to one model server",
        machine.ports,
        "give the servers more addresses, or put gateways on more machines",
    )
    if growth := journal_bytes(measured) / load.seconds * _DAY:
        yield _limit(
            "the disk for a day of journals",
            machine.disk_gb * 1e9 / growth,
            "keep the journals on an object store, or delete them earlier",
        )


def _limit(what: str, streams: float, then: str) -> Limit:
    return Limit(what=what, streams=max(0, int(streams)), then=then)
