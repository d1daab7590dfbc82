"""Coverage of the simulator: labels for the features of worlds and for events in plays, and which plays reach them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import get_args

from interwhen._types.events import CheckSettled, CheckStarted, Remedied, Retracted, StreamBroken, ViolationFound
from interwhen._types.monitors import Delivery
from interwhen._types.results import CheckRecord, RemedyName, Result, Status, Unverified, Verified
from interwhen._types.triggers import PhaseFilter
from interwhen._types.verdicts import Level, Outcome, Pass
from interwhen._types.verifiers import Worker
from tests.simulation.invariants import is_timeless
from tests.simulation.play import PlayedWorld, ProcessLog
from tests.simulation.truth import UNREAD
from tests.simulation.worlds import (
    MonitorSetup,
    Preparing,
    ReaderKind,
    Thinking,
    TriggerKind,
    VerifierFaultKind,
    WireFaultKind,
)

_KINDS: dict[str, tuple[str, ...]] = {
    "status": get_args(Status),
    "delivery": get_args(Delivery),
    "trigger": get_args(TriggerKind),
    "remedy done": get_args(RemedyName),
    "level": get_args(Level),
    "phase": get_args(PhaseFilter),
    "worker": get_args(Worker),
    "outcome": tuple(kind.__name__.lower() for kind in get_args(Outcome)),
    "mishap met": tuple(kind for kind in get_args(VerifierFaultKind)),
    "wire fault met": get_args(WireFaultKind),
    "thinking": get_args(Thinking),
    "reader": get_args(ReaderKind),
    "fork": ("asked", "raises", "hangs", "garbled"),
    "prepared": tuple(kind for kind in get_args(Preparing) if kind != "no"),
    "ended by": ("not converging", "remedies", "discarded", "time budget", "closed monitor", "max_tokens", "total"),
    "scope": ("steps", "answer", "pass of the reasoning", "pass of an optional monitor", "pass not declared"),
    "recognizer": ("all read", "unread", "the only doubt", "closed to it", "a gate released it"),
    "death": (
        "before anything is on file",
        "within a record",
        "tokens lost",
        "none of its tokens lost",
        "a check open",
        "a fork open",
        "a violation open",
        "after a remedy",
        "while resuming",
        "twice",
        "after the end",
        "after the reader left",
        "after the model failed",
    ),
    "seen": (
        "retraction",
        "reconnect",
        "late tokens",
        "verdict known",
        "stale check cancelled",
        "refuted",
        "varied",
        "tool call refused",
        "extractor failed",
        "ungrounded",
        "cancelled",
        "two remedies or more",
        "cut after the end",
        "a key that claims share",
        "tracker",
        "tracker of a fork",
        "prompt counted",
    ),
}
"""The labels of the table, which shows also those that were never reached."""


def reached(played: PlayedWorld) -> set[tuple[str, str]]:
    return set(_labels(played))


def all_labels() -> list[tuple[str, str]]:
    return [(kind, name) for kind, names in _KINDS.items() for name in names]


def blind_spots(counts: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the coverage labels that no world reached.

    *counts* has the number of worlds for each label that was reached.
    """
    return [label for label in all_labels() if not counts[label]]


def _labels(played: PlayedWorld) -> Iterator[tuple[str, str]]:
    world = played.world
    yield "thinking", world.thinking
    yield "reader", world.reader.kind
    for watch in world.watches:
        yield "delivery", watch.delivery
        yield "trigger", watch.trigger
        yield "level", watch.level
        yield "phase", watch.phase
        yield "worker", world.judges[watch.judge].worker
        yield from _of_watch(watch)
    yield from _of_faults(played)
    if is_timeless(world):
        yield "seen", "varied"
    if any(process.was_cancelled for process in played.processes):
        yield "seen", "cancelled"
    yield from _of_deaths(played)
    yield from _of_events(played)
    yield from _of_result(played)


def _of_watch(watch: MonitorSetup) -> Iterator[tuple[str, str]]:
    if not watch.grounded:
        yield "seen", "ungrounded"
    if watch.prepares != "no":
        yield "prepared", watch.prepares
    if watch.key != "text":
        yield "seen", "a key that claims share"
    if watch.tracks:
        yield "seen", "tracker of a fork" if watch.fork else "tracker"


def _of_faults(played: PlayedWorld) -> Iterator[tuple[str, str]]:
    world = played.world
    asked = {(number, text.partition("=")[0]) for number, text in played.book}
    for number, judge in enumerate(world.judges):
        for mishap in judge.mishaps:
            if (number, mishap.about) in asked or mishap.kind in ("hangs", "dies"):
                yield "mishap met", mishap.kind
    for sent in played.model.sent:
        if sent.fault:
            yield "wire fault met", sent.fault
        if sent.deaf:
            yield "wire fault met", "deaf"
    if played.model.fork_prefixes:
        yield "fork", "asked"
    if played.model.fork_faults:
        yield "fork", world.fork_fault


