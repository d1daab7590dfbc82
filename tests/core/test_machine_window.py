"""Token budgets: the caller's limit, the context window, and a cap for servers that know no end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Budgets, Feedback
from interwhen._core.machine import OVERRUN, Window
from interwhen._core.messages import Close, Open
from interwhen._core.transcript import Transcript
from interwhen.models import Chunk, Usage
from tests.core.worlds import drive, monitor


def test_the_token_ceiling_is_the_lowest_known_limit():
    assert Window(None, None).ceiling == float("inf")
    assert Window(10, None).ceiling == 10 + OVERRUN
    assert Window(None, 50).ceiling == 50
    assert Window(10, 50).ceiling == 50
    assert Window(10, 500).ceiling == 10 + OVERRUN


def _inserted(transcript: Transcript) -> int:
    ours = (run.text for run in transcript.runs(0, transcript.length) if run.origin != "model")
    return sum(len(text.encode(errors="replace")) for text in ours)


def test_window_room_subtracts_prompt_tokens_and_inserted_bytes():
    window = Window(None, 100)
    transcript = Transcript("answer")
    transcript.append("abc", 1)
    transcript.insert("né", "feedback")
    transcript.insert("4", "repair")
    ours = transcript.inserted_bytes
    assert ours == 4
    assert Window(None, None).room(ours, 5) is None
    assert window.room(ours, 5) == 100 - 5 - 4
    window.learn(None, 1)
    window.learn(Usage(None, None, 3), 1)
    window.learn(Usage(60, None, 3), 2)  # the prompt of a resume holds the trace too
    assert window.room(ours, 5) == 91
    window.learn(Usage(60, None, 3), 1)
    assert window.room(ours, 5) == 31
    assert window.room(ours, 50) == 0


@given(st.lists(st.tuples(st.sampled_from(["append", "insert", "cut"]), st.text("aé\ud800\U0001f600", max_size=4))))
def test_inserted_bytes_count_only_insertions_still_in_text(steps):
    transcript = Transcript("answer")
    for what, text in steps:
        match what:
            case "append" if text:
                transcript.append(text, 1)
            case "insert" if text:
                transcript.insert(text, "feedback")
            case _:
                transcript.cut(max(transcript.length - len(text), 0))
        assert transcript.inserted_bytes == _inserted(transcript)


@pytest.mark.fault("W22", injected="more text than the budget of characters", happens="ended as `length`, not verified")
def test_without_other_limits_the_character_budget_ends_streams():
    driver = drive(monitor(), budgets=Budgets(characters=100))
    for _ in range(200):
        driver.chunk("1+1=2\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")
    assert len(driver.summary.text) == 108  # one chunk more than it takes to know
    assert Close() in driver.orders


def test_chunks_starting_past_the_character_budget_close_streams():
    driver = drive(monitor(), budgets=Budgets(characters=5))
    for text, state in (("1+1=2", "streaming"), ("\n", "streaming"), ("s", "draining")):
        driver.chunk(text)
        assert driver.state == state


@pytest.mark.fault("W22", injected="more tokens than the context window has", happens="ended as `length`, not verified")
def test_a_stream_exceeding_the_context_window_is_ended():
    driver = drive(monitor(), context_tokens=20)
    for _ in range(200):
        driver.chunk("1+1=2\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason, driver.summary.kept) == ("unverified", "length", 21)


def opens(driver):
    return [order for order in driver.orders if isinstance(order, Open)]


@pytest.mark.fault("W16", injected="a resume for which the window has no room", happens="no request: ended as `length`")
@pytest.mark.parametrize("context", [40, 4000])
def test_runs_resume_only_with_room_in_the_window(context):
    driver = drive(monitor(remedy=Feedback()), context_tokens=context)
    driver.tell(Chunk("", tokens=0, usage=Usage(prompt_tokens=20)))
    driver.chunk("2+2=5\n", tokens=4)
    driver.settle()
    assert len(opens(driver)) == (2 if context == 4000 else 1)
    if context == 40:
        assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")
    else:
        (ours,) = (piece.text for piece in opens(driver)[1].pieces if piece.origin == "feedback")
        assert opens(driver)[1].room == 4000 - 20 - 4 - len(ours.encode())
