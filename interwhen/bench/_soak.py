"""A soak: many streams for a long time against a server that breaks at random; nothing lost, nothing wrong, no growth.

The truth is the server's stories, made apart from what judges them here: a text is right if it is the story, line by
line. What a run says of itself is held against that.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import anyio
import msgspec

from interwhen._log import log_warning
from interwhen._run import Run, run
from interwhen._types.claims import Claim
from interwhen._types.errors import UsageError
from interwhen._types.monitors import Monitor
from interwhen._types.results import Result
from interwhen._types.segments import Segment
from interwhen._types.verdicts import Judged, Pass, Verdict
from interwhen._types.verifiers import verifier
from interwhen.bench._overhead import TransportName, open_transport
from interwhen.bench._soak_server import Story, prompt_of, story
from interwhen.models._exchange import Retries
from interwhen.models._openai_api import CompletionsModel
from interwhen.models._transport import Timeouts, Transport
from interwhen.registry import load_monitors

_TIMEOUTS = Timeouts(connect=10.0, first_token=8.0, inter_token=8.0)
_SAMPLE_SECONDS = 5.0
_WARM = 0.2
"""The share of the soak before memory is looked at."""
_LEAVES = 0.05
"""The share of the runs whose reader leaves early."""
_SHAKY_DEADLINE = 0.3


class Slope(msgspec.Struct, frozen=True):
    """Growth an hour by least squares, with a 95 % interval; *n* means of equal stretches of time."""

    per_hour: float
    low: float
    high: float
    n: int


class Sample(msgspec.Struct, frozen=True):
    """What the process held at a time, in seconds since the soak began."""

    at: float
    mb: float
    """What the system counts for it: this never shrinks much, and grows where the allocator has no fitting hole."""
    blocks: float
    """What Python had allocated and not freed: objects that are there."""


class SoakReport(msgspec.Struct, frozen=True):
    """What came of a soak."""

    machine: str
    minutes: float
    streams: int
    seed: int
    transport: str
    runs: int
    statuses: dict[str, int]
    left_early: int
    reconnects: int
    remedies: int
    injected: dict[str, int]
    """What the server broke, by name."""
    verifier_faults: dict[str, int]
    lost: tuple[str, ...]
    """Runs whose text is no beginning of their story; the first few."""
    wrong: tuple[str, ...]
    """Runs that claim more than is true, or raised; the first few."""
    tasks_left: int
    sockets_left: int | None
    first: Sample | None
    """Once the process was warm."""
    last: Sample | None
    mb: Slope | None
    blocks: Slope | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, nothing was wrong, and nothing was left behind."""
        return not (self.lost or self.wrong or self.tasks_left or self.sockets_left)


def judge(told: Story, result: Result, *, left: bool) -> str | None:
    """Say what is wrong with *result* (``lost: …`` or ``wrong: …``), or ``None``."""
    if result.status == "verified" and result.text != told.text:
        return f"wrong: story {told.number} is verified, and is not the story: {result.text[-80:]!r}"
    if not told.stands(result.text, checked=not left):
        return f"lost: story {told.number} ({result.status}{', left' if left else ''}): {result.text[-80:]!r}"
    for check in result.checks:
        passed = isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)
        if passed and check.monitor == "arithmetic" and check.span and not told.is_right(result.text, check.span):
            return f"wrong: story {told.number}: passed and false: {result.text[check.span.start : check.span.end]!r}"
    whole = result.finish_reason == "stop" and result.status in ("verified", "unverified")
    if whole and not left and result.text != told.text:
        return f"lost: story {told.number} ended whole, and lacks {len(told.text) - len(result.text)} characters"
    return None


