"""The strategies in examples/strategies: what each of them promises, and that the attempt counts and judges."""

import pytest
from examples.strategies.budget_forcing import BudgetForcing
from examples.strategies.dvts import TreeSearch
from examples.strategies.generate_test import GenerateTest
from examples.strategies.revision import Revision
from examples.strategies.step_beam import StepBeam
from interwhen import Message, Sampling, UsageError
from interwhen.models import Capabilities
from interwhen.registry import PluginError
from interwhen.strategies import Strategy, load_strategy
from interwhen.testing import Say, ScriptedModel
from tests.strategies.worlds import PLAIN, RIGHT, WRONG, question, read, telling, try_out, writer
from tests.virtual_clock import virtual_backend

pytestmark = pytest.mark.anyio

ALL = (BudgetForcing(), TreeSearch(), GenerateTest(), Revision(), StepBeam())
PARTIAL = (BudgetForcing(), TreeSearch(), StepBeam())
TESTING = (GenerateTest(), Revision())
CHAT = (Message("user", "Two and two?"),)
GOOD = ("2 + 2 = 4\n", "4 + 1 = 5\n", "Answer: 5")
BAD = ("2 + 2 = 5\n", "5 + 1 = 7\n", "Answer: 7")


@pytest.fixture
def anyio_backend():
    return virtual_backend()


def by_name(strategy):
    return strategy.name


def by_steps(choose):
    def go_on(request):
        at = request.prefix.count("\n")
        return (GOOD if choose(request) else BAD)[at] + "".join(GOOD[at + 1 :])

    return writer(go_on)


def thinker(request):
    if request.prefix.endswith("</think>"):
        return f"\nAnswer: {request.prefix.count('Wait')}"
    return " hm\n</think>\nAnswer: 0" if request.prefix else "<think>\nhm\n</think>\nAnswer: 0"


@pytest.mark.parametrize("strategy", ALL, ids=by_name)
def test_each_removed_strategy_is_a_plug_in(strategy):
    made = type(strategy)
    spec = f"{made.__module__}:{made.__name__}"
    assert isinstance(load_strategy(spec), Strategy)
    option = made.__dataclass_fields__.keys() & {"rounds", "trees", "width", "waits"}
    assert getattr(load_strategy(f"{spec}:{min(option)}=3"), min(option)) == 3
    file, name = made.__module__.rpartition(".")[2], made.__name__
    with pytest.raises(
        PluginError, match=rf"{strategy.name}.*removed.*copy examples/strategies/{file}\.py.* {file}:{name}"
    ):
        load_strategy(f"{strategy.name}:rounds=3")


@pytest.mark.parametrize("strategy", ALL, ids=by_name)
async def test_no_text_is_verified_without_a_check(strategy):
    outcome = await try_out(strategy, telling(PLAIN), budget=120)
    assert outcome.status in ("unverified", "abstained")
    unwatched = await try_out(strategy, telling(RIGHT), budget=120, question=question(monitors=()))
    assert unwatched.status in ("unverified", "abstained")


@pytest.mark.parametrize("budget", [1, 5, 12, 20, 30, 70])
@pytest.mark.parametrize("strategy", ALL, ids=by_name)
async def test_all_tokens_of_all_texts_are_counted(strategy, budget):
    for script in (thinker, lambda _: RIGHT, lambda _: "and\n" * 99):
        model = writer(script)
        outcome = await try_out(strategy, model, budget=budget)
        ledger = outcome.ledger
        assert ledger.total_tokens == ledger.kept + ledger.discarded <= budget
        assert ledger.requests == len(model.requests)


@pytest.mark.parametrize("strategy", PARTIAL, ids=by_name)
async def test_a_model_that_cannot_continue_is_refused(strategy):
    model = writer(lambda _: "x", capabilities=Capabilities(resume="turn"))
    with pytest.raises(UsageError, match=f"'{strategy.name}' needs a model that continues a partial text"):
        await try_out(strategy, model)


@pytest.mark.parametrize("strategy", TESTING, ids=by_name)
async def test_rounds_continue_until_a_text_passes(strategy):
    model = telling(WRONG, "2 + 2 = 4\nWell.", RIGHT)
    outcome = await try_out(strategy, model)
    assert (outcome.status, outcome.answer, len(model.requests)) == ("verified", "4", 3)
    assert (outcome.ledger.kept, outcome.ledger.discarded) == (len(RIGHT), len(WRONG) + len("2 + 2 = 4\nWell."))


@pytest.mark.parametrize("strategy", TESTING, ids=by_name)
async def test_strategy_abstains_if_all_texts_are_refuted(strategy):
    outcome = await try_out(strategy, telling(WRONG), budget=4 * len(WRONG))
    assert (outcome.status, outcome.answer, outcome.ledger.requests) == ("abstained", None, 4)
    assert outcome.why == "each text was refuted, or gave no answer"


