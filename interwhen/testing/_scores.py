"""Scores of trials: rates with intervals, delays of violations, cost per claim, and cases to inspect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.models import Model
from interwhen._types.segments import Span
from interwhen.registry import MonitorSpec
from interwhen.testing._traces import LabelledTrace
from interwhen.testing._trials import TrialResult, TrialViolation, try_monitor_sync

__all__ = ["Cases", "Rate", "Score", "Spread", "TrialAssertion", "assert_trial", "cases", "place", "score"]

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
Place: TypeAlias = Literal["at", "before", "after", "unknown"]
"""Whether the first violation overlaps the labelled mistake (``at``), or is before or after it; ``unknown`` without
a label.
"""


class Rate(msgspec.Struct, frozen=True):
    """The share *hits* / *of*, with the 95 % score interval of Wilson (1927) from *low* to *high*.

    If *of* is 0, the interval is from 0 to 1.
    """

    hits: int
    of: int
    value: float | None = None
    """``None`` if *of* is 0."""
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def make(cls, hits: int, of: int) -> Rate:
        if not of:
            return cls(hits, of)
        share, z2 = hits / of, _Z * _Z
        middle = (share + z2 / (2 * of)) / (1 + z2 / of)
        half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
        # Rounding may put a bound on the wrong side of the share if that is 0 or 1.
        return cls(hits, of, share, max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0))

    def __str__(self) -> str:
        if self.value is None:
            return "nothing to count"
        return f"{self.value:.2%} ({self.hits} of {self.of}; 95 %: {self.low:.2%} to {self.high:.2%})"


class Spread(msgspec.Struct, frozen=True):
    """The number of values, their median, 90th and 99th percentile, and maximum."""

    n: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def make(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        if not ordered:
            return cls()
        p50, p90, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99))
        return cls(len(ordered), p50, p90, p99, ordered[-1])


def percentile(values: Sequence[float], share: float) -> float:
    # The nearest rank: the smallest of `values` (not empty) that at least `share` (0 to 1) of them do not exceed.
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of a monitor on labelled traces.

    A trace is *flagged* if a verifier refuted a claim that has a span.
    """

    traces: int
    precision: Rate
    """The share of wrong traces among the flagged right and wrong traces."""
    recall: Rate
    """The share of flagged traces among the wrong traces."""
    false_interrupts: Rate
    """The share of flagged traces among the right traces."""
    verified: Rate
    """The share of right traces whose text could be verified: see :attr:`TrialResult.is_verified`."""
    unclear: Rate
    """The share of flagged traces among the unclear traces."""
    located: Rate
    """The share of flagged wrong traces with a labelled mistake whose first violation overlaps the mistake.

    If only the turn of the mistake is labelled, a first violation in this turn counts.
    """
    before: int
    """The number of flagged wrong traces whose first violation is before the labelled mistake."""
    delay: Spread
    """Characters from the start of the labelled mistake to the end of the segment of the first violation.

    Only flagged wrong traces whose mistake has a span count.
    """
    remaining: Spread
    """The share of a flagged wrong trace that was not written yet when the check of the first violation could start."""
    claims: int
    """Claims with a verdict, and recognized text that no claim covers: the sum of the next three."""
    passed: int
    violated: int
    unknown: int
    troubles: int
    """Checks, extractions, preparations and runs that failed."""
    silent: int
    """Traces whose ``claims`` are 0."""
    aside: int
    """Traces to which the monitor does not apply in any turn."""
    check_ms: Spread
    """Milliseconds per check that gave a verdict; see :attr:`TrialResult.check_seconds`."""
    extract_ms: Spread
    """Milliseconds of extraction on the event loop per 1,000 characters of a trace."""
    prepare_ms: Spread
    """Milliseconds per call of ``prepare``, which is called once per turn."""
    reasons: tuple[tuple[str, int], ...] = ()
    """The 20 most frequent reasons of ``Unknown`` verdicts, each with its count."""


class Cases(msgspec.Struct, frozen=True, kw_only=True):
    """Traces to inspect, by kind of problem, in the order of the trial."""

    false_alarms: tuple[TrialResult, ...]
    """Right traces that were flagged."""
    misses: tuple[TrialResult, ...]
    """Wrong traces that were not flagged."""
    early: tuple[TrialResult, ...]
    """Wrong traces that were flagged before the labelled mistake."""
    troubled: tuple[TrialResult, ...]
    """Traces with a check, an extraction, a preparation or a run that failed, whatever their label."""