class Soak:
    """The readers of a soak, and what they saw."""

    def __init__(self, base_url: str, transport: Transport, *, streams: int, seed: int) -> None:
        self._base_url = base_url
        self._transport = transport
        self._streams = streams
        self._rng = random.Random(seed)  # noqa: S311  (a plan, no secret)
        self._next = seed * 1_000_000
        self._shaky = Shaky(seed)
        self.statuses: Counter[str] = Counter()
        self.runs = self.left = self.reconnects = self.remedies = 0
        self.lost: list[str] = []
        self.wrong: list[str] = []

    @property
    def verifier_faults(self) -> Mapping[str, int]:
        """What the shaky verifier did, by name."""
        return self._shaky.done

    async def read(self, until: float) -> None:
        """Keep all streams going until then, and let the last ones come to their end."""
        async with anyio.create_task_group() as group:
            for number in range(self._streams):
                group.start_soon(self._one_after_another, number, until, name=f"soak {number}")

    async def _one_after_another(self, number: int, until: float) -> None:
        await anyio.sleep(4.0 * number / self._streams)
        while time.monotonic() < until:
            self._next += 1
            await self._one(story(self._next))

    async def _one(self, told: Story) -> None:
        model = CompletionsModel(
            self._base_url,
            "soak",
            api_key="",
            transport=self._transport,
            timeouts=_TIMEOUTS,
            retries=Retries(attempts=2, base=0.05, cap=0.5),
        )
        leaves = self._rng.randint(1, 60) if self._rng.random() < _LEAVES else None
        supervised = run(model, prompt_of(told.number), monitors=self._monitors())
        try:
            async with supervised:
                left = await _drain(supervised, leaves)
        except Exception as error:  # noqa: BLE001  (a run that raises is what a soak is there to find)
            self.wrong.append(f"wrong: story {told.number} raised {type(error).__name__}: {error}")
            return
        self._note(told, supervised.result, left=left)

    def _monitors(self) -> list[Monitor]:
        (arithmetic,) = load_monitors(["arithmetic"])
        return [arithmetic, self._shaky.monitor] if self._rng.random() < 0.5 else [arithmetic]

    def _note(self, told: Story, result: Result, *, left: bool) -> None:
        self.runs += 1
        self.left += left
        self.statuses[result.label] += 1
        self.reconnects += result.ledger.reconnects
        self.remedies += result.ledger.remedies
        flaw = judge(told, result, left=left)
        if flaw is not None:
            log_warning("soak.flaw_found", flaw=flaw)
            (self.lost if flaw.startswith("lost") else self.wrong).append(flaw)


async def _drain(supervised: Run, leaves: int | None) -> bool:
    """Read to the end, or leave after *leaves* events; tell whether it left."""
    seen = 0
    async for _ in supervised:
        seen += 1
        if seen == leaves:
            return True
    return False


