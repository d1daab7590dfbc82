"""What a measurement of the penalty says: records, and how they follow from the runs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from interwhen._types.errors import UsageError
from interwhen.bench._penalty_runs import Flow
from interwhen.bench._statistics import Mean, Paired, mean_of, paired, percentile

# The curves of a penalty: how long readers wait for text, as two distributions and over the time of a stream.

_BINS = 40
_QUANTILES = (*(n / 200 for n in range(1, 200)), 0.9975, 0.999, 1.0)
_CURVE_MS = 1e3


class Bin(msgspec.Struct, frozen=True):
    """One stretch of the streams, from *start* to *end* in seconds: gaps in it, in milliseconds."""

    start: float
    end: float
    p50: float
    p99: float


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn."""

    quantiles: tuple[float, ...]
    bare_gaps: tuple[float, ...]
    """The gap that the fraction of the same place in ``quantiles`` does not exceed, in milliseconds, of bare runs."""
    supervised_gaps: tuple[float, ...]
    bare_totals: tuple[float, ...]
    """Seconds of each run."""
    supervised_totals: tuple[float, ...]
    bare_bins: tuple[Bin, ...]
    supervised_bins: tuple[Bin, ...]


def curves_of(bare: Sequence[Flow], supervised: Sequence[Flow]) -> Curves:
    """Return the curves of two arms."""
    end = max(flow.arrivals[-1] for flow in (*bare, *supervised))
    return Curves(
        quantiles=_QUANTILES,
        bare_gaps=_over_quantiles(bare),
        supervised_gaps=_over_quantiles(supervised),
        bare_totals=tuple(flow.total for flow in bare),
        supervised_totals=tuple(flow.total for flow in supervised),
        bare_bins=_binned_over_time(bare, end),
        supervised_bins=_binned_over_time(supervised, end),
    )


def _over_quantiles(flows: Sequence[Flow]) -> tuple[float, ...]:
    gaps = sorted(gap for flow in flows for gap in flow.gaps)
    return tuple(percentile(gaps, q) * _CURVE_MS for q in _QUANTILES)


def _binned_over_time(flows: Sequence[Flow], end: float) -> tuple[Bin, ...]:
    width = max(end, 1e-9) / _BINS
    found: list[list[float]] = [[] for _ in range(_BINS)]
    for flow in flows:
        for at, gap in zip(flow.arrivals[1:], flow.gaps, strict=True):
            found[min(int(at / width), _BINS - 1)].append(gap * _CURVE_MS)
    return tuple(
        Bin(number * width, (number + 1) * width, percentile(gaps, 0.5), percentile(gaps, 0.99))
        for number, gaps in enumerate(found)
        if gaps
    )


_MS = 1e3

Arm = str
"""``bare``, ``supervised``, ``control`` (bare once more), or ``without NAME``."""
Metric = Literal["first", "gap p50", "gap p99", "gap max", "last", "total", "a token"]
"""From the request to the first text; the waits between texts; until the last text; until the reader knows that it is
over; and that by the number of tokens."""


class Round(msgspec.Struct, frozen=True):
    """One pair: the runs of each arm, several where they ran at once."""

    number: int
    flows: dict[Arm, tuple[Flow, ...]]

    @property
    def why_not(self) -> str:
        """Why this pair tells nothing of correct runs; empty: it does."""
        for flows in self.flows.values():
            for flow in flows:
                if flow.why_not:
                    return flow.why_not
                if len(flow.arrivals) < 2:
                    return "fewer than two pieces of text came"
        return ""

    @property
    def is_same_text(self) -> bool:
        """Whether both arms of the pair got the same text."""
        texts = [[flow.text_sha256 for flow in self.flows[arm]] for arm in ("bare", "supervised")]
        return texts[0] == texts[1]


