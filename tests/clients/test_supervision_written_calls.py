"""Tool calls that are written as text, for a caller of the chat API."""

import pytest
from tests.core.call_texts import OFFER, TEXTS, UNREADABLE, WEATHER
from watchers import no_call_with, passing
from wires import MemoryWire, collect, texts

pytestmark = pytest.mark.anyio

FIELD = [name for name, text in TEXTS.items() if text.form not in ("react", "code")]


def shown_by(parts):
    return "".join(
        choice["delta"].get("content") or "" for part in parts for choice in part.chunk().get("choices") or ()
    )


def in_pieces(text, size=5):
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("name", FIELD)
async def test_a_refuted_call_never_reaches_the_caller(name):
    wire = MemoryWire(lambda number, _: texts(in_pieces(TEXTS[name].text)) if number == 0 else texts(["I may not."]))
    parts, result = await collect(wire, [no_call_with("Paris")], tools=[WEATHER])
    assert "get_weather" not in shown_by(parts)
    assert shown_by(parts).endswith("I may not.")
    assert len(wire.bodies) >= 2
    assert len(result.violations) >= 1


async def test_an_unreadable_tool_call_makes_the_model_retry():
    bad = UNREADABLE["hermes, no JSON"].text
    wire = MemoryWire(lambda number, _: texts(in_pieces(bad)) if number == 0 else texts(["It is sunny."]))
    parts, result = await collect(wire, [no_call_with()], tools=[WEATHER])
    assert "{city}" not in shown_by(parts)
    assert result.violations[0].why.startswith("the tool call cannot be read: the call is not valid JSON")
    assert "cannot be read" in str(wire.bodies[1]["messages"])


@pytest.mark.parametrize("call", ['{"name": "f" "arguments": {}}', '{"name": "f", "arguments": {"a": 1 "b": 2}}'])
async def test_broken_json_is_called_broken_json(call):
    wire = MemoryWire(
        lambda number, _: texts([f"<tool_call>\n{call}\n</tool_call>"]) if number == 0 else texts(["It is sunny."])
    )
    _, result = await collect(wire, [no_call_with()], tools=[WEATHER])
    assert "the call is not valid JSON" in result.violations[0].why


async def test_a_permanently_unreadable_call_never_reaches_the_caller():
    bad = UNREADABLE["hermes, no JSON"].text
    wire = MemoryWire(lambda *_: texts(in_pieces(bad)))
    parts, result = await collect(wire, [no_call_with()], tools=[WEATHER])
    assert "{city}" not in shown_by(parts)
    assert result.status == "abstained"


async def test_an_unreadable_call_is_withheld_even_without_tools():
    bad = UNREADABLE["hermes, no JSON"].text
    parts, result = await collect(MemoryWire(lambda *_: texts(in_pieces(bad))), [no_call_with()])
    assert shown_by(parts) == ""
    assert result.status == "abstained"


@pytest.mark.parametrize("monitors", [[no_call_with()], [passing()]], ids=["calls", "lines"])
async def test_a_call_in_the_text_is_reported(monitors):
    text = TEXTS["llama 3.1, json"].text
    parts, result = await collect(MemoryWire(lambda *_: texts(in_pieces(text))), monitors, tools=[WEATHER])
    assert shown_by(parts) == text
    [reason] = result.unverified_reasons
    assert "the model wrote a call as text" in reason.why


async def test_written_calls_to_an_unoffered_tool_are_refuted():
    text = TEXTS["mistral v3"].text.replace("get_weather", "get_wether")
    wire = MemoryWire(lambda number, _: texts(in_pieces(text)) if number == 0 else texts(["no"]))
    _, result = await collect(wire, [passing()], tools=[WEATHER])
    assert result.violations[0].why == "there is no tool 'get_wether'; there are get_weather"


async def test_an_ordinary_answer_with_tools_offered_is_unchanged():
    text = 'Here is {"name": "Bob"} and [1, 2]:\n```python\nget_weather("Paris")\n```\n'
    wire = MemoryWire(lambda *_: texts(in_pieces(text)))
    parts, result = await collect(wire, [no_call_with("Paris"), passing()], tools=[WEATHER])
    assert shown_by(parts) == text
    assert result.status == "unverified"  # the monitor of calls has found none
    assert len(wire.bodies) == 1
    assert OFFER.tools
