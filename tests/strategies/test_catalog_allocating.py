"""Adaptive samples: until one is verified, and no more where that is in vain."""

import dataclasses

import pytest
from interwhen.strategies import load_strategy
from interwhen.strategies._catalog import Adaptive
from tests.strategies.worlds import RIGHT, WRONG, question, telling, try_out

pytestmark = pytest.mark.anyio
HARD = question(prompt="What is the sum of 2 and 2, in so many more words that it is another class of question?\n")


async def test_it_stops_at_the_first_verified_sample():
    found = await try_out(Adaptive(), telling(WRONG, RIGHT, WRONG))
    assert (found.status, found.answer, found.ledger.requests) == ("verified", "4", 2)


async def test_it_never_spends_more_than_a_question_may_take():
    found = await try_out(Adaptive(share=1.0), telling(WRONG), budget=3 * len(WRONG) + 5)
    assert found.ledger.total_tokens <= 3 * len(WRONG) + 5
    assert found.status == "unverified"


async def test_questions_that_are_never_verified_get_fewer_samples_and_others_keep_theirs():
    strategy = Adaptive(share=0.3)
    hard, easy = [], []
    for number in range(40):
        hard.append((await try_out(strategy, telling(WRONG), question=HARD)).ledger.requests)
        found = await try_out(strategy, telling(WRONG, RIGHT) if number % 2 else telling(RIGHT))
        easy.append(found.status)
    assert hard[0] > 1
    assert hard[-1] == 1
    assert set(easy) == {"verified"}


async def test_each_budget_is_learnt_for_itself():
    strategy = Adaptive()
    for _ in range(30):
        await try_out(strategy, telling(WRONG), budget=400)
    assert (await try_out(strategy, telling(WRONG), budget=1000)).ledger.requests > 1


def test_it_is_loaded_by_its_name_with_its_share():
    made = load_strategy("adaptive:share=0.25")
    assert isinstance(made, Adaptive)
    assert made.share == 0.25
    assert dataclasses.replace(made, name="x") != made
