"""A segment knows where its text is, and grounds a quotation that occurs once."""

import pytest
from interwhen import Segment, Span, ToolCall

SEGMENT = Segment("one two one", Span(10, 21), "answer")


def test_a_segment_knows_where_its_text_stands():
    assert SEGMENT.at(4, 7) == Span(14, 17)
    assert SEGMENT.at(0, 11) == SEGMENT.span
    assert SEGMENT.at(11, 11) == Span(21, 21)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 12)])
def test_a_place_outside_the_segment_is_refused(start, end):
    with pytest.raises(ValueError, match="must be inside its segment of 11"):
        SEGMENT.at(start, end)


@pytest.mark.parametrize(
    ("quote", "span"), [("two", Span(14, 17)), ("one", None), ("three", None), ("", None), ("e t", Span(12, 15))]
)
def test_only_what_stands_once_is_grounded(quote, span):
    assert SEGMENT.ground(quote) == span


def test_overlapping_occurrences_are_more_than_one():
    assert Segment("aaa", Span(0, 3), "answer").ground("aa") is None


@pytest.mark.parametrize(
    "arguments",
    [
        '{"answer": 4, "answer": 5}',
        '{"answer": 4, "\\u0061nswer": 4}',
        '{"a": [{"b": {"answer": 4, "answer": 5}}]}',
    ],
)
def test_arguments_with_a_name_twice_are_refused(arguments):
    with pytest.raises(ValueError, match="must have each name once, got the name 'answer' twice"):
        ToolCall("", "f", arguments).values()


def test_a_name_may_be_in_two_objects():
    arguments = '{"a": {"x": 1}, "b": [{"x": 2}, {"x": 3.5}], "long": 1' + "0" * 18 + "}"
    assert ToolCall("", "f", arguments).values()["b"] == [{"x": 2}, {"x": 3.5}]