class Shaky:
    """A verifier that only observes, and raises, dawdles past its deadline or answers nonsense now and then."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        done = self.done = {"raised": 0, "late": 0, "nonsense": 0}

        @verifier(name="shaky", version="1", deadline=_SHAKY_DEADLINE, worker="thread")
        def check(_claim: Claim) -> Verdict:
            draw = rng.random()
            if draw < 0.01:
                done["raised"] += 1
                raise RuntimeError("shaky")
            if draw < 0.015:
                done["late"] += 1
                time.sleep(2 * _SHAKY_DEADLINE)
            elif draw < 0.025:
                done["nonsense"] += 1
                return "yes"  # type: ignore[return-value]
            return Pass()

        self.monitor = Monitor(name="shaky", verifier=check, extractor=_lines, required=False)


def _lines(segment: Segment) -> Iterator[Claim]:
    yield Claim(key=segment.text, span=segment.span)


async def soak(
    *,
    minutes: float = 60.0,
    streams: int = 200,
    rate: float = 8.0,
    transport: TransportName = "fast",
    seed: int = 1,
    say: Callable[[str], None] = lambda _line: None,
) -> SoakReport:
    """Read *streams* streams of *rate* chunks a second for *minutes*, each a run after the other."""
    if minutes <= 0 or streams < 1 or rate <= 0:
        raise UsageError(f"minutes={minutes:g}, streams={streams}, rate={rate:g}: all must be positive")
    way, samples = open_transport(transport), array("d")
    with _server(seed, rate) as (child, url):
        begun = time.monotonic()
        readers = Soak(url, way, streams=streams, seed=seed)
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, samples, begun, readers, minutes, say)
            await readers.read(begun + 60 * minutes)
            group.cancel_scope.cancel()
        await way.aclose()
        await anyio.sleep(0.5)
        tasks = len(anyio.get_running_tasks()) - 1
        ended = _ended(child)
    taken = itertools.starmap(Sample, zip(samples[::3], samples[1::3], samples[2::3], strict=True))
    warm = [sample for sample in taken if sample.at >= _WARM * 60 * minutes]
    return SoakReport(
        machine=f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}",
        minutes=minutes,
        streams=streams,
        seed=seed,
        transport=transport,
        runs=readers.runs,
        statuses=dict(readers.statuses),
        left_early=readers.left,
        reconnects=readers.reconnects,
        remedies=readers.remedies,
        injected=ended.injected,
        verifier_faults=dict(readers.verifier_faults),
        lost=tuple(readers.lost[:20]),
        wrong=tuple(readers.wrong[:20]),
        tasks_left=tasks,
        sockets_left=ended.open,
        first=warm[0] if warm else None,
        last=warm[-1] if warm else None,
        mb=slope([(sample.at, sample.mb) for sample in warm]),
        blocks=slope([(sample.at, sample.blocks) for sample in warm]),
    )


def slope(sizes: Sequence[tuple[float, float]], stretches: int = 24) -> Slope | None:
    """Return the growth of *sizes* (seconds, size), or ``None`` where there are too few to tell.

    Samples that follow each other are not independent, so it is fitted to the means of stretches of time.
    """
    if len(sizes) < 2 * stretches:
        return None
    each = len(sizes) // stretches
    parts = [sizes[at * each : (at + 1) * each] for at in range(stretches)]
    hours = [statistics.fmean(at for at, _ in part) / 3600 for part in parts]
    mean = [statistics.fmean(size for _, size in part) for part in parts]
    line = statistics.linear_regression(hours, mean)
    spread = sum((size - line.slope * at - line.intercept) ** 2 for at, size in zip(hours, mean, strict=True))
    centre = statistics.fmean(hours)
    error = (spread / (stretches - 2) / sum((at - centre) ** 2 for at in hours)) ** 0.5
    t = 2.074  # Student's t for 22 degrees of freedom, 97.5 %
    return Slope(line.slope, line.slope - t * error, line.slope + t * error, stretches)


async def _watch(
    samples: array[float], begun: float, readers: Soak, minutes: float, say: Callable[[str], None]
) -> None:
    """Add a sample to *samples*, flat numbers that are no blocks of their own, every few seconds."""
    shown = 0.0
    while True:
        await anyio.sleep(min(_SAMPLE_SECONDS, minutes * 60 / 200))
        at = time.monotonic() - begun
        mb = _resident_mb()
        if mb is not None:
            samples.extend((at, mb, sys.getallocatedblocks()))
        if at - shown >= 60:
            shown = at
            gc.collect()
            flaws = f"{len(readers.lost)} lost, {len(readers.wrong)} wrong"
            say(f"{at / 60:.0f} of {minutes:g} min: {readers.runs} runs, {flaws}, {mb or 0:.0f} MB")


class _Ended(msgspec.Struct):
    injected: dict[str, int]
    open: int | None = None


@contextmanager
def _server(seed: int, rate: float) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    command = [sys.executable, "-m", "interwhen.bench._soak_server", str(seed), f"{rate:g}"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (a module of ours)
    try:
        yield child, _line(child.stdout)
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    line = stream.readline().decode().strip()
    if not line:
        raise UsageError("the server of the soak did not start")
    return line


def _ended(child: subprocess.Popen[bytes]) -> _Ended:
    assert child.stdin is not None
    child.stdin.close()
    return msgspec.convert(json.loads(_line(child.stdout)), _Ended)


def _resident_mb() -> float | None:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{os.getpid()}/status").read_text())
    except OSError:
        return None
    return float(found[1]) / 1024 if found else None
