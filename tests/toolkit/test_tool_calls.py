"""Calls in earlier messages of the assistant."""

from interwhen import Message, Task
from interwhen.toolkit.tool_calls import CallReader
from tests.core.call_texts import TEXTS

LINES = "Use Thought, Action: and Action Input: lines; then comes the Observation."


def test_only_formats_of_the_prompt_are_read():
    task = Task((Message("system", LINES), Message("user", "q")))
    calls, before = CallReader(task).read(f"I look.\n{TEXTS['react'].text}")
    assert [call.text for call in calls] == ['get_weather({"city": "Paris", "days": 3})']
    assert before == "I look.\n"
    assert CallReader(Task("q")).read(TEXTS["react"].text) == ((), TEXTS["react"].text)


def test_tagged_calls_are_read_beside_unreadable_text():
    text = f"{TEXTS['hermes, two calls'].text} <tool_call>{{</tool_call>"
    calls, before = CallReader(Task("q")).read(text)
    assert [call.name for call in calls] == ["get_weather", "get_weather"]
    assert before == ""
