"""Errors: by whose fault they are, with the value in the message, and foreign words bounded."""

import msgspec
import pytest
from interwhen import InterwhenError, UsageError
from interwhen._types.errors import DECODE_ERRORS, name_error, name_value
from interwhen.models import ModelError, RateLimited, UpstreamError
from interwhen.registry import PluginError


class Hostile:
    """Everything about it raises, even what no ``except Exception`` catches."""

    def __getattribute__(self, name):
        raise GeneratorExit(name)

    def __repr__(self):
        raise GeneratorExit


class Text(str):
    __slots__ = ()

    def __len__(self):
        return 10**30

    def __repr__(self):
        return "x" * 100_000


class Unprintable(Exception):
    def __str__(self):
        raise ValueError


def cyclic():
    cycle = []
    cycle.append(cycle)
    return cycle


def deep():
    nesting = []
    for _ in range(5000):
        nesting = [nesting]
    return nesting


def test_foreign_values_are_named_in_one_bounded_line():
    for value in (Hostile(), "x" * 10**7, cyclic(), deep(), Text("x"), [[["x" * 1000] * 1000]]):
        assert 0 < len(name_value(value)) <= 200


def test_foreign_errors_are_named_in_one_bounded_line():
    assert name_error(KeyError("k")) == "KeyError: 'k'"
    assert len(name_error(ValueError("x" * 10**6))) == 500
    assert name_error(Unprintable()) == "Unprintable: (its text raised ValueError)"


def test_error_classes_separate_user_faults_from_model_faults():
    assert issubclass(UsageError, ValueError)
    assert issubclass(PluginError, UsageError)
    assert issubclass(RateLimited, UpstreamError)
    for kind in (UsageError, ModelError):
        assert issubclass(kind, InterwhenError)
    assert not issubclass(ModelError, UsageError)


@pytest.mark.parametrize(
    "data", [b"{", b'"\xff"', b"[" * 100_000, '"\ud800"', b"[]"], ids=["cut", "not UTF-8", "deep", "surrogate", "type"]
)
def test_every_sort_of_undecodable_data_is_named(data):
    with pytest.raises(DECODE_ERRORS):
        msgspec.json.decode(data, type=dict)
    with pytest.raises(DECODE_ERRORS):
        msgspec.json.decode(data, type=dict[str, int])
