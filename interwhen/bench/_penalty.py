"""``interwhen bench penalty``: measures in pairs of runs what verifiers cost a reader when nothing is wrong.

Why: docs/decisions/measuring.md.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from cyclopts import Parameter

from interwhen import Monitor, UsageError
from interwhen._types.errors import ModelError
from interwhen._types.vetting import Above, Amount, Count, Positive, vetted
from interwhen.bench._experiment import Experiment, check_files, command_of, say
from interwhen.bench._processes import TransportName
from interwhen.bench._report import Chart, Point, Report, Row, Series, Table, lines
from interwhen.bench._statistics import Estimate, estimate, mean_of, paired
from interwhen.bench._streams import (
    PROBLEMS,
    RECORDED,
    Flow,
    LocalSource,
    ReplayedFile,
    ServerSource,
    Source,
    Waiting,
    open_source,
    passing,
    read_bare,
    read_supervised,
    record_streams,
)
from interwhen.registry import Api, load_monitors
from interwhen.testing._scores import percentile

Arm = str
"""A condition: ``bare``, ``supervised``, ``control`` (a second bare run), or ``without NAME`` of a monitor."""
Flows = Mapping[Arm, Sequence[tuple[Flow, ...]]]
"""The runs by arm and pair. A pair has several runs of an arm if several streams run at once."""
Axis = Literal["verifier-latency", "polls", "monitors", "concurrency", "length"]
VALUES: dict[Axis, tuple[int, ...]] = {
    "verifier-latency": (0, 10, 100, 1000),
    "polls": (100, 200, 400, 800, 1600),
    "monitors": (0, 1, 2, 5, 10, 20),
    "concurrency": (1, 2, 4, 8, 16),
    "length": (125, 250, 500, 1000),
}
UNITS: dict[Axis, str] = {
    "verifier-latency": "ms a check",
    "polls": "characters a poll",
    "monitors": "monitors",
    "concurrency": "streams at once",
    "length": "tokens",
}
_FIELDS = {
    "verifier-latency": "verifier_ms",
    "polls": "poll_chars",
    "monitors": "monitors",
    "concurrency": "concurrency",
}
"""The setting of :class:`Setup` that each axis but ``length`` changes."""
_ENOUGH = 0.8
"""The share of pairs that must be correct runs; with fewer, ``--fail-above`` fails."""
_MS = 1e3


def _gaps(flows: Sequence[Flow]) -> list[float]:
    return [gap for flow in flows for gap in flow.gaps]


METRICS: Mapping[str, tuple[str, Callable[[Sequence[Flow]], float]]] = {
    "time to first text": ("ms", lambda flows: statistics.fmean(flow.arrivals[0] for flow in flows) * _MS),
    "gap, p50": ("ms", lambda flows: percentile(_gaps(flows), 0.5) * _MS),
    "gap, p99": ("ms", lambda flows: percentile(_gaps(flows), 0.99) * _MS),
    "gap, largest": ("ms", lambda flows: max(_gaps(flows)) * _MS),
    "until the last text": ("s", lambda flows: statistics.fmean(flow.arrivals[-1] for flow in flows)),
    "total": ("s", lambda flows: statistics.fmean(flow.total for flow in flows)),
    "total by tokens": ("ms", lambda flows: sum(flow.total for flow in flows) / sum(f.tokens for f in flows) * _MS),
}
"""By metric: its unit, and a function that computes it from the runs of an arm in one pair."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a measurement: the streams that are read, and the monitors on them."""

    source: Source = field(default_factory=ReplayedFile)
    chosen: tuple[Monitor, ...] = ()
    """If empty, artificial monitors with a known cost are used."""
    monitors: int = 5
    """The number of artificial monitors."""
    verifier_ms: float = 100.0
    """How long each of their checks waits."""
    waiting: Waiting = "async"
    poll_chars: int | None = None
    """The size of the parts that they check, in characters; ``None``: sentences, lines and so on."""
    forks: bool = False
    """Whether they ask the model in a fork for each part. The answer is ignored."""
    pairs: int = 20
    """How many pairs are measured, after one that warms up; fewer if *minutes* have passed."""
    concurrency: int = 1
    """How many streams of an arm run at once. A pair compares these groups."""
    control: bool = False
    """Whether the bare arm runs twice, to measure the noise."""
    leave_one_out: bool = False
    """Whether there is also an arm without each monitor in turn."""
    seed: int = 0
    """For the requests and for the order of the arms."""
    minutes: float | None = None

    def watching(self) -> Sequence[Monitor]:
        return self.chosen or passing(
            self.monitors,
            verifier_seconds=self.verifier_ms / 1e3,
            waiting=self.waiting,
            poll_chars=self.poll_chars,
            forks=self.forks,
        )

    def at(self, axis: Axis, value: int) -> Setup:
        if axis == "length":
            return replace(self, source=replace(self.source, tokens=value))
        changes: dict[str, Any] = {_FIELDS[axis]: value}
        return replace(self, **changes)

    async def measure(self) -> Penalty:
        # The runs of a pair have the same request and seed.
        watching = self.watching()
        arms: dict[Arm, Sequence[Monitor] | None] = {"bare": None, "supervised": watching}
        if self.control:
            arms["control"] = None
        if self.leave_one_out:
            for left_out in watching:
                arms[f"without {left_out.name}"] = [monitor for monitor in watching if monitor is not left_out]
        async with open_source(self.source, self.seed) as opened:
            say(f"{opened.name}: {self.pairs} pairs, {self.concurrency} at a time, {len(watching)} monitors")

            async def runs(arm: Arm, number: int) -> tuple[Flow, ...]:
                model, request = opened.pair(max(number, 0))
                flows: list[Flow] = []
                failed: list[ModelError] = []

                async def one() -> None:
                    chosen = arms[arm]
                    try:
                        flow = await (
                            read_bare(model, request) if chosen is None else read_supervised(model, request, chosen)
                        )
                    except ModelError as error:  # not to be wrapped by the group
                        failed.append(error)
                    else:
                        flows.append(flow)

                async with anyio.create_task_group() as group:
                    for at in range(self.concurrency):
                        group.start_soon(one, name=f"stream {at}")
                if failed:
                    raise UsageError(
                        f"the model must answer each request, got {failed[0]}: look at the server, --base-url, --model "
                        "and OPENAI_API_KEY"
                    )
                return tuple(flows)

            experiment = Experiment(tuple(arms), self.pairs, self.seed, minutes=self.minutes)
            return Penalty(opened.name, [monitor.name for monitor in watching], await experiment.run(runs))


