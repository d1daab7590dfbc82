"""Journals of runs on a toy domain, written by real runs."""

from __future__ import annotations

from itertools import count

import anyio
import interwhen
import pytest
from interwhen import Answer, Claim, Monitor, Pass, verifier
from interwhen.testing import ScriptedModel
from sums import watch

PROMPT = "How much is it?\n"


@verifier(name="knows", worker="inline")
def _knows(_claim):
    return Pass("it is the answer", scope="answer")


KNOWS = Monitor(
    name="knows",
    verifier=_knows,
    extractor=lambda segment: [Claim(key=segment.text, span=segment.span)],
    trigger=Answer(),
    scope="answer",
)
"""Takes any answer for the right one."""


def _run(path, replies, monitors, prompt, options):
    async def once():
        async with interwhen.run(
            ScriptedModel(replies), prompt, monitors=monitors, journal=path, **options
        ) as supervised:
            return await supervised.drain()

    return anyio.run(once)


@pytest.fixture
def record(tmp_path):
    numbers = count()

    def make(replies, *monitors, prompt=PROMPT, answered=False, **options):
        path = tmp_path / f"{next(numbers)}.journal"
        watching = [*(monitors or (watch(),)), *([KNOWS] if answered else [])]
        return path, _run(path, replies, watching, prompt, options)

    return make
