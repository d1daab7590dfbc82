"""Corrections by an extra turn with the tiny model, and what a plain reader sees: the measurement, in small."""

import pytest
from interwhen.models import open_local
from tests.measurements.turns import TASKS, measure

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault("H5", injected="20 corrections of a small model by turn", happens="no number is joined, none twice")
async def test_correction_turns_neither_join_numbers_nor_repeat_text(anyio_backend):
    async with open_local() as local:
        server = local._running.server
        exercises = [*TASKS["totals"](60, 1)]
        options = {"corrections": 20, "minutes": 4.0}
        arms = await measure(f"{server.url}/v1", "m", server.api_key, exercises, 1, **options)
    turn, prefill = arms["turn"].report(), arms["prefill"].report()
    assert arms["turn"].corrections
    for arm in (turn, prefill):
        assert (arm["numbers of no writer"], arm["refutations of our own join"]) == (0, 0), arm["examples"]
        assert (arm["more corrections than mistakes"], arm["refuted texts shown again"]) == (0, 0), arm["examples"]
    assert turn["requests a mistake, most"] <= 2
