"""Calls in earlier messages of the assistant."""

from interwhen import Message, Task
from interwhen.toolkit.tool_calls import CallReader
from tests.core.call_texts import TEXTS

LINES = "Use Thought, Action: and Action Input: lines; then comes the Observation."


def test_calls_of_the_formats_that_the_prompt_shows():
    task = Task((Message("system", LINES), Message("user", "q")))
    calls, before = CallReader(task).read(f"I look.\n{TEXTS['react'].text}")
    assert [call.text for call in calls] == ['get_weather({"city": "Paris", "days": 3})']
    assert before == "I look.\n"
    assert CallReader(Task("q")).read(TEXTS["react"].text) == ((), TEXTS["react"].text)


def test_calls_between_tags_and_text_that_cannot_be_read():
    text = f"{TEXTS['hermes, two calls'].text} <tool_call>{{</tool_call>"
    calls, before = CallReader(Task("q")).read(text)
    assert [call.name for call in calls] == ["get_weather", "get_weather"]
    assert before == ""
