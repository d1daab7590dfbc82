"""What the verdicts say of each line of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from interwhen.export.stories import Attempt, place_of
from interwhen.results import CheckRecord
from interwhen.spans import Span
from interwhen.verdicts import Judged, Pass

Judgement = Literal["right", "wrong", "open", "plain"]
"""``right``: a claim in the line passed, and nothing that was asked of it came to anything else. ``wrong``: a violation
lies in it. ``open``: some check of it came to no verdict or no end, or to one that another line shares. ``plain``: it
states nothing that anybody checked. Only the first is right: what is unknown is not correct."""


class Line(NamedTuple):
    """A line of a trace, with its line end."""

    start: int
    end: int
    judgement: Judgement
    is_ours: bool
    """Whether we wrote some of it."""


def lines_of(attempt: Attempt, start: int = 0) -> Iterator[Line]:
    """Yield the lines of *attempt* from offset *start* on, which may lie in the midst of the first one."""
    text = attempt.text
    ours = attempt.ours
    at = start
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        is_ours = any(span.start < end and at < span.end for span in ours)
        yield Line(at, end, judge(attempt, at, end), is_ours)
        at = end


def judge(attempt: Attempt, start: int, end: int) -> Judgement:
    """Return what the verdicts of *attempt* say of its text at ``[start, end)``."""
    if any(_touches(violation.span, start, end) for violation in attempt.violations):
        return "wrong"
    touching = [check for check in attempt.checks if _touches(place_of(check), start, end)]
    if any(not _passed(check) for check in touching) or any(_touches(span, start, end) for span in attempt.open):
        return "open"
    if any(start <= check.span.start and check.span.end <= end for check in touching if check.span is not None):
        return "right"
    return "plain"


def line_start(text: str, at: int) -> int:
    """Return where the line of offset *at* begins."""
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """Return where the line of the character before offset *at* ends, its line end included."""
    return text.find("\n", max(at - 1, 0)) + 1 or len(text)


def _touches(span: Span, start: int, end: int) -> bool:
    return span.start < end and start < span.end


def _passed(check: CheckRecord) -> bool:
    return isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)
