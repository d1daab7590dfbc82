"""Tasks are vetted: what they make, how much of it, and whose fault it is."""

import pytest
from interwhen import PluginError, UsageError
from interwhen.strategies import Exercise, load_exercises
from tests.strategies.worlds import question


def exercise(name):
    return Exercise(question(name=name), lambda answer: answer == "4")


def many(*, count, seed, prefix: str = "e"):
    while True:
        yield exercise(f"{prefix}{seed}-{count}")
        count += 1


def few(*, count, seed):
    return [exercise("a")]


def twice(*, count, seed):
    return [exercise("a"), exercise("a")]


def breaks(*, count, seed):
    yield exercise("a")
    raise OSError("disk")


def odd(*, count, seed):
    return ["x"]


def nothing(*, count, seed):
    return 3


SHIPPED = {made.__name__: made for made in (many, few, twice, breaks, odd, nothing)}


def load(spec, count=2):
    return load_exercises(spec, count=count, seed=5, shipped=SHIPPED)


def test_as_many_are_taken_as_are_asked_for():
    assert [one.question.name for one in load("many:prefix=q")] == ["q5-2", "q5-3"]


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("few", UsageError, "has only 1 of the 2 exercises"),
        ("twice", UsageError, "two exercises with the same name"),
        ("breaks", PluginError, "making its exercises raised OSError: disk"),
        ("odd", PluginError, "its exercise 1 is 'x' instead of an Exercise"),
        ("nothing", PluginError, "returned 3 instead of an iterable"),
        ("many:count=3", PluginError, r"no option 'count' \(options: prefix\)"),
        ("none", PluginError, "not installed"),
    ],
)
def test_what_cannot_be_is_named(spec, kind, message):
    with pytest.raises(kind, match=message):
        load(spec)


def test_at_least_one_is_needed():
    with pytest.raises(UsageError, match="problems of task 'many' must be at least 1, got 0"):
        load("many", count=0)
