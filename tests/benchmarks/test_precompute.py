"""The run with the real local model: what is graded, and what is never stored."""

import random

import pytest
from interwhen import UsageError
from interwhen.precompute._judge import Judge
from interwhen.precompute._producer import Accepted, Rejected, Undecided
from interwhen.testing import ScriptedModel
from tests.benchmarks.precompute import QUESTION, measure_local, precompute, total, totals

pytestmark = pytest.mark.anyio
PROMPT = f"Start with 64. Add 29. Multiply by 3.\n{QUESTION}\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("64 + 29 = 93\n93 × 3 = 279\nAnswer: 279", Accepted),
        ("64 + 29 = 94\n94 × 3 = 282\nAnswer: 282", Rejected),
        ("64 + 29 = 93\nAnswer: 93", Undecided),
        ("64 + 29 = 93, I think\nso 279", Undecided),
    ],
    ids=["right", "slip", "wrong", "bare"],
)
async def test_totals_monitor_judges_each_text(text, kind):
    assert isinstance(await Judge([totals()]).judge(text, PROMPT), kind)


def test_generated_problems_have_the_right_answer():
    for seed in range(50):
        problem = total(random.Random(seed))
        first, *changes = (part.split() for part in problem.text.rstrip(".").split(". "))
        value = int(first[-1])
        for words in changes:
            amount = int(words[-1])
            value = {"Add": value + amount, "Subtract": value - amount, "Multiply": value * amount}[words[0]]
        assert str(value) == problem.answer


async def test_wrong_answers_save_no_tokens():
    report = await measure_local(ScriptedModel(lambda _request: ["Answer: 1"]), problems=3)
    assert report.value("right", "nothing") == report.value("right", "precomputed") == 0.0
    for what in ("answers stored, of 3", "  of them wrong"):
        assert report.value(what, "precomputed") == 0
    assert report.value("cost a query at 10 queries, t = 10", "precomputed") > 1.0
    assert report.value("tokens a query", "precomputed") == report.value("tokens a query", "nothing")


@pytest.mark.slow
async def test_precompute_saves_tokens_on_real_local_model():
    from interwhen.models import open_local

    async with open_local("") as model:
        report = await measure_local(model, problems=6)
    assert report.value("  of them wrong", "precomputed") == 0
    assert report.value("right", "precomputed") >= report.value("right", "nothing")
    for what in ("tokens a query", "first token, ms", "whole answer, ms"):
        assert report.value(what, "precomputed") < report.value(what, "nothing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "acme"}, "--model must be 'local' or 'local:PATH.gguf', got 'acme'"),
        ({"problems": 0}, "--problems must be a whole number of at least 1, got 0"),
    ],
)
async def test_invalid_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        await precompute(**options)
