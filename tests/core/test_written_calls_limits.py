"""Where a written call begins and ends, character by character, and the limits of what is read."""

from __future__ import annotations

import json
import random

import pytest
from interwhen import Message, ToolCalls
from interwhen._core.messages import NO_OFFER, ToolOffer
from interwhen._core.segmenter import scanner_for
from interwhen._core.transcript import Transcript
from interwhen._core.written_calls import (
    LONGEST_CODE,
    LONGEST_JSON,
    Opening,
    _Brackets,
    _Quoting,
    expects_text,
    openings_of,
    read_offer,
    read_written,
)
from tests.core.call_texts import CODE, FAMILY_TEXTS, OFFER, REACT, TEXTS
from tests.core.references import is_quoted

EVERYTHING = ToolOffer(tools=OFFER.tools, react=True, code=CODE.code)


def closing(text):
    depth, quote, at = 0, "", 0
    while at < len(text):
        sign = text[at]
        if quote:
            at += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "{[(":
            depth += 1
        elif sign in "}])":
            depth -= 1
            if depth <= 0:
                return at + 1
        at += 1
    return None


def test_brackets_end_where_each_character_says():
    rng = random.Random(7)
    for _ in range(800):
        text = "{" + "".join(rng.choice('{}[]()""\'\\x') for _ in range(rng.randrange(14)))
        if text[-1] == "\\":
            text += "x"
        whole = _Brackets(3).end(text, 3)
        expected = closing(text)
        assert whole == (None if expected is None else expected + 3), text
        for step in (1, 2, 3, 5):
            parts, end = _Brackets(3), None
            for size in (*range(step, len(text), step), len(text)):
                end = parts.end(text[:size], 3)
                assert end is None or end == whole, text
                if end is not None:
                    break
            assert end == whole, (text, step)


def test_quotations_are_those_of_the_whole_text():
    rng = random.Random(3)
    for _ in range(200):
        parts = [rng.choice(["`", "```", "~~~", "\n", " ", "a", "``", "\n\n", "~"]) for _ in range(rng.randrange(12))]
        state, text = _Quoting(5, 5), ""
        for part in parts:
            state, text = state.after(part), text + part
            assert state.at == 5 + len(text)
            assert state.since == 5
            assert (state.in_block or state.ticks % 2 == 1) is is_quoted(text), text


def scanner_of(offer=EVERYTHING, trigger=None):
    return scanner_for(trigger or ToolCalls(), offer), Transcript("answer")


@pytest.mark.parametrize("opening", sorted({each.text for each in openings_of(ToolCalls(), EVERYTHING)}))
@pytest.mark.parametrize("before", ["", "Well.\n"])
def test_an_opening_is_held_from_its_first_character(opening, before):
    scanner, transcript = scanner_of()
    if before:
        transcript.append(before, 1)
        list(scanner.feed(transcript))
        assert scanner.hold == len(before)
    for char in opening:
        transcript.append(char, 1)
        assert list(scanner.feed(transcript)) == []
        # Ordinary words may begin an opening, too: what follows them decides.
        assert scanner.hold == len(before) or opening.startswith(("Action", "=functions"))


