"""Words in disguise: what looks like the word is found, and ordinary text is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interwhen_verifiers._spelling import SHORTEST, Disguise, Skeleton, look_of


@pytest.mark.parametrize(
    "text",
    [
        "password",
        "PASSWORD",
        "p4ssw0rd",
        "pa$$word",
        "p.a.s.s.w.o.r.d",
        "pаssword",
        "p a s s w o r d",
        "p|a|s|s|w|o|r|d",
    ],
)
def test_disguised_word_is_located(text):
    disguise = Skeleton(f"The {text} is long").find("password")
    assert disguise == Disguise(4, 4 + len(text))


@pytest.mark.parametrize("text", ["passwords", "mypassword", "pass or word", "pa", "12345678", "p-----a-----ssword"])
def test_other_text_is_no_disguise(text):
    assert Skeleton(text).find("password") is None


def test_short_words_are_not_searched():
    assert Skeleton("t-h-e").find("the"[: SHORTEST - 1]) is None


@given(st.text(max_size=40))
def test_look_is_deterministic_and_spans_are_valid(text):
    assert look_of(text) == look_of(text)
    disguise = Skeleton(text).find("password")
    assert disguise is None or 0 <= disguise.start < disguise.end <= len(text)
