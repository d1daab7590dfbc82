"""Trials: run a monitor over labelled traces in the real engine, without carrying out its remedies.

::

    tried = try_monitor_sync("arithmetic", read_traces("my_traces.jsonl"))
    print(score(tried).recall)

Each turn of a trace is one run. Its model replays the turn in chunks of random sizes. The monitor only observes,
whatever its delivery and remedy are, so that the trial finds violations after the first one, too.

Why: docs/decisions/writing-verifiers.md.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from interwhen._core.segmenter import scanner_for
from interwhen._core.transcript import Transcript
from interwhen._engine.run import RunOptions
from interwhen._run.recheck import vet_was_on
from interwhen._run.run import Run, Workers
from interwhen._types.budgets import Budgets
from interwhen._types.extensions import Task
from interwhen._types.models import Chunk, Model
from interwhen._types.monitors import Monitor, Tracker
from interwhen._types.results import CheckRecord, Failed, Result
from interwhen._types.segments import Phase, Segment, Span
from interwhen._types.triggers import Trigger
from interwhen._types.verdicts import Judged, Pass, Retry, Unknown, Violation
from interwhen._types.verifiers import is_async
from interwhen.journal._compact_form import outcome_words
from interwhen.models._replay import Recording, ReplayModel
from interwhen.registry import MonitorSpec, load_monitor
from interwhen.testing._traces import LabelledTrace, Turn
from interwhen.testing.complexity import mapped_extractor

# Measures the time that a monitor spends on preparing and extracting.

_MOST_CLAIMS = 10_001
"""One more than a run accepts from one segment, so that it still reports too many claims as an error."""


class Stopwatch:
    """Measures how long one monitor takes for the turns of one trace."""

    def __init__(self) -> None:
        self.extracting = 0.0
        """In seconds, without the time that the model takes to answer forks."""
        self.preparing: list[float] = []
        """The seconds of each call of ``prepare``."""
        self.aside = 0
        """How often ``prepare`` returned ``None``: the monitor does not apply."""
        self.failed: list[tuple[int, str]] = []
        """For each preparation that failed: the index of the turn, and the error."""

    def on(self, monitor: Monitor) -> Monitor:
        timed = mapped_extractor(
            monitor.extractor,
            lambda tracker: Tracker(tracker.start, self._timed(tracker.step, _taken_step)),
            lambda parser: self._timed(parser, _taken),
        )
        return replace(monitor, extractor=timed, prepare=self._prepare(monitor.prepare))

    def _timed(self, function: Callable[..., Any], take: Callable[[Any], Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            begun = time.perf_counter()
            try:
                return take(function(*given))
            finally:
                self.extracting += time.perf_counter() - begun

        return timed

    def _prepare(self, prepare: Callable[[Task], Any] | None) -> Callable[[Task], Any] | None:
        if prepare is None:
            return None
        if is_async(prepare):

            async def waited(task: Task) -> Any:
                with self._prepares():
                    return self._noted(await prepare(task))

            return waited

        def called(task: Task) -> Any:
            with self._prepares():
                return self._noted(prepare(task))

        return called

    @contextmanager
    def _prepares(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed.append((len(self.preparing), f"preparing the monitor raised {type(error).__name__}: {error}"))
            raise
        finally:
            self.preparing.append(time.perf_counter() - begun)

    def _noted(self, prepared: Any) -> Any:
        self.aside += prepared is None
        return prepared


def _taken(claims: Any) -> Any:
    # The claims are read now, so that their time is measured.
    return tuple(islice(claims, _MOST_CLAIMS)) if isinstance(claims, Iterator) else claims


def _taken_step(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    state, claims = pair
    return state, _taken(claims)


__all__ = ["TrialProblem", "TrialResult", "TrialViolation", "recut", "segments", "try_monitor", "try_monitor_sync"]

_MEAN_CHUNK = 5
_QUOTED = 400
_UNLIMITED = 1_000_000


class TrialViolation(msgspec.Struct, frozen=True, kw_only=True):
    """A refuted claim that has a span.

    ``why``, ``witness`` and ``repair`` are those of its violation.
    """

    turn: int
    """The index of the turn, from 0."""
    span: Span
    """The span of the wrong part in :attr:`~interwhen.testing.Turn.trace` of that turn."""
    segment: Span
    """The segment that has the claim, in the same text."""
    quote: str
    """The text of the wrong part, at most its first 400 characters."""
    why: str
    witness: str = ""
    repair: str | None = None


class TrialProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A check, an extraction, a preparation or a run that failed: in which turn, at which span, and why (``what``)."""

    turn: int
    span: Span | None
    """The claim, or the segment; ``None`` if the whole turn failed."""
    what: str


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a monitor on one trace."""

    trace: LabelledTrace
    violations: tuple[TrialViolation, ...] = ()
    """The violations of claims that have a span, in the order of the text."""
    troubles: tuple[TrialProblem, ...] = ()
    passed: int = 0
    violated: int = 0
    """The number of refuted claims, including claims without a span, which never interrupt."""
    unknown: int = 0
    """The number of verdicts ``Unknown``, including those for recognized text that no claim covers."""
    reasons: tuple[str, ...] = ()
    """The reason of each verdict ``Unknown``."""
    unchecked: int = 0
    """The number of numbers in the text that the monitor recognized and that no check covers."""
    aside: int = 0
    """The number of turns to which the monitor does not apply: its ``prepare`` returned ``None``."""
    check_seconds: tuple[float, ...] = ()
    """The seconds of each check that gave a verdict. Verdicts from the cache are left out."""
    extract_seconds: float = 0.0
    """The seconds of all extractions on the event loop, without the time that the model takes to answer forks."""
    prepare_seconds: tuple[float, ...] = ()
    """The seconds of ``prepare`` for each turn; empty if the monitor has no ``prepare``."""

    @property
    def is_flagged(self) -> bool:
        """Whether a verifier refuted a claim that has a span, so that a run could have been interrupted."""
        return bool(self.violations)

    @property
    def is_verified(self) -> bool:
        """Whether a claim passed, none was refuted or unknown, no number is unchecked and nothing failed.

        Then a run could be verified.
        """
        return bool(self.passed) and not (self.violated or self.unknown or self.unchecked or self.troubles)

    @property
    def claims(self) -> int:
        """The number of claims with a verdict, including recognized text that no claim covers."""
        return self.passed + self.violated + self.unknown


def recut(text: str, seed: object = 0) -> list[str]:
    """Return *text* in chunks of random lengths, most of them short; empty for an empty *text*.

    The same *text* and *seed* give the same chunks.
    """
    rng = random.Random(str(seed))  # noqa: S311  not for security
    chunks, at = [], 0
    while at < len(text):
        size = 1 + int(rng.expovariate(1 / (_MEAN_CHUNK - 1)))
        chunks.append(text[at : at + size])
        at += size
    return chunks


def segments(text: str, trigger: Trigger, *, phase: Phase = "answer") -> list[Segment]:
    # The segments that *trigger* finds, as at the end of a run. Private: only the tests of this repository use it.
    transcript = Transcript(phase)
    transcript.append(text, 0)
    scanner = scanner_for(trigger)
    spans = scanner.flush(transcript)
    return [Segment(text[span.start : span.end], span, phase, None, scanner.written) for span in spans]


async def try_monitor(
    monitor: MonitorSpec, traces: Iterable[LabelledTrace], *, seed: object = 0, model: Model | None = None
) -> AsyncIterator[TrialResult]:
    """Run *monitor* over *traces*, and yield the result of each, in order.

    *seed* selects the sizes of the chunks. *model* answers the forks of the monitor; without *model*, forks fail.
    Raises :class:`~interwhen.registry.PluginError` or :class:`~interwhen.UsageError` if the monitor cannot be loaded,
    :class:`~interwhen.UsageError` if supervision is switched off, and the errors of *traces*. Errors in the code of the
    monitor are part of the results.
    """
    watching = load_monitor(monitor)
    async with Workers(blocked_loop_after=None) as workers:
        for trace in traces:
            yield await _try(watching, trace, seed, model, workers)


def try_monitor_sync(
    monitor: MonitorSpec,
    traces: Iterable[LabelledTrace],
    *,
    seed: object = 0,
    model: Model | None = None,
    on_trial: Callable[[TrialResult], object] | None = None,
) -> list[TrialResult]:
    """Do the same as :func:`try_monitor`, for synchronous code: return the results of all traces as a list.

    After each trace, the function *on_trial* is called with its result. In a thread with a running asyncio event loop,
    as in a notebook, another thread does the work, and this call blocks the loop. Raises the errors of
    :func:`try_monitor` and of *on_trial*.
    """
    done: list[TrialResult] = []

    async def main() -> None:
        async for tried in try_monitor(monitor, traces, seed=seed, model=model):
            done.append(tried)
            if on_trial is not None:
                on_trial(tried)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        anyio.run(main)
    else:  # a notebook has a loop in this thread already
        with ThreadPoolExecutor(1) as pool:
            pool.submit(anyio.run, main).result()
    return done


async def _try(
    monitor: Monitor, trace: LabelledTrace, seed: object, model: Model | None, workers: Workers
) -> TrialResult:
    watch = Stopwatch()
    observer = watch.on(_observing(monitor))
    tallies = []
    for number, turn in enumerate(trace.turns):
        chunks = (*map(Chunk, recut(turn.text, f"{seed}:{trace.name}:{number}")), *_calls(turn))
        async with Run(
            ReplayModel([Recording.untimed(chunks, finish_reason=None)], forks=model, name="trial"),
            turn.prompt,
            RunOptions(
                monitors=(observer,),
                budgets=Budgets(failures=None, forks=_UNLIMITED, characters=max(len(turn.trace), 1) + 1),
                starts_in="reasoning" if "</think>" in turn.text and "<think>" not in turn.text else "answer",
                workers=workers,
            ),
        ) as run:
            result = await run.drain()
            vet_was_on(run)
        tallies.append(_tally(number, turn, result))
    broken = tuple(TrialProblem(turn=turn, span=None, what=what) for turn, what in watch.failed)
    return TrialResult(
        trace=trace,
        violations=tuple(
            sorted(chain.from_iterable(tally.violations for tally in tallies), key=lambda each: (each.turn, each.span))
        ),
        troubles=(*broken, *chain.from_iterable(tally.troubles for tally in tallies)),
        passed=sum(tally.passed for tally in tallies),
        violated=sum(tally.violated for tally in tallies),
        unknown=sum(len(tally.reasons) for tally in tallies),
        reasons=tuple(chain.from_iterable(tally.reasons for tally in tallies)),
        unchecked=sum(tally.unchecked for tally in tallies),
        aside=watch.aside,
        check_seconds=tuple(chain.from_iterable(tally.seconds for tally in tallies)),
        extract_seconds=watch.extracting,
        prepare_seconds=tuple(watch.preparing),
    )


def _observing(monitor: Monitor) -> Monitor:
    # An unproven claim must not end the run, because the rest of the trace would not be checked.
    again = (
        Retry(monitor.on_error.times, "open", monitor.on_error.pause) if isinstance(monitor.on_error, Retry) else None
    )
    return replace(monitor, delivery="observe", unproven="open", on_error=again)


def _calls(turn: Turn) -> Iterator[Chunk]:
    for call in turn.calls:
        yield Chunk(call.text, call=call)
    yield Chunk("", tokens=0, finish_reason="tool_calls" if turn.calls else "stop")


@dataclass(slots=True)
class _TurnTally:
    violations: list[TrialViolation]
    troubles: list[TrialProblem]
    reasons: list[str]
    seconds: list[float]
    passed: int = 0
    violated: int = 0
    unchecked: int = 0


def _tally(number: int, turn: Turn, result: Result) -> _TurnTally:
    tally = _TurnTally([], [], [], [], unchecked=sum(len(count.unchecked) for count in result.numbers))
    if isinstance(result, Failed):
        tally.troubles.append(TrialProblem(turn=number, span=None, what=f"the run failed: {result.error}"))
    text = turn.trace
    for check in result.checks:
        if check.seconds and isinstance(check.outcome, Judged) and not check.outcome.cached:
            tally.seconds.append(check.seconds)
        match check.outcome:
            case Judged(verdict=Pass()):
                tally.passed += 1
            case Judged(verdict=Unknown(why=why)):
                tally.reasons.append(why)
            case Judged(verdict=Violation() as violation):
                tally.violated += 1
                if check.span is not None:
                    tally.violations.append(_found(number, text, check, check.span, violation))
            case outcome:
                what = outcome_words(outcome).why
                tally.troubles.append(TrialProblem(turn=number, span=check.span or check.segment, what=what))
    return tally


def _found(number: int, text: str, check: CheckRecord, claim: Span, violation: Violation) -> TrialViolation:
    span = claim if violation.where is None else violation.where.shifted(claim.start)
    return TrialViolation(
        turn=number,
        span=span,
        segment=check.segment,
        quote=text[span.start : min(span.end, span.start + _QUOTED)],
        why=violation.why,
        witness=violation.witness,
        repair=violation.repair,
    )
