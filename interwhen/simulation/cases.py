"""What the invariants are given: a play, and what can be put together from its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from interwhen.results import Result
from interwhen.simulation.history import History, history_of
from interwhen.simulation.lives import Played
from interwhen.simulation.truth import Trace
from interwhen.simulation.world import World


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, in words."""

    invariant: str
    detail: str


@dataclass(frozen=True, slots=True)
class Case:
    """One play, with its history where the reader saw enough to have one."""

    played: Played
    history: History | None

    @property
    def world(self) -> World:
        """What was played."""
        return self.played.world

    @property
    def result(self) -> Result | None:
        """How it ended."""
        return self.played.result


Invariant: TypeAlias = Callable[[Case], Iterator[str]]
INVARIANTS: list[tuple[str, Invariant]] = []


def invariant(name: str) -> Callable[[Invariant], Invariant]:
    """Enlist a function under the sentence that must hold; it yields how it does not."""

    def enlist(function: Invariant) -> Invariant:
        INVARIANTS.append((name, function))
        return function

    return enlist


def case_of(played: Played) -> Case:
    """Return the case that *played* is."""
    return Case(played, history_of(played) if played.saw_all and played.stuck is None else None)


def final_trace(case: Case, result: Result) -> Trace:
    """Return the trace of *result* as far as its own text and insertions tell, for readers who did not see it all."""
    if case.history is not None and not case.history.misfit and case.history.trace.text == result.text:
        trace = case.history.trace
        trace.ended = True
        return trace
    trace = Trace(case.world.thinking)
    trace.text = result.text
    trace.ours = [(entry.span.start, entry.span.end, entry.origin) for entry in result.insertions]
    if case.world.thinking == "field":
        trace.answer_at = len(result.reasoning) if result.answer else None
    trace.calls = _calls_of(case, result)
    trace.ended = True
    return trace


def _calls_of(case: Case, result: Result) -> list[tuple[int, int]]:
    found = []
    for sent in case.played.model.sent:
        for chunk in sent.chunks:
            at = result.text.find(chunk.text) if chunk.call is not None else -1
            if at >= 0 and (at, at + len(chunk.text)) not in found:
                found.append((at, at + len(chunk.text)))
    return sorted(found)
