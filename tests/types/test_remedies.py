"""What we say to a model: no more than the level allows, and nothing of the model's that could act."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Auto, Span, UsageError, Violation
from interwhen._types.remedies import leaks
from interwhen._types.segments import QUOTE_LIMIT, is_writable, quote
from interwhen.remedies import FeedbackTemplate
from interwhen.results import ViolationRecord

TOKENS = {
    "llama 2": ["<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"],
    "llama 3": ["<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|python_tag|>"],
    "qwen": ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"],
    "mistral": ["[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[SYSTEM_PROMPT]"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<pad>", "<unk>"],
    "deepseek": ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"],
    "phi": ["<|system|>", "<|end|>", "<|endoftext|>"],
    "granite": ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"],
    "gpt-oss": ["<|channel|>", "<|message|>", "<|return|>"],
    "glm": ["[gMASK]", "<sop>", "<eop>"],
}
ALL = [token for tokens in TOKENS.values() for token in tokens]


@pytest.mark.fault("P9", injected="template tokens of each model family", happens="none is quoted")
@pytest.mark.parametrize("token", ALL)
def test_no_template_token_of_any_family_is_quoted(token):
    assert quote(f"a{token}b") == "a b"
    assert token not in quote(f"{token[:2]}{token}{token[2:]}")
    assert token not in quote(f"{token[:2]}\x00{token[2:]}")


@pytest.mark.fault("P9", injected="any text of the model", happens="one clean line, bounded")
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*ALL, "\x1b[2J", "\u202e", "\u2028", "\r\n", '"', "<", "|>", "</"]), st.text(max_size=30)
        )
    )
)
def test_a_quote_is_one_clean_bounded_line(parts):
    quotation = quote("".join(parts))
    assert len(quotation) <= QUOTE_LIMIT
    assert len(quotation.splitlines()) <= 1
    assert not any(unicodedata.category(char)[0] == "C" for char in quotation)
    assert '"' not in quotation
    assert not any(token in quotation for token in ALL)


def test_a_long_quote_is_cut_and_says_so():
    assert quote("x" * 10_000) == "x" * (QUOTE_LIMIT - 1) + "…"
    assert quote("x" * QUOTE_LIMIT) == "x" * QUOTE_LIMIT
    assert quote("abcdef", limit=4) == "abc…"


WRONG = Violation(why="the why", witness="the witness", repair="42")


@pytest.mark.parametrize(
    ("level", "told", "kept"),
    [
        ("flag", [], ["the text", "the why", "the witness", "42"]),
        ("locate", ["the text"], ["the why", "the witness", "42"]),
        ("explain", ["the why"], ["the witness", "42"]),
        ("witness", ["the witness"], ["42"]),
    ],
)
def test_a_feedback_level_reveals_only_what_it_may(level, told, kept):
    said = FeedbackTemplate().render(level, WRONG, "the text")
    assert all(part in said for part in told)
    assert not any(part in said for part in kept)
    assert "\n" not in said


def test_without_a_witness_the_reason_is_given():
    said = FeedbackTemplate().render("witness", Violation(why="the why"), "the text")
    assert said == "Wait, the why."


def test_custom_templates_may_use_all_their_level_allows():
    template = FeedbackTemplate(explain='No: "{quote}", {why}. {quote}')
    assert template.render("explain", WRONG, "the text") == 'No: "the text", the why. the text'


@pytest.mark.fault("P9", injected="text that looks like a template", happens="taken as text")
def test_filled_in_text_is_never_read_as_template():
    template = FeedbackTemplate(witness="{quote} {witness}")
    assert template.render("witness", Violation(why="w", witness="{why}"), "{witness}") == "{witness} {why}"


@pytest.mark.parametrize("bad", [{"flag": "{quote}"}, {"locate": "{why}"}, {"explain": "{witness}"}, {"flag": "a\nb"}])
def test_a_template_that_says_too_much_is_refused(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        FeedbackTemplate(**bad)


def record(inserted):
    return ViolationRecord(
        monitor="m",
        verifier="v",
        key="k",
        span=Span(0, 1),
        quote="q",
        why="",
        witness="",
        interrupted=True,
        inserted=inserted,
    )


@pytest.mark.parametrize(
    ("inserted", "answer", "leaking"),
    [
        ("Wait, it is 42.", "42", True),
        ("Wait, it is 42.", " 42 ", True),
        ("Wait, it is 42.5.", "42", False),
        ("Wait, it is 142.", "42", False),
        ("Wait, it is 3.42", "42", False),
        ("Wait, it is .42", "42", False),
        (".42", "42", False),
        ("Wait ...42", "42", True),
        ("choose (C)!", "(C)", True),
        ("choose Cat", "C", False),
        ("anything", "", False),
        ("", "42", False),
    ],
)
def test_leaks_finds_the_answer_as_a_whole_word(inserted, answer, leaking):
    violation = record(inserted)
    assert leaks((violation, record("other")), answer) == ((violation,) if leaking else ())


@pytest.mark.parametrize("repair", ["22", "1,234.50", "x" * 200, "Paris é"])
def test_a_plain_repair_may_be_written(repair):
    assert is_writable(repair)


@pytest.mark.parametrize("repair", ["x" * 201, "2\n2", "2\x1b[0m", "<|im_end|>", "</think>", "[INST]", "\u202e22"])
def test_repairs_steering_the_model_or_terminal_are_refused(repair):
    assert not is_writable(repair)


def test_a_mistyped_field_of_a_template_is_refused():
    with pytest.raises(UsageError, match="qoute"):
        FeedbackTemplate(locate="Wait, {qoute} is not right.")


@pytest.mark.parametrize("order", [None, (), "repair", (["repair"],), ("feedback", "feedback"), ("x",)])
def test_an_order_that_cannot_work_is_refused(order):
    with pytest.raises(UsageError, match="Auto: order must be some of repair, resample, feedback, restart"):
        Auto(order=order)


@pytest.mark.parametrize("again", ["Again.", ("Again.",), None])
def test_other_words_must_be_templates(again):
    with pytest.raises(UsageError, match="again must be a tuple, each item FeedbackTemplate"):
        FeedbackTemplate(again=again)
