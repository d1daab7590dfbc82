"""Slowing a model down: nothing lost, nothing early, and a close ends the wait."""

import anyio
import pytest
from interwhen.cli._demo import PacedModel
from interwhen.models import Request, StreamClosed
from interwhen.testing import End, ScriptedModel

pytestmark = pytest.mark.anyio


async def read(model):
    stream, texts, times = await model.stream(Request("go")), [], []
    begun = anyio.current_time()
    while chunks := await stream.receive():
        texts += (chunk.text for chunk in chunks)
        times.append(anyio.current_time() - begun)
    return "".join(texts), times


async def test_paced_model_delivers_whole_text_at_rate():
    text, times = await read(PacedModel(ScriptedModel([("ab", "cd", "ef", End())]), 100))
    assert text == "abcdef"
    assert times[2] >= 2 / 100


async def test_closing_ends_a_paced_wait():
    stream = await PacedModel(ScriptedModel([("ab", "cd", End())]), 0.001).stream(Request("go"))
    assert (await stream.receive())[0].text == "ab"
    async with anyio.create_task_group() as group:

        async def close():
            await anyio.sleep(0.01)
            await stream.aclose()

        group.start_soon(close)
        with anyio.fail_after(60), pytest.raises(StreamClosed):
            await stream.receive()
