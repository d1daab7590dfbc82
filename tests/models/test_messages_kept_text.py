"""The turns of a chat that continue kept text: unfinished, or finished and with the results of tool calls."""

import pytest
from interwhen import Message, ToolCall
from interwhen._types.models import Piece
from interwhen.models import Request
from interwhen.models._messages import CONTINUE, extra_turns, in_turns, needs_turns, prefill_turns

CALL = ToolCall("c1", "buy", '{"eggs": 60}')
KEPT = (Piece("hm", phase="reasoning"), Piece("I buy. "), Piece(CALL.text, call=CALL))
REFUSED = (*KEPT[:2], Piece(" Too many. ", "feedback", refused=(CALL,)))


def test_turns_end_with_feedback_or_a_continue_request():
    feedback = (Piece("2+2=5"), Piece("Look again.", origin="feedback"))
    assert extra_turns(Request("q", feedback))[-1] == {"role": "user", "content": "Look again."}
    assert extra_turns(Request("q", (Piece("2+2=4\n2+3="), Piece("")))) == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "2+2=4\n"},
        {"role": "user", "content": CONTINUE},
    ]
    side = extra_turns(Request("q", feedback, side="Is it?"))
    assert side[-1] == {"role": "user", "content": "Look again.\n\nIs it?"}
    assert [turn["role"] for turn in side] == ["user", "assistant", "user"]
    assert extra_turns(Request("q", side="Is it?")) == [{"role": "user", "content": "q\n\nIs it?"}]


@pytest.mark.parametrize("field", [None, "reasoning"])
def test_unfinished_turns_end_with_a_forks_side_text(field):
    *_, turn = prefill_turns(Request("q", KEPT[:2], side="Right?"), field)
    shown = {"content": "hmI buy. Right?"} if field is None else {"content": "I buy. Right?", "reasoning": "hm"}
    assert turn == {"role": "assistant", **shown}
    assert prefill_turns(Request("q", ()), field) == [{"role": "user", "content": "q"}]


def test_an_empty_line_separates_feedback_from_following_text():
    feedback = (Piece(CALL.text, call=CALL), Piece("Wrong.", "feedback"), Piece("Also wrong.", "feedback"))
    *_, last = in_turns([{"role": "user", "content": "q"}], feedback, "State so far:")
    assert last == {"role": "user", "content": "Wrong.\n\nAlso wrong.\n\nState so far:"}
    *_, text, last = in_turns([], (Piece("hm", phase="reasoning"), Piece("I buy.")), "State so far:")
    assert (text["content"], last["content"]) == ("hmI buy.", "State so far:")


def test_kept_calls_get_results_and_a_continue_request():
    assert needs_turns(KEPT)
    _, made, answer, last = extra_turns(Request("q", KEPT), {"c1": {"google": "signed"}})
    (call,) = made["tool_calls"]
    assert (made["content"], call["id"], call["extra_content"]) == ("hmI buy. ", "c1", {"google": "signed"})
    assert (answer["role"], answer["tool_call_id"]) == ("tool", "c1")
    assert last == {"role": "user", "content": CONTINUE}


def test_a_refused_calls_result_is_the_feedback():
    _, made, answer = extra_turns(Request("q", REFUSED))
    assert made["tool_calls"][0]["function"] == {"name": "buy", "arguments": '{"eggs": 60}'}
    assert "not made. Too many. Correct" in answer["content"]


def test_calls_get_missing_ids_and_keep_older_forms():
    bare = Piece("f()", call=ToolCall("", "f", ""))
    _, made, answer, _ = in_turns([{"role": "user", "content": "q"}], [bare], None)
    assert made["tool_calls"][0]["id"] == answer["tool_call_id"] == "call_1_0"
    older = Piece("f()", call=ToolCall("", "f", "", "function_call"))
    _, made, answer, _ = in_turns([{"role": "user", "content": "q"}], [older], None)
    assert made["function_call"] == {"name": "f", "arguments": ""}
    assert (answer["role"], answer["name"]) == ("function", "f")


@pytest.mark.parametrize(
    ("pieces", "ids"),
    [
        ([Piece("f()", call=ToolCall("", "f", "")), Piece("g()", call=ToolCall("", "g", ""))], 2),
        ([Piece("no", "feedback", refused=(ToolCall("call_1", "f", ""), ToolCall("", "g", "")))], 2),
        ([Piece("no", "feedback", refused=(ToolCall("", "f", ""), ToolCall("call_0", "g", "")))], 2),
    ],
)
def test_missing_ids_are_unique_in_the_conversation(pieces, ids):
    turns = in_turns([{"role": "user", "content": "q"}], pieces, None)
    calls = [call["id"] for turn in turns for call in turn.get("tool_calls", ())]
    answers = [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]
    assert calls == answers
    assert len(set(calls)) == ids


def test_the_callers_messages_stay_unchanged():
    caller = (Message("user", "q"), Message("assistant", "Well"))
    turns = in_turns([{"role": each.role, "content": each.content} for each in caller], [Piece("I buy.\n")], None)
    assert [turn["content"] for turn in turns] == ["q", "Well", "I buy.\n", CONTINUE]
