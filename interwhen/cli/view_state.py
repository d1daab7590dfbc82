"""What a view of a run shows, as a value: events go in one by one, a new state comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, assert_never

from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Delta,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    Retracted,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen.models.base import Origin
from interwhen.results import CheckRecord, Result, ViolationRecord
from interwhen.segments import Phase
from interwhen.spans import Span
from interwhen.verdicts import Cancelled, Judged, Pass, Violation

Mood = Literal["starting", "streaming", "remedying", "reconnecting", "settling", "finished"]
Kind = Literal["passed", "unproven", "violated"]
CheckKey: TypeAlias = tuple[str, str, Span | None]
"""Monitor, key and span: what tells one check from another."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Standing text with one author and one phase, from offset ``start`` on."""

    text: str
    start: int
    origin: Origin
    phase: Phase

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Ghost:
    """Text that was shown at offset ``at`` and was retracted."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a check found out about a span of the standing text."""

    span: Span
    kind: Kind


@dataclass(frozen=True, slots=True)
class ViewState:
    """All that a view needs to draw a run; the clock is not part of it."""

    mood: Mood = "starting"
    stretches: tuple[Stretch, ...] = ()
    ghosts: tuple[Ghost, ...] = ()
    marks: tuple[Mark, ...] = ()
    checking: tuple[CheckKey, ...] = ()
    frontier: int = 0
    tokens: int = 0
    """Arrivals of model text, which is the number of its tokens unless the server sends several at once."""
    passed: int = 0
    unproven: int = 0
    violations: tuple[ViolationRecord, ...] = ()
    remedies: int = 0
    result: Result | None = None

    @property
    def text(self) -> str:
        """The standing text."""
        return "".join(s.text for s in self.stretches)

    @property
    def end(self) -> int:
        """The offset behind the last character that stands."""
        return self.stretches[-1].end if self.stretches else 0


def apply(state: ViewState, event: Event) -> ViewState:  # noqa: C901 (one case for each member of the union)
    """Return *state* after *event*."""
    match event:
        case Delta():
            return _extended(state, event)
        case Retracted(to=to):
            return _cut(state, to)
        case CheckStarted(monitor=monitor, key=key, span=span):
            return replace(state, checking=(*state.checking, (monitor, key, span)))
        case CheckSettled(check=check):
            return _settled(state, check)
        case ViolationFound(violation=violation):
            return _refuted(state, violation)
        case Remedied(violation=violation):
            return _remedied(state, violation)
        case FrontierMoved(to=to):
            return replace(state, frontier=to)
        case StreamStarted():
            return replace(state, mood="streaming")
        case StreamBroken(action=action):
            return replace(state, mood="reconnecting" if action == "reconnect" else "settling")
        case StreamEnded():
            return replace(state, mood="settling")
        case Finished(result=result):
            return replace(state, mood="finished", checking=(), result=result)
        case _:
            assert_never(event)


def _extended(state: ViewState, delta: Delta) -> ViewState:
    if not delta.text:
        return state
    tokens = state.tokens + (delta.origin == "model")
    new = Stretch(delta.text, delta.start, delta.origin, delta.phase)
    *before, last = state.stretches or (new,)
    if state.stretches and (last.origin, last.phase, last.end) == (new.origin, new.phase, new.start):
        new = replace(last, text=last.text + new.text)
    else:
        before = list(state.stretches)
    return replace(state, stretches=(*before, new), tokens=tokens)


def _cut(state: ViewState, to: int) -> ViewState:
    lost = state.text[to:] if to < state.end else ""
    kept = tuple(replace(s, text=s.text[: to - s.start]) for s in state.stretches if s.start < to)
    ghosts = tuple(g for g in state.ghosts if g.at <= to)
    return replace(
        state,
        stretches=kept,
        ghosts=(*ghosts, Ghost(to, lost)) if lost else ghosts,
        marks=tuple(m for m in state.marks if m.span.end <= to),
        checking=tuple(c for c in state.checking if c[2] is None or c[2].end <= to),
        frontier=min(state.frontier, to),
    )


def _settled(state: ViewState, check: CheckRecord) -> ViewState:
    checking = list(state.checking)
    key = (check.monitor, check.key, check.span)
    if key in checking:
        checking.remove(key)
    state = replace(state, checking=tuple(checking))
    match check.outcome:
        case Judged(verdict=Pass()):
            return _marked(replace(state, passed=state.passed + 1), check.span, "passed")
        case Judged(verdict=Violation()) | Cancelled():
            return state  # A violation is told by an event of its own, and a cancelled check told nothing.
        case _:
            return _marked(replace(state, unproven=state.unproven + 1), check.span or check.segment, "unproven")


def _refuted(state: ViewState, violation: ViolationRecord) -> ViewState:
    return _marked(replace(state, violations=(*state.violations, violation)), violation.span, "violated")


def _remedied(state: ViewState, violation: ViolationRecord) -> ViewState:
    # Text behind a gate is cut without a retraction: nobody has seen it, but what was found in it is marked.
    cut = violation.cut
    marks = state.marks if cut is None else tuple(m for m in state.marks if m.span.end <= cut)
    return replace(state, marks=marks, remedies=state.remedies + 1, mood="remedying")


def _marked(state: ViewState, span: Span | None, kind: Kind) -> ViewState:
    return state if span is None else replace(state, marks=(*state.marks, Mark(span, kind)))
