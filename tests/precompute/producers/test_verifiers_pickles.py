"""Pickles from a store: plain values and own records come back, and nothing else is ever made."""

import collections
import contextlib
import datetime as dt
import enum
import fractions
import os
import pickle
import re
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen.precompute.producers.verifiers import Unsafe, dump, load

HERE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Record:
    value: object


class Pair(NamedTuple):
    one: int
    other: str


class Colour(enum.Enum):
    RED = 1


class Struct(msgspec.Struct):
    value: int


class Plain:
    made = 0

    def __init__(self):
        type(self).made += 1

    def __reduce__(self):
        return Plain, ()


class Shell:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "value",
    [
        Record((1, frozenset({2}), {"a": [None, True, 1.5, b"x"]})),
        Pair(1, "x"),
        Colour.RED,
        Struct(3),
        fractions.Fraction(1, 3),
        collections.deque([1, 2]),
        dt.date(2024, 2, 29),
        re.compile("a+"),
        {1, 2},
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_and_own_records_round_trip(value):
    assert load(dump(value, HERE), HERE) == value


def test_own_classes_that_are_no_records_are_refused():
    with pytest.raises(Unsafe, match="only plain types and records"):
        dump(Plain(), HERE)
    made = Plain.made
    with pytest.raises(Unsafe):
        load(pickle.dumps(Plain()), HERE)
    assert Plain.made == made + 1  # the one that was pickled here


def test_records_of_another_package_are_refused():
    with pytest.raises(Unsafe, match="records of 'somebody'"):
        load(pickle.dumps(Record(1)), "somebody")


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "subprocess.Popen"])
def test_pickle_cannot_name_a_callable(name, tmp_path):
    module, _, function = name.rpartition(".")
    trace = tmp_path / "ran"
    data = f"c{module}\n{function}\n(Vtouch {trace}\ntR.".encode()
    with pytest.raises(Unsafe):
        load(data, HERE)
    assert not trace.exists()


def test_method_of_own_record_cannot_be_unpickled():
    with pytest.raises(Unsafe):
        load(f"c{HERE}\nRecord.__init__\n.".encode(), HERE)


def test_unpickling_imports_no_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unloaded_package.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(Unsafe):
        load(b"cunloaded_package\nThing\n.", "unloaded_package")


def test_unpicklable_value_is_refused():
    with pytest.raises(Unsafe, match="must be one that pickle can store"):
        dump(lambda: 1, HERE)


@settings(max_examples=60)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_refused(data):
    with contextlib.suppress(Unsafe):
        load(data, HERE)


class ByAttribute:
    """Pickled as Python 3.11.0 to 3.11.3 pickle a member of an enumeration."""

    def __init__(self, owner, name):
        self.args = owner, name

    def __reduce__(self):
        return getattr, self.args


def test_enum_member_pickled_by_older_python_loads():
    assert load(pickle.dumps(ByAttribute(Colour, "RED")), HERE) is Colour.RED


@pytest.mark.parametrize(
    ("owner", "name"), [(Colour, "__class__"), (Colour, "mro"), (Record, "__init__"), ("a", "upper")]
)
def test_no_other_attribute_is_read(owner, name):
    with pytest.raises(Unsafe):
        load(pickle.dumps(ByAttribute(owner, name)), HERE)