@pytest.mark.parametrize("name", {**TEXTS, **FAMILY_TEXTS})
def test_a_call_cut_and_rewritten_is_detected_again(name):
    given = {**TEXTS, **FAMILY_TEXTS}[name]
    text = f"Well.\n{given.text} "
    scanner, transcript = scanner_of(given.offer)
    transcript.append(text, 1)
    whole = [*scanner.feed(transcript), *scanner.flush(transcript)]
    assert len(whole) == given.segments
    step = max(len(text) // 9, 1)
    for cut in [*range(7, len(text), step), *(span.end - 1 for span in whole), *(span.end for span in whole)]:
        scanner, transcript = scanner_of(given.offer)
        transcript.append(text, 1)
        list(scanner.feed(transcript))
        list(scanner.flush(transcript))
        transcript.cut(cut)
        scanner.rewind(transcript)
        transcript.append(text[cut:], 1)
        again = [*scanner.feed(transcript), *scanner.flush(transcript)]
        known = [span for span in whole if span.end > cut]
        assert [span for span in again if span.end > cut] == known, cut


def test_after_a_cut_closing_tags_end_calls_immediately():
    text = '<tool_call>{"name": "f", "arguments": {}}'
    scanner, transcript = scanner_of(NO_OFFER)
    transcript.append(text, 1)
    assert [(span.start, span.end) for span in scanner.flush(transcript)] == [(0, len(text))]
    transcript.cut(len(text) - 1)
    scanner.rewind(transcript)
    transcript.append("}</tool_call> and", 1)
    [span] = scanner.feed(transcript)
    assert (span.start, span.end) == (0, len(text) + len("</tool_call>"))


@pytest.mark.parametrize(("spaces", "is_open"), [(399, True), (400, False)])
def test_four_hundred_characters_decide_whether_a_call_begins(spaces, is_open):
    scanner, transcript = scanner_of(NO_OFFER)
    transcript.append("[TOOL_CALLS]" + " " * spaces, 1)
    list(scanner.feed(transcript))
    assert scanner.bridges is is_open
    assert (scanner.hold == 0) is is_open


@pytest.mark.parametrize(("spaces", "found"), [(39, 1), (40, 0)])
def test_an_action_may_be_indented_a_little(spaces, found):
    scanner, transcript = scanner_of(REACT)
    transcript.append("Well.\n" + " " * spaces + "Action: f[1]", 1)
    # The line end must be among the forty characters before the call.
    assert len(list(scanner.flush(transcript))) == found


def test_calls_are_read_up_to_the_length_limit():
    for more, problem in ((0, False), (1, True)):
        head = '{"name": "f", "arguments": {"x": "'
        text = head + "x" * (LONGEST_JSON - len(head) - 3 + more) + '"}}'
        assert len(text) == LONGEST_JSON + more
        assert bool(read_written("phi", text, NO_OFFER).problem) is problem
    assert LONGEST_JSON == 200_000


def test_code_is_parsed_up_to_the_length_limit():
    for more, problem in ((0, False), (1, True)):
        text = "f(" + " " * (LONGEST_CODE - 3 + more) + ")"
        assert bool(read_written("code", text, NO_OFFER).problem) is problem
    assert LONGEST_CODE == 20_000


def test_a_prompt_may_describe_a_thousand_tools():
    described = json.dumps({"parameters": {}, "properties": {}})
    names = "".join(f'{{"name": "f{number}"}}' for number in range(1_001))
    offer = read_offer((Message("system", described + names),), {})
    assert len(offer.tools) == 1_000


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("pythonic", "[f()()]"),
        ("pythonic", "[3]"),
        ("pythonic", "f()\ng()"),
        ("pythonic", "x = f()"),
        ("tagged", "f()()"),
        ("gemma", '<|tool_call>call:f{a:<|"|>x}<tool_call|>'),
        ("tagged", ""),
        ("phi", "[3]"),
        ("phi", '{"arguments": {}}'),
        ("phi", '{"name": ""}'),
        ("phi", '{"name": 3}'),
        ("phi", '{"name": "f", "arguments": [3]}'),
        ("function_tag", '<function=f>{"a": 1}</function> and <function=g>{}</function>'),
        ("function_tag", "<function=f>[3]</function>"),
        ("invoke", '<invoke name="f">{"a": 1}'),
        ("harmony", "<|channel|>commentary to=f"),
        ("harmony", "<|channel|>commentary to {}"),
        ("kimi", "<|tool_call_begin|>3<|tool_call_argument_begin|>{}<|tool_call_end|>"),
        ("react", "Action: a\nb\nAction Input: x"),
        ("react", "Action: \nAction Input: x"),
        ("gemma", "```tool_code\nx = 3\n```"),
        ("gemma", "<|tool_call>say{}<tool_call|>"),
    ],
)
def test_malformed_call_text_is_reported_as_a_problem(form, body):
    written = read_written(form, body, NO_OFFER)
    assert written.problem
    assert not written.calls


