"""From a violation to what is done: where to cut, what to write."""

from __future__ import annotations

import re
from typing import NamedTuple, assert_never

from interwhen._core.arbitration import Candidate
from interwhen.feedback import FeedbackTemplate, is_writable
from interwhen.models.base import Origin
from interwhen.monitors import Monitor
from interwhen.remedies import Abstain, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen.results import RemedyName
from interwhen.spans import Span
from interwhen.verdicts import Violation

_MORE_DIGITS = re.compile(
    r"(?:[,.'\u2019\u066b\u066c_\u00a0\u2007\u2009\u202f\u2060\u200b]|\{,\}|\\[!,;: ])+[0-9]|[ ][0-9]{3}(?![0-9])"
)
"""What goes on with a number: a point or a separator of thousands, as text, as LaTeX, or as a thin space."""
_REACH = 24


class Plan(NamedTuple):
    """Cut the trace at ``cut``, then write ``insert``; ``goes_on`` says whether the model continues."""

    remedy: RemedyName
    cut: int
    insert: str = ""
    origin: Origin = "feedback"
    goes_on: bool = True
    answers_segment: bool = False
    """Whether the refuted segment stays in the trace, answered by the feedback behind it."""
    ask: str = ""
    """What is said in place of ``insert`` to a model that goes on by turns only; given where the reasoning ends."""


def plan(
    candidate: Candidate,
    monitor: Monitor,
    template: FeedbackTemplate,
    wrong_text: str,
    first_call: int,
    *,
    again: bool = False,
    cuts: bool = False,
) -> Plan:
    """Return what the monitor's remedy does about *candidate*; *again*: the same words were refuted here before.

    With *cuts*, a repair may cut a number or a name short, as in runs of earlier versions.

    A refuted tool call goes with all calls of its turn, from *first_call* on: what is done is asked for again as a
    whole, so that no call is made twice.
    """
    if candidate.ref.segment.call is not None:
        return _plan_call(candidate, monitor, template, wrong_text, first_call)
    segment = candidate.ref.segment.span
    if candidate.violation is None:
        return Plan("abstain", segment.start, goes_on=False)
    remedy = monitor.remedy
    if again and isinstance(remedy, Repair):
        remedy = remedy.otherwise  # the model came back to these words, or our own ones were refuted in turn
    if isinstance(remedy, Repair) and not cuts and _is_cut_short(candidate):
        remedy = remedy.otherwise
    return _plan(candidate, candidate.violation, monitor, remedy, template, wrong_text)


def plan_surrender(candidate: Candidate, first_call: int) -> Plan:
    """Return what is left where nothing can be done about *candidate*: the text before its segment, or its turn."""
    segment = candidate.ref.segment
    start = segment.span.start
    return Plan("abstain", start if segment.call is None else min(start, first_call), goes_on=False)


def _plan_call(candidate: Candidate, monitor: Monitor, template: FeedbackTemplate, wrong_text: str, cut: int) -> Plan:
    violation = candidate.violation
    if violation is None:
        return Plan("abstain", cut, goes_on=False)
    # A call cannot be gone on with from within, so there is no repair in place, and it does not stay in the trace.
    remedy = monitor.remedy.otherwise if isinstance(monitor.remedy, Repair) else monitor.remedy
    match remedy:
        case Feedback():
            return Plan("feedback", cut, template.render(monitor.level, violation, wrong_text))
        case Resample():
            return Plan("resample", cut)
        case Stop() | Conclude():  # a call is no reasoning, and nothing is concluded in it
            return Plan("stop", cut, goes_on=False)
        case Abstain():
            return Plan("abstain", cut, goes_on=False)
        case _:
            assert_never(remedy)


def _plan(
    candidate: Candidate,
    violation: Violation,
    monitor: Monitor,
    remedy: Remedy,
    template: FeedbackTemplate,
    wrong_text: str,
) -> Plan:
    segment = candidate.ref.segment.span
    match remedy:
        case Repair(otherwise=otherwise):
            writes = violation.repair is not None and monitor.level == "witness" and is_writable(violation.repair)
            if writes and violation.repair is not None:
                return Plan("repair", candidate.span.start, violation.repair, "repair")
            return _plan(candidate, violation, monitor, otherwise, template, wrong_text)
        case Feedback(place=place):
            sentence = template.render(monitor.level, violation, wrong_text)
            if place == "rewind":
                return Plan("feedback", segment.start, f"{sentence}\n")
            return Plan("feedback", segment.end, f"\n{sentence}\n", answers_segment=True)
        case Resample():
            return Plan("resample", segment.start)
        case Conclude(lead=lead, ask=ask):
            return Plan("conclude", segment.end, lead, ask=ask)
        case Stop():
            return Plan("stop", segment.start, goes_on=False)
        case Abstain():
            return Plan("abstain", segment.start, goes_on=False)
        case _:
            assert_never(remedy)


def _is_cut_short(candidate: Candidate) -> bool:
    segment = candidate.ref.segment
    start = segment.span.start
    return cuts_short(segment.text, Span(candidate.span.start - start, candidate.span.end - start))


def cuts_short(text: str, where: Span) -> bool:
    """Tell whether the word or the number at *where* goes on behind it: a repair would leave its rest in the text."""
    if where.start == where.end:
        return False
    last, rest = text[where.end - 1], text[where.end : where.end + _REACH]
    if not rest:
        return False
    if last.isdigit():
        return rest[0].isdigit() or _MORE_DIGITS.match(rest) is not None
    if not last.isalpha():
        return False
    return rest[0].isalnum() or rest[0] == "_" or (rest[0] in "-\u2010\u2011" and rest[1:2].isalpha())