def score(tried: Iterable[TrialResult]) -> Score:
    """Compute the scores of a monitor from *tried*, its results on labelled traces."""
    everything = tuple(tried)
    right, wrong, unclear = (_labelled(everything, label) for label in ("right", "wrong", "unclear"))
    hits = tuple(one for one in wrong if one.is_flagged)
    false = _flagged(right)
    places = Counter(place(one) for one in hits)
    return Score(
        traces=len(everything),
        precision=Rate.make(len(hits), len(hits) + false),
        recall=Rate.make(len(hits), len(wrong)),
        false_interrupts=Rate.make(false, len(right)),
        verified=Rate.make(sum(one.is_verified for one in right), len(right)),
        unclear=Rate.make(_flagged(unclear), len(unclear)),
        located=Rate.make(places["at"], len(hits) - places["unknown"]),
        before=places["before"],
        delay=Spread.make(delay for one in hits if (delay := _delay(one)) is not None),
        remaining=Spread.make(_remaining(one) for one in hits),
        claims=sum(one.claims for one in everything),
        passed=sum(one.passed for one in everything),
        violated=sum(one.violated for one in everything),
        unknown=sum(one.unknown for one in everything),
        troubles=sum(len(one.troubles) for one in everything),
        silent=sum(not one.claims for one in everything),
        aside=sum(one.aside == len(one.trace.turns) for one in everything),
        check_ms=Spread.make(1000 * each for one in everything for each in one.check_seconds),
        extract_ms=Spread.make(_extraction(one) for one in everything),
        prepare_ms=Spread.make(1000 * each for one in everything for each in one.prepare_seconds),
        reasons=tuple(Counter(why for one in everything for why in one.reasons).most_common(20)),
    )


def cases(tried: Iterable[TrialResult]) -> Cases:
    """Return the results in *tried* that a developer should inspect, by kind of problem."""
    everything = tuple(tried)
    return Cases(
        false_alarms=tuple(one for one in _labelled(everything, "right") if one.is_flagged),
        misses=tuple(one for one in _labelled(everything, "wrong") if not one.is_flagged),
        early=tuple(one for one in _labelled(everything, "wrong") if one.is_flagged and place(one) == "before"),
        troubled=tuple(one for one in everything if one.troubles),
    )


def place(tried: TrialResult) -> Place:
    mistake, first = tried.trace.mistake, tried.violations[0]
    if mistake is None:
        return "unknown"
    if first.turn != mistake.turn:
        return "before" if first.turn < mistake.turn else "after"
    if mistake.span is None or _meet(first.span, mistake.span):
        return "at"
    return "before" if first.span.start < mistake.span.start else "after"


def _meet(one: Span, other: Span) -> bool:
    if one.start == one.end or other.start == other.end:
        return one.start <= other.end and other.start <= one.end
    return one.start < other.end and other.start < one.end


def _labelled(tried: Sequence[TrialResult], label: str) -> tuple[TrialResult, ...]:
    return tuple(one for one in tried if one.trace.label == label)


def _flagged(tried: Sequence[TrialResult]) -> int:
    return sum(one.is_flagged for one in tried)


def _offset(trace: LabelledTrace, turn: int, at: int) -> int:
    return sum(len(each.trace) for each in trace.turns[:turn]) + at


def _decided(tried: TrialResult) -> int:
    first: TrialViolation = tried.violations[0]
    return _offset(tried.trace, first.turn, first.segment.end)


def _delay(tried: TrialResult) -> int | None:
    mistake = tried.trace.mistake
    if mistake is None or mistake.span is None:
        return None
    return _decided(tried) - _offset(tried.trace, mistake.turn, mistake.span.start)


def _remaining(tried: TrialResult) -> float:
    length = _offset(tried.trace, len(tried.trace.turns), 0)
    return 1 - _decided(tried) / length if length else 0.0


def _extraction(tried: TrialResult) -> float:
    length = _offset(tried.trace, len(tried.trace.turns), 0)
    return 1e6 * tried.extract_seconds / length if length else 0.0


# An assertion about a verifier on labelled traces; its message shows the problem cases.

_AROUND = 40


