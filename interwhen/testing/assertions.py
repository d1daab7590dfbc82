"""Bars for a verifier on labelled traces, with the cases to look at in the message of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from interwhen.models.base import Model
from interwhen.registry import MonitorSpec
from interwhen.spans import Span
from interwhen.testing.scores import Rate, Score, cases, score
from interwhen.testing.traces import LabelledTrace
from interwhen.testing.trial import Tried, try_monitor_sync

__all__ = ["TrialAssertion", "assert_trial"]

_AROUND = 40


class TrialAssertion(Protocol):
    """What the fixture ``assert_trial`` is: :func:`assert_trial` with a seed."""

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
        """Do as :func:`assert_trial`."""
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
    """Let *monitor* look at *traces*, and raise :class:`AssertionError` where it misses a bar; return its score.

    *recall*, *precision* and *located* are the least that will do, *false_interrupts* is the most, all between 0 and 1.
    A bar without a trace that it could count is missed, and so is every bar where a check came to nothing. The message
    has *show* cases of each kind. *seed* and *model* are those of :func:`~interwhen.testing.try_monitor`.
    """
    tried = try_monitor_sync(monitor, traces, seed=seed, model=model)
    total = score(tried)
    missed = [
        *_below("recall", total.recall, recall),
        *_below("precision", total.precision, precision),
        *_below("violations at the label", total.located, located),
        *_above("false interrupts", total.false_interrupts, false_interrupts),
    ]
    if total.troubles:
        missed.append(f"{total.troubles} checks came to nothing")
    if missed:
        raise AssertionError("\n".join([*missed, *_told(tried, show)]))
    return total


def _below(what: str, rate: Rate, bar: float | None) -> Iterator[str]:
    if bar is not None and (rate.value is None or rate.value < bar):
        yield f"{what}: {rate}, and at least {bar:.2%} is asked for"


def _above(what: str, rate: Rate, bar: float | None) -> Iterator[str]:
    if bar is not None and (rate.value is None or rate.value > bar):
        yield f"{what}: {rate}, and at most {bar:.2%} is allowed"


def _told(tried: Iterable[Tried], show: int) -> Iterator[str]:
    found = cases(tried)
    for title, those in (
        ("false alarms", found.false_alarms),
        ("misses", found.misses),
        ("flagged before the labelled mistake", found.early),
        ("checks that came to nothing", found.troubled),
    ):
        if those:
            yield f"\n{title} ({min(show, len(those))} of {len(those)}):"
        for one in those[:show]:
            yield f"  {one.trace.name!r}"
            yield from _case(one)


def _case(one: Tried) -> Iterator[str]:
    # With repr: what a model wrote must not act on the terminal.
    for found in one.found[:2]:
        yield f"    {found.why!r} in {_quoted(one, found.turn, found.span)}"
    for trouble in one.troubles[:2]:
        yield f"    {trouble.what[:300]!r}" + (
            f" in {_quoted(one, trouble.turn, trouble.span)}" if trouble.span is not None else ""
        )
    mistake = one.trace.mistake
    if mistake is not None and mistake.span is not None:
        yield f"    labelled: {_quoted(one, mistake.turn, mistake.span)}"
    elif not one.found and not one.troubles:
        yield f"    {one.claims} claims, {one.unknown} unknown: {one.reasons[:3]!r}"


def _quoted(one: Tried, turn: int, span: Span) -> str:
    text = one.trace.turns[turn].trace
    return repr(text[max(span.start - _AROUND, 0) : min(span.end, span.start + 200) + _AROUND])
