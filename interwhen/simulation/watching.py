"""The monitors of a world: real ones, with verifiers that know the truth and go wrong as the world says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import anyio

from interwhen.claims import Claim
from interwhen.failing import OnError, Retry
from interwhen.monitors import Fork, Monitor
from interwhen.remedies import Abstain, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen.segments import Segment
from interwhen.simulation.truth import CHARS, MARKERS, REFUTES, Stated, claims_in, mishap_of, wait_of
from interwhen.simulation.world import Judge, RemedyKind, TriggerKind, Watch, World
from interwhen.spans import Span
from interwhen.testing.workers import Shift
from interwhen.triggers import (
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
from interwhen.verdicts import Pass, Unknown, Verdict, Violation
from interwhen.verifier import Worker

_REMEDIES: dict[RemedyKind, Remedy] = {
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
    "calls": ToolCalls(),
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
    """Looks like a pass, and is none."""


class SimulatedVerifier:
    """A verifier of the world. *book* gets each check that ends, as number of the judge and claim."""

    def __init__(self, number: int, judge: Judge, book: list[tuple[int, str]]) -> None:
        self.name = f"judge{number}"
        self.version = "1"
        self.deadline = judge.deadline
        self.worker: Worker = judge.worker
        self.judge = judge
        self._number = number
        self._book = book

    def check(self, claim: Claim) -> Any:
        """Judge *claim*, here or as a task."""
        [stated] = claims_in(claim.key)
        if self.worker == "async":
            return self._check_slowly(stated)
        return self._say(stated)

    async def _check_slowly(self, claim: Stated) -> Any:
        if mishap_of(self.judge, claim) == "hangs":
            await anyio.sleep_forever()
        await anyio.sleep(wait_of(self.judge, claim.left_side))
        return self._say(claim)

    def _say(self, claim: Stated) -> Any:
        self._book.append((self._number, claim.text))
        kind = mishap_of(self.judge, claim)
        if kind in REFUTES:
            return Pass("summed up") if claim.is_right else self._refute(claim, kind)
        match kind:
            case "raises":
                raise ValueError("bad luck")
            case "exits":
                raise SystemExit(3)
            case _:
                return _GARBAGE[kind]

    def _refute(self, claim: Stated, kind: str) -> Verdict:
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
        # No sign of equality: what we say must not read like a claim.
        return Violation(
            f"{claim.left_side} is something else", f"{claim.left_side} is {claim.true_value}", value, repair
        )


_GARBAGE: dict[str, object] = {
    "unknown": Unknown("no idea"),
    "none": None,
    "true": True,
    "pass_class": Pass,
    "subclass": _NoPass(),
    "bad_where": Violation("wrong", where=Span(0, 999)),
    "bad_why": Pass(evidence=3),  # type: ignore[arg-type]  # garbage is the point
}


def shift(verifier: SimulatedVerifier, claim: Claim) -> Shift:
    """Say how a worker of the world fares with *claim*."""
    [stated] = claims_in(claim.key)
    kind = mishap_of(verifier.judge, stated)
    seconds = math.inf if kind == "hangs" else wait_of(verifier.judge, stated.left_side)
    return Shift(seconds, dies=kind == "dies")


class _Reader:
    """The extractor of one monitor, as a parser and as what reads a fork's reply."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, segment: Segment) -> Iterable[Claim]:
        watch = self._watch
        if watch.extractor_fails_on and f"{watch.extractor_fails_on}=" in segment.text:
            raise KeyError(watch.extractor_fails_on)
        size = len(segment.text)
        for claim in claims_in(segment.text):
            if claim.op not in watch.reads:
                continue
            if watch.trigger == "chars" and (claim.start == 0 or claim.end == size):
                continue  # it may be half of one
            yield Claim(key=claim.text, span=segment.at(claim.start, claim.end) if watch.grounded else None)

    def parse(self, reply: str, segment: Segment) -> Iterable[Claim]:
        """Read a fork's reply."""
        if reply == "!":
            raise ValueError("no sensible reply")
        named = set(reply.split("; "))
        for claim in self(segment):
            if claim.key in named:
                span = segment.ground(claim.key)
                yield Claim(key=claim.key, span=span if self._watch.grounded else None)


def concludes(watch: Watch) -> bool:
    """Tell whether *watch* can end the reasoning: it looks at nothing else, before it is over, and proves nothing."""
    inside = watch.phase == "reasoning" and watch.trigger not in ("think_end", "answer", "calls")
    return watch.remedy == "conclude" and inside and not watch.required and watch.delivery in ("interrupt", "observe")


def _remedy(watch: Watch) -> Remedy:
    return Stop() if watch.remedy == "conclude" and not concludes(watch) else _REMEDIES[watch.remedy]


def build_monitors(world: World, book: list[tuple[int, str]]) -> list[Monitor]:
    """Return the monitors of *world*; those with one judge share one verifier."""
    verifiers = [SimulatedVerifier(number, judge, book) for number, judge in enumerate(world.judges)]
    made = []
    for watch in world.watches:
        reader = _Reader(watch)
        made.append(
            Monitor(
                name=watch.name,
                verifier=verifiers[watch.judge],
                extractor=Fork("Which claims?", reader.parse, deadline=4.0) if watch.fork else reader,
                trigger=_TRIGGERS[watch.trigger],
                delivery=watch.delivery,
                remedy=_remedy(watch),
                level=watch.level,
                phase=watch.phase,
                unproven=watch.unproven,
                on_error=_ON_ERROR[watch.on_error],
                required=watch.required,
            )
        )
    return made
