"""The monitors of a world: real monitors, whose verifiers know the right verdicts and have the faults of the world."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
from interwhen._types.extensions import Task
from interwhen._types.models import Reply
from interwhen._types.monitors import Extractor, Fork, Monitor, Tracker
from interwhen._types.remedies import Abstain, Auto, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen._types.segments import Claim, Segment, Span
from interwhen._types.triggers import (
    Answer,
    EveryChars,
    Lines,
    Markers,
    Paragraphs,
    Sentences,
    ThinkEnd,
    ToolCalls,
    Trigger,
)
from interwhen._types.verdicts import OnError, Pass, Retry, Scope, Unknown, Verdict, Violation
from interwhen._types.verifiers import Worker
from interwhen.testing._virtual_time import Shift
from tests.simulation.truth import (
    CHARS,
    MARKERS,
    REFUTES,
    StatedClaim,
    claims_in,
    in_words,
    mishap_of,
    wait_of,
)
from tests.simulation.worlds import MonitorSetup, RemedyKind, TriggerKind, VerifierSetup, World

PROMPT = "Add up."
_REMEDIES: dict[RemedyKind, Remedy] = {
    "auto": Auto(),
    "auto_unverified": Auto(end="unverified"),
    "repair": Repair(),
    "repair_resample": Repair(otherwise=Resample()),
    "append": Feedback("append"),
    "rewind": Feedback("rewind"),
    "resample": Resample(),
    "conclude": Conclude(),
    "stop": Stop(),
    "abstain": Abstain(),
}
_TRIGGERS: dict[TriggerKind, Trigger] = {
    "lines": Lines(),
    "pairs": Lines(every=2),
    "paragraphs": Paragraphs(),
    "sentences": Sentences(),
    "markers": Markers(words=MARKERS),
    "think_end": ThinkEnd(),
    "answer": Answer(),
    "calls": ToolCalls("<call>", "</call>"),
    "chars": EveryChars(count=CHARS),
}

_ON_ERROR: dict[str, OnError] = {
    "": None,
    "open": "open",
    "closed": "closed",
    "retry": Retry(1, pause=0.1),
    "retry_open": Retry(1, "open", 0.1),
}


class _NoPass(Pass, frozen=True):
    """A subclass of ``Pass``, which is not a valid verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedClaim(Claim):
    """A claim in the text of a simulated run. Claims with different texts may have equal keys."""

    text: str
    before: int = 0
    """The number of claims before it, if a tracker extracts it; otherwise 0."""


@dataclass(frozen=True, slots=True)
class PreparedMonitor:
    """The value that ``prepare`` of a simulated monitor returns: the question of the prompt."""

    question: str


class PreparationError(Exception):
    """The error of a failing preparation."""


class SimulatedVerifier:
    """A verifier with the results, durations and faults that the setup *judge* describes."""

    # A check that comes to its result or its error appends `number` and the text of the claim to `book`.

    def __init__(self, number: int, judge: VerifierSetup, book: list[tuple[int, str]]) -> None:
        self.name = f"judge{number}"
        self.version = "1"
        self.deadline = judge.deadline
        self.worker: Worker = judge.worker
        self.judge = judge
        self._number = number
        self._book = book

    def check(self, claim: Claim, prepared: PreparedMonitor | None = None) -> Any:
        # An asynchronous verifier returns a coroutine.
        stated = _stated(claim, prepared)
        if self.worker == "async":
            return self._check_slowly(stated)
        return self._say(stated)

    async def _check_slowly(self, claim: StatedClaim) -> Any:
        if mishap_of(self.judge, claim) == "hangs":
            await anyio.sleep_forever()
        await anyio.sleep(wait_of(self.judge, claim.left_side))
        return self._say(claim)

    def _say(self, claim: StatedClaim) -> Any:
        self._book.append((self._number, claim.text))
        kind = mishap_of(self.judge, claim)
        if kind in REFUTES:
            scope: Scope = "answer" if self.judge.answers else "steps"
            return Pass("summed up", scope=scope) if claim.is_right else self._refute(claim, kind)
        match kind:
            case "raises":
                raise ValueError("simulated fault, which the run must handle: the verifier raised")
            case "exits":
                raise SystemExit(3)
            case _:
                return _GARBAGE[kind]

    def _refute(self, claim: StatedClaim, kind: str) -> Verdict:
        repair: str | None = str(claim.true_value)
        if kind == "long_repair":
            repair = str(claim.true_value) * 210
        elif kind == "control_repair":
            repair = f"{claim.true_value}\n"
        elif kind == "wrong_repair":
            repair = str(claim.true_value + 1)
        elif not self.judge.repairs:
            repair = None
        value = Span(claim.text.index("=") + 1, len(claim.text))
        # Without "=": inserted text must not look like a claim.
        return Violation(
            f"{claim.left_side} is something else", f"{claim.left_side} is {claim.true_value}", value, repair
        )


_GARBAGE: dict[str, object] = {
    "unknown": Unknown("simulated fault, which the run must handle: the verifier cannot decide"),
    "none": None,
    "true": True,
    "pass_class": Pass,
    "subclass": _NoPass(),
    "bad_where": Violation("wrong", where=Span(0, 999)),
    "bad_why": Pass(evidence=3),  # type: ignore[arg-type]  # wrong on purpose
}


def _stated(claim: Claim, prepared: PreparedMonitor | None = None) -> StatedClaim:
    assert isinstance(claim, NamedClaim)
    assert prepared is None or prepared.question == PROMPT
    [stated] = claims_in(claim.text)
    return stated


