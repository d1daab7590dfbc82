"""Confidence sequences: they hold at all times together, whatever the values look like."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import UsageError
from interwhen.precompute._gate import ConfidenceSequence


def two_sided(rng):
    return rng.choice((-1.0, 1.0))


def rare_gain(rng):
    return 0.9 if rng.random() < 0.01 else -0.9 / 99


def rare_loss(rng):
    return -0.95 if rng.random() < 0.05 else 0.05


def narrow(rng):
    return rng.choice((-0.3, 0.3))


@pytest.mark.parametrize("draw", [two_sided, rare_gain, rare_loss, narrow])
def test_continuous_looking_keeps_the_error_rate(draw):
    wrong = 0
    for seed in range(150):
        rng, sequence = random.Random(seed), ConfidenceSequence(alpha=0.1)
        for _ in range(300):
            sequence.observe(draw(rng))
            if sequence.is_positive or sequence.is_negative:
                wrong += 1
                break
    # 10 % of 150 is 15; 25 or more would come up less than once in 200 times.
    assert wrong <= 24


def test_nonzero_mean_is_detected_soon():
    sequence = ConfidenceSequence()
    rng = random.Random(1)
    seen = 0
    while not sequence.is_positive:
        sequence.observe(min(1.0, rng.gauss(0.2, 0.1)))
        seen += 1
    assert seen < 40
    assert sequence.interval().low > 0


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_the_interval_agrees_with_the_decision(values):
    sequence = ConfidenceSequence()
    for value in values:
        sequence.observe(value)
    mean, low, high = sequence.interval()
    assert -1 <= low <= high <= 1
    assert not (sequence.is_positive and sequence.is_negative)
    assert sequence.is_positive == (low > 0) or abs(low) < 1e-9
    assert sequence.is_negative == (high < 0) or abs(high) < 1e-9
    assert mean == pytest.approx(sum(values) / len(values) if values else 0.0)


@given(st.lists(st.floats(-1, 1), max_size=40))
def test_negated_values_negate_the_interval(values):
    one, other = ConfidenceSequence(), ConfidenceSequence()
    for value in values:
        one.observe(value)
        other.observe(-value)
    assert one.interval().low == pytest.approx(-other.interval().high, abs=1e-6)


def test_empty_sequence_has_the_full_interval():
    mean, low, high = ConfidenceSequence().interval()
    assert (mean, low, high) == pytest.approx((0, -1, 1))


@pytest.mark.parametrize("value", [1.01, -1.5, float("nan")])
def test_a_value_that_was_not_scaled_is_refused(value):
    with pytest.raises(UsageError, match="must be a number from -1 to 1"):
        ConfidenceSequence().observe(value)


@pytest.mark.parametrize("alpha", [0, 1, 2])
def test_an_error_that_is_no_probability_is_refused(alpha):
    with pytest.raises(UsageError, match="must be a number above 0 and below 1"):
        ConfidenceSequence(alpha)
