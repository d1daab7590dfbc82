"""What the puzzle verifiers share: statements with positions, their claims, trackers, and a recognizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from interwhen import Claim, Pass, Segment, Span, Task, Tracker, Unknown, Verdict, Violation
from interwhen.toolkit import normalize

PuzzleT = TypeVar("PuzzleT")
StateT = TypeVar("StateT")
SaidT = TypeVar("SaidT", bound="Spanned")
Read: TypeAlias = Callable[[PuzzleT, StateT, Segment], tuple[StateT, Iterable[Claim]]]


@dataclass(frozen=True, slots=True)
class Spanned:
    """A statement of a line. *start* and *end* are offsets in the line."""

    start: int
    end: int

    @property
    def content(self) -> str:
        """The name of the class and the values of all fields except the two offsets, as text."""
        return f"{type(self).__name__}{tuple(getattr(self, field.name) for field in fields(self)[2:])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Claim, Generic[SaidT, StateT]):
    """The claim for one statement (``said``), with the state of the puzzle ``before`` it."""

    said: SaidT
    before: StateT


def make_statement(segment: Segment, said: SaidT, before: StateT, *, context: str = "") -> Statement[SaidT, StateT]:
    """Return the claim for the statement *said* in *segment*. *before* is the state of the puzzle before the statement.

    *context* replaces the text in the key of the claim: it must have all of the line and the state that the verdict
    depends on.
    """
    # A statement may be long, such as a list of moves. The context and the place identify it at less cost.
    key = f"{said.start} | {context}" if context else f"{segment.text[said.start : said.end]} | {said.content}"
    return Statement(key=key, span=segment.at(said.start, said.end), said=said, before=before)


def track_phases(begin: Callable[[PuzzleT], StateT], read: Read[PuzzleT, StateT]) -> Tracker[Any]:
    """Return a tracker that calls *read* with the puzzle, the state of the text so far, and each segment.

    *read* returns the next state and the claims of the segment. *begin* makes the state at the start of a phase.
    """

    def step(
        state: tuple[PuzzleT, StateT, str], segment: Segment
    ) -> tuple[tuple[PuzzleT, StateT, str], Iterable[Claim]]:
        puzzle, before, phase = state
        after, claims = read(puzzle, before if phase in ("", segment.phase) else begin(puzzle), segment)
        return (puzzle, after, segment.phase), claims

    return Tracker(lambda puzzle: (puzzle, begin(puzzle), ""), step)


@dataclass(frozen=True, slots=True)
class Afterwards(Spanned):
    """A line after the final answer that states no answer. It may change the answer, so it is never read."""

    verdict: ClassVar[Verdict] = Unknown("the text after the answer may change it")


def watch_answer(tracker: Tracker[Any], *answers: type[Spanned]) -> Tracker[Any]:
    """Return *tracker*, with a claim of an :class:`Afterwards` for each line after a final answer without another one.

    *answers* are the classes of the statements that are final answers.
    """

    def step(state: tuple[Any, bool], segment: Segment) -> tuple[tuple[Any, bool], Iterable[Claim]]:
        inner, found = tracker.step(state[0], segment)
        claims = list(found)
        if segment.phase == "answer" and any(character.isalnum() for character in segment.text):
            is_answer = any(isinstance(claim, Statement) and isinstance(claim.said, answers) for claim in claims)
            if state[1] and not is_answer:
                claims.append(make_statement(segment, Afterwards(0, len(segment.text)), None))
            return (inner, state[1] or is_answer), claims
        return (inner, state[1]), claims

    return Tracker(lambda puzzle: (tracker.start(puzzle), False), step)


def prepare_with(read: Callable[[str], PuzzleT | None]) -> Callable[[Task], PuzzleT | None]:
    """Return a function for ``prepare`` of a monitor. It calls *read* on the question, or else on the whole prompt."""
    return lambda task: read(task.question) or read(task.text)


def judged(holds: bool, *, evidence: str, why: str, witness: str = "") -> Verdict:  # noqa: FBT001 (the condition itself)
    """Return a pass with *evidence* if *holds* is true, else a violation with *why* and *witness*."""
    return Pass(evidence) if holds else Violation(why=why, witness=witness)


_ANSWER = re.compile(
    r"(?:answer|solution|result|conclusion)\b[\s*_\"'`]{0,6}"
    r"(?:is|are|was|would be|should be|must be|be|:|=|-{1,2}>?|\u2192|\u2013)"
    r"[\s*_:=\"'`($\\]{0,12}(?:boxed\{|text\{)?(?P<it>[^\s*_:=\"'`($\\{])"
    r"|\\boxed\s?\{\s{0,4}(?:\\text\s?\{)?(?P<box>[^\s{}])|<answer>\s{0,4}(?P<tag>[^\s<])",
    re.IGNORECASE,
)
"""Text that gives an answer. Its groups match the first character of the answer, which a claim must cover."""


def recognizer(*patterns: re.Pattern[str]) -> Callable[..., Iterator[Span]]:
    """Return a recognizer that searches the normal form of a segment for answers and for *patterns*.

    It yields the span of each group of a match that is not empty: claims must cover these parts.
    """

    def recognize(segment: Segment, *_prepared: object) -> Iterator[Span]:
        normal = normalize(segment.text)
        for pattern in (_ANSWER, *patterns):
            for match in pattern.finditer(normal.text):
                for group in range(1, (pattern.groups or 0) + 1):
                    if match[group]:
                        found = normal.original(*match.span(group))
                        yield segment.at(found.start, found.end)

    return recognize
