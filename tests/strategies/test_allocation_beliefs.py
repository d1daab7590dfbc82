from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.strategies import Beliefs
from interwhen.strategies._allocation import Fading, falling, fit


def fed(rates: dict[str, float], tries: int, seed: int = 0) -> Beliefs:
    rng = random.Random(seed)
    beliefs = Beliefs(first_tokens=100.0, most=8, after=("sample",))
    for _ in range(tries):
        for key, rate in rates.items():
            beliefs.met(key)
            for failures in range(4):
                worked = rng.random() < rate
                beliefs.saw(key, "sample", failures, worked=worked, tokens=50.0)
                if worked:
                    break
    return beliefs


def chances(beliefs: Beliefs, failures: int = 0) -> dict[str, float]:
    return {key: ladder[failures][0].chance for key, ladder in beliefs.ladders().items()}


def test_before_anything_was_seen_each_failure_makes_the_next_try_less_likely_to_work():
    beliefs = Beliefs(first_tokens=100.0, most=4)
    beliefs.met("a")
    found = [row[0].chance for row in beliefs.ladders()["a"]]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(0.5)


def test_classes_that_differ_are_told_apart():
    found = chances(fed({"easy": 0.9, "hard": 0.1}, 100))
    assert found["easy"] > 0.8
    assert found["hard"] < 0.2


def test_classes_that_do_not_differ_are_believed_to_be_much_the_same():
    believed, seen = 0.0, 0.0
    for seed in range(10):
        beliefs = fed(dict.fromkeys("abcdef", 0.5), 60, seed)
        found = chances(beliefs).values()
        rates = [beliefs._cells[key, "sample", 0].worked / 60 for key in "abcdef"]
        believed += max(found) - min(found)
        seen += max(rates) - min(rates)
    assert believed < seen / 3


def test_a_class_seen_once_stays_with_the_pool():
    beliefs = fed({"easy": 0.9, "hard": 0.7}, 100)
    beliefs.met("new")
    beliefs.saw("new", "sample", 0, worked=False, tokens=50.0)
    assert chances(beliefs)["new"] > 0.5


def test_tokens_are_those_that_were_seen():
    beliefs = fed({"a": 0.5}, 50)
    assert beliefs.ladders()["a"][0][0].tokens == pytest.approx(50.0, rel=0.05)


def test_an_action_is_tried_before_it_is_judged():
    beliefs = Beliefs(first_tokens=100.0, most=3)
    beliefs.met("a")
    for _ in range(60):
        beliefs.saw("a", "sample", 0, worked=False, tokens=100.0)
        beliefs.saw("a", "sample", 1, worked=False, tokens=100.0)
    sample, correct = beliefs.ladders()["a"][1]
    assert correct.chance > sample.chance
    for _ in range(60):
        beliefs.saw("a", "correct", 1, worked=False, tokens=100.0)
    assert beliefs.ladders()["a"][1][1].chance < 0.1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100)), min_size=1, max_size=12))
def test_the_closest_falling_sequence_falls_and_keeps_the_weighted_mean(values):
    found = falling(values)
    assert all(after <= before + 1e-12 for before, after in pairwise(found))
    mean = sum(value * weight for value, weight in values)
    assert sum(one * weight for one, (_, weight) in zip(found, values, strict=True)) == pytest.approx(mean, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_what_falls_already_stays(values):
    ordered = sorted(values, reverse=True)
    assert falling([(value, 1.0) for value in ordered]) == pytest.approx(ordered)


@pytest.mark.parametrize(("mean", "size"), [(0.5, 2.0), (0.2, 1.0), (0.8, 10.0)])
def test_a_curve_is_found_again_from_the_counts_it_expects(mean, size):
    truth, left, counts = Fading(mean, size), 4000.0, []
    for failures in range(12):
        worked = left * truth.chance(failures)
        counts.append((worked, left))
        left -= worked
    found = fit(counts)
    for failures in range(12):
        assert found.chance(failures) == pytest.approx(truth.chance(failures), abs=0.02)
