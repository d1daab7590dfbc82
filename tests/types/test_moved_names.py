"""A name that a facade promised earlier: the error says where it is now."""

import importlib

import interwhen
import pytest
from interwhen._types.moved_names import MOVED, PRIVATE, REMOVED

MOVES = [
    (facade, home, name) for facade, homes in MOVED.items() for home, names in homes.items() for name in names.split()
]


@pytest.mark.parametrize(("facade", "home", "name"), MOVES)
def test_moved_name_is_where_the_error_says(facade, home, name):
    with pytest.raises(ImportError, match=rf"{facade}\.{name} moved to {home}: write `from {home} import {name}`"):
        getattr(importlib.import_module(facade), name)
    assert name in importlib.import_module(home).__all__


def test_from_import_says_where_a_name_is():
    with pytest.raises(ImportError, match=r"write `from interwhen\.remedies import Abstain`"):
        from interwhen import Abstain  # noqa: F401


@pytest.mark.parametrize("facade", PRIVATE)
def test_private_names_are_not_promised(facade):
    module = importlib.import_module(facade)
    for name in PRIVATE[facade].split():
        assert name not in module.__all__
        with pytest.raises(ImportError, match=rf"{facade}\.{name} is private now"):
            getattr(module, name)


@pytest.mark.parametrize("path", REMOVED)
def test_removed_name_has_advice(path):
    facade, _, name = path.rpartition(".")
    with pytest.raises(ImportError, match=f"{path} was removed: "):
        getattr(importlib.import_module(facade), name)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'interwhen' has no attribute 'unknown'"):
        _ = interwhen.unknown
    assert not hasattr(interwhen.journal, "unknown")
