"""A puzzle judges one line after another; a trace remembers the state after each line.

An extractor gets one segment and not the text before it. So each problem gets a trace of its own, which keeps the state
after each right line by its offset: after a rewind the same offsets come again, with other text. Feedback is no segment
of the model, and a refuted line leaves no state, whether it was cut or stays before feedback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from interwhen import Claim, Segment, Span, Unknown, Verdict, Violation

StateT = TypeVar("StateT")

LOST = Unknown("each earlier line must be in a form that this monitor reads, and one is not, so the state is not known")
UNREAD = Unknown("the line must be in a form that this monitor reads, and is not")


class Step(NamedTuple, Generic[StateT]):
    """The verdict on a line, and the state after it; ``None`` if that is not known any more."""

    verdict: Verdict
    state: StateT | None = None


class Puzzle(Protocol[StateT]):
    """One problem, read from its text. All methods are pure, linear and quick."""

    @property
    def start(self) -> StateT:
        """The state before the first line."""
        ...

    def step(self, state: StateT | None, line: str) -> Step[StateT] | None:
        """Judge a line of the reasoning; ``None`` if it is not a step. Positions count from the start of the line."""
        ...

    def answer(self, state: StateT | None, text: str) -> Verdict | None:
        """Judge a line of the answer (or a tool call); ``None`` if it claims nothing."""
        ...


def wrong(where: tuple[int, int], why: str, witness: str = "", repair: str | None = None) -> Violation:
    """Return the violation of a line whose part at *where* is wrong."""
    return Violation(why=why, witness=witness, where=Span(*where), repair=repair)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineClaim(Claim):
    """One line, and the state it was written in."""

    text: str
    state: Any
    is_answer: bool = False


class Trace(Generic[StateT]):
    """Extractor and verifier of one run on *puzzle*; make a new one for each run.

    ``acts`` says whether a refuted line is followed by a remedy. If it is not, later lines depend on the wrong line, so
    the state is unknown from there on.
    """

    def __init__(self, puzzle: Puzzle[StateT], *, acts: bool) -> None:
        self._puzzle = puzzle
        self._acts = acts
        self._states: list[tuple[int, StateT | None]] = []
        """For each line of the trace: the offset of its end, and the state there."""
        self._refuted: int | None = None
        """The start of a refuted line that is not checked yet: the text until then will be cut with it."""
        self._refuted_before = 0

    @property
    def state(self) -> StateT | None:
        """The state after the last line of the trace."""
        return self._states[-1][1] if self._states else self._puzzle.start

    def lines(self, segment: Segment) -> Iterator[LineClaim]:
        """Yield a claim for a line of the reasoning that is a step."""
        self._rewind(segment.span.start)
        state = self.state
        step = self._puzzle.step(state, segment.text)
        if step is None:
            return
        key = f"{segment.text} | {state}"
        if isinstance(step.verdict, Violation):
            # Keys differ, so that the check of this line shows when its chunk is done.
            self._refuted_before += 1
            key = f"{key} | {self._refuted_before}"
            if not self._acts:
                self._states.append((segment.span.end, None))
            elif self._refuted is None:
                self._refuted = segment.span.start
        elif self._refuted is None:
            self._states.append((segment.span.end, step.state))
        yield LineClaim(key=key, span=segment.span, text=segment.text, state=state)

    def answers(self, segment: Segment) -> Iterator[LineClaim]:
        """Yield a claim for a line of the answer that claims something."""
        state = self.state
        if self._puzzle.answer(state, segment.text) is not None:
            key = f"{segment.text} | {state}"
            yield LineClaim(key=key, span=segment.span, text=segment.text, state=state, is_answer=True)

    def check(self, claim: LineClaim) -> Verdict:
        """Judge *claim* by the state in which it was written."""
        self._refuted = None
        if claim.is_answer:
            return self._puzzle.answer(claim.state, claim.text) or UNREAD
        step = self._puzzle.step(claim.state, claim.text)
        return step.verdict if step is not None else UNREAD

    def _rewind(self, start: int) -> None:
        while self._states and self._states[-1][0] > start:
            self._states.pop()
        if self._refuted is not None and start <= self._refuted:
            self._refuted = None