class Penalty:
    """Compares the bare and the supervised run of each pair.

    A pair counts only if it is a correct run: no violation interrupted, no run abstained or failed, and in each run at
    least two pieces of text came. ``others`` lists the other pairs with the reason.
    """

    def __init__(self, source: str, monitors: Sequence[str], flows: Flows) -> None:
        self.source = source
        self.monitors = monitors
        self.pairs = len(flows["bare"])
        whys = [_why_not([flow for runs in flows.values() for flow in runs[at]]) for at in range(self.pairs)]
        self.flows: Flows = {
            arm: [run for run, why in zip(runs, whys, strict=True) if not why] for arm, runs in flows.items()
        }
        self.others: list[Row] = [
            {"pair": f"{at + 1}", "why": why}
            | {f"{arm}, s": METRICS["total"][1](flows[arm][at]) for arm in ("bare", "supervised")}
            for at, why in enumerate(whys)
            if why
        ]
        self.correct = len(self.flows["bare"])
        if not self.correct:
            raise UsageError(
                f"at least one pair must be a correct run, got none of {self.pairs} (the first: "
                f"{whys[0]}); take other monitors, prompts or a better model"
            )
        self.bare = [flow for runs in self.flows["bare"] for flow in runs]
        self.supervised = [flow for runs in self.flows["supervised"] for flow in runs]

    def values(self, metric: str, arm: Arm) -> list[float]:
        _, of = METRICS[metric]
        return [of(runs) for runs in self.flows[arm]]

    def added(
        self, metric: str, before: Arm = "bare", after: Arm = "supervised", scale: float = 1.0
    ) -> tuple[Estimate, Estimate]:
        """Return the mean of *after* minus *before* over the pairs, as an amount and in percent of *before*.

        The amount is in the unit of *metric*. With a *scale* of 1000, seconds become milliseconds.
        """
        unit = METRICS[metric][0] if scale == 1.0 else "ms"
        early, late = ([scale * value for value in self.values(metric, arm)] for arm in (before, after))
        return paired(early, late, unit)

    @property
    def tail(self) -> Estimate:
        return mean_of([flow.tail * _MS for flow in self.supervised], "ms")

    def report(self, fail_above: float | None = None) -> Report:
        """Return a report that fails above *fail_above* percent of added total time, or with too few correct runs.

        The upper end of the interval of the added time counts. At least 80 % of the pairs must be correct runs.
        """
        upper = self.added("total")[1].high or 0.0
        enough = self.correct >= _ENOUGH * self.pairs
        warning = f"only {self.correct} of {self.pairs} pairs were correct runs: too few to pass --fail-above"
        same = sum(
            [flow.text_sha256 for flow in bare] == [flow.text_sha256 for flow in supervised]
            for bare, supervised in zip(self.flows["bare"], self.flows["supervised"], strict=True)
        )
        tables = [
            Table("Bars, for the upper ends of intervals", tuple(self._bars())),
            Table(
                f"{self.correct} correct pairs of {self.pairs}, {same} with equal text, "
                f"{mean_of([flow.tokens for flow in self.bare]).value:.0f} tokens; "
                f"monitors: {', '.join(self.monitors) or 'none'}",
                tuple(self._differences()),
                "Added is a mean, the others are medians; intervals are 95 % bootstraps over pairs.",
            ),
        ]
        if self.monitors:
            tables.append(Table("Which monitor: means a run", tuple(map(self._cost, self.monitors))))
        if any(flow.forks for flow in self.supervised):
            tables.append(Table("What forks do to the stream beside them", tuple(fork_rows(self.supervised))))
        if self.others:
            tables.append(Table("Pairs that are not counted", tuple(self.others)))
        return Report(
            benchmark="penalty",
            subject=self.source,
            tables=tuple(tables),
            charts=tuple(self._charts()),
            warnings=() if enough or fail_above is None else (warning,),
            passed=fail_above is None or (enough and upper <= fail_above),
            observations=tuple(
                {"arm": arm, "pair": at} | {metric: of(runs) for metric, (_, of) in METRICS.items()}
                for arm, pairs in self.flows.items()
                for at, runs in enumerate(pairs)
            ),
        )

    def _bars(self) -> Iterator[Row]:
        first, gap, total = self.added("time to first text")[0], self.added("gap, p99")[0], self.added("total")[1]
        for what, added, limit in (("first text", first, 2.0), ("gap, p99", gap, 5.0), ("whole run", total, 1.0)):
            yield {"what": f"{what}: added", "upper end": Estimate(added.high or 0.0, added.unit, limit=limit)}

    def _differences(self) -> Iterator[Row]:
        for metric, (unit, _) in METRICS.items():
            for arm, label in (("supervised", metric), ("control", "  bare, once more")):
                if arm in self.flows:
                    added, percent = self.added(metric, "bare", arm)
                    medians = {
                        name: estimate(self.values(metric, each), unit)
                        for name, each in (("bare", "bare"), ("supervised", arm))
                    }
                    yield {"what": label, **medians, "added": added, "added, %": percent}
        yield {"what": "tail: waiting for open checks", "supervised": self.tail}
        pairs = [
            each
            for bare, supervised in zip(self.flows["bare"], self.flows["supervised"], strict=True)
            for each in zip(bare, supervised, strict=True)
            if each[0].text_sha256 == each[1].text_sha256 and len(each[0].arrivals) == len(each[1].arrivals)
        ]
        added_gaps = [(b - a) * _MS for bare, other in pairs for a, b in zip(bare.gaps, other.gaps, strict=True)]
        if added_gaps:
            yield {"what": "added to one gap, p99 of all", "added": Estimate(percentile(added_gaps, 0.99), "ms")}

    def _cost(self, name: str) -> Row:
        mine = [cost for flow in self.supervised for cost in flow.costs if cost.monitor == name]
        row: Row = {
            "monitor": name,
            "checks": mean_of([cost.checks for cost in mine]),
            "left open": mean_of([cost.open for cost in mine]),
            "checking": mean_of([cost.checking * _MS for cost in mine], "ms"),
            "on the loop": mean_of([cost.on_loop * _MS for cost in mine], "ms"),
            "blocked": mean_of([cost.blocked * _MS for cost in mine], "ms"),
            "tail": mean_of([cost.tail * _MS for cost in mine], "ms"),
        }
        if f"without {name}" in self.flows:
            row["saved without it"] = self.added("total", f"without {name}", scale=_MS)[0]
        return row

    def _charts(self) -> Iterator[Chart]:
        arms = (("bare", self.bare), ("supervised", self.supervised))
        yield Chart(
            "How long readers wait for the next text",
            "gap, ms",
            "share of gaps that are longer",
            tuple(Series(arm, _waits(flows), color=at, dashed=at > 0) for at, (arm, flows) in enumerate(arms)),
            log_x=True,
            log_y=True,
        )
        width = max(flow.arrivals[-1] for _, flows in arms for flow in flows) / _BINS or 1.0
        yield Chart(
            "Gaps over the time of the stream",
            "seconds into the stream",
            "gap, ms",
            tuple(
                Series(f"{arm}, p{q * 100:.0f}", _over_time(flows, width, q), color=at, dashed=q > 0.5)
                for at, (arm, flows) in enumerate(arms)
                for q in (0.5, 0.99)
            ),
            log_y=True,
        )
        totals = [[flow.total for flow in flows] for _, flows in arms]
        dots = [tuple((float(at), total) for at, total in enumerate(values, start=1)) for values in totals]
        both = tuple(
            Series(arm, points, color=at, joined=False)
            for at, ((arm, _), points) in enumerate(zip(arms, dots, strict=True))
        )
        yield Chart("Total time of each run, from zero", "run", "total, s", both, zero=True)
        more = tuple((float(at), (b - a) * _MS) for at, (a, b) in enumerate(zip(*totals, strict=True), start=1))
        added = (Series("supervised less bare", more, color=1, joined=False),)
        yield Chart("What supervision added, run by run", "run", "added to the total, ms", added, zero=True)