async def test_generate_test_gives_no_feedback_to_model():
    model = telling(WRONG, WRONG, RIGHT)
    assert not (await try_out(GenerateTest(), model)).handed
    assert {request.prompt for request in model.requests} == {"Two and two?\n"}


@pytest.mark.parametrize(("level", "said"), [("", "Wait, 2 + 2 is 4, not 5."), (":level=flag", "Wait, something")])
async def test_feedback_reveals_what_the_level_allows(level, said):
    model = writer(lambda request: RIGHT if len(request.prompt) > 1 else WRONG)
    outcome = await try_out(Revision(), model, question=question(prompt=CHAT, monitors=(f"arithmetic{level}",)))
    again = model.requests[1].prompt
    assert again[:2] == (*CHAT, Message("assistant", WRONG))
    assert again[2].content.startswith(said)
    assert outcome.handed is not bool(level)
    assert ("4" in again[2].content) is not bool(level)


@pytest.mark.parametrize("strategy", [StepBeam(), TreeSearch(expansions=3)], ids=by_name)
async def test_steps_that_are_refuted_are_dropped(strategy):
    asked = []

    def choose(request):
        asked.append(request)
        # The monitor refutes no wrong answer, so the last step is good.
        return request.prefix.count("\n") == 2 or len(asked) % 3 == 0

    outcome = await try_out(strategy, by_steps(choose), question=question(monitors=("arithmetic",)))
    assert (outcome.status, outcome.answer, outcome.text) == ("verified", "5", "".join(GOOD))
    assert outcome.ledger.kept == len("".join(GOOD))


async def test_equal_texts_share_one_beam_slot():
    model = by_steps(lambda _: True)
    await try_out(StepBeam(width=2, expansions=2), model)
    assert [request.prefix for request in model.requests] == [
        *[""] * 4, *[GOOD[0]] * 2, *[GOOD[0] + GOOD[1]] * 2
    ]  # fmt: skip


async def test_trees_grow_independently():
    model = by_steps(lambda request: len(model.requests) > 2)
    outcome = await try_out(TreeSearch(), model)
    assert outcome.text == "".join(GOOD)
    assert {request.prefix for request in model.requests} >= {BAD[0], GOOD[0]}


@pytest.mark.parametrize("strategy", [StepBeam(), TreeSearch(trees=1)], ids=by_name)
async def test_last_quarter_of_budget_forces_the_answer(strategy):
    model = writer(lambda request: "Answer: 5" if request.sampling.temperature == 0 else "and so\n")
    outcome = await try_out(strategy, model, budget=80)
    assert model.requests[-1].sampling.temperature == 0.0
    assert outcome.answer == "5"


async def test_the_end_of_the_thinking_is_replaced():
    model = writer(thinker)
    outcome = await try_out(BudgetForcing(), model, question=question(monitors=()))
    assert outcome.text == "<think>\nhm\nWait, hm\nWait, hm\n</think>\nAnswer: 2"
    assert outcome.answer == "2"
    assert outcome.ledger.kept == len(outcome.text) - 2 * len("\nWait,")
    assert outcome.ledger.discarded == 2 * len("\n</think>")


async def test_thinking_that_is_too_long_is_ended():
    def choose(request):
        return " 7" if request.prefix.endswith("Answer:") else "<think>\n" + "and so on " * 50

    outcome = await try_out(BudgetForcing(maximum=30), writer(choose), budget=40)
    assert outcome.text == ("<think>\n" + "and so on " * 50)[:30] + "\n</think>\nAnswer: 7"
    assert (outcome.answer, outcome.ledger.total_tokens) == ("7", 32)
    plain = writer(lambda request: " 7" if request.prefix.endswith("Answer:") else "x" * 99)
    outcome = await try_out(BudgetForcing(), plain, budget=40, sampling=Sampling(max_tokens=100))
    assert outcome.text == "x" * 30 + "\nAnswer: 7"


async def test_reasoning_in_its_own_field_is_continued():
    def script(request):
        again = bool(request.pieces)
        yield Say(" sure." if again else "Hm.", "reasoning")
        yield Say(f"Answer: {1 + again}", "answer")

    model = ScriptedModel(script, capabilities=Capabilities(resume="prefill", think_tags=None))
    asked = question(monitors=(), read=lambda text: read(text.replace("Answer", "\nAnswer")))
    outcome = await try_out(BudgetForcing(waits=1), model, question=asked)
    assert outcome.text == "Hm.\nWait, sure.Answer: 2"
    assert [piece.phase for piece in model.requests[1].pieces] == ["reasoning"]
