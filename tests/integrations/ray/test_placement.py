"""Where a check runs: by its cost, by the key of its claim, and by what the actors have."""

import random
from collections import Counter

import pytest
from interwhen.integrations.ray._placement import (
    LEAST_SECONDS,
    LEAVING_SECONDS,
    PROOFS,
    SHORT_SECONDS,
    WINDOW,
    CostHistory,
    Lane,
    PlacedCheck,
    Waiting,
    best,
)
from interwhen.testing.complexity import count_steps


def learned(*spent):
    costs = CostHistory()
    for each in spent:
        costs.learn("v", each)
    return costs


def test_a_verifier_leaves_when_its_last_checks_were_all_expensive():
    assert not learned(*[0.02] * (PROOFS - 1)).leaves("v")
    assert learned(*[0.02] * PROOFS).leaves("v")
    assert not learned(*[0.02] * (PROOFS - 1), 0.001, 0.02).leaves("v")
    assert not CostHistory().leaves("v")


def test_between_the_two_limits_a_verifier_stays_where_it_is():
    between = (LEAST_SECONDS + LEAVING_SECONDS) / 2
    assert not learned(*[between] * 100).leaves("v")
    assert learned(*[0.02] * PROOFS, *[between] * 100).leaves("v")


def test_a_verifier_that_comes_back_must_prove_itself_longer():
    costs = learned(*[0.02] * PROOFS, 0.001)
    assert not costs.leaves("v")
    for _ in range(4 * PROOFS - 1):
        costs.learn("v", 0.02)
    assert not costs.leaves("v")
    costs.learn("v", 0.02)
    assert costs.leaves("v")


@pytest.mark.parametrize("seed", range(20))
def test_cheap_checks_are_sent_away_at_most_a_few_times(seed):
    """A verifier whose costs vary goes away ever more rarely: 4096 checks with some cheap ones send few of these."""
    rng = random.Random(seed)
    share = rng.uniform(0.001, 0.2)
    costs, sent = CostHistory(), 0
    for _ in range(4096):
        cheap = rng.random() < share
        sent += cheap and costs.leaves("v")
        costs.learn("v", 0.002 if cheap else 0.02 * (1 + rng.random()))
    assert sent <= 6


def test_when_an_actor_leaves_only_its_keys_move():
    lanes = [Lane(f"actor{number}") for number in range(7)]
    before = {key: best(str(key), lanes).name for key in range(700)}
    for key, place in before.items():
        assert place in (best(str(key), lanes[:3] + lanes[4:]).name, "actor3")
    assert min(Counter(before.values()).values()) > 60
    second = Counter(best(str(key), lanes[:3] + lanes[4:]).name for key in before if before[key] == "actor3")
    assert len(second) == 6  # its keys are spread over all others


def test_the_place_does_not_depend_on_the_order_of_the_actors():
    lanes = [Lane(f"actor{number}") for number in range(5)]
    shuffled = random.Random(1).sample(lanes, 5)
    assert all(best(str(key), lanes) is best(str(key), shuffled) for key in range(50))


def waiting(*names, most=1000):
    found = Waiting(most)
    for name in names:
        found.lanes[name] = Lane(name)
    return found


def given_to(found, checks):
    for check in checks:
        found.add(check)
    given = {}
    for each in found.assign():
        given.setdefault(each.place, []).append(each.id)
    return given


def check(number, seconds=0.02, key=None):
    return PlacedCheck(number, "v", str(number) if key is None else key, seconds)


def test_a_check_goes_to_the_best_place_of_its_key():
    found = waiting("a", "b", "c")
    for number in range(30):
        each = check(number, seconds=0.0)
        assert found.place(each) == each.place == best(each.key, found.lanes.values()).name


def test_small_checks_share_a_call_and_large_ones_are_spread():
    assert given_to(waiting("a"), [check(number, 0.001) for number in range(10)]) == {"a": list(range(10))}
    found = given_to(waiting("a", "b"), [check(number, 0.1, key="k") for number in range(3)])
    assert sorted(map(len, found.values())) == [1, 2]


def test_no_check_waits_behind_a_long_one():
    found = waiting("a", "b")
    assert sum(map(len, given_to(found, [check(number, 5.0) for number in range(9)]).values())) == 2
    assert len(found) == 7
    short = check(10, 0.001)
    found.add(short)
    assert found.assign() == []  # both actors have a long one
    found.lanes["a"].remove(next(iter(found.lanes["a"].checks)))
    assert [each.id for each in found.assign()] == [min(number for number in range(9) if number not in (0, 1))]


def test_each_answer_looks_at_few_waiting_checks():
    """Every check that waits was hashed for each answer: 1.5 ms for 300 of them, beside checks of 20 ms."""
    found = waiting("a", "b")
    assert len(given_to(found, [check(number) for number in range(300)])) == 2
    for lane in found.lanes.values():
        lane.remove(next(iter(lane.checks)))
    steps = count_steps(found.assign)
    assert len(found) == 300 - 6
    assert steps < 15 * 300


def test_a_shorter_check_passes_those_for_which_there_is_no_room():
    found = waiting("a")
    assert given_to(found, [check(number) for number in range(5)]) == {"a": [0, 1]}
    found.add(check(5, 0.001))
    assert [each.id for each in found.assign()] == [5]
    assert [each.id for each in found.take_all()] == [2, 3, 4]


def test_an_actor_gets_a_bounded_number_of_checks():
    found = waiting("a")
    assert len(given_to(found, [check(number, 0.0) for number in range(100)])["a"]) == WINDOW
    lane = Lane("b")
    while lane.has_room(check(len(lane.checks), 0.02)):
        lane.add(check(len(lane.checks), 0.02))
    assert len(lane.checks) == 2
    assert not lane.has_room(check(9, SHORT_SECONDS * 2))


def test_the_work_of_an_empty_lane_is_zero():
    lane = Lane("a")
    for number in range(3):
        lane.add(check(number, 0.1))
    for number in range(3):
        lane.remove(number)
    assert (lane.work, lane.remove(7)) == (0.0, None)


def test_the_queue_says_when_it_is_full():
    found = waiting(most=2)
    assert given_to(found, [check(1)]) == {}
    assert found.place(check(0)) is None
    assert not found.is_full
    found.add(check(2), first=True)
    assert found.is_full
    assert [each.id for each in found.take_all()] == [2, 1]
    assert len(found) == 0


def test_only_the_first_check_of_an_actor_has_begun():
    lane = Lane("a")
    first, second = check(1), check(2)
    lane.add(first)
    lane.add(second)
    assert (first.begun, second.begun, first.tries) == (True, False, 1)
