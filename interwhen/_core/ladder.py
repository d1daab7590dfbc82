"""The ladder of the remedy ``Auto``: which remedy follows, from what was tried at the same place.

All functions are pure. What the choice depends on is in the arguments, so a journal replays to the same choices.
Why: docs/decisions/0043-the-ladder-of-remedies.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from interwhen._core.transcript import Transcript
from interwhen._types.remedies import Auto, Rung
from interwhen._types.spans import Span
from interwhen._types.verdicts import LEVELS, Level

FEEDBACKS = 2
"""How often feedback is given at one place. The second one says more."""
RESTARTS = 2
"""How often the text before one place is sampled again from an earlier point."""


class Trouble(NamedTuple):
    """What is known about a refuted claim when its remedy is chosen."""

    times: int
    """How often the same words were refuted at this place so far, this time included."""
    tried: tuple[Rung, ...]
    """The rungs used at this place so far, oldest first."""
    repairable: bool
    """Whether a repair can be written."""
    has_earlier_point: bool
    """Whether there is an earlier point to restart from."""


def next_rung(auto: Auto, trouble: Trouble) -> Rung | None:
    """Return the rung that follows; ``None``: the ladder ends.

    The same words refuted again at one place move the ladder on. Other words there are a new sample: the ladder stays
    on its rung as long as that may be repeated, since new samples are what helps most.
    """
    at = max((auto.order.index(rung) for rung in trouble.tried if rung in auto.order), default=0)
    # A deeper sample, with the step before, is the rung between a sample and the next remedy: it costs little.
    deeper = trouble.has_earlier_point and trouble.times == 2 and trouble.tried[-1:] == ("resample",)
    if trouble.times > 1 and trouble.tried and not deeper:
        at += 1
    elif trouble.repairable and "repair" in auto.order[: at + 1]:
        return "repair"  # other words have a repair of their own
    return next((rung for rung in auto.order[at:] if _may_use(auto, rung, trouble)), None)


def _may_use(auto: Auto, rung: Rung, trouble: Trouble) -> bool:
    used = trouble.tried.count(rung)
    match rung:
        case "repair":
            return trouble.repairable and trouble.times == 1
        case "resample":
            return used < auto.samples
        case "feedback":
            return used < FEEDBACKS
        case "restart":
            return used < RESTARTS and trouble.has_earlier_point


def level_of(most: Level, number: int, *, has_witness: bool) -> Level:
    """Return the level of feedback number *number* (from 0) at one place: it rises up to *most*.

    Without a witness, the highest level is ``explain``.
    """
    top = LEVELS.index(most if has_witness or most != "witness" else "explain")
    return LEVELS[min(max(top - 1, 0) + number, top)]


# Earlier points of the trace, to which a remedy may cut.


_LINE = re.compile(r"[^\n]*\S[^\n]*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")


def step_starts(transcript: Transcript, floor: int, end: int) -> list[int]:
    """Return the starts of the steps in ``[floor, end)``: of each line of the model that is not blank.

    If there is only one line, sentences count as steps. Think tags and feedback are no steps.
    """
    starts: list[int] = []
    sentences: list[int] = []
    tags = {tag.start for tag in transcript.tags}
    begins = True
    """Whether the text before the next run ends a line."""
    for run in transcript.runs(floor, end):
        if run.start in tags or run.origin == "feedback" or run.call is not None:
            begins = True
            continue
        lines = (line.start() for line in _LINE.finditer(run.text))
        starts += [run.start + at for at in lines if at or begins]
        sentences += [run.start + gap.end() for gap in _SENTENCE.finditer(run.text)]
        begins = run.text.endswith("\n")
    if len(starts) < 2:
        starts = sorted({*starts, *sentences})
    return starts


def depth(number: int) -> int:
    """Return how many steps of the reasoning sample number *number* (from 0) of a refuted answer removes with it.

    The answer alone may be wrong, or any step that it rests on, and the verifiers do not say which. The sequence
    0, 0, 1, 0, 0, 1, 2, 0, 0, 1, 0, 0, 1, 2, 4, … tries each depth in turn, and the deeper ones less often. It is the
    best one up to a constant factor if nothing is known (Luby, Sinclair & Zuckerman 1993).
    """
    at = number + 1
    while (at + 1) & at:
        at -= (1 << (at.bit_length() - 1)) - 1
    return (at + 1) // 4


def back(starts: Sequence[int], steps: int) -> int | None:
    """Return the start of the step that is *steps* before the end, or of the first one; ``None``: there is no step."""
    return starts[max(len(starts) - steps, 0)] if starts else None


def premise_start(starts: Sequence[int], premises: Sequence[Span], number: int) -> int | None:
    """Return the start of the step with the premise number *number*, counted from the last one; ``None``: no such."""
    places = sorted({span.start for span in premises}, reverse=True)
    if number >= len(places):
        return None
    return next((start for start in reversed(starts) if start <= places[number]), None)
