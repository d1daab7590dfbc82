"""Budget forcing: thinking that ends too early continues, and thinking that is too long is ended."""

import pytest
from interwhen import Sampling
from interwhen.models import Capabilities
from interwhen.strategies import BudgetForcing
from interwhen.testing import Say, ScriptedModel
from tests.strategies.worlds import question, read, try_out, writer

pytestmark = pytest.mark.anyio

THOUGHT = "<think>\nhm\n</think>\nAnswer: 1"


def thinker(request):
    """Ends its thinking at once, then answers with the number of times that it had to wait."""
    prefix = request.prefix
    if prefix.endswith("</think>"):
        return f"\nAnswer: {prefix.count('Wait')}"
    return "<think>\nhm\n</think>\nAnswer: 0" if not prefix else " hm\n</think>\nAnswer: 0"


async def test_the_end_of_the_thinking_is_taken_away():
    model = writer(thinker)
    found = await try_out(BudgetForcing(waits=2), model, question=question(monitors=()))
    assert found.text == "<think>\nhm\nWait, hm\nWait, hm\n</think>\nAnswer: 2"
    assert found.answer == "2"
    ours = len("\nWait,") * 2
    assert found.ledger.kept == len(found.text) - ours
    assert found.ledger.discarded == 2 * len("\n</think>")


async def test_thinking_that_is_long_enough_may_end():
    model = writer(thinker)
    found = await try_out(BudgetForcing(minimum=len("<think>\nhm\n</think>")), model)
    assert found.text == "<think>\nhm\n</think>\nAnswer: 0"
    assert [request.prefix for request in model.requests] == ["", "<think>\nhm\n</think>"]


async def test_thinking_that_is_too_long_is_ended():
    def choose(request):
        return " 7" if request.prefix.endswith("Answer:") else "<think>\n" + "and so on " * 50

    model = writer(choose)
    found = await try_out(BudgetForcing(maximum=30), model, budget=40)
    assert found.text == ("<think>\n" + "and so on " * 50)[:30] + "\n</think>\nAnswer: 7"
    assert (found.answer, found.ledger.total_tokens) == ("7", 32)


async def test_three_quarters_are_for_thinking_where_nothing_is_said():
    def choose(request):
        return " 7" if request.prefix.endswith("Answer:") else "x" * 99

    found = await try_out(BudgetForcing(), writer(choose), budget=40, sampling=Sampling(max_tokens=100))
    assert found.text == "x" * 30 + "\nAnswer: 7"


async def test_a_model_that_does_not_think_apart_goes_on_behind_its_answer():
    def choose(request):
        return " yes.\nAnswer: 2" if request.prefix else "Answer: 1"

    found = await try_out(BudgetForcing(waits=1), writer(choose))
    assert (found.text, found.answer) == ("Answer: 1\nWait, yes.\nAnswer: 2", "2")


async def test_reasoning_in_a_field_of_its_own_is_gone_on_with():
    def script(request):
        again = bool(request.pieces)
        yield Say(" sure." if again else "Hm.", "reasoning")
        yield Say(f"Answer: {1 + again}", "answer")

    model = ScriptedModel(script, capabilities=Capabilities(resume="prefill", think_tags=None))
    asked = question(monitors=(), read=lambda text: read(text.replace("Answer", "\nAnswer")))
    found = await try_out(BudgetForcing(waits=1), model, question=asked)
    assert found.text == "Hm.\nWait, sure.Answer: 2"
    assert [piece.phase for piece in model.requests[1].pieces] == ["reasoning"]


@pytest.mark.parametrize("budget", [1, 5, 12, 20, 30])
async def test_it_ends_within_any_budget(budget):
    found = await try_out(BudgetForcing(), writer(thinker), budget=budget)
    assert found.ledger.total_tokens <= budget
