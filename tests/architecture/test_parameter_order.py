"""Tests must be collected in the same order in every process, or they cannot run in parallel."""

from types import SimpleNamespace

import pytest
from tests.conftest import pytest_generate_tests


def collected(*args, **kwargs):
    mark = SimpleNamespace(args=args, kwargs=kwargs)
    definition = SimpleNamespace(nodeid="tests/test_x.py::test_x", iter_markers=lambda _name: [mark])
    pytest_generate_tests(SimpleNamespace(definition=definition))


def test_a_set_of_values_is_refused():
    for values in ({"a", "b"}, frozenset("ab")):
        with pytest.raises(pytest.UsageError, match="parametrize must have an order, got a set"):
            collected("x", values)
        with pytest.raises(pytest.UsageError, match="parametrize must have an order, got a set"):
            collected("x", argvalues=values)
    collected("x", ["a", "b"])
    collected("x", argvalues=("a", "b"))
