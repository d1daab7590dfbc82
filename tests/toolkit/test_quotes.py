"""Claims from regexes: each match with its place in the trace, each group with its place in the claim."""

import re

from hypothesis import given
from hypothesis import strategies as st
from interwhen import Segment, Span
from interwhen.toolkit.quotes import quotes

PATTERN = re.compile(r"(?P<word>[a-z]++) has (?P<count>[0-9]++)(?P<unit> letters)?+")


def segment(text, start=100):
    return Segment(text=text, span=Span(start, start + len(text)), phase="answer")


def test_groups_have_their_spans():
    first, second = quotes(segment("So banana has 6, and cherry has 7 letters."), PATTERN)
    assert (first.span, first.text, first["word"], first["unit"]) == (Span(103, 115), "banana has 6", "banana", "")
    assert (first.where("count"), first.where("unit"), first.where(0)) == (Span(11, 12), None, Span(0, 12))
    assert second.where("unit") == Span(12, 20)


def test_empty_matches_are_skipped():
    assert [quote.text for quote in quotes(segment("a1b"), re.compile("[a-z]*+"))] == ["a", "b"]


@given(st.text("ab has0123456789 lets", max_size=60), st.integers(0, 50))
def test_spans_cover_the_matched_text(text, start):
    whole = segment(text, start)
    for quote in quotes(whole, PATTERN):
        assert text[quote.span.start - start : quote.span.end - start] == quote.text
        for group in ("word", "count"):
            where = quote.where(group)
            assert quote.text[where.start : where.end] == quote[group]