def _why_not(flows: Sequence[Flow]) -> str:
    reasons = [flow.why_not or "fewer than two pieces of text came" * (len(flow.arrivals) < 2) for flow in flows]
    return next(filter(None, reasons), "")


_BINS = 40
_QUANTILES = (*(n / 200 for n in range(10, 200)), 0.9975, 0.999)


def _waits(flows: Sequence[Flow]) -> tuple[Point, ...]:
    # The shortest 5 % of the gaps are left out, because most are between chunks of one read, for which no reader waits.
    gaps = _gaps(flows)
    return tuple((percentile(gaps, q) * _MS, 1 - q) for q in _QUANTILES)


def _over_time(flows: Sequence[Flow], width: float, q: float) -> tuple[Point, ...]:
    bins: list[list[float]] = [[] for _ in range(_BINS)]
    for flow in flows:
        for at, gap in zip(flow.arrivals[1:], flow.gaps, strict=True):
            bins[min(int(at / width), _BINS - 1)].append(gap * _MS)
    return tuple(((at + 0.5) * width, percentile(gaps, q)) for at, gaps in enumerate(bins) if gaps)


def fork_rows(flows: Sequence[Flow]) -> list[Row]:
    gaps: dict[bool, list[float]] = {False: [], True: []}
    shares: list[float] = []
    for flow in flows:
        covered = 0.0
        for start, gap in zip(flow.arrivals, flow.gaps, strict=False):
            is_beside = any(asked < start + gap and start < answered for asked, answered in flow.fork_spans)
            gaps[is_beside].append(gap * _MS)
            covered += gap if is_beside else 0.0
        shares.append(covered / (flow.arrivals[-1] - flow.arrivals[0]) * 100)
    return lines(
        {
            "forks a run": mean_of([flow.forks for flow in flows]),
            "tokens of forks a run": mean_of([flow.fork_tokens for flow in flows]),
            "prompt tokens of forks a run": mean_of([flow.fork_prompt_tokens for flow in flows]),
            "share of the stream's time beside a fork": mean_of(shares, "%"),
            "mean gap, no fork running": mean_of(gaps[False] or [0.0], "ms"),
            "mean gap, beside a fork": mean_of(gaps[True] or [0.0], "ms"),
            "p99 of gaps, no fork running": Estimate(percentile(gaps[False] or [0.0], 0.99), "ms"),
            "p99 of gaps, beside a fork": Estimate(percentile(gaps[True] or [0.0], 0.99), "ms"),
        }
    )