INVOKED = (
    '<invoke name="f"><parameter name="a" string="true">3</parameter>'
    '<parameter name="b" string="false">3</parameter><parameter name="c">x</parameter></invoke>'
)


@pytest.mark.parametrize(
    ("form", "body", "values"),
    [
        (
            "gemma",
            "<|tool_call>call:f{a:Paris,b:3,c:true,d:new york}<tool_call|>",
            {"a": "Paris", "b": 3, "c": True, "d": "new york"},
        ),
        ("gemma", "<|tool_call>call:f{3:x,true:[1,y,{z:null}]}<tool_call|>", {"3": "x", "true": [1, "y", {"z": None}]}),
        ("gemma", '<|tool_call>call:f{"a b":"c,d",e:<|"|>x:y}<|"|>}<tool_call|>', {"a b": "c,d", "e": "x:y}"}),
        ("gemma", "<|tool_call>call:f{}<tool_call|>", {}),
        ("phi", '{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ("phi", '{"name": "f", "arguments": "x"}', {"input": "x"}),
        ("phi", '{"name": "f", "arguments": "[3]"}', {"input": "[3]"}),
        ("phi", '{"function": {"tool": "f", "args": {"a": 1}}}', {"a": 1}),
        ("phi", '{"name": "f"}', {}),
        ("mistral", 'f{"a": 1}', {"a": 1}),
        ("mistral", '{"name": "f", "arguments": {"a": 1}}', {"a": 1}),
        ("function_tag", "<function=f></function>", {}),
        ("function_tag", "<function=f><parameter=a>\n\n x \n</parameter></function>", {"a": "\n x "}),
        ("function_tag", '<function=f><parameter= a >{"b": 1}</parameter>', {"a": {"b": 1}}),
        ("invoke", INVOKED, {"a": "3", "b": 3, "c": "x"}),
        ("deepseek", '<｜tool▁call▁begin｜>f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>', {"a": 1}),
        ("deepseek", "<｜tool▁call▁begin｜>f<｜tool▁sep｜><｜tool▁call▁end｜>", {}),
        ("react", "Action: f\nAction Input: 'x'", {"input": "x"}),
        ("react", 'Action: `f`\nAction Input: "x\ny"', {"input": '"x\ny"'}),
        ("react", 'Action 2: f\nAction 2 Input: {"a": 1}', {"a": 1}),
        ("react", "Action: f[x]", {"input": "x"}),
        ("pythonic", "(f(a=-1, b=None, c=(1, 2), d={'e': 1.5}),)", {"a": -1, "b": None, "c": [1, 2], "d": {"e": 1.5}}),
        ("llama", "f.call(a=1)", {"a": 1}),
        ("pythonic", "f(a=true, b=false, c=null)", {"a": True, "b": False, "c": None}),
        ("tagged", "f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>", {"a": "x"}),
    ],
)
def test_arguments_are_read_in_each_notation(form, body, values):
    [call] = read_written(form, body, NO_OFFER).calls
    assert call.name == "f"
    assert call.values() == values


def test_dotted_and_multiple_call_names_keep_their_order():
    for form, body, names in (
        ("pythonic", "[a.b.c(), d()]", ["a.b.c", "d"]),
        ("phi", '{"name": "a"};\n{"name": "b"}, [{"name": "c"}, {"name": "d"}]', ["a", "b", "c", "d"]),
        ("gemma", "```tool_code\nprint(a(), b())\nc()\n```", ["a", "b", "c"]),
        ("function_tag", "<function=a></function>\n<function=b>", ["a", "b"]),
    ):
        assert [call.name for call in read_written(form, body, NO_OFFER).calls] == names


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *(("string", "3", "3"), ("integer", "3", 3), ("", "3", 3), ("", "x", "x"), ("integer", "x", "x")),
        *(("", '"x"', '"x"'), ("object", '"x"', "x"), ("string", '"x"', '"x"'), ("", "[3]", [3])),
    ],
)
def test_a_value_has_the_type_its_tool_declares(kind, text, value):
    offer = ToolOffer(tools={"f": {"a": kind}})
    [call] = read_written("function_tag", f"<function=f><parameter=a>{text}</parameter></function>", offer).calls
    assert call.values() == {"a": value}