def _of_events(played: PlayedWorld) -> Iterator[tuple[str, str]]:
    for seen in played.seen:
        match seen.event:
            case Retracted():
                yield "seen", "retraction"
            case StreamBroken(action="reconnect"):
                yield "seen", "reconnect"
            case Remedied(violation=violation, generation=generation):
                yield "remedy done", violation.remedy or ""
                if generation > 1:
                    yield "seen", "two remedies or more"
                if played.model.sent[min(generation, len(played.model.sent)) - 1].ended:
                    yield "seen", "cut after the end"
            case CheckSettled(check=check):
                yield from _of_check(check)


def _of_check(check: CheckRecord) -> Iterator[tuple[str, str]]:
    name = type(check.outcome).__name__.lower()
    yield "outcome", name
    if getattr(check.outcome, "cached", False):
        yield "seen", "verdict known"
    if "its text " in getattr(check.outcome, "why", ""):
        yield "seen", "stale check cancelled"
    if not check.key and name == "errored":
        yield "seen", "extractor failed"
    if not check.key and name == "judged":
        yield "recognizer", "unread"


def _of_result(played: PlayedWorld) -> Iterator[tuple[str, str]]:
    result = played.result
    if result is None:
        return
    yield "status", result.status
    yield from _of_scope(played, result)
    yield from _of_recognizers(played, result)
    if result.ledger.prompt_tokens:
        yield "seen", "prompt counted"
    if result.ledger.late:
        yield "seen", "late tokens"
    if isinstance(result, Verified) and result.certificate.refuted:
        yield "seen", "refuted"
    if any(sent.request.pieces and sent.request.pieces[-1].refused for sent in played.model.sent):
        yield "seen", "tool call refused"
    reason = getattr(result, "reason", "") or getattr(result, "error", "")
    for word, name in (
        ("not converging", "not converging"),
        ("remedies is spent", "remedies"),
        ("discarded tokens is spent", "discarded"),
        ("time budget", "time budget"),
        ("error:", "closed monitor"),
        ("total timeout", "total"),
    ):
        if word in reason:
            yield "ended by", name
    if result.finish_reason == "length" and played.world.limits.max_tokens is not None:
        yield "ended by", "max_tokens"


def _of_scope(played: PlayedWorld, result: Result) -> Iterator[tuple[str, str]]:
    if not isinstance(result, Verified):
        return
    scope = result.certificate.scope
    yield "scope", scope
    watches = {watch.name: watch for watch in played.world.watches}
    for check in result.certificate.checks if scope == "steps" else ():
        watch, verdict = watches[check.monitor], getattr(check.outcome, "verdict", None)
        if isinstance(verdict, Pass) and verdict.scope == "answer":
            optional = "not declared" if watch.scope == "steps" else "of an optional monitor"
            yield "scope", f"pass {'of the reasoning' if watch.required and watch.scope == 'answer' else optional}"


def _of_recognizers(played: PlayedWorld, result: Result) -> Iterator[tuple[str, str]]:
    recognizing = {watch.name: watch for watch in played.world.watches if watch.recognizes and watch.required}
    if not recognizing:
        return
    if isinstance(result, Verified):
        yield "recognizer", "all read"
    if UNREAD in getattr(result, "reason", ""):
        yield "recognizer", "closed to it"
    if isinstance(result, Unverified):
        unread = [doubt.monitor for doubt in result.unverified_reasons if UNREAD in doubt.why]
        if len(unread) == len(result.unverified_reasons):
            yield "recognizer", "the only doubt"
        if any(name in recognizing and recognizing[name].delivery in ("gate", "final") for name in unread):
            yield "recognizer", "a gate released it"


def _of_deaths(played: PlayedWorld) -> Iterator[tuple[str, str]]:
    for process, following in pairwise(played.processes):
        if process.was_killed:
            yield from (("death", name) for name in _of_death(process))
        elif process.result is not None:
            yield "death", f"after {_last_words(process, process.result, following)}"
    if sum(process.was_killed for process in played.processes) > 1:
        yield "death", "twice"


def _last_words(process: ProcessLog, result: Result, following: ProcessLog) -> str:
    if following.result is not None and following.result.status == result.status:
        return "the end"
    left = process.was_cancelled or process.reader.kind in ("leaves", "raises")
    return "the model failed" if result.status == "failed" else "the reader left" if left else "the end"


def _of_death(process: ProcessLog) -> Iterator[str]:
    events = [seen.event for seen in process.seen]
    started = sum(isinstance(event, CheckStarted) for event in events)
    if process.filed is None:
        yield "before anything is on file"
    elif process.filed.left_out:
        yield "within a record"
    if process.is_resumed and not process.entered:
        yield "while resuming"
    if process.filed is not None and process.filed.chunks > process.before.chunks:
        yield "tokens lost" if process.lost_chunks else "none of its tokens lost"
    if started > sum(isinstance(event, CheckSettled) and bool(event.check.key) for event in events):
        yield "a check open"
    if process.open_forks:
        yield "a fork open"
    acted = [event for event in events if isinstance(event, Remedied)]
    violations = [event.violation for event in events if isinstance(event, ViolationFound)]
    if {one.key for one in violations if one.interrupted} - {event.violation.key for event in acted}:
        yield "a violation open"
    if acted:
        yield "after a remedy"
