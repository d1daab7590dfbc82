"""Strategies of the catalogue for single calls."""

import dataclasses

import pytest
from interwhen import Repair, Sampling, ToolCall, UsageError, load_monitor
from interwhen._types.strategies import BudgetedModel, CallStrategy, StrategyCatalog, StrategyTask
from interwhen.models import Chunk
from interwhen.models._metered import MeteredModel
from interwhen.registry import STRATEGY_CATALOGS, PluginError, load
from interwhen.strategies._calls import CallCatalog, _CallQuestion
from interwhen.strategies._catalog import SHIPPED
from interwhen.strategies._traces import Trace
from interwhen.testing import ScriptedModel
from tests.strategies.worlds import writer

pytestmark = pytest.mark.anyio


def task(model, **options):
    options.setdefault("sampling", Sampling(max_tokens=50))
    options.setdefault("monitors", (load_monitor("arithmetic"),))
    return StrategyTask(model=MeteredModel(model, 500), prompt="q\n", seed=1, **options)


def test_catalog_loads_by_its_entry_point():
    catalog = load(STRATEGY_CATALOGS, "catalog")()
    assert isinstance(catalog, StrategyCatalog)
    assert catalog.names() >= set(SHIPPED)
    for name in SHIPPED:
        strategy = catalog.load(name)
        assert isinstance(strategy, CallStrategy)
        assert strategy.name == name
    with pytest.raises(PluginError, match="no-such"):
        catalog.load("no-such")


@pytest.mark.parametrize("spec", ["best-of-n:n=0", "best-of-n:n=65", "weighted-vote:n=65", "interrupt:restarts=-1"])
def test_options_have_bounds(spec):
    with pytest.raises(PluginError, match="must have a value that fits"):
        CallCatalog().load(spec)


def test_single_run_strategy_gives_live_options():
    monitors = (load_monitor("arithmetic"),)
    live = {name: CallCatalog().load(name).live(0, monitors) for name in SHIPPED}
    assert {name for name, run in live.items() if run is not None} == {
        "greedy",
        "interrupt",
        "interrupt-repair",
        "interrupt-feedback",
        "interrupt-resample",
        "interrupt-repair-feedback",
        "interrupt-auto",
    }
    assert live["interrupt"].greedy
    assert not live["interrupt-resample"].greedy
    assert isinstance(live["interrupt-repair"].monitors[0].remedy, Repair)
    following = CallCatalog().load("interrupt:restarts=2")
    assert following.live(2, monitors).seed == 2000
    assert following.live(3, monitors) is None
    assert CallCatalog().load("greedy").live(1, monitors) is None


async def test_the_choice_is_the_trace_of_the_strategy():
    texts = ("Answer: 1", "Answer: 2", "so\nAnswer: 2")
    model = writer(lambda request: texts[request.sampling.seed - 1])
    choice = await CallCatalog().load("self-consistency:n=3").choose(task(model))
    assert "".join(chunk.text for chunk in choice.chunks) == "Answer: 2"
    assert choice.finish_reason == "stop"
    assert choice.gave_up == ""
    assert [request.sampling.seed for request in model.requests] == [1, 2, 3]


async def test_samples_of_a_greedy_call_are_warm():
    model = writer(lambda _: "x")
    await CallCatalog().load("best-of-n:n=2").choose(task(model, sampling=Sampling(temperature=0.0)))
    assert [request.sampling.temperature for request in model.requests] == [0.7, 0.7]


SAMPLING = sorted(name for name in SHIPPED if CallCatalog().load(name).live(0, ()) is None)


@pytest.mark.parametrize("name", SAMPLING)
async def test_a_call_without_options_costs_four_texts(name):
    model = writer(lambda _: "17 * 24 = 418\n")
    await CallCatalog().load(name).choose(task(model))
    assert len(model.requests) == 4
    model = writer(lambda _: "17 * 24 = 418\n")
    await CallCatalog().load(f"{name}:n=6").choose(task(model))
    assert len(model.requests) == 6


def test_an_interrupted_call_begins_four_runs():
    assert CallCatalog().load("interrupt").live(3, ()) is not None
    assert CallCatalog().load("interrupt").live(4, ()) is None


async def test_abstaining_strategy_gives_a_reason():
    choice = (
        await CallCatalog()
        .load("examples.strategies.generate_test:GenerateTest:rounds=2")
        .choose(task(writer(lambda _: "")))
    )
    assert "gave no answer" in choice.gave_up


async def test_a_strategy_that_rates_needs_a_monitor():
    for name in sorted(SHIPPED.keys() - {"greedy", "self-consistency"}):
        if not name.startswith("interrupt"):
            with pytest.raises(UsageError, match="needs a monitor"):
                await CallCatalog().load(name).choose(task(ScriptedModel([""]), monitors=()))
    steps = dataclasses.replace(load_monitor("arithmetic"), scope="steps")
    with pytest.raises(UsageError, match="verify only steps"):
        await CallCatalog().load("until-verified").choose(task(ScriptedModel([""]), monitors=(steps,)))


def test_only_tool_calls_and_text_form_answers():
    question = _CallQuestion(name="call", prompt="q", read=lambda text: text.strip() or None)
    call = ToolCall(name="f", arguments="{}", id="1")
    assert question.answer(Trace((Chunk(call.text, call=call),), "tool_calls")) == call.text
    thought = Chunk("so it is", "reasoning")
    assert question.answer(Trace((thought, Chunk("yes")), "stop")) == "yes"
    assert question.answer(Trace((thought,), "length")) is None


def test_metered_model_exposes_its_budget():
    meter: BudgetedModel = MeteredModel(ScriptedModel([""]), 5)
    assert (meter.budget, meter.left) == (5, 5)
