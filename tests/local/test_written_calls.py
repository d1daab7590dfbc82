"""The model of this repo writes tool calls between tags: a real server, a real stream, and an agent that reads the text."""

import json
import re

import interwhen
import pytest
from interwhen import (
    Claim,
    Delta,
    Feedback,
    Message,
    Monitor,
    Pass,
    Resample,
    Retracted,
    Sampling,
    ToolCalls,
    Violation,
)
from interwhen.models import open_local

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


POLICY = (
    "Policy: order below 20, fill to 60, at most 30 an order, approval above 150. "
    "Item: bolts. Stock: {stock}. Price: 7."
)
SAMPLING = Sampling(max_tokens=200, temperature=0.0)
TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
"""The pattern with which agents read the calls of this family."""


def watch(may_order, **options):
    @interwhen.verifier(name="orders", worker="inline")
    def check(claim):
        return Pass() if may_order or not claim.key.startswith("order") else Violation(why="nothing may be ordered")

    def extract(segment):
        for call in segment.calls:
            yield Claim(key=call.text, span=segment.span)

    options = {"delivery": "gate_tools", "remedy": Feedback(), **options}
    return Monitor(name="orders", verifier=check, extractor=extract, trigger=ToolCalls(), **options)


async def calls_of(model, monitor, stock=12):
    async with interwhen.run(
        model, (Message("user", POLICY.format(stock=stock)),), monitors=[monitor], sampling=SAMPLING
    ) as run:
        shown = ""
        async for event in run:
            assert not isinstance(event, Retracted)
            shown += event.text if isinstance(event, Delta) else ""
    return [json.loads(text) for text in TOOL_CALL.findall(shown)], run.result


async def test_a_call_that_passes_is_the_agents():
    async with open_local() as model:
        calls, result = await calls_of(model, watch(may_order=True))
    [call] = calls
    assert call["name"] == "order"
    assert call["arguments"]["quantity"] == 30
    assert result.status == "verified"
    [check] = result.checks
    assert result.text[check.span.start :].startswith("<tool_call>")


@pytest.mark.parametrize("remedy", [Feedback(), Resample()])
async def test_a_refuted_call_is_not_the_agents(remedy):
    async with open_local() as model:
        calls, result = await calls_of(model, watch(may_order=False, remedy=remedy))
    assert [call for call in calls if call["name"] == "order"] == []
    assert result.violations
    assert '"name": "order"' not in result.text


async def test_each_call_of_ten_prompts_is_read():
    async with open_local() as model:
        for stock in range(5, 25, 2):
            calls, result = await calls_of(model, watch(may_order=True), stock)
            assert [check.key.partition("(")[0] for check in result.checks] == [call["name"] for call in calls]
            assert len(calls) == 1
