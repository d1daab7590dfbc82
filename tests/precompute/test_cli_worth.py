"""What ``interwhen precompute status NAME`` says of passes and of what the gate knows."""

import io

import msgspec
import pytest
from interwhen.cli._precompute import pass_table, worth_table
from interwhen.precompute._contexts import PreparedContext
from interwhen.precompute._freshness import CurrentItems, KeySettings, PlanInputs, planned
from interwhen.precompute._gate import Arm, Gate, Pair
from interwhen.precompute._items import Cost, Item, Payload
from interwhen.precompute._producer import Context, ContextPiece
from interwhen.precompute.producers._statements import Statement
from interwhen.precompute.producers.facts import Notes, facts
from rich.console import Console
from tests.benchmarks.precompute import ask, make_case, prepare
from tests.precompute.world import MistakeRates

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]


def shown(table):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


async def test_savings_passes_and_break_even_are_shown():
    case = make_case("states", 1, 1, 1.0)
    setting = await prepare(case, "facts", seed=1, passes=2, rates=MistakeRates())
    prepared = setting.precomputer.contexts["case"]
    used = (await ask(setting, case.questions[0])).items
    await setting.precomputer.aclose()
    records = {}
    for id_ in used:
        gate = Gate()
        gate.record.offline_tokens = 400
        for _ in range(60):
            gate.charge(Arm(10, 50), used=True)
            gate.observe(Pair(Arm(150, 40), Arm(10, 50), 400))
        records[id_] = gate.record
    text = shown(worth_table(prepared, records))
    assert "kept" in text
    assert "60 of 60" in text
    # 140 tokens are saved, ten prompt tokens (a fifth of a token each) are read for it, and a reader's weigh ten.
    assert "1,380  87% [" in text
    assert "0.3 queries" in text
    lines = [line.split() for line in shown(pass_table(prepared)).splitlines() if line[:1].isdigit()]
    assert [line[0] for line in lines] == ["1", "2"]
    assert all(int(line[1]) > 0 for line in lines)


async def test_facts_that_were_derived_again_belong_to_no_pass_also_of_a_piece_with_a_number_for_a_name():
    plan = planned([facts(derivations=2)], Context("case", (ContextPiece("1", "Tom has 3 cups."),), passes=1))
    inputs = PlanInputs.of(plan, {}, KeySettings())
    notes = msgspec.json.encode(Notes((Statement("Tom has 3 cups.", ()),), pays=True))
    made = {"status": "accepted", "payload": Payload(data=notes), "cost": Cost(10)}
    items = {name: Item(key=inputs.keys[name], step=name, **made) for name in ("facts::1/1", "facts::agreed/1")}
    prepared = PreparedContext("case", plan_inputs=inputs, current=CurrentItems(items))
    lines = [line.split() for line in shown(pass_table(prepared)).splitlines() if line[:1].isdigit()]
    assert lines == [["1", "1", "10", "100.0"]]


async def test_nothing_is_shown_where_nothing_is_known():
    setting = await prepare(make_case("lookups", 1, 1, 1.0), "answers", seed=1, passes=1, rates=MistakeRates())
    prepared = setting.precomputer.contexts["case"]
    await setting.precomputer.aclose()
    assert worth_table(prepared, {}) is None
    assert pass_table(prepared) is None
