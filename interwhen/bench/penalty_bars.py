"""The bars that a penalty on correct runs is held against: upper ends of 95 % intervals, not middles."""

from __future__ import annotations

import re

import msgspec

from interwhen.bench.penalty_report import Metric, Penalty
from interwhen.errors import UsageError


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
