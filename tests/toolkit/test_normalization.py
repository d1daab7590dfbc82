"""The normal form of a text for reading, and the way back to its original."""

import itertools
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from interwhen import Span
from interwhen.testing.complexity import assert_linear, assert_quick
from interwhen.toolkit import normalize

SPELLINGS = {
    "17 \u00d7 24 \uff1d 418": "17 \u00d7 24 = 418",
    "\uff11\uff17\u3000\uff0b": "17 +",
    "1\u200b7": "17",
    "1\u00ad7\u2060": "17",
    "a\x00b\x1bc\x7f": "abc",
    "\ufb01n": "fin",
    "\U0001d7cf\U0001d7d5": "17",
    "e\u0301": "\u00e9",
    "e\u200b\u0301": "\u00e9",
    "=\u0338": "\u2260",
    "\uff76\uff9e": "\u30ac",
    "a\u2028b\x85c\x0bd": "a b c d",
    "a\tb\r\nc": "a\tb\r\nc",
    "2\u2075 \u00bd \u2460 \u33a1 x\u2082": "2\u2075 \u00bd \u2460 \u33a1 x\u2082",
    "\u2075\u0301": "\u2075\u0301",
    "\ud800x": "\ud800x",
    "": "",
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings_are_normalized(text):
    assert normalize(text).text == SPELLINGS[text]


def test_normalized_offsets_map_to_the_original():
    normalized = normalize("x\u200b\u200b1\u200b7 \ufb01t")
    assert normalized.text == "x17 fit"
    assert normalized.changed
    assert normalized.original(1, 3) == Span(3, 6)
    assert normalized.original(0, 1) == Span(0, 1)
    assert normalized.original(4, 5) == normalized.original(5, 6) == Span(7, 8)
    assert normalized.original(7, 7) == Span(9, 9)
    assert normalized.normal(3, 6) == Span(1, 3)
    assert normalized.normal(7, 8) == Span(4, 6)
    for bad in ((-1, 2), (2, 1), (0, 8)):
        with pytest.raises(ValueError, match="must be inside"):
            normalized.original(*bad)
    with pytest.raises(ValueError, match="must be inside"):
        normalized.normal(0, 10)


def test_plain_text_is_its_own_normal_form():
    normalized = normalize("17 * 24 = 408\n")
    assert not normalized.changed
    assert normalized.text is normalized.source
    assert normalized.original(3, 5) == normalized.normal(3, 5) == Span(3, 5)


LETTERS = st.sampled_from(
    "a1 =\u0301\u0338\u1112\u1161\u11ab\uff11\u200b\u00ad\u00e9\ufb01\u0327\ufe0f\n\x00\ud800\u09c7\u09be"
)
TEXTS = st.text(LETTERS, max_size=30) | st.text(st.characters(), max_size=12)


@given(TEXTS)
@example("a\u0327\u0301")
def test_normalization_agrees_with_nfkc_on_stable_characters(text):
    normalized = normalize(text)
    kept = "".join(each for each in text if normalize(each).text)
    if all(normalize(each).text == unicodedata.normalize("NFKC", each) for each in kept):
        assert normalized.text == unicodedata.normalize("NFKC", kept)
    assert normalize(normalized.text).text == normalized.text


@given(TEXTS, st.data())
def test_spans_round_trip_through_normalization(text, data):
    normalized = normalize(text)
    spans = [normalized.original(at, at + 1) for at in range(len(normalized.text))]
    assert all(len(span) > 0 and span.end <= len(text) for span in spans)
    assert all(one.start <= other.start and one.end <= other.end for one, other in itertools.pairwise(spans))
    assert all(one == other or one.end <= other.start for one, other in itertools.pairwise(spans))
    start = data.draw(st.integers(0, len(normalized.text)))
    end = data.draw(st.integers(start, len(normalized.text)))
    back = normalized.original(start, end)
    if start < end:
        assert normalized.normal(back.start, back.end).covers(Span(start, end))


def test_normalization_is_linear():
    assert_linear(normalize)
    assert_quick(normalize, size=100_000)
