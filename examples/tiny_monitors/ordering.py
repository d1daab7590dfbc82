"""Ordering: a comparison is right if the clues say so, directly or in steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from interwhen import Pass, Unknown, Verdict, Violation

from .trace import UNREAD, Step, wrong

_WORDS = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("heavier", "lighter", "heaviest", "lightest"),
    ("richer", "poorer", "richest", "poorest"),
)
_CLUE = re.compile(r"([A-Z][a-z]*) is (\w+) than ([A-Z][a-z]*)")
_ASKED = re.compile(r"(?:Who is|Name) the ((second )?(\w+))")
_ORDER = re.compile(r"[A-Z][a-z]*(?: > [A-Z][a-z]*)+")
_ANSWER = re.compile(r"Answer: *([A-Z][a-z]*)\.?")


@dataclass(frozen=True, slots=True)
class Ordering:
    """Who is below whom by the clues, and the question."""

    below: dict[str, frozenset[str]]
    asked: str
    """The superlative in the question."""
    rank: int
    """From the top, beginning with 0."""

    @property
    def start(self) -> None:
        """The clues do not change."""

    def step(self, _state: None, line: str) -> Step[None] | None:
        """Judge a comparison of two or more."""
        if _ORDER.fullmatch(line) is None:
            return None if line.startswith("Wait") or ">" not in line else Step(UNREAD)
        names = line.split(" > ")
        at = 0
        for place, (one, other) in enumerate(pairwise(names)):
            said = f"{one} > {other}"
            where = (at, at + len(said))
            if other not in self.below.get(one, ()):
                return Step(self._refute(names[:place], one, other, where))
            at += len(one) + len(" > ")
        return Step(Pass("the clues say so"))

    def answer(self, _state: None, text: str) -> Verdict | None:
        """Judge the answer by the possibilities that the clues leave. The right answer is never given."""
        match = _ANSWER.fullmatch(text)
        if match is None:
            return UNREAD if text.startswith("Answer") else None
        name = match[1]
        under = len(self.below.get(name, ()))
        above = sum(name in names for names in self.below.values())
        lowest = len(self.below) - 1 - under
        if name not in self.below or not above <= self.rank <= lowest:
            return wrong(match.span(1), f"{name} is not the {self.asked}")
        return (
            Pass("the clues leave only this person")
            if above == lowest
            else Unknown("the clues must decide this place, and leave it open")
        )

    def _refute(self, before: list[str], one: str, other: str, where: tuple[int, int]) -> Violation:
        said = f"{one} > {other}"
        why = f"the clues do not say {said}"
        if one not in self.below.get(other, ()):
            unnamed = next((name for name in (one, other) if name not in self.below), None)
            return wrong(where, why, f"the clues do not name {unnamed}" if unnamed else "")
        right = f"{other} > {one}"
        fits = not before or other in self.below[before[-1]]
        return wrong(where, why, f"the clues say {right}, not {said}", right if fits else None)


def read_ordering(prompt: str) -> Ordering:
    """Read the clues and the question."""
    below: dict[str, set[str]] = {}
    asked: re.Match[str] | None = None
    words = None
    for sentence in re.split(r"[.?] ?", prompt.strip())[:-1]:
        if asked is None and (asked := _ASKED.fullmatch(sentence)):
            words = words or next((four for four in _WORDS if asked[3] in four[2:]), None)
            continue
        clue = _CLUE.fullmatch(sentence)
        words = words or next((four for four in _WORDS if clue and clue[2] in four[:2]), None)
        if clue is None or words is None or clue[2] not in words[:2]:
            raise ValueError(
                f"each sentence of a problem of the family ordering must be a clue, got {sentence!r:.80} in "
                f"{prompt!r:.300}: write it as in the training data"
            )
        more, less = (clue[1], clue[3]) if clue[2] == words[0] else (clue[3], clue[1])
        below.setdefault(more, set()).add(less)
        below.setdefault(less, set())
    if asked is None or words is None or asked[3] not in words[2:]:
        raise ValueError(
            f"a problem of the family ordering must have a question, got none in {prompt!r:.300}: write it "
            "as in the training data"
        )
    _close(below)
    if any(name in names for name, names in below.items()):
        raise ValueError(
            "the clues of a problem of the family ordering must agree, and contradict each other in "
            f"{prompt!r:.300}: correct the clues"
        )
    rank = 1 if asked[2] else 0
    if asked[3] == words[3]:
        rank = len(below) - 1 - rank
    return Ordering({name: frozenset(names) for name, names in below.items()}, asked[1], rank)


def _close(below: dict[str, set[str]]) -> None:
    """Add the pairs that follow in several steps."""
    for middle, lower in below.items():
        for names in below.values():
            if middle in names:
                names.update(lower)
