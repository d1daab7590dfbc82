"""The prompt of a call, read from the turns of either API."""

from interwhen import Message, ToolCall
from interwhen.clients._calls import read_call

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Look at"}, {"type": "image_url", "image_url": {}}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "nothing"},
]
MESSAGES = (
    Message("system", "Be brief."),
    Message("user", "Look at\n[image_url]"),
    Message("assistant", "", (ToolCall("c1", "look", '{"at": 1}'),)),
    Message("tool", "nothing", call_id="c1", name="look"),
)


def test_a_chat_call_prompt_equals_its_messages() -> None:
    assert read_call("chat", {"messages": CHAT}).prompt == MESSAGES


def test_responses_api_items_make_the_same_conversation() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Look at\n[image_url]"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "nothing"},
    ]
    prompt = read_call("responses", {"instructions": "Be brief.", "input": items}).prompt
    assert prompt == (*MESSAGES[:3], Message("tool", "nothing", call_id="c1"))
    assert read_call("responses", {"input": "Hi"}).prompt == (Message("user", "Hi"),)


def test_a_list_of_one_string_is_that_string() -> None:
    assert read_call("completions", {"prompt": ["How much is 1 + 1?"]}).prompt == "How much is 1 + 1?"
    assert read_call("completions", {"prompt": "How much is 1 + 1?"}).prompt == "How much is 1 + 1?"
