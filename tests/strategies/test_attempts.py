"""What holds for every strategy: budgets, ledgers, claims, and that an equal seed gives an equal outcome."""

import random
import re

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Claim, Fork, Monitor, Pass, Sampling, UsageError, verifier
from interwhen.models import ConnectError, UpstreamError
from interwhen.strategies import Solution, attempt
from interwhen.strategies._attempts import seed_of
from interwhen.strategies._catalog import load_strategies
from interwhen.testing import ScriptedModel
from tests.strategies.worlds import RIGHT, WRONG, question, try_out, writer

pytestmark = pytest.mark.anyio

STRATEGIES = load_strategies()
NAMES = [one.name for one in STRATEGIES]
PARTS = [
    "2 + 2 = 4\n",
    "2 + 2 = 5\n",
    "hm. ",
    "\n",
    "Answer: 4\n",
    "Answer: 5",
    "<think>\n",
    "</think>\n",
    "3 * 3 = 9\n",
]


def babbler(seed):
    def choose(request):
        key = f"{seed} {request.sampling.seed} {request.sampling.temperature} {request.prompt} {request.prefix}"
        rng = random.Random(key)
        return "".join(rng.choices(PARTS, k=rng.randint(0, 6)))

    return writer(choose)


async def outcomes(seed, budget, order):
    shuffled = list(load_strategies())  # new ones: some learn from each question
    random.Random(order).shuffle(shuffled)
    by_strategy = {}
    for strategy in shuffled:
        outcome = await attempt(
            strategy, babbler(seed), question(), budget=budget, sampling=Sampling(temperature=0.5, max_tokens=50),
            clock=lambda: 0.0,
        )  # fmt: skip
        by_strategy[strategy.name] = outcome
    return by_strategy


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(0, 99))
def test_strategies_keep_budget_and_claim_only_shown_text(seed, budget, order):
    by_strategy = anyio.run(outcomes, seed, budget, order)
    for outcome in by_strategy.values():
        ledger = outcome.ledger
        assert ledger.total_tokens <= budget
        assert 0 <= ledger.kept <= ledger.total_tokens
        assert ledger.discarded >= 0
        assert ledger.offline_tokens == ledger.fork_tokens == 0
        assert outcome.answered == (outcome.status in {"verified", "unverified"})
        if outcome.status == "verified":
            # A refuted step may stand in reasoning that feedback has disavowed.
            assert "Wait," in outcome.text or not re.search(r"(?<!\d)2 \+ 2 = 5(?!\d)", outcome.text)
            assert "= " in outcome.text
        if outcome.answer is not None:
            assert f"Answer: {outcome.answer}" in outcome.text


@settings(max_examples=5)
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_the_order_of_strategies_is_irrelevant(seed, budget):
    assert anyio.run(outcomes, seed, budget, 1) == anyio.run(outcomes, seed, budget, 2)


class Says:
    """A strategy that returns the given solution."""

    name = "says"
    meets_model = False

    def __init__(self, write, **solution):
        self.write = write
        self.solution = solution

    async def solve(self, question, context):
        trace = await context.write(question, context.greedy)
        if self.write:
            trace = trace.write(self.write)
        judgement = await context.judge(question, trace)
        return Solution(**{"trace": trace, "result": judgement.result, **self.solution})


async def test_verified_status_covers_only_exact_text():
    honest = await try_out(Says(""), writer(lambda _: RIGHT))
    assert honest.status == "verified"

    class Swaps(Says):
        async def solve(self, question, context):
            solution = await super().solve(question, context)
            other = await context.write(question, context.greedy)
            return Solution(trace=other.write("0"), result=solution.result)

    swapped = await try_out(Swaps(""), writer(lambda _: RIGHT))
    assert swapped.text == RIGHT + "0"
    assert swapped.status != "verified"


async def test_abstained_and_failed_attempts_have_no_answer():
    assert (await try_out(Says("", gave_up="no"), writer(lambda _: RIGHT))).status == "abstained"
    failed = await try_out(Says("", failed="broken"), writer(lambda _: RIGHT))
    assert (failed.status, failed.answer, failed.why) == ("failed", None, "broken")


async def test_refusal_is_an_outcome_and_disconnect_an_error():
    def refuse(_):
        raise UpstreamError("no such model", status=404)

    def lose(_):
        raise ConnectError("gone")

    for strategy in STRATEGIES:
        assert (await try_out(strategy, writer(refuse))).status == "failed", strategy.name
    with pytest.raises(ConnectError):
        await try_out(STRATEGIES[0], writer(lose))


async def test_answer_written_by_repair_is_marked_handed():
    def slip(request):
        return "\nAnswer: 4" if request.prefix else WRONG

    outcome = await try_out(load_strategies("interrupt")[0], writer(slip))
    assert outcome.handed
    assert outcome.answer == "4"
    assert not (await try_out(STRATEGIES[0], writer(lambda _: RIGHT))).handed


@pytest.mark.parametrize("budget", [0, 1.5, float("nan"), float("inf")])
async def test_invalid_budget_is_refused(budget):
    with pytest.raises(UsageError, match=f"budget must be a whole number of at least 1, got {budget}"):
        await try_out(STRATEGIES[0], writer(lambda _: RIGHT), budget=budget)


async def test_final_judging_counts_its_forks():
    @verifier(name="asks", worker="inline")
    def check(claim):
        return Pass("said so")

    asking = Monitor(
        name="asks", verifier=check, extractor=Fork("?", lambda reply, segment: [Claim(key=reply, span=segment.span)])
    )
    model = ScriptedModel([list(RIGHT)], forks=lambda _: "yes")
    bare = await try_out(STRATEGIES[0], model, question=question(monitors=(asking,)))
    assert (bare.status, bare.ledger.forks) == ("unverified", 0)
    best = await try_out(load_strategies("best-of-n:n=1")[0], model, question=question(monitors=(asking,)))
    assert (best.status, best.ledger.forks, best.ledger.fork_tokens) == ("verified", 2, 2)
    assert best.ledger.total_tokens == len(RIGHT) + 2


async def test_unmonitored_answer_is_unverified():
    outcome = await try_out(STRATEGIES[0], writer(lambda _: RIGHT), question=question(monitors=()))
    assert (outcome.status, outcome.answer) == ("unverified", "4")


async def test_timer_uses_injected_clock():
    ticks = iter([10.0, 12.5])
    outcome = await try_out(STRATEGIES[0], writer(lambda _: WRONG), clock=lambda: next(ticks))
    assert outcome.seconds == 2.5


def test_seeds_differ_between_questions_and_leave_room():
    seeds = {seed_of(1, f"q{number}") for number in range(500)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**31 - 10**6 for seed in seeds)
    assert seed_of(1, "q") == seed_of(1, "q") != seed_of(2, "q")
