"""A claim is a value: a key, and where its text is."""

import dataclasses

import pytest
from interwhen import Claim, Span


def test_claims_with_equal_key_and_span_are_equal():
    assert Claim(key="1+1=2", span=Span(0, 5)) == Claim(key="1+1=2", span=Span(0, 5))
    assert Claim(key="1+1=2", span=Span(0, 5)) != Claim(key="1+1=2", span=Span(6, 11))
    assert len({Claim(key="k", span=None), Claim(key="k", span=None)}) == 1


def test_a_claim_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Claim(key="k", span=None).key = "other"