class Other(msgspec.Struct, frozen=True):
    """A pair that tells nothing of correct runs."""

    pair: int
    why: str
    bare_seconds: float
    supervised_seconds: float


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor did, a run, and what leaving it out saves."""

    monitor: str
    checks: Mean
    open: Mean
    """Checks that neither passed nor refuted."""
    checking_ms: Mean
    """In its checks, beside the stream."""
    on_loop_ms: Mean
    """On the event loop, where text waits."""
    held_ms: Mean
    tail_ms: Mean
    """Behind the end of the stream, until its last check was settled."""
    saved_ms: Mean | None = None
    """The total with all monitors less that without this one; ``None``: it was not left out."""


class ForkReport(msgspec.Struct, frozen=True, kw_only=True):
    """What forks do to the stream that they run beside."""

    forks: Mean
    """A run."""
    tokens: Mean
    prompt_tokens: Mean
    share: Mean
    """The share of the stream's time in which at least one fork ran, in percent."""
    gap_apart_ms: Mean
    """The mean gap while no fork ran."""
    gap_beside_ms: Mean
    """The mean gap while one did: it shares the model with it."""
    p99_apart_ms: float
    p99_beside_ms: float


class Penalty(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. Everything but ``others`` speaks of the pairs in which no violation interrupted."""

    machine: str
    source: str
    monitors: tuple[str, ...]
    concurrency: int
    seed: int
    pairs: int
    same_text: int
    """Of the correct pairs, those in which both arms got the same text: only these have equal work to do."""
    others: tuple[Other, ...]
    tokens: Mean
    """Of a bare run."""
    differences: tuple[Paired, ...]
    control: tuple[Paired, ...]
    """The same between two bare runs of a pair: what the method sees where there is nothing. Empty: not measured."""
    tail_ms: Mean
    chunk_added_p99_ms: float | None
    """The 99th percentile, over all chunks of pairs with equal text, of how much longer the wait for that chunk was.
    It holds the noise of both runs; ``None``: no such pair."""
    costs: tuple[CostRow, ...]
    forks: ForkReport | None
    curves: Curves

    @property
    def correct(self) -> int:
        """How many pairs were counted."""
        return self.pairs - len(self.others)

    def difference(self, name: Metric) -> Paired:
        """Return the difference called *name*."""
        return next(each for each in self.differences if each.name == name)


_METRICS: tuple[tuple[Metric, str, Callable[[Sequence[Flow]], float]], ...] = (
    ("first", "ms", lambda flows: statistics.fmean(flow.arrivals[0] for flow in flows) * _MS),
    ("gap p50", "ms", lambda flows: percentile(_gaps(flows), 0.5) * _MS),
    ("gap p99", "ms", lambda flows: percentile(_gaps(flows), 0.99) * _MS),
    ("gap max", "ms", lambda flows: max(_gaps(flows)) * _MS),
    ("last", "s", lambda flows: statistics.fmean(flow.arrivals[-1] for flow in flows)),
    ("total", "s", lambda flows: statistics.fmean(flow.total for flow in flows)),
    ("a token", "ms", lambda flows: sum(flow.total for flow in flows) / sum(flow.tokens for flow in flows) * _MS),
)


def _gaps(flows: Sequence[Flow]) -> list[float]:
    return [gap for flow in flows for gap in flow.gaps]


def compare(rounds: Sequence[Round], before: Arm, after: Arm) -> tuple[Paired, ...]:
    """Return what arm *after* adds to arm *before*, for every quantity."""
    return tuple(
        paired(name, unit, [of(each.flows[before]) for each in rounds], [of(each.flows[after]) for each in rounds])
        for name, unit, of in _METRICS
    )


def report_of(
    rounds: Sequence[Round], *, machine: str, source: str, monitors: Sequence[str], concurrency: int, seed: int
) -> Penalty | None:
    """Return what *rounds* say; ``None`` where no pair of them was correct."""
    good = [each for each in rounds if not each.why_not]
    if not good:
        return None
    supervised = [flow for each in good for flow in each.flows["supervised"]]
    return Penalty(
        machine=machine,
        source=source,
        monitors=tuple(monitors),
        concurrency=concurrency,
        seed=seed,
        pairs=len(rounds),
        same_text=sum(each.is_same_text for each in good),
        others=tuple(_other(each) for each in rounds if each.why_not),
        tokens=mean_of([flow.tokens for each in good for flow in each.flows["bare"]]),
        differences=compare(good, "bare", "supervised"),
        control=compare(good, "bare", "control") if "control" in good[0].flows else (),
        tail_ms=mean_of([flow.tail * _MS for flow in supervised]),
        chunk_added_p99_ms=_chunk_added(good),
        costs=tuple(_cost(name, good, supervised) for name in monitors),
        forks=_forks(supervised),
        curves=curves_of([flow for each in good for flow in each.flows["bare"]], supervised),
    )


def _other(each: Round) -> Other:
    bare, supervised = (statistics.fmean(flow.total for flow in each.flows[arm]) for arm in ("bare", "supervised"))
    return Other(each.number, each.why_not, bare, supervised)


def _chunk_added(rounds: Sequence[Round]) -> float | None:
    added = [
        (later - earlier) * _MS
        for each in rounds
        for bare, supervised in zip(each.flows["bare"], each.flows["supervised"], strict=True)
        if bare.text_sha256 == supervised.text_sha256 and len(bare.arrivals) == len(supervised.arrivals)
        for earlier, later in zip(bare.gaps, supervised.gaps, strict=True)
    ]
    return percentile(added, 0.99) if added else None


def _cost(name: str, rounds: Sequence[Round], supervised: Sequence[Flow]) -> CostRow:
    mine = [cost for flow in supervised for cost in flow.costs if cost.monitor == name]
    arm = f"without {name}"
    saved = None
    if arm in rounds[0].flows:
        total = compare(rounds, arm, "supervised")[[metric for metric, _, _ in _METRICS].index("total")].added
        saved = Mean(total.mean * _MS, total.low * _MS, total.high * _MS, total.n)
    return CostRow(
        monitor=name,
        checks=mean_of([cost.checks for cost in mine]),
        open=mean_of([cost.open for cost in mine]),
        checking_ms=mean_of([cost.checking * _MS for cost in mine]),
        on_loop_ms=mean_of([cost.on_loop * _MS for cost in mine]),
        held_ms=mean_of([cost.held * _MS for cost in mine]),
        tail_ms=mean_of([cost.tail * _MS for cost in mine]),
        saved_ms=saved,
    )


def _forks(flows: Sequence[Flow]) -> ForkReport | None:
    if not any(flow.forks for flow in flows):
        return None
    apart: list[float] = []
    beside: list[float] = []
    shares: list[float] = []
    for flow in flows:
        covered = 0.0
        for start, gap in zip(flow.arrivals, flow.gaps, strict=False):
            is_beside = any(asked < start + gap and start < answered for asked, answered in flow.fork_spans)
            (beside if is_beside else apart).append(gap * _MS)
            covered += gap if is_beside else 0.0
        shares.append(covered / (flow.arrivals[-1] - flow.arrivals[0]) * 100)
    return ForkReport(
        forks=mean_of([flow.forks for flow in flows]),
        tokens=mean_of([flow.fork_tokens for flow in flows]),
        prompt_tokens=mean_of([flow.fork_prompt_tokens for flow in flows]),
        share=mean_of(shares),
        gap_apart_ms=mean_of(apart or [0.0]),
        gap_beside_ms=mean_of(beside or [0.0]),
        p99_apart_ms=percentile(apart or [0.0], 0.99),
        p99_beside_ms=percentile(beside or [0.0], 0.99),
    )


# The bars that a penalty on correct runs is held against: upper ends of 95 % intervals, not middles.


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One promise, and what was measured."""

    metric: Metric
    unit: str
    bar: float
    upper: float
    """The upper end of the interval of the mean that is added."""

    @property
    def is_met(self) -> bool:
        """Whether the promise held."""
        return self.upper <= self.bar


def bars(report: Penalty) -> tuple[Bar, ...]:
    """Return the promises: 1 % of the total, 2 ms to the first text, 5 ms to the 99th percentile of the gaps."""
    return (
        Bar(metric="first", unit="ms", bar=2.0, upper=report.difference("first").added.high),
        Bar(metric="gap p99", unit="ms", bar=5.0, upper=report.difference("gap p99").added.high),
        Bar(metric="total", unit="%", bar=1.0, upper=report.difference("total").percent.high),
    )


def parse_share(text: str) -> float:
    """Return the percentage in *text*, such as ``1%`` or ``0.5 %``. Raises :class:`UsageError` on anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if found is None:
        raise UsageError(f"--fail-above {text!r} is no share: write it as a percentage, such as 1%")
    return float(found[1])