def shift(working: Any, claim: Claim) -> Shift:
    """Return how long a worker needs for the check of *claim*, and whether the worker dies.

    *working* is the simulated verifier or a wrapper.
    """
    verifier: SimulatedVerifier = getattr(working, "inner", working)
    stated = _stated(claim)
    kind = mishap_of(verifier.judge, stated)
    seconds = math.inf if kind == "hangs" else wait_of(verifier.judge, stated.left_side)
    return Shift(seconds, dies=kind == "dies")


class _WorldReader:
    """The extractor and recognizer of one monitor."""

    # The extractor is a parser or a tracker, and reads segments or replies of a fork.

    def __init__(self, watch: MonitorSetup) -> None:
        self._watch = watch

    def extractor(self) -> Extractor:
        if self._watch.fork:
            replies = Tracker(_start, self._step_reply) if self._watch.tracks else self._parse
            return Fork("Which claims?", replies, deadline=4.0)
        return Tracker(_start, self._step) if self._watch.tracks else self._read

    def _read(self, segment: Segment, prepared: PreparedMonitor | None = None) -> Iterable[Claim]:
        self._look(prepared)
        return self._found(segment, None, 0)

    def recognize(self, segment: Segment, prepared: PreparedMonitor | None = None) -> Iterable[Span]:
        # Yield the spans of sums with the operators of the monitor: first sums in words, which no extractor can read.
        # Then come the claims that the extractor reads, if these are certain to cover their text.
        self._look(prepared)
        watch = self._watch
        for start, end, op in in_words(segment.text):
            if op in watch.reads:
                yield segment.at(start, end)
        # Claims without a span, or from a fork, do not cover recognized text.
        if watch.grounded and not watch.fork and watch.trigger != "chars":
            yield from (
                segment.at(claim.start, claim.end) for claim in claims_in(segment.text) if claim.op in watch.reads
            )

    def _parse(self, reply: str, segment: Segment, prepared: PreparedMonitor | None = None) -> Iterable[Claim]:
        self._look(prepared)
        return self._found(segment, reply, 0)

    def _step(self, state: int, segment: Segment) -> tuple[int, Iterable[Claim]]:
        claims = list(self._found(segment, None, state))
        return state + len(claims), claims

    def _step_reply(self, state: int, reply: Reply, segment: Segment) -> tuple[int, Iterable[Claim]]:
        claims = list(self._found(segment, reply.text, state))
        return state + len(claims), claims

    def _look(self, prepared: PreparedMonitor | None) -> None:
        assert (prepared is not None) == (self._watch.prepares == "value")
        assert prepared is None or prepared.question == PROMPT

    def _found(self, segment: Segment, reply: str | None, before: int) -> Iterable[Claim]:
        watch = self._watch
        if reply == "!":
            raise ValueError("simulated fault, which the run must handle: the reply of the fork cannot be read")
        if watch.extractor_fails_on and f"{watch.extractor_fails_on}=" in segment.text:
            raise KeyError(watch.extractor_fails_on)
        named = None if reply is None else set(reply.split("; "))
        size = len(segment.text)
        for claim in claims_in(segment.text):
            if claim.op not in watch.reads or (named is not None and claim.text not in named):
                continue
            if watch.trigger == "chars" and (claim.start == 0 or claim.end == size):
                continue  # it may be a part of a claim
            span = segment.at(claim.start, claim.end) if named is None else segment.ground(claim.text)
            yield self._claim(claim, span if watch.grounded else None, before)
            before += 1

    def _claim(self, claim: StatedClaim, span: Span | None, before: int) -> NamedClaim:
        key = claim.op if self._watch.key == "kind" and span is not None else claim.text
        key = f"{key} after {before}" if self._watch.tracks else key
        return NamedClaim(key=key, span=span, text=claim.text, before=before if self._watch.tracks else 0)


def _start(prepared: PreparedMonitor | None) -> int:
    assert prepared is None or prepared.question == PROMPT
    return 0


def _preparation(watch: MonitorSetup) -> Callable[[Task], Awaitable[PreparedMonitor | None]]:
    async def prepare(task: Task) -> PreparedMonitor | None:
        await anyio.sleep(watch.prepare_seconds)
        match watch.prepares:
            case "value":
                return PreparedMonitor(task.text)
            case "raises":
                raise PreparationError(task.text)
            case "hangs":
                await anyio.sleep_forever()
        return None

    return prepare


def concludes(watch: MonitorSetup) -> bool:
    # A setup `conclude` for which this is false gets `Stop`.
    inside = watch.phase == "reasoning" and watch.trigger not in ("think_end", "answer", "calls")
    return watch.remedy == "conclude" and inside and not watch.required and watch.delivery in ("interrupt", "observe")


def _remedy(watch: MonitorSetup) -> Remedy:
    return Stop() if watch.remedy == "conclude" and not concludes(watch) else _REMEDIES[watch.remedy]


def build_monitors(world: World, book: list[tuple[int, str]]) -> list[Monitor]:
    # Monitors with the same judge share a verifier. The verifiers append finished checks to `book`: their number and
    # the text of the claim.
    verifiers = [SimulatedVerifier(number, judge, book) for number, judge in enumerate(world.judges)]
    return [
        Monitor(
            name=watch.name,
            verifier=verifiers[watch.judge],
            extractor=_WorldReader(watch).extractor(),
            trigger=_TRIGGERS[watch.trigger],
            delivery=watch.delivery,
            remedy=_remedy(watch),
            level=watch.level,
            phase=watch.phase,
            unproven=watch.unproven,
            on_error=_ON_ERROR[watch.on_error],
            required=watch.required,
            prepare=None if watch.prepares == "no" else _preparation(watch),
            prepare_deadline=3.0,
            recognizer=_WorldReader(watch).recognize if watch.recognizes else None,
            scope=watch.scope,
        )
        for watch in world.watches
    ]
