"""A run asks its allocator once what it may spend, and tells it what came of that."""

import interwhen
import pytest
from interwhen import Budgets, Pass, Repair, UsageError, verifier
from interwhen.strategies import AdaptiveAllocator, Allowance
from interwhen.testing import ScriptedModel
from sums import judge, watch

pytestmark = pytest.mark.anyio
WRONG = "1+1=3\n"


class Fixed:
    """Allows a fixed part of the budgets, and keeps what it learns."""

    def __init__(self, allowance=None, error=None):
        self.allowance, self.error = allowance or Allowance(), error
        self.asked, self.learned = [], []

    def allow(self, task):
        self.asked.append(task.text)
        return self.allowance

    def learn(self, task, result):
        self.learned.append((task.text, result.status))
        if self.error is not None:
            raise self.error


async def play(script, allocator, *, budgets=None, monitor=None):
    monitor = monitor or watch(remedy=Repair())
    run = interwhen.run(ScriptedModel(script), "What?", monitors=[monitor], allocator=allocator, budgets=budgets)
    async with run:
        return await run.drain()


async def test_a_run_that_may_spend_nothing_on_remedies_abstains_at_the_first_violation():
    allocator = Fixed(Allowance(remedies=0))
    result = await play([WRONG, "\n"], allocator)
    assert result.status == "abstained"
    assert "0 remedies" in result.reason
    assert (allocator.asked, allocator.learned) == (["What?"], [("What?", "abstained")])


async def test_an_allowance_never_widens_a_budget():
    result = await play([WRONG, "\n"], Fixed(Allowance(remedies=5)), budgets=Budgets(remedies=0))
    assert result.status == "abstained"


async def test_without_a_limit_the_budgets_stay():
    allocator = Fixed()
    result = await play([WRONG, "\n"], allocator)
    assert (result.status, result.ledger.remedies) == ("verified", 1)
    assert allocator.learned == [("What?", "verified")]


async def test_an_allocator_that_fails_to_learn_costs_no_result():
    assert (await play(["1+1=2\n"], Fixed(error=ValueError("no")))).status == "verified"


async def test_an_allocator_that_fails_to_allow_leaves_nothing_open():
    class Failing(Fixed):
        def allow(self, task):
            raise LookupError("no plan")

    closed = []

    class Closing(ScriptedModel):
        async def aclose(self):
            closed.append("model")

    class Pool(interwhen.Workers):
        async def aclose(self):
            closed.append("workers")

    run = interwhen.run(Closing(["x"]), "What?", allocator=Failing(), workers=Pool())
    run._owned, run._owns_workers = run._model, True
    with pytest.raises(LookupError):
        await run
    assert closed == ["model", "workers"]


async def test_a_run_that_is_never_entered_asks_for_nothing():
    allocator = Fixed()
    interwhen.run(ScriptedModel([""]), "What?", allocator=allocator)
    assert not allocator.asked


async def test_what_is_no_allocator_is_refused():
    with pytest.raises(UsageError, match=r"allocator must have the methods allow\(\) and learn\(\), got 'cheap'"):
        interwhen.run(ScriptedModel([""]), "What?", allocator="cheap")


async def test_an_allocator_learns_that_corrections_of_a_kind_of_task_are_in_vain():
    # Each remedy is followed by the next wrong sum, so that none ever leads to a verified result.
    allocator = AdaptiveAllocator(budget=40.0, first_tokens=4.0, hopeless=0.1)
    script = [f"{number}+1={number}\n" for number in range(1, 30)]
    first = await play(script, allocator)
    for _ in range(60):
        last = await play(script, allocator)
    assert first.ledger.remedies > 1
    assert last.ledger.remedies == 0
    assert last.status == "abstained"


@verifier(name="sums", version="1", worker="inline")
def knows(claim):
    verdict = judge(claim)
    return Pass(verdict.evidence, scope="answer") if isinstance(verdict, Pass) else verdict


async def test_steps_that_passed_are_no_success():
    allocator = AdaptiveAllocator(budget=4000.0, first_tokens=4.0)
    result = await play([WRONG, "\n"], allocator)
    assert result.label == "steps verified"
    assert sum(cell.worked for cell in allocator.beliefs._cells.values()) == 0


async def test_tries_are_counted_by_their_remedies():
    allocator = AdaptiveAllocator(budget=4000.0, first_tokens=4.0)
    result = await play([WRONG, "\n"], allocator, monitor=watch(knows, scope="answer", remedy=Repair()))
    assert (result.status, result.ledger.remedies) == ("verified", 1)
    cells = {
        (action, failures): (cell.worked, cell.tries)
        for (_, action, failures), cell in allocator.beliefs._cells.items()
    }
    assert cells == {("sample", 0): (0, 1), ("correct", 1): (1, 1)}
    assert (allocator.spending.tasks, allocator.spending.tokens) == (1, result.ledger.total_tokens)
