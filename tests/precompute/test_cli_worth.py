"""What ``interwhen precompute status NAME`` says of what the gate knows."""

import io

import pytest
from interwhen.cli._precompute import worth_table
from interwhen.precompute._gate import Arm, Gate, Pair
from rich.console import Console
from tests.precompute.toys import numbers, precomputer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]


def shown(table):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


async def test_savings_and_break_even_are_shown():
    pre = precomputer()
    ref = await pre.add("case", numbers(3))
    await pre.work()
    item = pre.ready(ref)[0]
    gate = Gate()
    gate.record.offline_tokens = 400
    for _ in range(60):
        gate.charge(Arm(10, 50), used=True)
        gate.observe(Pair(Arm(150, 40), Arm(10, 50), 400))
    text = shown(worth_table(pre.contexts["case"], {item.id: gate.record}))
    assert "kept" in text
    assert "60 of 60" in text
    # 140 tokens are saved, ten prompt tokens (a fifth of a token each) are read for it, and a reader's weigh ten.
    assert "1,380  87% [" in text
    assert "0.3 queries" in text


async def test_table_is_absent_without_records():
    pre = precomputer()
    await pre.add("case", numbers(3))
    await pre.work()
    assert worth_table(pre.contexts["case"], {}) is None
