"""Small changes of the core that nothing else noticed: each test fails for one of them (docs/mutation.md)."""

from __future__ import annotations

from interwhen import Budgets, Feedback, ToolCall, ToolCalls
from interwhen.models import Chunk
from tests.core.worlds import drive, monitor


def _call(name, arguments):
    call = ToolCall(id=name, name=name, arguments=arguments)
    return Chunk(call.text, call=call)


def test_a_run_without_remedies_ends_before_the_first_call_of_a_refused_turn():
    """`plan_surrender`: no call of a turn stays if one of them is refused, so that none is made twice."""
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback()), budgets=Budgets(remedies=0))
    driver.feed("so: ")
    driver.tell(_call("first", "1+1=2"))
    driver.tell(_call("second", "2+2=5"))
    driver.settle()
    assert driver.summary.status == "abstained"
    assert driver.summary.text == "so: "


def test_a_cut_keeps_the_feedback_about_calls_that_stands_before_it():
    """`Transcript.cut`: the model gets each refusal in place of its calls, until the text there is cut."""
    driver = drive(monitor(trigger=ToolCalls(), delivery="gate_tools", remedy=Feedback(), level="flag"))
    for name in ("first", "second"):
        driver.tell(_call(name, "2+2=5"))
        driver.settle()
        driver.open()
    transcript = driver.core.transcript
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"], ["second"]]
    assert [len(piece.refused) for piece in transcript.pieces()] == [1, 1]
    transcript.cut(transcript.refusals[0][0].end)
    assert [[call.id for call in calls] for _, calls in transcript.refusals] == [["first"]]
    transcript.cut(1)
    assert transcript.refusals == []
