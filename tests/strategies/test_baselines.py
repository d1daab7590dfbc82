"""Greedy, best-of-N and votes: what they choose, and what it costs to the token."""

import pytest
from interwhen.strategies._baselines import BestOf, Greedy, Vote
from tests.strategies.worlds import PLAIN, RIGHT, WRONG, telling, try_out, writer

pytestmark = pytest.mark.anyio


def weighted(**options):
    return Vote("weighted-vote", weighted="by verifiers", **options)


async def test_greedy_is_one_text_at_temperature_zero():
    model = writer(lambda _: RIGHT)
    outcome = await try_out(Greedy(), model)
    assert [request.sampling.temperature for request in model.requests] == [0.0]
    assert (outcome.status, outcome.answer, outcome.ledger.total_tokens) == ("verified", "4", len(RIGHT))
    assert (outcome.ledger.kept, outcome.ledger.discarded) == (len(RIGHT), 0)


async def test_a_refuted_text_is_answered_and_not_verified():
    outcome = await try_out(Greedy(), writer(lambda _: WRONG))
    assert (outcome.status, outcome.answer) == ("unverified", "5")
    assert (outcome.checks.passed, outcome.checks.refuted) == (0, 1)
    assert outcome.checks.could_act


async def test_best_of_n_picks_verified_and_pays_all():
    outcome = await try_out(BestOf(samples=4), telling(WRONG, PLAIN, RIGHT, WRONG))
    assert (outcome.status, outcome.answer, outcome.text) == ("verified", "4", RIGHT)
    assert outcome.ledger.kept == len(RIGHT)
    assert outcome.ledger.total_tokens == len(WRONG + PLAIN + RIGHT + WRONG)


async def test_best_of_n_samples_while_longest_fits_budget():
    outcome = await try_out(BestOf(), telling(WRONG), budget=3 * len(WRONG) + 5)
    assert outcome.ledger.requests == 3
    assert outcome.ledger.total_tokens == 3 * len(WRONG)
    assert outcome.status == "unverified"


async def test_until_verified_stops_at_first_verified_text():
    outcome = await try_out(BestOf("until-verified", until_verified=True), telling(WRONG, RIGHT, PLAIN))
    assert (outcome.status, outcome.ledger.requests) == ("verified", 2)


async def test_text_without_answer_ranks_last():
    outcome = await try_out(BestOf(samples=2), telling("Hm.\n", PLAIN))
    assert outcome.answer == "4"


async def test_self_consistency_returns_the_majority_answer():
    outcome = await try_out(Vote(samples=5), telling(RIGHT, WRONG, "x\n", WRONG, WRONG))
    assert (outcome.answer, outcome.status) == ("5", "unverified")


async def test_verifiers_outweigh_a_majority_that_they_refute():
    outcome = await try_out(weighted(samples=5), telling(RIGHT, WRONG, "x\n", WRONG, WRONG))
    assert (outcome.answer, outcome.status) == ("4", "verified")


async def test_equal_votes_go_to_the_first():
    for texts in ((RIGHT, WRONG), (WRONG, RIGHT)):
        outcome = await try_out(Vote(samples=2), telling(*texts))
        assert outcome.text == texts[0]


async def test_vote_without_answers_abstains():
    outcome = await try_out(Vote(samples=2), telling("x\n", "y\n"))
    assert (outcome.status, outcome.answer, outcome.why) == ("abstained", None, "the text gives no answer")


async def test_equal_numbers_draw_equal_samples_in_every_strategy():
    seeds = []
    for strategy in (BestOf(samples=3), Vote(samples=3), weighted(samples=3)):
        model = writer(lambda _: RIGHT)
        await try_out(strategy, model, seed=7)
        seeds.append([request.sampling.seed for request in model.requests])
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0])) == 3
