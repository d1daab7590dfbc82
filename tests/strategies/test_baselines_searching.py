"""Step search: which steps are kept, how it ends within its budget, and that trees do not mix."""

import pytest
from interwhen import UsageError
from interwhen.models import Capabilities
from interwhen.strategies import StepSearch
from tests.strategies.worlds import question, try_out, writer

pytestmark = pytest.mark.anyio

GOOD = ("2 + 2 = 4\n", "4 + 1 = 5\n", "Answer: 5")
BAD = ("2 + 2 = 5\n", "5 + 1 = 7\n", "Answer: 7")


def by_steps(choose):
    """A model that knows three steps; *choose* tells from the request whether the next one is good."""

    def go_on(request):
        at = request.prefix.count("\n")
        first = (GOOD if choose(request) else BAD)[at]
        return first + "".join(GOOD[at + 1 :])

    return writer(go_on)


def every(nth):
    """Is good once in *nth* requests, and greedily."""
    asked = []

    def choose(request):
        asked.append(request)
        return request.sampling.temperature == 0 or len(asked) % nth == 0

    return choose


async def test_the_steps_that_are_refuted_are_dropped():
    found = await try_out(StepSearch(), by_steps(every(3)), question=question(monitors=("arithmetic",)))
    assert (found.status, found.answer, found.text) == ("verified", "5", "".join(GOOD))
    assert found.ledger.kept == len("".join(GOOD))


async def test_each_request_asks_for_a_step_of_a_text_that_stands():
    model = by_steps(lambda _: True)
    found = await try_out(StepSearch(width=1, expansions=2), model)
    assert [request.prefix for request in model.requests] == [
        "", "", GOOD[0], GOOD[0], GOOD[0] + GOOD[1], GOOD[0] + GOOD[1]
    ]  # fmt: skip
    assert found.ledger.total_tokens == 2 * len("".join(GOOD))
    assert len({request.sampling.seed for request in model.requests}) == 6


async def test_equal_texts_take_one_place_in_a_beam():
    model = by_steps(lambda _: True)
    await try_out(StepSearch(width=2, expansions=2), model)
    assert len(model.requests) == 4 + 2 + 2


async def test_trees_know_nothing_of_each_other():
    """The first tree sees bad first steps only; with one beam in each, that of the second is good."""
    model = by_steps(lambda request: len(model.requests) > 2)
    found = await try_out(StepSearch("dvts", trees=2, width=1, expansions=2), model)
    assert found.text == "".join(GOOD)
    assert {request.prefix for request in model.requests} >= {BAD[0], GOOD[0]}


async def test_a_quarter_of_the_budget_brings_the_best_beam_to_its_end():
    model = by_steps(lambda _: True)
    budget = 70
    found = await try_out(StepSearch(width=2, expansions=2), model, budget=budget)
    assert found.answer == "5"
    assert model.requests[-1].sampling.temperature == 0.0
    assert found.ledger.total_tokens <= budget


async def test_a_budget_that_is_too_small_gives_no_answer():
    found = await try_out(StepSearch(), by_steps(lambda _: True), budget=7)
    assert (found.status, found.answer) == ("abstained", None)
    assert found.ledger.total_tokens == 7


async def test_a_trace_is_no_longer_than_it_may_be():
    found = await try_out(StepSearch(), writer(lambda _: "and\n" * 99))
    assert found.text == "and\n" * 15


async def test_a_model_that_goes_on_by_turns_only_is_refused():
    model = writer(lambda _: "x", capabilities=Capabilities(resume="turn"))
    with pytest.raises(UsageError, match="'step-beam' needs a model that continues a partial text, got 'scripted'"):
        await try_out(StepSearch(), model)


async def test_without_monitors_the_first_text_is_as_good_as_any():
    found = await try_out(StepSearch(), by_steps(lambda _: True), question=question(monitors=()))
    assert (found.status, found.answer) == ("unverified", "5")