class TrialAssertion(Protocol):
    """The type of the pytest fixture ``assert_trial``, which calls :func:`assert_trial` with the seed of the test."""

    def __call__(
        self,
        monitor: MonitorSpec,
        traces: Iterable[LabelledTrace],
        *,
        recall: float | None = None,
        precision: float | None = None,
        false_interrupts: float | None = None,
        located: float | None = None,
        model: Model | None = None,
        show: int = 5,
    ) -> Score:
        """Run *monitor* over *traces* as :func:`assert_trial` does, which explains the parameters and the errors."""
        ...


def assert_trial(
    monitor: MonitorSpec,
    traces: Iterable[LabelledTrace],
    *,
    recall: float | None = None,
    precision: float | None = None,
    false_interrupts: float | None = None,
    located: float | None = None,
    seed: object = 0,
    model: Model | None = None,
    show: int = 5,
) -> Score:
    """Run *monitor* over *traces* and return its score. Raises :class:`AssertionError` if a limit is not met.

    *recall*, *precision* and *located* are minima, and *false_interrupts* is a maximum, for the rates of the same name
    in :class:`Score`, from 0 to 1. A limit is not met if there are no traces from which to compute its rate.
    :class:`AssertionError` is also raised if there is no trace, and if a check, an extraction, a preparation or a run
    fails. The message shows up to *show* cases of each kind. *seed* and *model* are those of
    :func:`~interwhen.testing.try_monitor`. Raises :class:`~interwhen.UsageError` for a limit that is not from 0 to 1,
    and the errors of :func:`~interwhen.testing.try_monitor`.
    """
    limits = {"recall": recall, "precision": precision, "false_interrupts": false_interrupts, "located": located}
    for name, limit in limits.items():
        if limit is not None and not 0 <= limit <= 1:
            raise UsageError(f"assert_trial: {name} must be a share from 0 to 1, got {limit!r:.80}; correct it")
    tried = try_monitor_sync(monitor, traces, seed=seed, model=model)
    assert tried, "there must be at least one trace, got none: nothing was tried"
    total = score(tried)
    missed = [
        *_missed("recall", total.recall, recall),
        *_missed("precision", total.precision, precision),
        *_missed("violations at the label", total.located, located),
        *_missed("false interrupts", total.false_interrupts, false_interrupts, is_most=True),
    ]
    if total.troubles:
        missed.append(f"{total.troubles} checks failed")
    if missed:
        raise AssertionError("\n".join([*missed, *_told(tried, show)]))
    return total


def _missed(what: str, rate: Rate, bar: float | None, *, is_most: bool = False) -> Iterator[str]:
    if bar is not None and (rate.value is None or (rate.value > bar if is_most else rate.value < bar)):
        yield f"{what} must be at {'most' if is_most else 'least'} {bar:.2%}, got {rate}"


def _told(tried: Iterable[TrialResult], show: int) -> Iterator[str]:
    trial_cases = cases(tried)
    for title, those in (
        ("false alarms", trial_cases.false_alarms),
        ("misses", trial_cases.misses),
        ("flagged before the labelled mistake", trial_cases.early),
        ("failed checks", trial_cases.troubled),
    ):
        if those:
            yield f"\n{title} ({min(show, len(those))} of {len(those)}):"
        for one in those[:show]:
            yield f"  {one.trace.name!r}"
            yield from _case(one)


def _case(one: TrialResult) -> Iterator[str]:
    # repr() escapes control characters in the text of the model.
    for violation in one.violations[:2]:
        yield f"    {violation.why!r} in {_quoted(one, violation.turn, violation.span)}"
    for trouble in one.troubles[:2]:
        yield f"    {trouble.what[:300]!r}" + (
            f" in {_quoted(one, trouble.turn, trouble.span)}" if trouble.span is not None else ""
        )
    mistake = one.trace.mistake
    if mistake is not None and mistake.span is not None:
        yield f"    labelled: {_quoted(one, mistake.turn, mistake.span)}"
    elif not one.violations and not one.troubles:
        yield f"    {one.claims} claims, {one.unknown} unknown: {one.reasons[:3]!r}"


def _quoted(one: TrialResult, turn: int, span: Span) -> str:
    text = one.trace.turns[turn].trace
    return repr(text[max(span.start - _AROUND, 0) : min(span.end, span.start + 200) + _AROUND])
