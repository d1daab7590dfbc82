"""Whom a pronoun may mean, in a text with one name."""

import pytest
from interwhen.precompute.producers._pronouns import FEMALE, MALE, may_be_another


def test_no_name_is_in_both_tables():
    assert not FEMALE & MALE


@pytest.mark.parametrize(
    ("pronoun", "name", "unnamed"),
    [
        ("he", "ann", ()),
        ("her", "ben", ()),
        ("it", "ann", ()),
        ("they", "ann", ()),
        ("i", "jo", ()),
        ("she", "jo", ("the", "teacher", "comes")),
        ("she", "jo", ("her", "mother")),
        ("his", "ben", ("a", "boy")),
    ],
)
def test_it_may_be_another(pronoun, name, unnamed):
    assert may_be_another([pronoun], name, unnamed)


@pytest.mark.parametrize(
    ("pronoun", "name", "unnamed"),
    [
        ("she", "ann", ()),
        ("he", "ben", ("the", "shop", "opens")),
        ("it", "acme", ()),
        ("he", "jo", ()),
        ("she", "jo", ("a", "boy")),
    ],
)
def test_it_is_the_one_who_is_named(pronoun, name, unnamed):
    assert not may_be_another([pronoun], name, unnamed)
