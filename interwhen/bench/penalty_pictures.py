"""The curves of a penalty: how long readers wait for text, as two distributions and over the time of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from interwhen.bench.penalty_flows import Flow
from interwhen.bench.stats import percentile

_BINS = 40
_QUANTILES = (*(n / 200 for n in range(1, 200)), 0.9975, 0.999, 1.0)
_MS = 1e3


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
        bare_bins=_over_time(bare, end),
        supervised_bins=_over_time(supervised, end),
    )


def _over_quantiles(flows: Sequence[Flow]) -> tuple[float, ...]:
    gaps = sorted(gap for flow in flows for gap in flow.gaps)
    return tuple(percentile(gaps, q) * _MS for q in _QUANTILES)


def _over_time(flows: Sequence[Flow], end: float) -> tuple[Bin, ...]:
    width = max(end, 1e-9) / _BINS
    found: list[list[float]] = [[] for _ in range(_BINS)]
    for flow in flows:
        for at, gap in zip(flow.arrivals[1:], flow.gaps, strict=True):
            found[min(int(at / width), _BINS - 1)].append(gap * _MS)
    return tuple(
        Bin(number * width, (number + 1) * width, percentile(gaps, 0.5), percentile(gaps, 0.99))
        for number, gaps in enumerate(found)
        if gaps
    )
