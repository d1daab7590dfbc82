"""From a violation to what is done: where to cut, what to write."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from interwhen._core.arbitration import Candidate
from interwhen.feedback import FeedbackTemplate, is_writable
from interwhen.models.base import Origin
from interwhen.monitors import Monitor
from interwhen.remedies import Abstain, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen.results import RemedyName
from interwhen.verdicts import Violation


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
) -> Plan:
    """Return what the monitor's remedy does about *candidate*; *again*: the same words were refuted here before.

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
            if violation.repair is not None and monitor.level == "witness" and is_writable(violation.repair):
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
