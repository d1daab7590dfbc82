"""The arms, the pass curve and the report, small: what must hold at any size."""

import pytest
from interwhen import UsageError
from tests.benchmarks.precompute import (
    WORTHLESS,
    ask,
    cost_row,
    cost_rows,
    curve,
    error_row,
    make_case,
    precompute,
    prepare,
    simulate,
)
from tests.benchmarks.precompute_world import MistakeRates

pytestmark = pytest.mark.anyio
FAMILIES = ("states", "lookups", "reasoning_gym")


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize("family", FAMILIES)
async def test_predictable_questions_take_a_fifth_of_the_tokens_and_are_as_right(family):
    rows = await cost_rows(family, 1.0, contexts=2, questions=6, rates=MistakeRates(), seed=0)
    nothing = rows.pop("nothing")
    assert nothing.right == nothing.verified == 1.0
    for row in rows.values():
        assert row.right == row.verified == 1.0
        assert row.generated <= nothing.generated / 5
        assert row.cost_10 <= 0.4


async def test_what_cannot_be_foreseen_is_not_answered_from_memory():
    rows = await cost_rows("reasoning_gym", 0.0, contexts=1, questions=4, rates=MistakeRates(), seed=1)
    assert rows["answers"].fewer == pytest.approx(1.0)
    # Facts were made that help with none of the questions: that is a loss, and is shown as one.
    assert rows["facts"].cost_10 >= 1.0


async def test_verified_notes_hold_up_over_the_passes_and_unverified_ones_do_not():
    found = await curve("states", contexts=3, questions=6, rates=MistakeRates(), most=(1, 8))
    assert found["verified", 8].accuracy >= found["verified", 1].accuracy
    assert found["verified", 8].wrong <= 0.01
    assert found["unverified", 8].wrong > 0.1
    assert found["unverified", 8].accuracy < found["verified", 8].accuracy
    assert found["verbatim", 1].notes == 0
    # What slips through a verifier is a small part of what is proposed, but it is not nothing.
    assert found["leaky", 8].wrong <= found["unverified", 8].wrong / 4


async def test_what_was_spent_ahead_of_time_is_in_the_ledger():
    case = make_case("lookups", 0, 1, 1.0)
    setting = await prepare(case, "both", seed=0, passes=2, rates=MistakeRates())
    prompt_only = await ask(setting, case.questions[0], bare=True)
    asked = await ask(setting, case.questions[0])
    await setting.precomputer.aclose()
    assert setting.offline > 0
    assert asked.items
    assert prompt_only.items == ()


@pytest.mark.parametrize("ratio", [0.1, 1.0, 2.0])
def test_the_simulated_gate_keeps_within_five_percent(ratio):
    row = cost_row(ratio, 10.0, queries=1000, items=4)
    assert row["cost"] <= 1.05
    assert (row["kept"] == 1.0) == (ratio < 1)


@pytest.mark.parametrize("item", WORTHLESS)
def test_false_moves_are_rare(item):
    row = error_row(item, pairs=150, items=60)
    assert row["kept"] + row["dropped"] <= 0.1  # 3 of 60 are allowed in the mean; 7 come up about twice in a hundred


async def test_the_report_is_whole():
    report = await simulate(contexts=1, questions=2, predictable=(1.0,), families=("lookups",), gate_items=1)
    assert len(report.tables) == 5
    costs, passes, *_ = report.tables
    assert [row["prepared"] for row in costs.rows] == ["nothing", "facts", "answers", "both"]
    assert {row["notes"] for row in passes.rows} == {"verified", "leaky", "unverified", "verbatim"}
    assert {series.label for series in report.charts[0].series} == {"verified", "leaky", "unverified", "verbatim"}
    assert report.subject == "SIMULATION"
    assert "SIMULATED" in costs.caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "acme"}, "--model must be 'simulated', 'local' or 'local:PATH.gguf', got 'acme'"),
        ({"gate_items": 0}, "--gate-items must be a whole number of at least 1, got 0"),
    ],
)
async def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        await precompute(**options)
