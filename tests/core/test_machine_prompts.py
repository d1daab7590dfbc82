"""Prompt tokens: counted by the server or estimated, and in the budgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Budgets, Repair, Resample
from interwhen._core.machine import PromptCounts
from interwhen._core.messages import Open
from interwhen.models import Chunk, Usage
from tests.core.worlds import drive, monitor


def test_a_counted_request_calibrates_estimates_of_uncounted_requests():
    counts = PromptCounts(prompt_bytes=400)
    counts.opened(0, 0)  # interrupted
    counts.opened(30, 8)  # interrupted
    counts.opened(50, 8)
    counts.counted(Usage(prompt_tokens=200))
    counts.counted(Usage(prompt_tokens=210))
    # The prompt has 210 - 50 - 2 = 158 tokens. Its size alone would say 100.
    assert counts.estimated() == 158 + (158 + 30 + 2)
    assert counts.total() == counts.estimated() + 210
    assert counts.next(60, 8) == 220


def test_without_any_count_the_sizes_decide():
    counts = PromptCounts(prompt_bytes=400)
    assert (counts.total(), counts.estimated()) == (0, 0)
    counts.opened(0, 0)
    counts.opened(30, 8)
    counts.counted(None)
    counts.counted(Usage(completion_tokens=7))
    assert counts.estimated() == counts.total() == 100 + 132


def test_resumed_requests_tell_what_the_cache_lacks():
    counts = PromptCounts(prompt_bytes=400)
    counts.opened(0, 0)
    counts.counted(Usage(prompt_tokens=100, cached_tokens=90))  # the prompt of another run, which says nothing
    counts.opened(100, 0)
    counts.counted(Usage(prompt_tokens=200))
    assert counts.fresh is None
    counts.opened(100, 0)
    counts.counted(Usage(prompt_tokens=200, cached_tokens=150))
    assert counts.fresh == 0.25
    counts.opened(100, 0)
    counts.counted(Usage(prompt_tokens=200, cached_tokens=0))
    assert counts.fresh == 1


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.none() | st.integers(0, 999)), max_size=8))
def test_counted_requests_are_never_estimated(requests):
    counts = PromptCounts(prompt_bytes=40)
    for kept, inserted, counted in requests:
        counts.opened(kept, inserted)
        counts.counted(Usage(prompt_tokens=counted))
    known = [counted for *_, counted in requests if counted is not None]
    assert counts.total() - counts.estimated() == sum(known)
    assert counts.estimated() >= 0
    if len(known) == len(requests):
        assert counts.estimated() == 0


def wrong(driver, rounds):
    for _ in range(rounds):
        if driver.summary is not None:
            return
        if driver.state == "opening":
            driver.open()
        driver.feed(f"2+2={len(driver.orders) % 4 + 5}\n")
        driver.settle()


def test_remedies_end_when_the_prompt_tokens_are_spent():
    driver = drive(monitor(remedy=Resample()), budgets=Budgets(prompt_tokens=350, repeats=99), prompt_bytes=400)
    wrong(driver, 20)
    assert driver.summary.status == "abstained"
    assert driver.summary.reason == "the budget of 350 prompt tokens is spent"
    assert len([order for order in driver.orders if isinstance(order, Open)]) == 3
    assert driver.summary.estimated_prompt_tokens == 300


@pytest.mark.parametrize("budget", [None, 10_000])
def test_within_the_budget_nothing_changes(budget):
    driver = drive(monitor(remedy=Repair()), budgets=Budgets(prompt_tokens=budget), prompt_bytes=400)
    driver.feed("2+2=5\n")
    driver.settle()
    driver.open()
    driver.tell(Chunk("\n", finish_reason="stop", usage=Usage(110, None, 1)))
    driver.end()
    driver.settle()
    # The kept text of the second request has 1 token of the model and 1 inserted byte; only the first is estimated.
    assert driver.summary.status == "verified"
    assert driver.summary.estimated_prompt_tokens == 109
