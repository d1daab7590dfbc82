"""Budgets are never negative."""

import pytest
from interwhen import Budgets, UsageError


@pytest.mark.parametrize("name", Budgets.__struct_fields__)
def test_a_negative_budget_is_refused(name):
    with pytest.raises(UsageError, match=name):
        Budgets(**{name: -1})
    Budgets(**{name: 0})


@pytest.mark.parametrize("value", [None, 1.5, "3", True, float("nan")], ids=repr)
def test_a_budget_of_another_type_is_refused(value):
    with pytest.raises(UsageError, match="Budgets: remedies must be a whole number of at least 0, got"):
        Budgets(remedies=value)
    if value is not None and value != 1.5:
        with pytest.raises(UsageError, match="Budgets: seconds must be a number of at least 0 or None, got"):
            Budgets(seconds=value)
    Budgets(prompt_tokens=None, seconds=1.5, failures=None)
