"""Token budgets: the caller's limit, the context window, and a cap for servers that know no end."""

import pytest
from interwhen import Budgets, Feedback
from interwhen._core.machine import OVERRUN, Window
from interwhen._core.messages import Close, Open
from interwhen.models import Chunk, Piece, Usage
from tests.core.worlds import drive, monitor


def test_the_ceiling_is_the_lowest_of_what_is_known():
    assert Window(None, None).ceiling == float("inf")
    assert Window(10, None).ceiling == 10 + OVERRUN
    assert Window(None, 50).ceiling == 50
    assert Window(10, 50).ceiling == 50
    assert Window(10, 500).ceiling == 10 + OVERRUN


def test_room_is_what_the_window_leaves_behind_prompt_tokens_and_our_own_bytes():
    window = Window(None, 100)
    pieces = (Piece("abc"), Piece("né", origin="feedback"), Piece("4", origin="repair"))
    assert Window(None, None).room(pieces, 5) is None
    assert window.room(pieces, 5) == 100 - 5 - 4
    window.learn(None, 1)
    window.learn(Usage(None, None, 3), 1)
    window.learn(Usage(60, None, 3), 2)  # the prompt of a resume holds the trace too
    assert window.room(pieces, 5) == 91
    window.learn(Usage(60, None, 3), 1)
    assert window.room(pieces, 5) == 31
    assert window.room(pieces, 50) == 0
    assert window.room((Piece("\ud800", origin="repair"),), 0) == 39


@pytest.mark.fault("W22", injected="more text than the budget of characters", happens="ended as `length`, not verified")
def test_a_stream_without_any_limit_is_ended_by_the_budget_of_characters():
    driver = drive(monitor(), budgets=Budgets(characters=100))
    for _ in range(200):
        driver.chunk("1+1=2\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason) == ("unverified", "length")
    assert len(driver.summary.text) == 108  # one chunk more than it takes to know
    assert Close() in driver.orders


@pytest.mark.fault("W22", injected="more tokens than the context window has", happens="ended as `length`, not verified")
def test_a_stream_longer_than_the_context_window_is_ended():
    driver = drive(monitor(), context_tokens=20)
    for _ in range(200):
        driver.chunk("1+1=2\n")
    driver.settle()
    assert (driver.summary.status, driver.summary.finish_reason, driver.summary.kept) == ("unverified", "length", 21)


def opens(driver):
    return [order for order in driver.orders if isinstance(order, Open)]


@pytest.mark.fault(
    "W16", injected="a resume for which the window has no room", happens="not asked for: ended as `length`"
)
@pytest.mark.parametrize("context", [40, 4000])
def test_a_resume_is_asked_for_only_where_the_window_has_room(context):
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
