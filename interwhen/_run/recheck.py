"""Replays the journal of a finished run, and checks its recorded text again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import msgspec

from interwhen._core.release import describe, passed, refuted
from interwhen._engine.resumed_runs import result_of
from interwhen._engine.run import Run, RunOptions, switched_off
from interwhen._run.consent import Chosen, monitors_given, monitors_of
from interwhen._run.run import recorded_model, several_specs
from interwhen._types.budgets import Budgets
from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.events import CheckSettled, CheckStarted, Delta, Event, Finished, Remedied, StreamBroken
from interwhen._types.extensions import OnProgress
from interwhen._types.models import Chunk, Piece, Prompt
from interwhen._types.monitors import Monitor
from interwhen._types.results import Abstained, CheckRecord, Result, Verified, prompt_sha256
from interwhen._types.segments import Phase, Span
from interwhen._types.verdicts import Judged, Pass, Scope
from interwhen._types.verifiers import FunctionVerifier
from interwhen.journal import Journal
from interwhen.journal._compact_form import outcome_words
from interwhen.journal._evidence import flaws
from interwhen.journal._files import MAGIC
from interwhen.journal._rebuilt_run import (
    Journaled,
    TracedCore,
    facts_of,
    read_journal,
    read_sealed,
    rebuild,
    refuse_redacted,
    refusing_contradictions,
    standing,
    traced,
)
from interwhen.journal._records import (
    Header,
    VerifierRecord,
    recorded_monitors,
)
from interwhen.journal._reports import Recheck, RecheckFinding, Replay
from interwhen.registry import MonitorSpec

# Replay: gives the recorded facts to a new core.

_APART = ("timing", "journal", "prompt_findings")
"""The fields of a result that a replay does not compare."""


def replay(journal: str | os.PathLike[str] | Journal) -> Replay:
    """Rebuild the recorded run from *journal* (a path or a :class:`Journal`), and compute its result again.

    No model, verifier or extractor runs. The replay of a run that has not ended has no result. Raises
    :class:`~interwhen.journal.JournalError` if the journal cannot be read, is redacted or contradicts itself, or if
    this version builds another trace from its facts.
    """
    journaled = read_sealed(journal)
    past = rebuild(journaled, recorded_monitors(journaled.header, journaled.path))
    result = result_of(past)
    events = tuple(past.core.events)
    transcript = past.core.transcript
    text = transcript.slice(0, transcript.length)
    differences: tuple[str, ...] = ()
    if result is not None:
        if journaled.result is not None:
            differences = _differences(result, journaled.result)
        events = (*events, Finished(result))
    return Replay(journaled, events, text, result, differences)


def _differences(ours: Result, theirs: Result) -> tuple[str, ...]:
    if type(ours) is not type(theirs):
        return ("status",)
    names = [name for name in ours.__struct_fields__ if name not in _APART]
    return tuple(name for name in names if getattr(ours, name) != getattr(theirs, name))


async def recheck(
    path: str | os.PathLike[str], monitors: Iterable[MonitorSpec], *, on_progress: OnProgress | None = None
) -> Recheck:
    """Check the recorded text of the journal at *path* with *monitors*, one request after the other.

    The monitors only observe, and no model runs, so a fork finds only what its local parser finds. Violations that
    overlap text that a remedy inserted are left out. *on_progress* gets an estimate of the number of checked
    characters, and the number of all characters. Raises :class:`~interwhen.journal.JournalError` as :func:`replay`
    does, and :class:`~interwhen.UsageError` if a monitor cannot be loaded, or if supervision is switched off while
    there are monitors.
    """
    chosen = monitors_given(several_specs(monitors))
    acting = {monitor.name for monitor in chosen.monitors if monitor.delivery != "observe"}
    journaled = read_journal(path)
    observers, _ = watch_until(chosen, journaled.size)
    refuse_redacted(journaled)
    findings: list[RecheckFinding] = []
    seen: set[tuple[str, str, str]] = set()
    unproven: tuple[CheckRecord, ...] = ()
    traces = _recorded_traces(journaled)
    progress = _CheckedCharacters(sum(len(trace.text) for trace in traces), on_progress)
    for number, recorded in enumerate(traces, start=1):
        result = await observe_recorded(journaled, recorded.chunks, observers, on_event=progress.note)
        for violation in result.violations:
            # If the text up to the end of the violation is the same, this is the same finding in a longer trace.
            key = (violation.monitor, violation.key, recorded.text[: violation.span.end])
            if key in seen or recorded.is_ours(violation.span):
                continue
            seen.add(key)
            findings.append(RecheckFinding(number, violation, violation.monitor in acting))
        unproven = tuple(check for check in result.checks if not passed(check.outcome) and not refuted(check.outcome))
    return Recheck(journaled, tuple(trace.text for trace in traces), tuple(findings), unproven)


class RepeatedCheck(msgspec.Struct, frozen=True):
    """The result of repeating one recorded check that had passed: whether it passes again."""

    check: CheckRecord
    passes: bool
    why: str = ""
    changed: str = ""
    """What is known to have changed in its verifier since the record: the version or the code; otherwise empty."""
    left_out: bool = False
    """Whether the check was not repeated, because its monitor was left out or the time was spent."""


async def check_again(
    path: str | os.PathLike[str],
    monitors: Iterable[MonitorSpec] | None = None,
    *,
    trust: bool = False,
    prompt: Prompt | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Result, tuple[RepeatedCheck, ...]]:
    """Repeat the passed checks of a recorded result, with the installed verifiers and without a model.

    *path* is a journal, or a file with a result as JSON. For a journal, *monitors* defaults to those that it names
    (without *trust*, only the safe ones, for a limited time), and *prompt* is ignored. For a result, *monitors* is
    required, and so is *prompt* if the monitors read the problem in it. A claim that only a fork finds does not pass
    again.
    """
    result, chunks, asked, begins = _recorded(path, prompt)
    header, size = begins[2:]
    if monitors is None and header is None:
        raise UsageError(
            f"the monitors must be given to check the result in {os.fspath(path)!r}, which does not say how "
            "to make them: give monitors=[...]"
        )
    if monitors is None and header is not None:
        chosen = monitors_of(header.monitors, trust=trust)
    else:
        chosen = monitors_given(monitors or ())
    watchers, until = watch_until(chosen, size)
    model = recorded_model(chunks, think_tags=begins[0])
    settled, total = 0, len(result.checks)
    options = RunOptions(monitors=watchers, starts_in=begins[1], budgets=_budgets(until))
    async with Run(model, asked, options) as run:
        async for event in run:
            if isinstance(event, CheckSettled):
                settled += 1
                if on_progress is not None:
                    on_progress(settled, max(settled, total))
        vet_was_on(run)
        again = run.result
    checks = {(check.monitor, check.key, check.span): check for check in again.checks}
    is_late = isinstance(again, Abstained)
    return result, tuple(
        _repeated(
            check,
            checks.get((check.monitor, check.key, check.span)),
            chosen.left_out.get(check.monitor, _LATE if is_late else ""),
            is_answer=result.answer_verified,
        )
        for check in result.checks
        if passed(check.outcome)
    )


# The time, and the process, for checks with monitors that a file named.

_SECONDS = 4.0
_SECONDS_PER_BYTE = 1e-5
_LATE = "the time for the monitors of a file is spent: give them with -m or monitors=[...], or trust the file"


class _Watch(NamedTuple):
    monitors: tuple[Monitor, ...]
    until: float | None
    """When their time is spent, on the monotonic clock; ``None`` if it is not limited."""


def watch_until(chosen: Chosen, size: int) -> _Watch:
    if chosen.spent is None:
        return _Watch(tuple(replace(one, delivery="observe") for one in chosen.monitors), None)
    until = time.monotonic() + _SECONDS + size * _SECONDS_PER_BYTE - chosen.spent
    observers = []
    for monitor in chosen.monitors:
        verifier = monitor.verifier
        # A process can be killed. A thread would run on, and Python waits for it at its end.
        if verifier.worker == "thread" and isinstance(verifier, FunctionVerifier):
            verifier = replace(verifier, worker="process")
        observers.append(replace(monitor, delivery="observe", verifier=verifier))
    return _Watch(tuple(observers), until)


def _budgets(until: float | None) -> Budgets:
    return Budgets(seconds=None if until is None else max(until - time.monotonic(), 0.0))


def vet_in_time(result: Result) -> None:
    if isinstance(result, Abstained):
        raise UsageError(f"{_NOT}: {_LATE}")


class ClaimVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    outcome: str
    """In the words of the compact form: ``pass``, ``violation``, ``unknown``, ``error``, ``timed_out``, …"""
    why: str = ""
    """The reason for the outcome; for a pass its evidence, and for a violation its witness, if it has one."""
    changed: str = ""
    """As :attr:`RepeatedCheck.changed`."""


async def check_claim_again(path: str | os.PathLike[str], monitor: str, key: str, span: Span | None) -> ClaimVerdict:
    """Check one recorded claim again with the installed verifiers. No model runs.

    *span* has the offsets of the trace at that time, so the text may have been cut later. Raises :class:`UsageError` if
    the claim is not found again, or its monitor cannot be made.
    """
    journaled = read_journal(path)
    refuse_redacted(journaled)
    header = journaled.header
    recorded = [one for one in header.monitors if one.name == monitor]
    if not recorded:
        raise UsageError(f"the journal must have the monitor of the claim, got {monitor!r:.80}: load the run again")
    chosen = monitors_of(recorded)
    if why := chosen.left_out.get(monitor):
        raise UsageError(f"{_NOT}: {why}")
    watchers, until = watch_until(chosen, journaled.size)
    for trace in _recorded_traces(journaled):
        result = await observe_recorded(journaled, trace.chunks, watchers, until=until)
        again = next((one for one in result.checks if (one.monitor, one.key, one.span) == (monitor, key, span)), None)
        if again is not None:
            words = outcome_words(again.outcome)
            changed = _changes(header.verifiers[recorded[0].verifier], again)
            return ClaimVerdict(words.outcome, words.witness or words.why, changed)
        vet_in_time(result)
    raise UsageError(
        f"the claim {key!r:.80} must be found again in the recorded text, and is not: a fork found it, or the monitor "
        "reads other claims now"
    )


def _changes(then: VerifierRecord | CheckRecord, now: CheckRecord) -> str:
    if now.verifier != (then.verifier if isinstance(then, CheckRecord) else then.name):
        return f"its verifier is {now.verifier!r:.80} now"
    if now.version != then.version:
        return f"version {then.version!r} then, {now.version!r} now"
    return "its code changed" if then.code_sha256 and now.code_sha256 != then.code_sha256 else ""


def _recorded(
    path: str | os.PathLike[str], prompt: Prompt | None
) -> tuple[Result, Sequence[Chunk], Prompt, tuple[tuple[str, str] | None, Phase, Header | None, int]]:
    with open(path, "rb") as file:  # noqa: PTH123  (the first bytes decide how it is read)
        data = file.read()
    if data.startswith(MAGIC):
        journaled = read_journal(path)
        refuse_redacted(journaled)
        if journaled.result is None:
            raise UsageError(f"the run in {os.fspath(path)!r} must be over, and is not: resume it to its end first")
        header = journaled.header
        begins = (header.think_tags, header.starts_in, header, len(data))
        return journaled.result, _recorded_traces(journaled)[-1].chunks, header.prompt, begins
    try:
        result: Result = msgspec.json.decode(data, type=Result)
    except DECODE_ERRORS as error:
        raise UsageError(
            f"{os.fspath(path)!r} must be a journal, or a result as JSON, got something else ({error}): "
            "correct the path"
        ) from error
    wrong = list(flaws(result))
    asked = None if prompt is None else prompt_sha256(prompt)
    if isinstance(result, Verified) and asked not in (None, result.certificate.prompt_sha256):
        wrong.append("its certificate is for another prompt")
    if wrong:
        raise UsageError(
            f"the result in {os.fspath(path)!r} must agree with itself, and does not, so it was changed: "
            f"{wrong[0]}; restore it from a copy"
        )
    border = len(result.text) - len(result.answer) if result.text.endswith(result.answer) else 0
    chunks = [Chunk(result.text[:border], "reasoning"), Chunk(result.text[border:], "answer")]
    return result, [chunk for chunk in chunks if chunk.text], prompt or "", (None, "answer", None, len(data))


_NOT = "not rechecked"


def _repeated(check: CheckRecord, now: CheckRecord | None, absent: str, *, is_answer: bool) -> RepeatedCheck:
    if absent and not (now is not None and isinstance(now.outcome, Judged)):
        return RepeatedCheck(check, passes=False, why=f"{_NOT}: {absent}", left_out=True)
    if now is None:
        return RepeatedCheck(check, passes=False, why="its claim is not found again")
    why = "" if passed(now.outcome) else describe(now.outcome)
    if is_answer and not why and _scope_of(check) == "answer" != _scope_of(now):
        why = "it passes only as a step now, and passed as the answer"
    if not why and now.verifier != check.verifier:
        why = f"the record says that {check.verifier!r:.80} judged it"
    return RepeatedCheck(check, passes=not why, why=why, changed=_changes(check, now))


def _scope_of(check: CheckRecord) -> Scope | None:
    outcome = check.outcome
    return outcome.verdict.scope if isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass) else None


class _RecordedTrace:
    """One trace of a recorded run: its chunks, its text, and which of this text remedies inserted."""

    def __init__(self, core: TracedCore, pieces: Sequence[Piece]) -> None:
        # A model that writes tags writes all of its text in one phase.
        is_tagged = core.intake.reads_tags
        self.chunks = [Chunk(one.text, "answer" if is_tagged else one.phase, call=one.call) for one in pieces]
        self.text = "".join(one.text for one in pieces)
        ends = accumulate(len(one.text) for one in pieces)
        self._ours = [
            Span(end - len(one.text), end) for one, end in zip(pieces, ends, strict=True) if one.origin != "model"
        ]

    def is_ours(self, span: Span) -> bool:
        return any(ours.start < span.end and span.start < ours.end for ours in self._ours)


def _recorded_traces(journaled: Journaled) -> list[_RecordedTrace]:
    # At least one, so that callers can take the last.
    with refusing_contradictions(journaled.path):
        return _traces(journaled)


def _traces(journaled: Journaled) -> list[_RecordedTrace]:
    core, past = traced(journaled)
    traces: list[_RecordedTrace] = []
    has_grown = False
    for record in standing(journaled.records):
        for at, fact in facts_of(record):
            core.transcript.kept_until = core.transcript.length
            past.tell(at, fact)
            if any(isinstance(event, Remedied | StreamBroken) for event in core.events):
                has_grown = has_grown or (isinstance(fact, Chunk) and bool(fact.text))
                if has_grown:
                    traces.append(_RecordedTrace(core, core.uncut or core.transcript.pieces()))
                has_grown = False
            else:
                has_grown = has_grown or core.transcript.length > core.transcript.kept_until
            core.events.clear()
    if has_grown or not traces:
        traces.append(_RecordedTrace(core, core.transcript.pieces()))
    return traces


def recorded_chunks(journaled: Journaled) -> dict[str, Sequence[Chunk]]:
    return {one.text: one.chunks for one in _recorded_traces(journaled)}


async def observe_recorded(
    journaled: Journaled,
    chunks: Sequence[Chunk],
    observers: Sequence[Monitor],
    *,
    until: float | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Result:
    # At the time `until`, on the monotonic clock, the checks end, and the result is `Abstained`. Raises `UsageError` if
    # supervision is switched off while there are `observers`.
    header = journaled.header
    model = recorded_model(chunks, think_tags=header.think_tags)
    budgets = _budgets(until)
    options = RunOptions(monitors=tuple(observers), starts_in=header.starts_in, budgets=budgets)
    async with Run(model, header.prompt, options) as run:
        async for event in run:
            on_event(event)
        vet_was_on(run)
        return run.result


def vet_was_on(run: Run) -> None:
    if run.is_switched_off:
        raise switched_off("check recorded text")


class _CheckedCharacters:
    """Estimates how many of the *total* characters :func:`recheck` has checked. The estimate never decreases."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._read = self._started = self._settled = self._estimate = 0

    def note(self, event: Event) -> None:
        self._read += len(event.text) if isinstance(event, Delta) else 0
        self._started += isinstance(event, CheckStarted)
        self._settled += isinstance(event, CheckSettled)
        if self._on_progress is not None:
            # Text is read faster than slow checks end, so it counts by the share of its checks that have ended.
            # Skipped checks end without a start.
            share = min(1.0, self._settled / self._started) if self._started else 1.0
            self._estimate = max(self._estimate, min(int(self._read * share), self._total))
            self._on_progress(self._estimate, self._total)
