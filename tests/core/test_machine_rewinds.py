"""What a rewind costs does not depend on how many came before it: counted in executed instructions, not in seconds."""

import pytest
from interwhen import Budgets, Feedback, Repair, Resample
from interwhen.testing.complexity import count_steps
from interwhen.triggers import Polls
from tests.core.worlds import drive, monitor

BUDGETS = Budgets(remedies=10**6, discarded_tokens=10**9)


def _once(driver, number):
    driver.feed("\n1+1=2\n2+2=5\n")  # the line of a repair ends first
    driver.settle()
    driver.open()
    driver.orders.clear()
    driver.seen.clear()
    if driver.core.violations.resamples:  # a sample that differs
        driver.feed("4+4=8 " * (1 + number % 2) + "\n")
        driver.settle()


@pytest.mark.parametrize("phase", ["reasoning", "answer"])
@pytest.mark.parametrize(
    "options",
    [
        {"remedy": Repair()},
        {"remedy": Feedback()},
        {"remedy": Feedback(place="rewind")},
        {"remedy": Resample()},
        {"remedy": Repair(), "delivery": "gate"},
        {"remedy": Repair(), "trigger": Polls(30)},
    ],
    ids=lambda options: " ".join(f"{type(value).__name__}" for value in options.values()),
)
def test_earlier_rewinds_do_not_make_later_ones_costlier(options, phase):
    driver = drive(
        monitor(**options), monitor("beside"), budgets=BUDGETS, context_tokens=10**7, max_tokens=10**6, starts_in=phase
    )
    costs = {}
    for number in range(400):
        if 20 <= number < 40 or number >= 380:
            costs[number] = count_steps(_once, driver, number)
        else:
            _once(driver, number)  # counting is slow
        assert driver.summary is None
    assert driver.core.violations.remedies >= 400
    early = sorted(cost for number, cost in costs.items() if number < 40)
    late = sorted(cost for number, cost in costs.items() if number >= 380)
    # Bisections take one step more where there is twice as much.
    assert late[len(late) // 2] <= 1.05 * early[len(early) // 2], (early, late)
