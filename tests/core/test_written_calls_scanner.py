"""The scanner of written calls: any chunking gives the same, nothing of a call is let through, prose is no call."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Monitor, Pass, ToolCalls, UsageError, verifier
from interwhen._core.messages import NO_OFFER
from interwhen._core.segmenter import Intake, scanner_for
from interwhen._core.written_calls import openings_of
from tests.core.call_texts import CODE, FAMILY_TEXTS, OFFER, PROSE, REACT, TEXTS, UNREADABLE
from tests.core.explaining_texts import EXPLAINED, explaining_texts

ALL = {**TEXTS, **FAMILY_TEXTS, **UNREADABLE}
EVERY = pytest.mark.parametrize("name", ALL)


@verifier(name="passes", worker="inline")
def passes(claim):
    return Pass()


def intake_for(offer, trigger=None, *, eager=True, phase="answer"):
    monitor = Monitor(name="m", verifier=passes, extractor=lambda _segment: (), trigger=trigger or ToolCalls())
    return Intake([monitor], tags=None, phase=phase, eager=eager, offer=offer)


def spans(dues):
    return [(due.segment.span.start, due.segment.span.end, due.segment.written) for due in dues]


def found_in(text, offer, cuts=(), *, eager=True, trigger=None, phase="answer"):
    intake = intake_for(offer, trigger, eager=eager, phase=phase)
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    segments = []
    for start, end in pairwise(at):
        segments += spans(intake.feed(text[start:end], 1, phase))
    return segments + spans(intake.end())


@EVERY
def test_any_chunking_detects_a_call_within_a_text(name):
    given = ALL[name]
    text = f"I will look it up.\n{given.text}"
    whole = found_in(text, given.offer)
    assert len(whole) == given.segments
    assert all(start >= len("I will look it up.\n") for start, _, _ in whole)
    for way in (range(len(text)), *([cut] for cut in range(1, len(text)))):
        assert found_in(text, given.offer, way) == whole
    assert found_in(text, given.offer, range(len(text)), eager=False) == whole


@given(
    names=st.lists(st.sampled_from(list(ALL)), min_size=1, max_size=3),
    between=st.lists(st.sampled_from(["\n", "\n\nthen\n", " and ", "`", "```\n", "Observation: x\n"]), min_size=3),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_any_chunking_detects_the_same_mixed_calls(names, between, cuts):
    offer = OFFER.__class__(tools=OFFER.tools, react=True, code=CODE.code)
    text = "".join(gap + ALL[name].text for name, gap in zip(names, between, strict=False))
    assert found_in(text, offer, cuts) == found_in(text, offer, range(len(text))) == found_in(text, offer)


@given(
    name=st.sampled_from(list(ALL)), cut=st.integers(0, 400), more=st.sampled_from(["", "x", "\n", "}", "</tool_call>"])
)
@settings(max_examples=100, deadline=None)
def test_calls_after_a_cut_match_the_remaining_text(name, cut, more):
    given = ALL[name]
    intake = intake_for(given.offer)
    list(intake.feed(given.text, 1, "answer"))
    list(intake.end())
    to = cut % (len(given.text) + 1)
    intake.cut(to)
    standing = given.text[:to] + more
    after = spans(intake.feed(more, 1, "answer")) if more else []
    after += spans(intake.end())
    expected = found_in(standing, given.offer)
    assert [entry for entry in expected if entry[1] > to] == [entry for entry in after if entry[1] > to]
    assert [span for span, _ in intake.written_calls()][-1:] == [span for span, _ in intake.written_calls()][
        -1:
    ]  # the calls that were cut are forgotten
    assert all(span.end <= len(standing) for span, _ in intake.written_calls())


@EVERY
def test_no_part_of_an_incomplete_call_is_released(name):
    given = ALL[name]
    text = f"Well.\n{given.text}"
    whole = found_in(text, given.offer)
    intake = intake_for(given.offer)
    first, end = whole[0][0], whole[0][1]
    for at, char in enumerate(text[:end]):
        if spans(intake.feed(char, 1, "answer")):
            break
        assert intake.hold(0) <= max(first, 0) or at < first


@pytest.mark.parametrize("text", PROSE)
def test_ordinary_text_is_no_call(text):
    assert found_in(text, NO_OFFER) == []
    assert found_in(f"Yes.\n\n{text}\n\nThat is it.", NO_OFFER, range(0, 200, 3)) == []


@pytest.mark.parametrize("text", [text for text in PROSE if "tool_call>" not in text and "TOOL_CALLS" not in text])
def test_ordinary_text_is_no_call_despite_offered_tools(text):
    assert found_in(text, OFFER) == []


@pytest.mark.parametrize("text", PROSE[:7])
def test_ordinary_text_is_released_after_its_line(text):
    intake = intake_for(NO_OFFER)
    list(intake.feed(f"{text}\nmore", 1, "answer"))
    assert intake.hold(0) >= len(text)


QUOTED = [
    'It writes `<tool_call>{"name": "f"}</tool_call>`.',
    'So:\n```\n<tool_call>{"name": "f"}</tool_call>\n```',
    'So:\n~~~xml\n[TOOL_CALLS][{"name": "f"}]\n~~~',
]


@pytest.mark.parametrize("text", QUOTED)
def test_quoted_calls_count_only_if_tools_are_offered(text):
    assert found_in(text, NO_OFFER) == []
    assert len(found_in(text, OFFER)) == 1


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if text.form in ("json", "react", "code")])
def test_untagged_formats_need_a_request_that_shows_them(name):
    assert found_in(TEXTS[name].text, NO_OFFER) == []


@pytest.mark.parametrize("before", ["Write ", "Done.\n  ", "`", "I call:\n```json\n"])
def test_json_of_an_offered_tool_counts_anywhere(before):
    assert len(found_in(before + TEXTS["llama 3.1, json"].text, OFFER)) == 1


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        *(("", "", 1), ("Well.\n\n", "\n", 1), ("Call: ", "<bot_end>", 1), ("- ", ".", 1), ("x = ", "  # x", 1)),
        *(("I did it. functions.", "; get_weather()", 1), ("", " returns the weather.", 0), ("We use ", "", 0)),
        *(("`", "`", 0), ("```python\n", "\n```", 0), ("def ", ":", 0), ("self.", "", 0), ("un", "", 0)),
    ],
)
def test_a_call_in_python_must_have_its_line(before, after, count):
    assert len(found_in(f"{before}{FAMILY_TEXTS['python, bare'].text}{after}", OFFER)) == count


def test_explanations_naming_tools_are_rarely_read_as_calls():
    held = sum(bool(found_in(text, EXPLAINED)) for text in explaining_texts(1_000))
    assert held <= 20


@pytest.mark.fault("H9", injected="a call of an offered tool in an unknown shape", happens="held")
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "list", "function": {"name": "get_weather", "arguments": {}}}',
        '{"name": "parallel", "arguments": {"uses": [{"recipient_name": "functions.get_weather", "parameters": {}}]}}',
        '[{"name": "Bob"}, {"get_weather": {"city": "Oslo"}}]',
        "Then {'tool': 'get_weather', 'args': {'city': 'Oslo'}}",
        '<|x|>{"name": "list", "arguments": {}}<|y|><|x|>get_weather(city="Oslo")<|y|>',
        'get_weather(city="Oslo"); get_weather(city="Bonn")',
    ],
)
def test_no_shape_hides_an_offered_tool(text):
    [(_, _, written)] = found_in(text, OFFER)
    assert written.problem or "get_weather" in [call.name for call in written.calls]


@pytest.mark.parametrize("escaped", [r"St. John\'s", r"\"St. John\'s\""])
def test_an_escaped_apostrophe_in_json_is_read(escaped):
    city = escaped.replace('\\"', '"').replace("\\'", "'")
    for text in (
        f'{{"name": "get_weather", "parameters": {{"city": "{escaped}"}}}}',
        f'<function=get_weather>{{"city": "{escaped}"}}</function>',
    ):
        [(_, _, written)] = found_in(text, OFFER)
        assert [call.values() for call in written.calls] == [{"city": city}]


def test_formats_can_be_chosen():
    call = TEXTS["llama 3.1, json"].text
    trigger = ToolCalls(formats=("json",))
    assert len(found_in(call, NO_OFFER, trigger=trigger)) == 1
    assert found_in(TEXTS["kimi k2"].text, NO_OFFER, trigger=trigger) == []
    with pytest.raises(UsageError, match="formats must hold tagged, function_tag"):
        scanner_for(ToolCalls(formats=("xml",)))


def test_own_tags_around_code():
    trigger = ToolCalls("<execute>", "</execute>", formats=("code",))
    [(_, _, written)] = found_in("So: <execute>\nopen('x')\n</execute> done", NO_OFFER, trigger=trigger)
    assert [call.name for call in written.calls] == ["python_interpreter"]


def test_own_tags_hold_what_their_user_knows():
    [(start, end, written)] = found_in("a <q>not a call</q> b", NO_OFFER, trigger=ToolCalls("<q>", "</q>"))
    assert (start, end, written.calls, written.problem) == (2, 19, (), "")


@pytest.mark.parametrize("text", ["<tool_call>\n{broken}\n</tool_call>", '<tool_call>{"name": "f"', PROSE[2]])
def test_the_reasoning_may_hold_what_cannot_be_read(text):
    assert found_in(text, OFFER, phase="reasoning") == []


def test_a_react_line_ends_before_the_observation():
    [(start, end, written)] = found_in("Action: f\nAction Input: x\nObservation: y\n", REACT)
    assert (start, end) == (0, len("Action: f\nAction Input: x"))
    assert written.calls[0].text == 'f({"input": "x"})'


def test_two_react_actions_are_two_calls():
    assert len(found_in("Action: f\nAction Input: x\nAction: g\nAction Input: y", REACT)) == 2


def test_plain_text_needs_no_scan():
    # A chunk costs one search for the characters that can end a call. Letters, digits and spaces are none of them.
    for offer in (NO_OFFER, OFFER, REACT, CODE):
        wakes = scanner_for(ToolCalls(), offer).wakes
        assert not any(char.isalnum() or char == " " for char in wakes)


def test_every_opening_has_a_reader():
    from interwhen._core.written_calls import _READERS

    forms = {
        opening.form
        for opening in openings_of(ToolCalls(), OFFER.__class__(tools=OFFER.tools, react=True, code=CODE.code))
    }
    assert forms == set(_READERS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('`[get_weather(city="Paris", days=3)]`', 1),
        ("`[get_weather(city=place)]`", 0),
        ("[get_weather(city=place)]", 1),
        ('`{"name": "get_weather", "arguments": {"city": }}`', 1),
    ],
)
def test_quoted_code_calls_count_only_with_literal_arguments(text, count):
    assert len(found_in(text, OFFER)) == count


@pytest.mark.parametrize("prefix", ["", "minimax:"])
def test_an_unclosed_call_parameter_is_a_problem(prefix):
    call = f'<{prefix}invoke name="get_weather"><{prefix}parameter name="city">Paris</{prefix}invoke>'
    [(_, _, written)] = found_in(f"<{prefix}tool_call>{call}</{prefix}tool_call>", OFFER)
    assert written.problem


def test_a_tools_full_parameter_schema_is_no_call():
    schema = {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
        "$schema": "x",
        "description": "x",
        "title": "x",
    }
    assert found_in(json.dumps({"name": "get_weather", "parameters": schema}), OFFER) == []


def test_a_name_in_a_sentence_begins_no_call():
    assert found_in('I would ask get_weather {"city": "Oslo"} to be sure.', OFFER) == []


def test_letters_of_all_scripts_stay_in_arguments():
    text = "<function=get_weather><parameter=city>Zürich</parameter></function>"
    [(_, _, written)] = found_in(text, OFFER)
    assert written.calls[0].arguments == '{"city": "Zürich"}'


def test_closing_tags_may_be_longer_than_any_opening():
    trigger = ToolCalls("<t>", f"</{'t' * 90}>")
    text = f"<t>x</{'t' * 90}>"
    assert len(found_in(text, NO_OFFER, range(len(text)), trigger=trigger)) == 1


def test_cutting_an_open_code_fence_ends_its_quotation():
    intake, call = intake_for(OFFER), "[get_weather(city=place)]\n\n"
    assert spans(intake.feed(f"```\n{call}", 1, "answer")) == []
    intake.cut(0)
    assert len(spans(intake.feed(call, 1, "answer"))) == 1


def test_an_opening_lacking_its_last_character_is_held():
    scanner = scanner_for(ToolCalls(), OFFER)
    opening = max(scanner._openings, key=len)
    intake = intake_for(OFFER)
    list(intake.feed(f"So\n{opening[:-1]}", 1, "answer"))
    assert intake.hold(0) == 3
