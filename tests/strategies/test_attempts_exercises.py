"""Tasks are vetted: what they make, how much of it, and whose fault it is."""

import pytest
from interwhen import UsageError
from interwhen.registry import PluginError
from interwhen.strategies import Exercise
from interwhen.strategies._attempts import load_exercises
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


def test_loader_returns_requested_number_of_exercises():
    assert [one.question.name for one in load("many:prefix=q")] == ["q5-2", "q5-3"]


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("few", UsageError, "must have the 2 exercises that were asked for, got 1"),
        ("twice", UsageError, "the names of exercises must differ, got 'a' twice"),
        ("breaks", PluginError, "must make exercises, got OSError: disk"),
        ("odd", PluginError, "must make Exercise objects, got 'x' as exercise 1"),
        ("nothing", PluginError, "must return an iterable of Exercise, got 3"),
        ("many:count=3", PluginError, r"must be among prefix, got 'count'"),
        ("none", PluginError, "not installed"),
    ],
)
def test_invalid_task_spec_is_refused(spec, kind, message):
    with pytest.raises(kind, match=message):
        load(spec)


def test_zero_exercises_are_refused():
    with pytest.raises(
        UsageError, match="task 'many': the number of problems must be a whole number of at least 1, got 0"
    ):
        load("many", count=0)
