"""Readers of calls that are written as text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import ToolCalls
from interwhen._core.messages import NO_OFFER, ToolOffer
from interwhen._core.segmenter import scanner_for
from interwhen._core.transcript import Transcript
from interwhen._core.written_calls import LONGEST_CODE, LONGEST_JSON, read_offer, read_written
from tests.core.call_texts import CODE, FAMILY_TEXTS, OFFER, TEXTS, UNREADABLE

READABLE = {**TEXTS, **FAMILY_TEXTS}

FORMS = ("tagged", "function_tag", "invoke", "mistral", "deepseek", "kimi", "harmony", "gemma", "llama", "phi", "other", "json",
         "pythonic", "react", "code")  # fmt: skip


def found_in(text, offer):
    transcript = Transcript("answer")
    transcript.append(text, 1)
    scanner = scanner_for(ToolCalls(), offer)
    return [scanner.written for _ in scanner.flush(transcript)]


@pytest.mark.parametrize("name", READABLE)
def test_the_calls_of_each_family_are_read(name):
    given = READABLE[name]
    segments = found_in(given.text, given.offer)
    assert [written.form for written in segments] == [given.form] * given.segments
    assert [written.problem for written in segments] == [""] * given.segments
    calls = [call for written in segments for call in written.calls]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == given.calls
    assert {call.kind for call in calls} == {"function"}


@pytest.mark.fault("G4", injected="a call in each format that cannot be parsed", happens="a problem, not silence")
@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_call_is_reported_as_a_problem(name):
    given = UNREADABLE[name]
    [written] = found_in(given.text, given.offer)
    assert written.form == given.form
    assert written.problem
    assert written.calls == ()


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text(max_size=60) | st.sampled_from([text.text for text in TEXTS.values()]))
def test_a_reader_returns_calls_a_problem_or_nothing(form, text):
    written = read_written(form, text, OFFER)
    assert written is None or bool(written.calls) is not bool(written.problem)
    for call in () if written is None else written.calls:
        assert call.kind == "code" or isinstance(json.loads(call.arguments), dict)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("get_weather(city=name)", "city=name"),
        ("get_weather(**given)", "**given"),
        ("get_weather(f'{x}')", "f'{x}'"),
        ("for name in names:\n    name = 'Rome'\n    get_weather(name)", "name"),
        ("def ask(city):\n    return get_weather(city)\ncity = 'Rome'\nask('Oslo')", "city"),
        ("city = 'Rome'\nmatch found:\n    case {'a': 1, **city}:\n        get_weather(city)", "city"),
        ("city = 'Rome'\nimport city.names\nget_weather(city)", "city"),
        ("city = 'Rome'\nfrom names import *\nget_weather(city)", "city"),
        ("ask = get_weather\nask('Rome')", "..."),
        ("get_weather('a', 1, 2)", "'a', 1, 2"),
    ],
)
def test_arguments_that_the_code_computes_are_not_guessed(code, arguments):
    written = read_written("code", code, CODE)
    [interpreter, call] = written.calls
    assert interpreter.name == "python_interpreter"
    assert (call.name, call.kind, call.arguments) == ("get_weather", "code", arguments)
    with pytest.raises(ValueError, match="only when the code runs"):
        call.values()


def test_a_constant_that_is_set_once_is_known():
    written = read_written("code", "c = 'Rome'\nn = 2\nn = 3\nget_weather(c)\nget_weather(c, n)", CODE)
    assert [(call.kind, call.arguments) for call in written.calls[1:]] == [
        ("function", '{"city": "Rome"}'),
        ("code", "c, n"),
    ]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("function_tag", "<function=get_weather><parameter=city>5</parameter></function>"),
        ("invoke", '<invoke name="get_weather"><parameter name="city">5</parameter></invoke>'),
    ],
)
@pytest.mark.parametrize(("offer", "value", "untyped"), [(OFFER, "5", False), (NO_OFFER, 5, True)])
def test_untyped_formats_take_argument_types_from_the_tool(form, text, offer, value, untyped):
    written = read_written(form, text, offer)
    assert written.calls[0].values() == {"city": value}
    assert written.untyped is untyped


@pytest.mark.parametrize("form", FORMS)
def test_overlong_or_overly_nested_text_is_a_problem(form):
    assert read_written(form, "x" * (LONGEST_JSON + 1), OFFER).problem
    for text in (
        "[" * 50_000,
        "{" * 5_000 + '"get_weather"',
        "-" * (LONGEST_CODE - 1) + "1",
        "f(" * 5_000,
        '{"a":' * 5_000,
    ):
        written = read_written(form, text, OFFER)
        assert written is None or written.problem


def test_code_that_is_too_long_is_not_parsed():
    assert "20,000" in read_written("code", "x = 1\n" * 4_000, ToolOffer()).problem


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('get_weather(city={"name": "Rome"})', '{"city": {"name": "Rome"}}'),
        ('get_weather(city=[{"name": true}])', '{"city": [{"name": true}]}'),
        ("get_weather(city={1: 2})", "city={1: 2}"),
        ("get_weather(city={**x})", "city={**x}"),
    ],
)
def test_keys_of_a_dict_are_texts(body, arguments):
    [call] = read_written("pythonic", body, OFFER).calls
    assert call.arguments == arguments
    assert call.kind == ("function" if arguments[0] == "{" else "code")


@pytest.mark.parametrize(
    ("offer", "value", "untyped"), [(OFFER, "3", False), (NO_OFFER, "3", True), (NO_OFFER, "[3]", False)]
)
def test_an_argument_type_is_guessed_unless_declared(offer, value, untyped):
    text = f"<function=get_weather><parameter=days>{value}</parameter></function>"
    written = read_written("function_tag", text, offer)
    assert written.calls[0].values() == {"days": json.loads(value)}
    assert written.untyped is untyped


@pytest.mark.parametrize(
    ("form", "text", "names"),
    [
        ("tagged", 'get_weather(city="Paris")', ["get_weather"]),
        ("llama", '[get_weather(city="Paris")]<|eom_id|>', ["get_weather"]),
        ("llama", 'get_weather(city="Paris")', ["python_interpreter", "get_weather"]),
        ("llama", 'get_weather.call(city="Paris")', ["get_weather"]),
        ("llama", '{"name": "get_weather", "parameters": {"city": "Paris"}}', ["get_weather"]),
    ],
)
def test_python_and_json_are_told_apart(form, text, names):
    calls = read_written(form, text, OFFER).calls
    assert [call.name for call in calls] == names
    assert calls[-1].values() == {"city": "Paris"}


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("city = 'Rome'\nimport json as other", True),
        ("city = 'Rome'\nimport json as city", False),
        ("city = 'Rome'\nimport city", False),
        ("city = 'Rome'\ndef city(): pass", False),
        ("city = 'Rome'\ndef ask(city): pass", False),
        ("city = 'Rome'\ndef ask():\n    global city", False),
        ("city = 'Rome'\ntry:\n    pass\nexcept ValueError as city:\n    pass", False),
        ("city = 'Rome'\ntry:\n    pass\nexcept ValueError:\n    pass", True),
        ("city = 'Rome'\nmatch 1:\n    case city: pass", False),
        ("city = 'Rome'\nmatch 1:\n    case _: pass", True),
        ("city = 'Rome'\ndel city", False),
        ("city = other = 'Rome'", False),
        ("city = ['Rome']", False),
        ("city: str = 'Rome'", False),
    ],
)
def test_a_variable_is_known_unless_bound_anywhere_else(code, known):
    call = read_written("code", f"{code}\nget_weather(city)", CODE).calls[-1]
    assert call.kind == ("function" if known else "code")


def test_kimi_may_omit_the_last_calls_end_marker():
    text = '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}'
    [call] = read_written("kimi", text, OFFER).calls
    assert call.values() == {"city": "Paris"}


@pytest.mark.parametrize(("parameters", "name"), [(("city",), "city"), (("city", "days"), "input"), ((), "input")])
def test_a_lone_argument_takes_the_only_parameters_name(parameters, name):
    offer = ToolOffer(tools={"get_weather": dict.fromkeys(parameters, "")}, react=True)
    [call] = read_written("react", "Action: get_weather[Paris]", offer).calls
    assert call.values() == {name: "Paris"}


def test_calls_with_json_follow_each_other():
    body = "".join(f'<invoke name="{name}">{{"city": "Paris"}}</invoke>' for name in ("first", "second"))
    assert [call.name for call in read_written("invoke", body, OFFER).calls] == ["first", "second"]


@pytest.mark.parametrize(
    ("text", "react"), [("Action: x", False), ("Observation", False), ("Action: x\nObservation", True)]
)
def test_a_prompt_asks_for_actions_with_both_words(text, react):
    assert read_offer(text, {}).react is react


def test_an_invoke_block_may_not_repeat_a_parameter():
    given = '<invoke name="f"><parameter name="a">1</parameter><parameter name="a">2</parameter></invoke>'
    written = read_written("invoke", given, NO_OFFER)
    assert "the name 'a' twice" in written.problem
