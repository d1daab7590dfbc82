"""What the gateway adds to a stream, and how many streams one process carries, measured as pairs in one run."""

from __future__ import annotations

import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from interwhen.bench.arms import TransportName, armed, open_transport, paced_server
from interwhen.bench.crowd import Crowd, Reader, Reading, judge, read_crowd, run_crowd
from interwhen.bench.stats import percentile
from interwhen.errors import UsageError
from interwhen.registry import load_monitors

_SERVE = "import sys; from interwhen.cli.main import main; sys.exit(main())"


class Added(msgspec.Struct, frozen=True):
    """What is slower through the gateway than without it, at one stream, in milliseconds."""

    first_direct_p50_ms: float
    first_p50_ms: float
    """Of the differences of time to first token, within pairs."""
    first_p99_ms: float
    gap_direct_p99_ms: float
    """99 % of the gaps between chunks are no longer than this, less the gap that is meant to be."""
    gap_p99_ms: float
    """What the gateway adds to that."""


class Carried(msgspec.Struct, frozen=True):
    """A crowd read in one way, and as bytes from the generator."""

    rate: float
    direct: Crowd
    crowd: Crowd
    cpu_microseconds: float | None = None
    """CPU that each chunk took: in the gateway, or in this process for reading it in a run."""
    memory_kb: float | None = None
    """Resident memory that each stream took, in the gateway."""

    @property
    def added_p99_ms(self) -> float:
        """How much later chunks come."""
        return self.crowd.late_p99_ms - self.direct.late_p99_ms


class GatewayReport(msgspec.Struct, frozen=True):
    """The whole report."""

    machine: str
    monitors: str
    pairs: int
    seconds: float
    added: Added
    gateway: Carried
    run: Carried


async def measure(
    *,
    pairs: int = 200,
    streams: int = 500,
    seconds: float = 20.0,
    gateway_rate: float = 20.0,
    run_rate: float = 50.0,
    monitor: str = "arithmetic",
    transport: TransportName = "aiohttp",
    seed: int = 0,
    say: Callable[[str], None] = lambda _line: None,
) -> GatewayReport:
    """Run the benchmark: the generator and the readers of bytes on the last core, what is measured on the first."""
    monitors = load_monitors([monitor] if monitor else [])
    with paced_server("interwhen.bench.crowd_pacer") as url:
        with _gateway(url, monitor) as (process, gateway_url), _cores(last=True):
            say(f"added time: {pairs} pairs at 1 stream")
            added = await _added(url, gateway_url, pairs, random.Random(seed))  # noqa: S311
            chunks = max(int(seconds * gateway_rate), 2)
            say(f"{streams} streams at {gateway_rate:g} chunks/s, direct and through one gateway process")
            direct = judge(await read_crowd(url, streams, chunks, gateway_rate), chunks, gateway_rate)
            idle = _resident_kb(process)
            peak, before = _Peak(process), _cpu_seconds(process)
            async with peak:
                carried = judge(await read_crowd(gateway_url, streams, chunks, gateway_rate), chunks, gateway_rate)
            spent = None if before is None else (_cpu_seconds(process) or before) - before
            cost = None if spent is None else spent / (streams * chunks) * 1e6
            memory = None if idle is None else (peak.kb - idle) / streams
        chunks = max(int(seconds * run_rate), 2)
        say(f"{streams} streams at {run_rate:g} chunks/s, as bytes and through interwhen.run in this process")
        with _cores(last=False):
            bare = judge(await read_crowd(url, streams, chunks, run_rate), chunks, run_rate)
            way = open_transport(transport)
            begun = time.process_time()
            try:
                found = await run_crowd(url, streams, chunks, run_rate, way, monitors or armed(1))
            finally:
                await way.aclose()
            run_cost = (time.process_time() - begun) / (streams * chunks) * 1e6
            supervised = judge(found, chunks, run_rate)
    return GatewayReport(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        monitors=monitor or "none",
        pairs=pairs,
        seconds=seconds,
        added=added,
        gateway=Carried(gateway_rate, direct, carried, cost, memory),
        run=Carried(run_rate, bare, supervised, run_cost),
    )


async def _added(url: str, gateway_url: str, pairs: int, rng: random.Random) -> Added:
    """Read the same streams both ways, in random order within each pair."""
    readers = {"direct": Reader(url), "gateway": Reader(gateway_url)}
    found: dict[str, list[Reading]] = {name: [] for name in readers}
    rate, chunks = 50.0, 25
    for number in range(pairs + 2):
        order = list(readers)
        rng.shuffle(order)
        for name in order:
            reading = await readers[name].read(f"{chunks}@{rate:g}")
            if not reading.ended:
                raise UsageError(f"a stream {name} did not come to its end; nothing can be measured like this")
            if number > 1:  # the first ones warm up
                found[name].append(reading)
    for reader in readers.values():
        reader.close()
    first = [b.first - a.first for a, b in zip(found["direct"], found["gateway"], strict=True)]
    gaps = {name: percentile([gap for each in many for gap in each.gaps], 0.99) for name, many in found.items()}
    return Added(
        first_direct_p50_ms=percentile([each.first for each in found["direct"]], 0.5) * 1e3,
        first_p50_ms=percentile(first, 0.5) * 1e3,
        first_p99_ms=percentile(first, 0.99) * 1e3,
        gap_direct_p99_ms=(gaps["direct"] - 1 / rate) * 1e3,
        gap_p99_ms=(gaps["gateway"] - gaps["direct"]) * 1e3,
    )


class _Peak:
    """Watches the resident memory of a process."""

    def __init__(self, process: int) -> None:
        self._process = process
        self.kb = 0.0

    async def __aenter__(self) -> None:
        import anyio

        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._watch)

    async def __aexit__(self, *exc_info: object) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)

    async def _watch(self) -> None:
        import anyio

        while True:
            self.kb = max(self.kb, _resident_kb(self._process) or 0.0)
            await anyio.sleep(0.2)


def _cpu_seconds(process: int) -> float | None:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_kb(process: int) -> float | None:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return None
    return float(found[1]) if found else None


@contextmanager
def _gateway(url: str, monitor: str) -> Iterator[tuple[int, str]]:
    """Run a gateway as users do, on the first core; yield its process and its address."""
    command = [sys.executable, "-c", _SERVE, "serve", "--upstream", url, "--port", "0"]
    command += ["--monitor", monitor] if monitor else []
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        if (found := re.search(r"serving (http://\S+)", line)) is None:
            raise UsageError(f"the gateway did not start: {line.strip()}")
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        yield child.pid, found[1]
    finally:
        child.kill()
        child.communicate()


@contextmanager
def _cores(*, last: bool) -> Iterator[None]:
    """Keep this process on the last core, or on the first, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before) if last else min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
