"""``python -m tests.benchmarks soak``: reads many streams for a long time from a server with random faults.

:func:`judge` compares the text of a run line by line with the story that the server told.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import anyio
from interwhen import Claim, Monitor, Pass, Result, Segment, Verdict, run, verifier
from interwhen._types.log import log_warning
from interwhen._types.models import Retries
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import command_of, say
from interwhen.bench._processes import TransportName, child, memory_of, open_transport
from interwhen.bench._report import Report, Table, lines
from interwhen.bench._statistics import Estimate
from interwhen.cli._progress import ProgressLine
from interwhen.models import CompletionsModel, Timeouts
from interwhen.models._transport import Transport
from interwhen.registry import load_monitors
from interwhen.results import Judged, TimedOut
from tests.benchmarks.soak_server import Story, prompt_of, story

_TIMEOUTS = Timeouts(connect=10.0, first_token=8.0, inter_token=8.0)
_SAMPLE_SECONDS = 5.0
_WARM = 0.2
"""The share of the soak in which measurements of memory do not count."""
_LEAVES = 0.05
"""The probability that the reader of a run leaves early."""
_SHAKY_DEADLINE = 0.3


class MemorySample(NamedTuple):
    """How much memory the process had *at* seconds after the soak (the long test) began."""

    at: float
    mb: float
    """Resident memory in MB (a million bytes). It rarely shrinks, and it grows when the allocator has no free block of
    the right size."""
    blocks: float
    """Memory blocks that Python has allocated and not freed, about one per live object."""


def judge(told: Story, result: Result, *, left: bool) -> str | None:
    # The description begins with `lost:` or `wrong:`; it is `None` if nothing is wrong. With `left`, the reader left
    # early.
    if result.status == "verified" and result.text != told.text:
        return f"wrong: story {told.number} is verified, and is not the story: {result.text[-80:]!r}"
    if not told.stands(result.text, checked=not left, waiting=result.status in ("failed", "abstained")):
        return f"lost: story {told.number} ({result.status}{', left' if left else ''}): {result.text[-80:]!r}"
    for check in result.checks:
        passed = isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)
        if passed and check.monitor == "arithmetic" and check.span and not told.is_right(result.text, check.span):
            return f"wrong: story {told.number}: passed and false: {result.text[check.span.start : check.span.end]!r}"
    whole = result.finish_reason == "stop" and result.status in ("verified", "unverified")
    if whole and not left and result.text != told.text:
        return f"lost: story {told.number} reached its end, and lacks {len(told.text) - len(result.text)} characters"
    return None


class _Readers:
    """The readers of a soak: *streams* streams at *base_url*, each with one run after another."""

    # Counts how the runs ended.

    def __init__(self, base_url: str, transport: Transport, *, streams: int, seed: int) -> None:
        self._base_url = base_url
        self._transport = transport
        self._streams = streams
        self._rng = random.Random(seed)
        self._next = seed * 1_000_000
        self.verifier_faults: Counter[str] = Counter()
        self._shaky = shaky(seed, self.verifier_faults)
        self.statuses: Counter[str] = Counter()
        self.left = self.reconnects = self.remedies = self.late = 0
        self.flaws: dict[str, list[str]] = {"lost": [], "wrong": []}

    async def read(self, until: float) -> None:
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
        (arithmetic,) = load_monitors(["arithmetic"])
        monitors = [arithmetic, self._shaky] if self._rng.random() < 0.5 else [arithmetic]
        supervised = run(model, prompt_of(told.number), monitors=monitors)
        seen = 0
        try:
            async with supervised:
                async for _ in supervised:
                    seen += 1
                    if seen == leaves:
                        break
        except Exception as error:  # noqa: BLE001  (a soak looks for runs that raise)
            self._note(f"wrong: story {told.number} raised {type(error).__name__}: {error}")
            return
        result, left = supervised.result, seen == leaves
        self.left += left
        self.statuses[result.label] += 1
        self.reconnects += result.ledger.reconnects
        self.remedies += result.ledger.remedies
        self.late += result.text == told.text and any(
            isinstance(check.outcome, TimedOut) for check in result.checks if check.monitor == "arithmetic"
        )
        self._note(judge(told, result, left=left))

    def _note(self, flaw: str | None) -> None:
        if flaw is not None:
            log_warning("soak.flaw_found", flaw=flaw)
            self.flaws[flaw.partition(":")[0]].append(flaw)


def shaky(seed: int, done: Counter[str]) -> Monitor:
    # The verifier counts in `done` how often it did each of these.
    rng = random.Random(seed)

    @verifier(name="shaky", version="1", deadline=_SHAKY_DEADLINE, worker="thread")
    def check(_claim: Claim) -> Verdict:
        draw = rng.random()
        if draw < 0.01:
            done["raised"] += 1
            raise RuntimeError("this check fails on purpose, to show that errors are counted")
        if draw < 0.015:
            done["late"] += 1
            time.sleep(2 * _SHAKY_DEADLINE)
        elif draw < 0.025:
            done["nonsense"] += 1
            return "yes"  # type: ignore[return-value]
        return Pass()

    return Monitor(name="shaky", verifier=check, extractor=_lines, required=False)


def _lines(segment: Segment) -> Iterator[Claim]:
    yield Claim(key=segment.text, span=segment.span)


@vetted("--")
async def soak(
    *,
    minutes: Above = 60.0,
    streams: Positive = 200,
    rate: Above = 8.0,
    transport: TransportName = "fast",
    seed: int = 1,
) -> Report:
    """Supervise many streams for a long time against a server that breaks at random; ends with 1 unless it is clean.

    A server in a separate process streams stories that contain wrong sums, and answers about 30 % of the requests with
    a network fault. One verifier corrects the sums. Another verifier sometimes raises, exceeds its deadline or returns
    nonsense. Some readers leave early. The soak is clean if no text is lost, no wrong claim passes, and no task or
    socket is left over. The growth of memory is reported.

    Parameters
    ----------
    minutes
        How many minutes the soak takes.
    streams
        How many streams are read at once. Each of them makes one run after another.
    rate
        The rate of each stream, in chunks per second.
    transport
        The HTTP library that reads the streams.
    seed
        The seed of the stories and of the faults.
    """
    way, samples = open_transport(transport), array("d")
    command = [sys.executable, "-m", "tests.benchmarks.soak_server", str(seed), f"{rate:g}"]
    with child(command, r"(http://\S+)") as (process, url):
        begun = time.monotonic()
        readers = _Readers(url, way, streams=streams, seed=seed)
        with ProgressLine("seconds", round(60 * minutes), ticks=False) as progress:
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, samples, begun, readers, minutes, progress)
                await readers.read(begun + 60 * minutes)
                group.cancel_scope.cancel()
        await way.aclose()
        await anyio.sleep(0.5)
        tasks_left = len(anyio.get_running_tasks()) - 1
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        ended = json.loads(process.stdout.readline())
    injected, sockets_left = ended["injected"], ended["open"]
    warm = [
        MemorySample(*values)
        for values in zip(samples[::3], samples[1::3], samples[2::3], strict=True)
        if values[0] >= _WARM * 60 * minutes
    ]
    lost, wrong = readers.flaws["lost"], readers.flaws["wrong"]
    rows = lines(
        {
            "lost": Estimate(len(lost), limit=0),
            "wrong": Estimate(len(wrong), limit=0),
            "tasks left": Estimate(tasks_left, limit=0),
            "sockets left": "unknown" if sockets_left is None else Estimate(sockets_left, limit=0),
            "runs": readers.statuses.total(),
            **{f"  {status}": count for status, count in sorted(readers.statuses.items())},
            "  left early by their reader": readers.left,
            "  right, and not verified for lack of time": Estimate(readers.late, limit=readers.statuses.total() // 100),
            "requests that met a fault": sum(injected.values()),
            **{f"  {name}": count for name, count in injected.items()},
            "checks that failed": readers.verifier_faults.total(),
            "streams that were resumed": readers.reconnects,
            "wrong sums that were corrected": readers.remedies,
        }
    )
    for name, unit, values in (
        ("memory", "MB", [(sample.at, sample.mb) for sample in warm]),
        ("blocks in use", "", [(sample.at, sample.blocks) for sample in warm]),
    ):
        ends = (values[0][1], values[-1][1]) if values else (0.0, 0.0)
        rows += lines(
            {
                f"{name} after warming up": Estimate(ends[0], unit),
                f"{name} at the end": Estimate(ends[1], unit),
                f"growth of {name}": slope(values, unit) or "too few samples",
            }
        )
    return Report(
        benchmark="soak",
        subject=f"{minutes:g} min, {streams} streams, {transport}",
        tables=(Table("A soak", tuple(rows), "Growth should be 0 within its interval."),),
        warnings=(*lost[:20], *wrong[:20]),
        passed=not (lost or wrong or tasks_left or sockets_left),
        observations=tuple(sample._asdict() for sample in warm),
    )


def slope(sizes: Sequence[tuple[float, float]], unit: str = "", stretches: int = 24) -> Estimate | None:
    # A line is fitted to the means of `stretches` time intervals, for each of which at least two pairs are needed. The
    # 95 % interval of the result is computed for 24 of them.
    # Neighbouring samples are not independent, so the means of intervals are used.
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
    return Estimate(line.slope, f"{unit}/h", line.slope - t * error, line.slope + t * error, stretches)


async def _watch(
    samples: array[float], begun: float, readers: _Readers, minutes: float, progress: ProgressLine
) -> None:
    # Append three numbers to `samples` every few seconds, and show the progress, until it is cancelled. They are the
    # seconds since `begun`, the memory of this process in MB, and its allocated blocks; none are appended if the memory
    # is not known.
    # Plain numbers are stored, because objects would count as memory in use.
    shown = 0.0
    while True:
        await anyio.sleep(min(_SAMPLE_SECONDS, minutes * 60 / 200))
        at = time.monotonic() - begun
        mb = memory_of().resident
        if mb is not None:
            samples.extend((at, mb, sys.getallocatedblocks()))
        progress.to(round(at))
        if at - shown >= 60:
            shown = at
            gc.collect()
            flaws = ", ".join(f"{len(cases)} {name}" for name, cases in readers.flaws.items())
            say(f"{at / 60:.0f} of {minutes:g} min: {readers.statuses.total()} runs, {flaws}, {mb or 0:.0f} MB")


command = command_of(soak, uvloop=True)