def test_positional_arguments_have_the_names_of_the_parameters():
    offer = ToolOffer(tools={"f": {"a": "", "b": ""}})
    for body, arguments in (
        ("f(1, 2)", '{"a": 1, "b": 2}'),
        ("f(1, b=2)", '{"a": 1, "b": 2}'),
        ("f(1)", '{"a": 1}'),
        ("f(1, 2, 3)", "1, 2, 3"),
        ("f(1, a=2)", "1, a=2"),
    ):
        [call] = read_written("pythonic", body, offer).calls
        assert call.arguments == arguments


def test_custom_tags_replace_only_the_default_tags():
    usual, own = openings_of(ToolCalls(), NO_OFFER), openings_of(ToolCalls("<a>", "</a>"), NO_OFFER)
    assert own[-1] == Opening("<a>", "tagged", ("</a>",))
    assert own[:-1] == [each for each in usual if each.form != "tagged"]
    assert len(usual) == len(own)
    assert openings_of(ToolCalls("<a>", "</a>", formats=("kimi",)), NO_OFFER) == [
        each for each in usual if each.form == "kimi"
    ]
    assert {each.form for each in openings_of(ToolCalls(formats=("tagged", "json")), NO_OFFER)} == {"tagged", "json"}


def test_untagged_formats_are_read_if_requests_show_them():
    usual = openings_of(ToolCalls(), NO_OFFER)
    for offer, forms in (
        (NO_OFFER, set()),
        (OFFER, {"json", "pythonic", "other"}),
        (REACT, {"react"}),
        (ToolOffer(code=CODE.code), {"code"}),
        (EVERYTHING, {"json", "pythonic", "other", "react", "code"}),
    ):
        assert {each.form for each in openings_of(ToolCalls(), offer) if each not in usual} == forms
    for form in ("json", "pythonic", "react", "code"):
        assert {each.form for each in openings_of(ToolCalls(formats=(form,)), NO_OFFER)} == {form}
    assert all(each in usual for each in openings_of(ToolCalls(formats=("other",)), OFFER))


def test_offers_are_empty_and_openings_marked_by_default():
    assert (NO_OFFER.tools, NO_OFFER.in_field, NO_OFFER.react, NO_OFFER.code) == ({}, False, False, ())
    assert not expects_text(NO_OFFER)
    opening = Opening("x", "phi")
    assert (opening.marked, opening.closings) == (True, ())
    openings = openings_of(ToolCalls(), EVERYTHING)
    assert {each.text for each in openings if not each.marked} == {"get_weather", "Action"}


@pytest.mark.parametrize("name", [name for name, each in TEXTS.items() if each.form in ("json", "react", "code")])
def test_untagged_calls_are_not_read_in_the_reasoning(name):
    for phase, count in (("reasoning", 0), ("answer", TEXTS[name].segments)):
        scanner, transcript = scanner_for(ToolCalls(), TEXTS[name].offer), Transcript(phase)
        transcript.append(TEXTS[name].text, 1)
        assert len([*scanner.feed(transcript), *scanner.flush(transcript)]) == count


@pytest.mark.parametrize(("inner", "names"), [('{"name": "f"}', ["f"]), ("f()", ["f"]), ("two words", []), ("", [])])
def test_any_text_between_custom_tags_is_a_call(inner, names):
    scanner, transcript = scanner_of(NO_OFFER, ToolCalls("<q>", "</q>"))
    transcript.append(f"so <q>{inner}</q>", 1)
    assert len(list(scanner.feed(transcript))) == 1
    assert [call.name for call in scanner.written.calls] == names
    assert not scanner.written.problem
