"""Invariants of the events that the reader gets: gates, frontier, order, and the journal after a death."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, takewhile
from typing import NamedTuple

from interwhen._run.recheck import replay
from interwhen._types.errors import InterwhenError
from interwhen._types.events import (
    CheckSettled,
    Delta,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    Retracted,
    StreamBroken,
    ViolationFound,
)
from interwhen._types.verdicts import Cancelled
from tests.simulation.cases import PlayedCase, final_trace, invariant
from tests.simulation.truth import (
    SimulatedTrace,
    StatedClaim,
    claims_in,
    is_blind,
    is_crowded,
    may_be_suspended,
    mishap_of,
    passes,
    read_by,
    released,
    segments_of,
    trace_of,
    unread_by,
)
from tests.simulation.worlds import MonitorSetup, World


@invariant("a gate releases no text before its checks have ended")
def _gates(case: PlayedCase) -> Iterator[str]:
    gates = [w for w in case.world.watches if w.delivery == "gate" and not w.fork and not w.extractor_fails_on]
    gates = [w for w in gates if w.trigger != "chars" and not is_blind(w)]
    if not gates:
        return
    for number, trace in _shown_traces(case):
        for watch in gates:
            yield from _let_through(case, watch, trace, case.played.seen[number - 1].judged, number)


def _let_through(
    case: PlayedCase, watch: MonitorSetup, trace: SimulatedTrace, judged: int, number: int
) -> Iterator[str]:
    judge = case.world.judges[watch.judge]
    done = case.played.book[:judged]
    for claim, _ in read_by(trace, watch):
        if mishap_of(judge, claim) in ("hangs", "dies") or (watch.judge, claim.text) in done:
            continue
        if is_crowded(case.world) or may_be_suspended(case.world, judge) or claim.end == len(trace.text):
            continue
        yield f"event {number} shows {claim.text} at {claim.start} before {watch.name} has checked it"


@invariant("P9: after a mistake that was shown, no refuted text is shown")
def _held_back(case: PlayedCase) -> Iterator[str]:
    # The reader may have seen later text before the first mistake was found, so only text after that cut counts.
    watches = {watch.name: watch for watch in case.world.watches}
    shown = before = 0
    kept: int | None = None
    for number, seen in enumerate(case.played.seen):
        match seen.event:
            case Delta(text=text, start=start):
                shown = before = start + len(text)
            case Retracted(to=to):
                shown = to
            case Remedied(violation=record) if record.remedy != "conclude":
                was_seen, at = before > record.span.start, record.span.start
                if kept is not None and was_seen and at >= kept and watches[record.monitor].trigger not in _WHOLE:
                    yield f"event {number}: {record.quote!r} of {record.monitor} was shown at {at}, and is refuted"
                if was_seen or kept is not None:
                    kept = shown if kept is None else min(kept, shown)
                before = shown
            case _:
                pass


_WHOLE = ("think_end", "answer")
"""The triggers of monitors that read a whole phase, which is held only after a mistake of theirs."""


class _Answered(NamedTuple):
    """A refuted text that stays in the trace because *monitor* has written feedback after it."""

    monitor: str
    start: int
    end: int
    at: int
    """The index of the event of the remedy."""


@invariant("a gate shows and keeps nothing that the release rule does not release")
def _rule(case: PlayedCase) -> Iterator[str]:
    gates = [w for w in case.world.watches if w.delivery in ("gate", "gate_tools", "final")]
    if not gates:
        return
    answered = _answered(case)
    for number, trace in _shown_traces(case):
        known = [stretch for stretch in answered if stretch.at < number]
        for watch in gates:
            yield from _unreleased(case.world, watch, trace, known, f"event {number} shows")
    if case.result is not None:
        for watch in gates:
            yield from _unreleased(case.world, watch, final_trace(case, case.result), answered, "the result holds")


def _answered(case: PlayedCase) -> list[_Answered]:
    if case.history is None:  # the reader left early and did not get every remedy
        records = case.result.violations if case.result is not None else ()
        return [_Answered(r.monitor, 0, r.cut, 0) for r in records if r.remedy == "feedback" and r.cut is not None]
    watches = {watch.name: watch for watch in case.world.watches}
    answered = []
    for act in case.history.acts:
        record, cut = act.record, act.record.cut
        if record.remedy == "feedback" and cut is not None and cut >= record.span.end:
            segments = segments_of(act.before, watches[record.monitor])
            starts = [start for start, end, _ in segments if start <= record.span.start and record.span.end <= end]
            answered.append(_Answered(record.monitor, min(starts, default=record.span.start), cut, act.at))
    return answered


def _shown_traces(case: PlayedCase) -> Iterator[tuple[int, SimulatedTrace]]:
    # A release has one event for each author, so a segment is complete only after the last of these events.
    trace, shown = trace_of(case.world), False
    for number, seen in enumerate(case.played.seen):
        event = seen.event
        if shown and not isinstance(event, Delta):
            yield number, trace
        shown = isinstance(event, Delta)
        if isinstance(event, Retracted):
            trace.cut(event.to)
        elif isinstance(event, Delta) and event.origin == "model":
            trace.add(event.text, event.phase, call=event.call is not None)
        elif isinstance(event, Delta):
            trace.insert(event.text, event.origin)


def _unreleased(
    world: World, watch: MonitorSetup, trace: SimulatedTrace, answered: list[_Answered], what: str
) -> Iterator[str]:
    answers = [start for start, _, phase in trace.phases() if phase == "answer"]
    held_from = 0 if watch.delivery != "final" else min(answers, default=len(trace.text))
    mine = [stretch for stretch in answered if stretch.monitor == watch.name]
    read = ((claim.start, claim.end, claim, segment) for claim, segment in read_by(trace, watch))
    unread = ((low, high, None, segment) for low, high, segment in unread_by(trace, watch))
    for low, high, claim, (start, end, _) in (*read, *unread):
        if low < held_from or (high == len(trace.text) and not trace.ended):
            continue  # the end of the text may continue: it is checked with the next release, or at the end
        if any(stretch.start <= low and high <= stretch.end for stretch in mine):
            continue  # the remedy keeps this text and adds feedback after it
        if not released(world, watch, claim, trace.text[start:end]):
            yield f"{what} {trace.text[low:high]!r} at {low}, which {watch.name} ({watch.delivery}) must hold"


@invariant("an answer that is held for the end is shown at the end")
def _final(case: PlayedCase) -> Iterator[str]:
    if not any(watch.delivery == "final" for watch in case.world.watches):
        return
    shown_at = None
    for number, seen in enumerate(case.played.seen):
        if isinstance(seen.event, Delta) and seen.event.phase == "answer":
            shown_at = number if shown_at is None else shown_at
        elif shown_at is not None and not isinstance(seen.event, Delta | Finished):
            yield f"event {number} follows the answer of event {shown_at}: {seen.event!r:.200}"
            return


@invariant("everything before the frontier has passed every required monitor")
def _frontier(case: PlayedCase) -> Iterator[str]:
    required = [w for w in case.world.watches if w.required and not w.fork and not w.extractor_fails_on]
    required = [w for w in required if w.prepares != "aside"]
    if case.history is None or case.history.misfit:
        return
    acts = [act.at for act in case.history.acts]
    last = max(acts, default=-1)
    for number, seen in enumerate(case.played.seen):
        if not isinstance(seen.event, FrontierMoved) or number < last:
            continue
        # After the last remedy, the final trace up to the frontier was the trace at that time.
        trace = case.history.trace
        for watch in required:
            judge = case.world.judges[watch.judge]
            for claim, _ in read_by(trace, watch):
                answered = any(low <= claim.start and claim.end <= high for low, high in trace.answered)
                shown = passes(judge, claim) and not is_blind(watch)
                if claim.end <= seen.event.to and not shown and not answered:
                    yield f"event {number}: the frontier is at {seen.event.to}, after {claim.text} at {claim.start}"
            for start, end, _ in unread_by(trace, watch):
                answered = any(low <= start and end <= high for low, high in trace.answered)
                if end <= seen.event.to and not answered:
                    yield f"event {number}: the frontier is at {seen.event.to}, after {trace.text[start:end]!r}"


# ---------------------------------------------------------------- the order of events


@invariant("the last event is Finished, and it comes once")
def _ending(case: PlayedCase) -> Iterator[str]:
    ends = [number for number, seen in enumerate(case.played.seen) if isinstance(seen.event, Finished)]
    if case.played.saw_all and ends != [len(case.played.seen) - 1]:
        yield f"Finished came at {ends} of {len(case.played.seen)} events"


@invariant("a reported violation is one")
def _told(case: PlayedCase) -> Iterator[str]:
    for seen in case.played.seen:
        if isinstance(seen.event, ViolationFound):
            claim = _claim_of(seen.event.violation.key)
            # Without a span, the wrong part cannot be checked to be inside of the claim.
            garbage = any(mishap.kind == "bad_where" for judge in case.world.judges for mishap in judge.mishaps)
            if claim is not None and claim.is_right and not garbage:
                yield f"{claim.text} is right, but a violation of {seen.event.violation.monitor} is reported"


def _claim_of(key: str) -> StatedClaim | None:
    claims = claims_in(key)
    return claims[0] if claims else None


# Invariants of worlds in which processes die: nothing on file is lost, and nothing happens twice.


@invariant("P4: everything that was handed to the disk is on file, and only unwritten bytes are torn")
def _on_file(case: PlayedCase) -> Iterator[str]:
    for number, (process, death) in enumerate(zip(case.played.processes, case.world.deaths, strict=False)):
        filed = process.filed
        if filed is None:
            continue
        mine = filed.chunks - process.before.chunks
        if mine < process.taken_on_file:
            yield f"process {number} had {process.taken_on_file} chunks when all was written, but {mine} are on file"
        if mine < process.taken_before_request:
            yield f"process {number} had {process.taken_before_request} chunks at its last request, {mine} are on file"
        # Bytes that were torn before stay in the file until the resume opens it.
        if filed.left_out > max(death.torn, process.before.left_out):
            yield f"{filed.left_out} bytes of the file are torn, but {death.torn} were written"


@invariant("P4: events that a reader got, and that are on file, come again after a resume")
def _told_again(case: PlayedCase) -> Iterator[str]:
    for number, (process, following) in enumerate(pairwise(case.played.processes)):
        if not following.is_resumed:
            continue
        filed = [seen.event for seen in process.seen[: process.seen_on_file]]
        # What follows a failure belongs to the end of the run, which a resume undoes.
        going_on = takewhile(lambda event: not (isinstance(event, StreamBroken) and event.action == "fail"), filed)
        sure = [event for event in going_on if not _is_void(event)]
        again = [seen.event for seen in following.seen if not _is_void(seen.event)]
        for place, (was, now) in enumerate(zip(sure, again, strict=False)):
            if was != now:
                yield f"event {place} of process {number} is {was!r:.200}, but {now!r:.200} in the next one"
                break
        else:
            if following.saw_all and following.result is not None and len(again) < len(sure):
                yield f"process {number} got {len(sure)} events that are on file, but the next one {len(again)}"


def _is_void(event: Event) -> bool:
    # A resume of the run makes such an event invalid.
    if isinstance(event, CheckSettled):
        return isinstance(event.check.outcome, Cancelled) and event.check.outcome.why == "the run ended first"
    return isinstance(event, Finished) or (isinstance(event, StreamBroken) and event.action == "fail")


@invariant("P4: no remedy comes twice")
def _remedied_once(case: PlayedCase) -> Iterator[str]:
    for process in case.played.processes:
        generations = [seen.event.generation for seen in process.seen if isinstance(seen.event, Remedied)]
        going_on = [number for number in generations if generations.count(number) > 1]
        if going_on and generations != sorted(generations):
            yield f"the remedies are numbered {generations}"


@invariant("P5: spent tokens and seconds stay in the ledger, and no others are added")
def _spent(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if result is None or not case.world.deaths:
        return
    ledger, filed = result.ledger, case.played.last.before
    for name, spent, now in (
        ("tokens", filed.tokens + filed.unread, ledger.kept + ledger.discarded),
        ("fork tokens", filed.fork_tokens, ledger.fork_tokens),
        ("requests", filed.opened, ledger.requests),
        ("slow seconds", filed.slow_seconds, result.wire.slow_seconds),
    ):
        if now < spent:
            yield f"{spent} {name} were on file, but the result has {now}"
    total = result.timing.total
    if not filed.at - 1e-6 <= total <= case.played.seconds + 1e-6:
        yield f"the run took {total:g} s, but {filed.at:g} s were on file and {case.played.seconds:g} s have passed"
    struck = sum(bool(sent.fault) for sent in case.played.model.sent) + len(case.world.wires)
    if ledger.reconnects > struck:
        yield f"{ledger.reconnects} reconnects, but {struck} faults of the network"


@invariant("P4: the journal of a finished run is complete, and its replay is the same run")
def _replayed(case: PlayedCase) -> Iterator[str]:
    result, journal = case.result, case.played.journal
    if result is None or journal is None:
        return
    if result.journal is None or result.journal.incomplete:
        yield f"the journal is {result.journal!r}"
        return
    try:
        again = replay(journal)
    except InterwhenError as error:
        yield f"the journal cannot be read: {error}"
        return
    if again.result is None:
        yield "by its journal, the run is not finished"
    elif again.differences:
        name = again.differences[0]
        ours, theirs = getattr(again.result, name, None), getattr(result, name, None)
        yield f"{name} is {ours!r:.200} in the replay, but was {theirs!r:.200}"
