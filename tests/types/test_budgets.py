"""Budgets are never negative."""

import pytest
from interwhen import Budgets, UsageError


@pytest.mark.parametrize("name", Budgets.__struct_fields__)
def test_a_negative_budget_is_refused(name):
    with pytest.raises(UsageError, match=name):
        Budgets(**{name: -1})
    Budgets(**{name: 0})
