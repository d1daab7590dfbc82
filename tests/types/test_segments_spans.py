"""Spans are half-open and ordered."""

import pytest
from interwhen import Span


def test_a_span_is_half_open_and_ordered():
    span = Span(2, 5)
    assert len(span) == 3
    assert span.shifted(2) == Span(4, 7)
    assert span.covers(Span(2, 5))
    assert span.covers(Span(5, 5))
    assert not span.covers(Span(1, 3))
    assert not span.covers(Span(4, 6))
    assert sorted([Span(2, 5), Span(1, 9), Span(2, 3)]) == [Span(1, 9), Span(2, 3), Span(2, 5)]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2)])
def test_a_span_that_cannot_be_is_refused(start, end):
    with pytest.raises(ValueError, match=f"start={start}, end={end}"):
        Span(start, end)
