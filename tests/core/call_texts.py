"""Tool calls as models of each family write them, in the forms of their published chat templates.

Each text calls ``get_weather`` for Paris and 3 days (or for two cities), so that one table of expectations serves all.
"""

from __future__ import annotations

from typing import NamedTuple

from interwhen._core.messages import ToolOffer
from interwhen._core.written_calls import FENCES

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
OFFER = ToolOffer(tools={"get_weather": {"city": "string", "days": "integer"}}, in_field=True)
REACT = ToolOffer(react=True)
CODE = ToolOffer(tools={"get_weather": {"city": "", "days": ""}}, code=(("<code>", "</code>"), *FENCES))

ONE = [("get_weather", {"city": "Paris", "days": 3})]
TWO = [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Oslo"})]


class CallText(NamedTuple):
    """A text, its format, the offer of the request, and the calls in it."""

    form: str
    text: str
    offer: ToolOffer = ToolOffer()
    calls: list[tuple[str, dict[str, object]]] = ONE
    segments: int = 1


TEXTS = {
    "hermes, qwen 2.5": CallText(
        "tagged", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'
    ),
    "hermes, two calls": CallText(
        "tagged",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
        calls=TWO,
        segments=2,
    ),
    "qwen 3 coder": CallText(
        "tagged",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        OFFER,
    ),
    "qwen 3 coder without the outer tag": CallText(
        "function_tag",
        "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>",
        OFFER,
    ),
    "llama 3.1, function tag": CallText(
        "function_tag", '<function=get_weather>{"city": "Paris", "days": 3}</function>'
    ),
    "glm 4.5": CallText(
        "tagged",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        OFFER,
    ),
    "deepseek v3": CallText(
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris", "days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    "deepseek v3.1, two calls": CallText(
        "deepseek",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>'
        '<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        calls=TWO,
    ),
    "deepseek v3.2": CallText(
        "invoke",
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    ),
    "minimax m2": CallText(
        "invoke",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
        '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        OFFER,
    ),
    "invoke, a JSON list": CallText(
        "invoke",
        '<minimax:tool_call>\n[{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}]\n'
        "</minimax:tool_call>",
    ),
    "kimi k2": CallText(
        "kimi",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Paris", "days": 3}<|tool_call_end|><|tool_calls_section_end|>',
    ),
    "mistral v3": CallText(
        "mistral", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}]'
    ),
    "mistral v3, arguments first": CallText(
        "mistral", '[TOOL_CALLS][{"arguments": {"city": "Paris", "days": 3}, "name": "get_weather"}]'
    ),
    "mistral v11": CallText("mistral", '[TOOL_CALLS]get_weather[CALL_ID]9aK2x[ARGS]{"city": "Paris", "days": 3}'),
    "mistral v13, two calls": CallText(
        "mistral",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
        calls=TWO,
        segments=2,
    ),
    "gpt-oss": CallText(
        "harmony",
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris", "days": 3}',
    ),
    "gpt-oss, the recipient first": CallText(
        "harmony",
        '<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris", "days": 3}',
    ),
    "gpt-oss, special tokens left out": CallText(
        "harmony", 'commentary to=functions.get_weather json{"city": "Paris", "days": 3}'
    ),
    "gemma 3": CallText("gemma", '```tool_code\nget_weather(city="Paris", days=3)\n```'),
    "functiongemma": CallText(
        "gemma", "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>"
    ),
    "gemma 4": CallText("gemma", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'),
    "llama 3.1, python tag": CallText(
        "llama", '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}<|eom_id|>'
    ),
    "llama 3.1, built-in tool": CallText("llama", '<|python_tag|>get_weather.call(city="Paris", days=3)<|eom_id|>'),
    "llama 4": CallText("pythonic", '<|python_start|>[get_weather(city="Paris", days=3)]<|python_end|>'),
    "phi 4 mini": CallText(
        "phi", '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}]<|/tool_call|>'
    ),
    "llama 3.1, json": CallText("json", '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}', OFFER),
    "json in a fence": CallText(
        "json", '```json\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n```', OFFER
    ),
    "a list in json": CallText(
        "json",
        '[{"name": "get_weather", "arguments": {"city": "Paris"}}, '
        '{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        OFFER,
        TWO,
    ),
    "json with a semicolon": CallText(
        "json",
        '{"name": "get_weather", "parameters": {"city": "Paris"}}; '
        '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
        OFFER,
        TWO,
        2,
    ),
    "llama 3.2, pythonic": CallText("pythonic", '[get_weather(city="Paris", days=3)]', OFFER),
    "pythonic, two calls": CallText("pythonic", "[get_weather(city='Paris'), get_weather('Oslo')]", OFFER, TWO),
    "react": CallText("react", 'Action: get_weather\nAction Input: {"city": "Paris", "days": 3}', REACT),
    "react, a text": CallText(
        "react", "Action: get_weather\nAction Input: Paris", REACT, [("get_weather", {"input": "Paris"})]
    ),
    "react, brackets": CallText("react", "Action: get_weather[Paris]", REACT, [("get_weather", {"input": "Paris"})]),
    "react, a blob": CallText(
        "react", 'Action:\n```json\n{"action": "get_weather", "action_input": {"city": "Paris", "days": 3}}\n```', REACT
    ),
    "smolagents, blob": CallText(
        "react", 'Action:\n{\n  "name": "get_weather",\n  "arguments": {"city": "Paris", "days": 3}\n}', REACT
    ),
    "smolagents, code": CallText(
        "code",
        '<code>\nplace = "Paris"\nprint(get_weather(city=place, days=3))\n</code>',
        CODE,
        [
            (
                "python_interpreter",
                {"code": 'place = "Paris"\nprint(get_weather(city=place, days=3))'},
            ),
            *ONE,
        ],
    ),
    "smolagents, fenced code": CallText(
        "code",
        '```py\nget_weather("Paris", 3)\n```',
        CODE,
        [("python_interpreter", {"code": 'get_weather("Paris", 3)'}), *ONE],
    ),
}

_ARGUMENTS = '{"city": "Paris", "days": 3}'
_JSON = f'{{"name": "get_weather", "arguments": {_ARGUMENTS}}}'
_OPENAI = '{"id": "1", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\", \\"days\\": 3}"}}'
_COHERE = f'[{{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {_ARGUMENTS}}}]'
_STEP = (
    '<steptml:invoke name="get_weather"><steptml:parameter name="city">Paris</steptml:parameter>'
    '<steptml:parameter name="days">3</steptml:parameter></steptml:invoke>'
)
_PAIRS = "<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n"
_NESTED = (
    "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>"
)
_PYTHON = 'get_weather(city="Paris", days=3)'
FAMILIES = {
    "command r": ("json", f"Action: ```json\n{_COHERE}\n```"),
    "command r7b": ("other", f"<|START_ACTION|>{_COHERE}<|END_ACTION|>"),
    "internlm": ("other", f"<|action_start|><|plugin|>\n{_JSON}<|action_end|>"),
    "jamba, hunyuan a13b": ("other", f"<tool_calls>[{_JSON}]</tool_calls>"),
    "minimax m1": ("other", f"<tool_calls>\n{_JSON}\n</tool_calls>"),
    "hunyuan 2": (
        "other",
        f"<tool_calls><tool_call>get_weather\n```json\n{_ARGUMENTS}\n```</tool_call></tool_calls>",
    ),
    "hunyuan 3": ("other", f"<tool_calls><tool_call>get_weather<tool_sep>\n{_PAIRS}</tool_call></tool_calls>"),
    "functionary 3.2": ("other", f">>>get_weather\n{_ARGUMENTS}"),
    "functionary 2": ("other", f"<|from|>assistant\n<|recipient|>get_weather\n<|content|>{_ARGUMENTS}"),
    "step 3": (
        "other",
        f"<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>{_STEP}<｜tool_call_end｜><｜tool_calls_end｜>",
    ),
    "nexus raven": ("pythonic", f"Call: {_PYTHON}<bot_end>"),
    "nemotron": ("other", f"<TOOLCALL>[{_JSON}]</TOOLCALL>"),
    "granite 20b": ("other", f"<function_call> {_JSON}"),
    "granite 3": ("phi", f"<|tool_call|>[{_JSON}]"),
    "lfm 2": ("other", f"<|tool_call_start|>[{_PYTHON}]<|tool_call_end|>"),
    "minicpm 3": ("other", f"<|tool_call_start|>\n```python\n{_PYTHON}\n```\n<|tool_call_end|>"),
    "minicpm 5": (
        "other",
        '<function name="get_weather"><param name="city">Paris</param><param name="days">3</param></function>',
    ),
    "apertus": ("other", f'<|tools_prefix|>[{{"get_weather": {_ARGUMENTS}}}]<|tools_suffix|>'),
    "seed oss": ("other", f"<seed:tool_call>\n{_NESTED}\n</seed:tool_call>"),
    "longcat": (
        "other",
        "<longcat_tool_call>get_weather\n" + _PAIRS.replace("arg_", "longcat_arg_") + "</longcat_tool_call>",
    ),
    "solar": (
        "other",
        f"<|tool_calls|><|tool_call:begin|>0<|tool_call:name|>get_weather<|tool_call:args|>{_ARGUMENTS}<|tool_call:end|>",
    ),
    "muse": (
        "invoke",
        f"<atem:function_calls>\n{_STEP.replace('steptml', 'atem')}\n</atem:function_calls>",
    ),
    "olmo 3": ("invoke", f"<function_calls>\n{_PYTHON}\n</function_calls>"),
    "invoke without an outer tag": ("other", _STEP.replace("steptml:", "")),
    "qwen 1 and 2": ("other", f"\u273fFUNCTION\u273f: get_weather\n\u273fARGS\u273f: {_ARGUMENTS}"),
    "gigachat": ("other", f"function call<|role_sep|>\n{_JSON}"),
    "gigachat 3.1": ("other", f"<|function_call|>{_JSON}"),
    "hyperclova": ("json", f" -> tool/function_call\n[{_JSON}]<|im_end|>"),
    "firefunction": ("json", f"functools[{_JSON}]"),
    "glaive": ("other", '<functioncall> {"name": "get_weather", "arguments": \'{"city": "Paris", "days": 3}\'} '),
    "glm 4": ("other", f"get_weather\n{_ARGUMENTS}"),
    "gorilla": ("other", f"<<function>>{_PYTHON}"),
    "toolace": ("pythonic", f"[{_PYTHON}]"),
    "xlam": ("json", f'{{"thought": "", "tool_calls": [{_JSON}]}}'),
    "openai, tool_calls": ("json", f'{{"role": "assistant", "content": null, "tool_calls": [{_OPENAI}]}}'),
    "openai, function_call": ("json", f'{{"function_call": {_OPENAI}}}'),
    "openai, parallel": (
        "json",
        f'{{"tool_uses": [{{"recipient_name": "functions.get_weather", "parameters": {_ARGUMENTS}}}]}}',
    ),
    "anthropic": ("json", f'{{"type": "tool_use", "id": "1", "name": "get_weather", "input": {_ARGUMENTS}}}'),
    "json in a sentence": ("json", f"I now call {_JSON} and wait."),
    "json in backticks": ("json", f"I now call `{_JSON}`."),
    "json with flat arguments": ("json", '{"action": "get_weather", "city": "Paris", "days": 3}'),
    "json with the name last": ("json", f'{{"arguments": {_ARGUMENTS}, "name": "get_weather"}}'),
    "json with other quotes": ("json", "{'name': 'get_weather', 'arguments': {'city': 'Paris', 'days': 3}}"),
    "python, bare": ("pythonic", _PYTHON),
    "python, a label": ("pythonic", f"Tool call: functions.{_PYTHON}"),
    "python, a list in a sentence": ("pythonic", f"I call [{_PYTHON}] now."),
    "a namespace before the name": ("other", f"functions.get_weather:0{_ARGUMENTS}"),
    "special tokens of no family": ("other", f"<|do|>get_weather<|with|>{_ARGUMENTS}<|done|>"),
    "a tag of no family": ("other", f"<my_tool>{_JSON}</my_tool>"),
}
"""Texts of families that are read only because the request offers the tool, or that have a row of their own."""
FAMILY_TEXTS = {name: CallText(form, text, OFFER) for name, (form, text) in FAMILIES.items()}

UNREADABLE = {
    "hermes, no JSON": CallText("tagged", '<tool_call>{"name": "get_weather", "arguments": {city}}</tool_call>'),
    "hermes, words": CallText("tagged", "<tool_call>get the weather of Paris</tool_call>"),
    "hermes, not closed": CallText("tagged", '<tool_call>\n{"name": "get_weather", "argum'),
    "glm, half a pair": CallText("tagged", "<tool_call>get_weather\n<arg_key>city</arg_key>\nParis</tool_call>"),
    "qwen, text outside of the parameters": CallText(
        "tagged", "<tool_call><function=get_weather>\nParis\n</function></tool_call>"
    ),
    "mistral, no JSON": CallText("mistral", '[TOOL_CALLS]get_weather{"city": Paris}'),
    "mistral, not closed": CallText("mistral", '[TOOL_CALLS][{"name": "get_weather"'),
    "deepseek, no JSON": CallText(
        "deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>Paris<｜tool▁call▁end｜>"
    ),
    "gpt-oss, no JSON": CallText("harmony", "<|channel|>commentary to=functions.get_weather json<|message|>{Paris}"),
    "kimi, no name": CallText("kimi", "<|tool_calls_section_begin|><|tool_call_begin|><|tool_calls_section_end|>"),
    "gemma, a quote that does not end": CallText("gemma", '<|tool_call>call:get_weather{city:<|"|>Paris}<tool_call|>'),
    "llama, no Python": CallText("llama", "<|python_tag|>get_weather(city=<|eom_id|>"),
    "json of a known tool": CallText("json", '{"name": "get_weather", "parameters": {"city": Paris}}', OFFER),
    "pythonic of a known tool": CallText("pythonic", "[get_weather(city=)]", OFFER),
    "react, no JSON": CallText("react", 'Action: get_weather\nAction Input: {"city": Paris}', REACT),
    "code with an error": CallText("code", "<code>\nget_weather(city=\n</code>", CODE),
    "hermes, an argument twice": CallText(
        "tagged", '<tool_call>{"name": "get_weather", "arguments": {"city": "A", "city": "B"}}</tool_call>'
    ),
    "hermes, the tool twice": CallText(
        "tagged", '<tool_call>{"name": "get_weather", "n\\u0061me": "drop", "arguments": {}}</tool_call>'
    ),
    "hermes, a name twice in an inner object": CallText(
        "tagged", '<tool_call>{"name": "f", "arguments": {"a": [{"b": 1, "b": 2}]}}</tool_call>'
    ),
    "hermes, an argument twice in a text": CallText(
        "tagged", '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1, \\"a\\": 2}"}</tool_call>'
    ),
    "glm, an argument twice": CallText(
        "tagged",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>a</arg_key>\n<arg_value>2</arg_value>\n"
        "</tool_call>",
    ),
    "qwen, an argument twice": CallText(
        "tagged",
        "<tool_call><function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=a>\n2\n</parameter>\n</function></tool_call>",
    ),
    "mistral, an argument twice": CallText("mistral", '[TOOL_CALLS]get_weather{"city": "A", "city": "B"}'),
    "json of a known tool, an argument twice": CallText(
        "json", '{"name": "get_weather", "parameters": {"city": "A", "city": "B"}}', OFFER
    ),
    "special tokens of no family, no arguments": CallText("other", "<|do|>get_weather Paris 3<|done|>", OFFER),
    "a tag of no family, no JSON": CallText("other", "<use_tool>get_weather city=Paris</use_tool>", OFFER),
    "the tool as a tag": CallText("other", "<get_weather><city>Paris</city></get_weather>", OFFER),
    "kimi k3": CallText(
        "other",
        '<|open|>call tool="get_weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Paris'
        "<|close|>argument<|sep|><|close|>call<|sep|>",
        OFFER,
    ),
    "minimax m3": CallText(
        "tagged",
        '<tool_call>\n]<]minimax[>[<invoke name="get_weather">]<]minimax[>[<city>Paris</city>]<]minimax[>[</invoke>\n'
        "]<]minimax[>[</tool_call>",
        OFFER,
    ),
    "json, arguments in an unknown place": CallText("json", '{"name": "get_weather", "kw": {"city": "Paris"}}', OFFER),
    "json, a name in an unknown place": CallText("json", '{"run": "get_weather", "with": {"city": "Paris"}}', OFFER),
    "json that names the tool and is cut": CallText(
        "json", 'So: {"name": "get_weather", "arguments": {"city": "Pa', OFFER
    ),
    "python, several lines": CallText("pythonic", 'get_weather(city=\n  "Paris"\n)', OFFER),
}
"""Texts that look like a call and cannot be read."""

PROSE = (
    "The set {1, 2, 3} has [three] members, and f(x) = {x}.",
    'Use JSON such as {"name": "Bob", "arguments": {"with": "his wife"}} in the body.',
    '{"name": "Bob", "parameters": {"age": 3}}',
    "[1, 2, 3]\n[get_time()]\n",
    "Wrap calls in <tool_call> and </tool_call> tags, or write <tool_call>...</tool_call>.",
    "A model of this family writes `<tool_call>{}</tool_call>`, and `[TOOL_CALLS][{}]` before that.",
    'An example:\n```\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n```\nThat is all.',
    'An example:\n```python\nprint(get_weather("Paris"))\n```\nThat is all.',
    "Here is code:\n```py\nfor each in [1, 2]:\n    print({each: 1})\n```\n",
    "<code>x = 1</code> is HTML.",
    "Action: we should wait.\nThe action input is small.\n",
    "The recipient is in the header: to=me, from=you.",
    "<function> and <function=> are no calls; f<function=3 is none either.",
    "The [TOOL_CALLS] token begins a call, and <|python_tag|> too.",
    "\\boxed{[f(x)]} and {\\text{name}: 3}",
)
"""Ordinary text, which holds no call when the request offers no tools and its prompt shows no format."""
