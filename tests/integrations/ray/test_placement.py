"""Which checks leave: by what the last ones cost; and how many share a call."""

import random

import pytest
from interwhen.integrations.ray._placement import LEAST_SECONDS, LEAVING_SECONDS, PROOFS, VerifierCost


def learned(*spent):
    cost = VerifierCost()
    for each in spent:
        cost.learn(each)
    return cost


def test_verifier_moves_out_after_expensive_checks():
    assert not learned(*[0.02] * (PROOFS - 1)).leaves
    assert learned(*[0.02] * PROOFS).leaves
    assert not learned(*[0.02] * (PROOFS - 1), 0.001, 0.02).leaves
    assert not VerifierCost().leaves


def test_verifier_between_limits_keeps_its_place():
    between = (LEAST_SECONDS + LEAVING_SECONDS) / 2
    assert not learned(*[between] * 100).leaves
    assert learned(*[0.02] * PROOFS, *[between] * 100).leaves


def test_returned_verifier_needs_more_proofs():
    cost = learned(*[0.02] * PROOFS, 0.001)
    assert not cost.leaves
    for _ in range(4 * PROOFS - 1):
        cost.learn(0.02)
    assert not cost.leaves
    cost.learn(0.02)
    assert cost.leaves


@pytest.mark.parametrize("seed", range(20))
def test_cheap_checks_are_sent_away_a_few_times(seed):
    rng = random.Random(seed)
    share = rng.uniform(0.001, 0.2)
    cost, sent = VerifierCost(), 0
    for _ in range(4096):
        cheap = rng.random() < share
        sent += cheap and cost.leaves
        cost.learn(0.002 if cheap else 0.02 * (1 + rng.random()))
    assert sent <= 6


@pytest.mark.parametrize(
    ("seconds", "waiting", "idle", "size"),
    [(0.006, 100, 2, 16), (0.021, 100, 2, 4), (0.02, 2, 2, 1), (0.02, 3, 2, 2), (0.11, 100, 2, 1), (30.0, 9, 1, 1)],
)
def test_a_call_carries_100_ms_or_one_check(seconds, waiting, idle, size):
    assert learned(*[seconds] * 100).size_of_call(waiting, idle) == size
