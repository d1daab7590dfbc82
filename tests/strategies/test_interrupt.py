"""Our own strategy is the engine's run, metered: each remedy, giving up, and starting afresh."""

import itertools

import pytest
from interwhen import Budgets, Claim, Feedback, Fork, Monitor, Pass, Repair, Resample, Sampling, run, verifier
from interwhen.models import UpstreamError
from interwhen.strategies import load_strategy
from interwhen.strategies._interrupt import Interrupt
from tests.strategies.worlds import PLAIN, RIGHT, WRONG, question, try_out, writer

pytestmark = pytest.mark.anyio


def slip(request):
    prefix = request.prefix
    if not prefix:
        return "2 + 2 = 5\nAnswer: 5"
    if "Wait" in prefix:
        return "2 + 2 = 4\nAnswer: 4"
    return "\nAnswer: 4" if prefix.endswith("4") else "Answer: 5"


async def test_interrupt_ledger_equals_the_run_ledger():
    asked = question()
    outcome = await try_out(Interrupt(), writer(slip))
    async with run(writer(slip), asked.prompt, monitors=["arithmetic"], sampling=Sampling(max_tokens=60)) as running:
        result = await running.drain()
    assert (outcome.status, outcome.answer, outcome.text) == ("verified", "4", result.text)
    assert result.ledger.remedies == outcome.ledger.remedies == 1
    assert (outcome.ledger.kept, outcome.ledger.discarded) == (result.ledger.kept, result.ledger.discarded)
    assert outcome.ledger.inserted_chars == len("4")


@pytest.mark.parametrize(
    ("name", "written"),
    [("interrupt-repair", "2 + 2 = 4\n"), ("interrupt-feedback", "2 + 2 = 5\nWait, 2 + 2 is 4, not 5.\n2 + 2 = 4\n")],
)
async def test_every_remedy_has_a_strategy_name(name, written):
    outcome = await try_out(load_strategy(name), writer(slip))
    assert outcome.text == f"{written}Answer: 4"
    assert outcome.ledger.remedies == 1


async def test_resampling_draws_again_with_another_seed():
    def choose(request):
        return RIGHT if request.sampling.seed % 2 else WRONG

    model = writer(choose)
    outcome = await try_out(Interrupt("interrupt-resample", Resample()), model, seed=2)
    seeds = [request.sampling.seed for request in model.requests]
    assert outcome.status == "verified"
    assert seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    assert {request.sampling.temperature for request in model.requests} == {0.5}


async def test_remedy_keeps_the_place_set_by_monitor():
    model = writer(slip)
    monitors = ("arithmetic:remedy=repair,place=rewind",)
    outcome = await try_out(Interrupt(remedy=Feedback()), model, question=question(monitors=monitors))
    assert outcome.text.startswith("Wait, 2 + 2 is 4, not 5.\n")


async def test_abandoned_run_is_followed_by_another():
    def choose(request):
        return RIGHT if request.sampling.temperature else WRONG

    model = writer(choose)
    outcome = await try_out(Interrupt(remedy=Feedback()), model)
    assert (outcome.status, outcome.answer) == ("verified", "4")
    assert outcome.ledger.kept == len(RIGHT)
    assert outcome.ledger.discarded > len(WRONG)
    assert [request.sampling.temperature for request in model.requests][-1] == 0.5


async def test_circling_run_leaves_budget_for_another():
    wrong = itertools.cycle([5, 6, 7, 8, 9, 0, 1, 2, 3])

    def choose(request):
        return f"2 + 2 = {next(wrong)}\n" if request.sampling.temperature == 0 else RIGHT

    monitors = ("arithmetic:remedy=feedback,place=rewind",)
    outcome = await try_out(Interrupt(), writer(choose), budget=195, question=question(monitors=monitors))
    assert (outcome.status, outcome.answer) == ("verified", "4")
    assert outcome.ledger.discarded > 195 // 2


async def test_repair_fallback_comes_from_the_strategy():
    asked = question(monitors=("arithmetic:remedy=repair,place=rewind",))
    assert asked.watchers(acting=True)[0].remedy == Repair(otherwise=Feedback("rewind"))
    remedies = {}
    for name in ("interrupt", "interrupt-repair", "interrupt-feedback"):
        remedies[name] = load_strategy(name)._remedied(asked.watchers(acting=True)[0]).remedy
    assert remedies == {
        "interrupt": Repair(otherwise=Feedback("rewind")),
        "interrupt-repair": Repair(otherwise=Resample()),
        "interrupt-feedback": Feedback("rewind"),
    }


async def test_interrupt_abstains_when_budget_is_spent():
    outcome = await try_out(Interrupt(remedy=Resample()), writer(lambda _: WRONG), budget=90)
    assert (outcome.status, outcome.answer) == ("abstained", None)
    assert outcome.ledger.total_tokens <= 90


@pytest.mark.parametrize("budget", range(1, 50, 6))
async def test_no_budget_is_overdrawn_or_called_a_failure(budget):
    outcome = await try_out(Interrupt(), writer(slip), budget=budget)
    assert outcome.ledger.total_tokens <= budget
    assert outcome.status in {"verified", "unverified", "abstained"}


async def test_unjudgeable_text_is_answered_unverified():
    outcome = await try_out(Interrupt(), writer(lambda _: PLAIN), question=question(monitors=("arithmetic",)))
    assert (outcome.status, outcome.answer, outcome.checks.could_act) == ("unverified", "4", False)


async def test_a_model_that_fails_is_no_abstention():
    def script(request):
        raise UpstreamError("gone", status=404)

    outcome = await try_out(Interrupt(), writer(script))
    assert (outcome.status, outcome.why) == ("failed", "gone")


def test_interrupt_uses_the_monitor_remedy_by_default():
    assert Interrupt().remedy is None
    assert load_strategy("interrupt-repair").remedy == Repair(otherwise=Resample())
    assert Budgets().remedies == 16


async def test_forks_are_paid_from_the_same_budget():
    @verifier(name="asks", worker="inline")
    def check(claim):
        return Pass("said so")

    def parse(reply, segment):
        yield Claim(key=f"{reply} {segment.span}", span=segment.span)

    monitor = Monitor(name="asks", verifier=check, extractor=Fork("\nSure?", parse, max_tokens=5))
    model = writer(lambda _: RIGHT, forks=lambda _: "yes I am")
    outcome = await try_out(Interrupt(), model, budget=100, question=question(monitors=(monitor,)))
    assert (outcome.status, outcome.ledger.forks, outcome.ledger.fork_tokens) == ("verified", 2, 6)
    assert outcome.ledger.total_tokens == len(RIGHT) + 6
    assert {request.sampling.max_tokens for request in model.fork_requests} == {5}
    tight = await try_out(Interrupt(), model, budget=len(RIGHT), question=question(monitors=(monitor,)))
    assert tight.ledger.total_tokens <= len(RIGHT)
    assert tight.status != "verified"
