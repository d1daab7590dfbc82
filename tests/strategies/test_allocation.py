from __future__ import annotations

import random

import pytest
from interwhen import Budgets, Task, UsageError
from interwhen.strategies import AdaptiveAllocator, Allocator, Allowance, by_length
from interwhen.strategies._allocation import MOST_CLASSES, Spending


def play(allocator: AdaptiveAllocator, rates: dict[str, float], tasks: int) -> dict[str, list[int]]:
    """Try each task until one try works; return how often the last hundred of each class were tried."""
    rng = random.Random(3)
    lengths: dict[str, list[int]] = {key: [] for key in rates}
    for _ in range(tasks):
        key = rng.choice(list(rates))
        steps = allocator.begin(key)
        for failures, step in enumerate(steps):
            worked = rng.random() < rates[key]
            allocator.saw(key, step.action, failures, worked=worked, tokens=100.0)
            if worked:
                break
        allocator.ended()
        lengths[key].append(len(steps))
    return {key: found[-100:] for key, found in lengths.items()}


def test_a_hopeless_class_is_given_up_and_its_tokens_go_where_they_help():
    allocator = AdaptiveAllocator(budget=300.0, after=("sample",))
    lengths = play(allocator, {"fair": 0.4, "hopeless": 0.0}, 600)
    assert set(lengths["hopeless"]) == {1}
    assert min(lengths["fair"]) >= 8
    assert allocator.spending.tokens / 600 <= 300


def test_the_mean_budget_is_met():
    allocator = AdaptiveAllocator(budget=250.0, after=("sample",))
    play(allocator, {"a": 0.3, "b": 0.15}, 1500)
    assert allocator.spending.tokens / 1500 == pytest.approx(250.0, rel=0.02)


def test_what_was_spent_too_much_is_made_up_in_a_window():
    assert Spending(tasks=10, tokens=1500.0, expected=1500.0).target(100.0, 50) == pytest.approx(90.0)
    assert Spending(tasks=10, tokens=900.0, expected=900.0).target(100.0, 50) == pytest.approx(102.0)


def test_the_target_of_a_spendthrift_stays_above_nothing():
    assert Spending(tasks=10, tokens=1e9, expected=1e3).target(100.0, 50) == pytest.approx(100 / 3)


def test_a_run_gets_as_many_remedies_as_are_worth_it():
    allocator = AdaptiveAllocator(budget=10_000.0)
    assert isinstance(allocator, Allocator)
    allowance = allocator.allow(Task("How much is 2 + 2?"))
    assert allowance.remedies is not None
    assert allowance.remedies > 0


def test_an_allowance_makes_budgets_smaller_and_never_wider():
    budgets = Budgets(remedies=5, forks=7)
    assert Allowance(remedies=2).within(budgets) == Budgets(remedies=2, forks=7)
    assert Allowance(remedies=9, forks=3).within(budgets) == Budgets(remedies=5, forks=3)
    assert Allowance().within(budgets) == budgets


def test_classes_are_told_apart_up_to_a_limit():
    allocator = AdaptiveAllocator(budget=100.0, classify=lambda task: task.text)
    keys = {allocator.key(Task(str(number))) for number in range(MOST_CLASSES + 50)}
    assert len(keys) == MOST_CLASSES + 1
    assert allocator.key(Task("0")) == "0"


def test_without_features_the_length_is_the_class():
    assert by_length(Task("x" * 100)) == by_length(Task("y" * 120)) != by_length(Task("x" * 1000))


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 0},
        {"budget": float("inf")},
        {"budget": 1, "most": 0},
        {"budget": 1, "least": -1},
        {"budget": 1, "after": ("poll",)},
        {"budget": 1, "hopeless": 1.5},
        {"budget": 1, "hopeless": float("nan")},
        {"budget": 1, "first_tokens": -3},
        {"budget": 1, "first_tokens": 0},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(UsageError, match="allocator"):
        AdaptiveAllocator(**options)


def test_a_class_that_is_no_text_is_refused():
    allocator = AdaptiveAllocator(budget=100.0, classify=lambda task: 3)
    with pytest.raises(UsageError, match="classify must return a str, the class of the task, got 3"):
        allocator.allow(Task("x"))