async def run_sweep(setup: Setup, axis: Axis, values: Sequence[int] = ()) -> Report:
    chosen = tuple(dict.fromkeys(values)) or VALUES[axis]
    if setup.chosen and axis in ("verifier-latency", "polls", "monitors"):
        raise UsageError(
            f"--sweep {axis} must be used without --monitor, because it changes the benchmark's own "
            "monitors, got --monitor as well; leave one of them out"
        )
    least = 0 if axis in ("verifier-latency", "monitors") else 1
    if min(chosen) < least:
        raise UsageError(f"--values must be at least {least} for --sweep {axis}, got {min(chosen)}; give larger ones")
    penalties: dict[int, Penalty] = {}
    for value in chosen:
        say(f"{value} {UNITS[axis]}")
        penalties[value] = await setup.at(axis, value).measure()
    totals = {value: each.added("total", scale=_MS) for value, each in penalties.items()}
    columns: dict[str, dict[int, Estimate]] = {
        "total, added": {value: added for value, (added, _) in totals.items()},
        "added": {value: percent for value, (_, percent) in totals.items()},
        "first text, added": {value: each.added("time to first text")[0] for value, each in penalties.items()},
        "gap p99, added": {value: each.added("gap, p99")[0] for value, each in penalties.items()},
        "tail": {value: each.tail for value, each in penalties.items()},
    }
    rows: list[Row] = []
    for value, each in penalties.items():
        rows.append(
            {UNITS[axis]: f"{value}", "pairs": each.correct, "tokens a run": mean_of([run.tokens for run in each.bare])}
        )
        rows[-1]["bare"] = estimate(each.values("total", "bare"), "s")
        rows[-1].update({name: cells[value] for name, cells in columns.items()})
    caption = ""
    if len(chosen) > 1:
        slope = statistics.linear_regression(chosen, [added.value for added, _ in totals.values()]).slope
        caption = f"By least squares, the total grows by {slope:.3g} ms for each step of one along {axis}."
    return Report(
        benchmark="penalty",
        subject=next(iter(penalties.values())).source,
        tables=(Table(f"The penalty over {axis}", tuple(rows), caption),),
        charts=tuple(
            Chart(
                title,
                UNITS[axis],
                "ms",
                tuple(_line(name, columns[name], at) for at, name in enumerate(names)),
                zero=True,
            )
            for title, names in (
                ("Added to the total", ("tail", "total, added")),
                ("Added to the first text and to the gaps", ("first text, added", "gap p99, added")),
            )
        ),
    )


