"""What a request says about tool calls."""

import pytest
from interwhen import Lines, Message, Monitor, Pass, ToolCalls, verifier
from interwhen._core.messages import NO_OFFER
from interwhen._core.segmenter import offer_for
from interwhen._core.written_calls import expects_text, read_offer
from tests.core.call_texts import WEATHER

TYPES = {"get_weather": {"city": "string", "days": "integer"}}


@pytest.mark.parametrize(
    "extra",
    [{"tools": [WEATHER]}, {"tools": [WEATHER["function"]]}, {"functions": [WEATHER["function"]]}],
    ids=["chat", "responses", "functions"],
)
def test_tools_in_a_field(extra):
    offer = read_offer("q", extra)
    assert offer.tools == TYPES
    assert offer.in_field
    assert expects_text(offer)
    assert not offer.react
    assert not offer.code


@pytest.mark.parametrize("tools", [None, "get_weather", [3], [{"name": 5}], [{"type": "web_search"}], {}])
def test_a_field_without_readable_tools(tools):
    assert read_offer("q", {"tools": tools}) == NO_OFFER


def test_tools_that_the_system_message_describes():
    said = '<tools>\n{"name": "look", "parameters": {"type": "object", "properties": {"id": {}}}}\n</tools>'
    offer = read_offer((Message("system", said), Message("user", "q")), {})
    assert list(offer.tools) == ["look"]
    assert not offer.in_field
    assert read_offer((Message("user", said),), {}) == NO_OFFER  # a user may paste any JSON
    assert read_offer((Message("system", said.replace("properties", "x")),), {}) == NO_OFFER


def test_results_of_tools_show_nothing():
    said = "Thought, Action: f, Observation: x"
    assert read_offer((Message("user", "q"), Message("tool", said)), {}) == NO_OFFER
    assert read_offer((Message("user", said),), {}).react


CODE = (
    "Solve it in a cycle of Thought, Code and Observation.\n<code>\ndef look(id: string, n: integer = 3) -> string:\n"
    '    """Look.\n    """\n</code>'
)


def test_the_prompt_of_an_agent_that_writes_code():
    offer = read_offer((Message("system", CODE), Message("user", "q")), {})
    assert ("<code>", "</code>") in offer.code
    assert offer.tools == {"look": {"id": "", "n": ""}}


@pytest.mark.parametrize("left_out", ["Observation", "Thought", "<code>"])
def test_code_in_a_prompt_alone_shows_no_agent(left_out):
    assert not read_offer((Message("system", CODE.replace(left_out, "")),), {}).code


def test_only_monitors_of_tool_calls_need_an_offer():
    @verifier(name="passes", worker="inline")
    def passes(claim):
        return Pass()

    def monitor(trigger):
        return Monitor(name="m", verifier=passes, extractor=lambda _segment: (), trigger=trigger)

    assert offer_for([monitor(Lines())], "q", {"tools": [WEATHER]}) is NO_OFFER
    assert offer_for([monitor(ToolCalls())], "q", {"tools": [WEATHER]}).in_field
    assert offer_for([monitor(Lines()), monitor(ToolCalls())], "q", {"tools": [WEATHER]}).in_field
