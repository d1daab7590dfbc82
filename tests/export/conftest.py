"""Journals of runs on a toy domain, written by real runs."""

from __future__ import annotations

from itertools import count

import anyio
import interwhen
import pytest
from interwhen.testing import ScriptedModel
from sums import watch

PROMPT = "How much is it?\n"


def _run(path, replies, monitors, prompt, options):
    async def once():
        async with interwhen.run(
            ScriptedModel(replies), prompt, monitors=monitors, journal=path, **options
        ) as supervised:
            return await supervised.drain()

    return anyio.run(once)


@pytest.fixture
def record(tmp_path):
    """Return a function that runs a model on *replies* and returns the path of the journal and the result."""
    numbers = count()

    def make(replies, *monitors, prompt=PROMPT, **options):
        path = tmp_path / f"{next(numbers)}.journal"
        return path, _run(path, replies, list(monitors) or [watch()], prompt, options)

    return make