def _line(name: str, cells: Mapping[int, Estimate], color: int) -> Series:
    points = tuple((float(value), cell.value) for value, cell in cells.items())
    return Series(name, points, tuple((cell.low or 0.0, cell.high or 0.0) for cell in cells.values()), color)


@vetted("--")
async def penalty(
    *,
    model: str = "",
    base_url: Annotated[str, Parameter(alias="--url")] = "",
    api: Api = "chat",
    replay: Path = RECORDED,
    speed: Above = 1.0,
    transport: TransportName = "httpx2",
    prompt: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    tokens: Positive | None = None,
    temperature: float = 0.0,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    monitors: Count = 5,
    verifier_ms: Amount = 100.0,
    waiting: Waiting = "async",
    poll_chars: Positive | None = None,
    forks: bool = False,
    pairs: Positive = 20,
    concurrency: Positive = 1,
    control: bool = False,
    leave_one_out: bool = False,
    seed: int = 0,
    minutes: Above | None = None,
    sweep: Axis | None = None,
    values: str = "",
    fail_above: str | None = None,
    record: Path | None = None,
) -> Report:
    """Measure what verifiers add to a stream in which nothing is wrong: bare and supervised runs, as pairs.

    By default, a separate process replays a recorded stream, each token at its recorded time. Five monitors watch the
    stream, and each of their checks takes 100 ms. The runs of a pair get the same request and seed, one after the other
    in random order. Only pairs in which no violation interrupted and no run failed or abstained count as correct runs;
    the others are listed.

    Exit codes: 0; with --fail-above 1, if the added total is above it or fewer than 80 % of the pairs were correct
    runs.

    Parameters
    ----------
    model
        "local" or "local:PATH.gguf"; with --base-url, the model's name there. Default: the replay.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    api
        The API of that server.
    replay
        A file of recorded streams to be sent again, as --record writes it.
    speed
        The factor by which the recorded streams are sent faster than they were recorded.
    transport
        The HTTP library that reads the replay.
    prompt
        A prompt for the server; several prompts are asked in turn. May be given several times. Default: small problems.
    tokens
        The length of a run in tokens. Default: the whole recorded stream, 400 for the local model, at most 1000 for a
        server.
    temperature
        The temperature of a model on a server.
    monitor
        A monitor that watches: NAME or NAME:OPTION=VALUE. May be given several times. Default: the benchmark's own
        monitors.
    monitors
        How many of the benchmark's own monitors watch. They pass everything that they see.
    verifier_ms
        How many milliseconds each check of the benchmark's own monitors takes.
    waiting
        Whether the benchmark's own monitors wait for this time as tasks or in threads.
    poll_chars
        Let the benchmark's own monitors check every part of this many characters, not sentences, lines and paragraphs.
    forks
        Let each of the benchmark's own monitors ask the model in a fork at each segment. A recorded stream answers at
        once, with an empty text.
    pairs
        How many pairs are measured, after one pair that warms up.
    concurrency
        How many streams run at once in each arm.
    control
        Also run the bare arm twice. The difference between these two runs is noise.
    leave_one_out
        Also run without each monitor in turn, to see how much time that saves.
    seed
        The seed of the order of the runs, and of the requests.
    minutes
        Begin no further pair after this many minutes, but measure at least one.
    sweep
        Change one setting, and measure at each of its values.
    values
        The values of the sweep, separated by commas.
    fail_above
        Exit with 1 if the upper end of the interval of the added total time is above this share, for example 1%.
    record
        Record one stream for each prompt into this file, for --replay, and measure nothing.
    """
    most = None if fail_above is None else parse_share(fail_above)
    if sweep is not None and (fail_above is not None or record is not None):
        raise UsageError("--sweep must stand without --fail-above and --record, got it with one of them; leave one out")
    if replay != RECORDED and (model or base_url):
        raise UsageError(
            "--replay must stand without --model and --base-url, because it is a model of its own; "
            "got it with one of them; leave one out"
        )
    check_files(record=record)
    if base_url:
        source: Source = ServerSource(base_url, model, api, tokens or 1000, prompt or PROBLEMS, temperature)
    elif model:
        kind, _, spec = model.partition(":")
        if kind != "local":
            raise UsageError(
                f"--model must be 'local' or 'local:PATH.gguf', got {model!r}; name a server with --base-url"
            )
        source = LocalSource(spec, tokens or 400, slots=concurrency * (1 + 2 * forks))
    else:
        source = ReplayedFile(replay, speed, tokens, transport)
    if record is not None:
        if await anyio.Path(record).exists():  # recordings of two models do not mix
            raise UsageError(f"--record must name a new file, got {str(record)!r}, which exists; choose another name")
        recorded: Row = {"file": str(record), "streams recorded": await record_streams(source, record, seed)}
        return Report(benchmark="penalty", tables=(Table("Recorded", (recorded,)),))
    chosen = load_monitors(monitor) if monitor else ()
    setup = Setup(
        source,
        chosen,
        monitors,
        verifier_ms,
        waiting,
        poll_chars,
        forks,
        pairs,
        concurrency,
        control,
        leave_one_out,
        seed,
        minutes,
    )
    if sweep is not None:
        return await run_sweep(setup, sweep, read_values(values))
    return (await setup.measure()).report(most)


def read_values(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--values must be whole numbers with commas between, such as 1,2,4; got {text!r}") from error


def parse_share(text: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if match is None:
        raise UsageError(f"--fail-above must be a percentage, such as 1%; got {text!r}")
    return float(match[1])


command = command_of(penalty, uvloop=False, has_charts=True)
