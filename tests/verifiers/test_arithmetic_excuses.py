"""A false equation in signs, with words beside it that may excuse it: what a gate shows of it, and what a live reader sees."""

from __future__ import annotations

import re

import interwhen
import pytest
from interwhen import Retracted, Unknown
from interwhen.testing import ScriptedModel
from tests.verifiers.arithmetic_support import judge, lines

pytestmark = pytest.mark.anyio
EXCUSED = list(lines("excused"))
TAKEN_BACK = [
    "6 + 6 = 13⏎No, 13 is wrong.⏎",
    "6 + 6 = 13⏎No, 6 + 6 = 13 is wrong.⏎",
    "6 + 6 = 13⏎Wait, 6 + 6 is 12, not 13.⏎So 12.⏎",
    "6 + 6 = 13. No, 13 is not correct.⏎",
    "Is 6 + 6 = 13? No, it is 12, not 13.⏎",
    "Suppose $6 + 6 = 13$. That is not 13!⏎",
]
NOT_TAKEN_BACK = [
    "6 + 6 = 13⏎No, 13 is wrong?⏎",
    "6 + 6 = 13⏎No, 13 is wrong for others.⏎",
    "6 + 6 = 13⏎No, 13 is wrong, they say.⏎",
    "6 + 6 = 13⏎No, 13 is not wrong.⏎",
    "6 + 6 = 13⏎No, 12 is wrong.⏎",
    "6 + 6 = 13⏎No, it is 13, not 12.⏎",
    "6 + 6 = 13⏎No, not 13.5⏎",
    "6 + 6 = 13⏎No, 13 is wro",
    "6 + 6 = 13⏎No, \ue000 is wrong.⏎",
    "6 + 6 = 13⏎No, not \ue002.⏎",
]
RIGHT = [
    "Suppose 6 + 6 = 12.⏎So 12.⏎",
    "6 + 6 = 12⏎No, 13 is wrong.⏎",
    "About 30 * 49 = 1470.⏎",
    "17 / 5 = 3 remainder 2⏎",
    "2 hours + 30 = 150 minutes⏎",
    "max(3, 4) + 6 = 10, so x + 6 + 6 = 13⏎",
    "12 - 4 = 2x, and 5 = 15 / 6 (2)⏎",
    "Modulo 5: 7 + 6 = 3⏎",
]


async def read(text: str, delivery: str, prompt: str = "Q") -> tuple[str, interwhen.Result]:
    monitor = interwhen.load_monitor(f"arithmetic:delivery={delivery}")
    seen = ""
    model = ScriptedModel([text.replace("⏎", "\n")] * 8, size=100)
    async with interwhen.run(model, prompt, monitors=[monitor]) as run:
        async for event in run:
            assert delivery != "gate" or not isinstance(event, Retracted)
            seen += getattr(event, "text", "")
    return seen, run.result


def values_of(text: str) -> set[str]:
    return {match[1] for match in re.finditer(r"[0-9)]\s*==?\s*([0-9]+)", text)}


@pytest.mark.fault("H7", injected="308 texts that put an excuse beside a false equation", happens="a gate shows none")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_excusing_words_do_not_open_a_gate():
    assert len(EXCUSED) == 308
    shown = [text for text in EXCUSED if values_of(text) & values_of((await read(text, "gate"))[0])]
    assert shown == []


@pytest.mark.parametrize("text", NOT_TAKEN_BACK)
async def test_partial_rejection_does_not_open_gate(text):
    seen, result = await read(text, "gate")
    assert ("13" in seen, result.status) == (False, "abstained")


@pytest.mark.parametrize("text", TAKEN_BACK)
async def test_a_rejection_by_name_opens_the_gate(text):
    seen, result = await read(text, "gate")
    assert ("13" in seen, result.status) == (True, "unverified")


@pytest.mark.fault("H7", injected="an excused sum, read live", happens="it is shown, and the result is unverified")
async def test_live_reader_sees_excused_statement():
    seen, result = await read("6 + 6 = 13⏎No, fine.⏎", "interrupt")
    assert ("13" in seen, result.status) == (True, "unverified")
    assert any("it may be taken" in str(each) or "may reject" in str(each) for each in result.unverified_reasons)


@pytest.mark.parametrize("text", RIGHT)
def test_possibly_right_equation_is_not_excused(text):
    verdicts = [statement.verdict for statement in judge(text.replace("⏎", "\n"))]
    assert not any(isinstance(verdict, Unknown) and verdict.excused for verdict in verdicts)


async def test_an_equation_of_the_prompt_is_not_excused():
    seen, _ = await read("They wrote 6 + 6 = 13 there.⏎", "gate", "What is wrong with 6 + 6 = 13?")
    assert "13" in seen
