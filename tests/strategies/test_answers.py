"""The answer in a text whose task is not known: what votes compare."""

import pytest
from interwhen.strategies._answers import read_answer, read_json


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so\nAnswer: 8.0\n", "8"),
        ("Answer: 7\nno\nAnswer: Eight  Cats\nbye", "eight cats"),
        ("**Answer**: 1,000", "1000"),
        ("thus \\boxed{12} and \\boxed{13}.", "13"),
        ("work\n#### 42", "42"),
        ("Answer: 408\nNo: \\boxed{418}", "418"),
        ("\\boxed{418}\n#### 17\nAnswer: 408", "408"),
        ("first\n\nThe last line.\n\n", "the last line"),
        ("<think>Answer: 1</think>\nIt is two", "it is two"),
        ("<think>\nAnswer: 4\n", None),
        ("<think>a</think>\nAnswer: 4\n<think>\nAnswer: 5", "4"),
        ("The tag <think> opens it.\nAnswer: 4", "4"),
        ("Answer: -$5", "-5"),
        ("Answer: \u2212$1,200.00", "-1200"),
        ("Answer: \\boxed{408}", "408"),
        ("Answer: $\\boxed{\\text{no}}$", "\\boxed{\\text{no}}"),
        ("Answer: \\(0.5\\).", "1/2"),
        ("...\n", "..."),
        ("\n \n", None),
        ("", None),
    ],
)
def test_answer_is_extracted_and_normalized(text, answer):
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"b": 1, "a": [2]}', '{"a":[2],"b":1}'),
        ('<think>{</think> {"a": 1}', '{"a":1}'),
        ('<think>{"a": 1}', None),
        ('{"a": ', None),
        ('{"a": [{"b": 1, "b": 2}]}', None),
        ("[" * 100_000, None),
        ("no JSON", None),
    ],
)
def test_json_is_compared_by_its_value(text, value):
    assert read_json(text) == value
