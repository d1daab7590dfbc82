"""The commands: the output says that it is a model, and whether it was found valid."""

import json
import sys

import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench.capacity import _measurement
from interwhen.bench.capacity._command import capacity, is_valid, measure
from interwhen.toolkit import MissingExtraError

from .support import MEASURED, POINT

pytest.importorskip("simpy")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "measured.json"
    path.write_bytes(msgspec.json.encode(MEASURED))
    return path


def test_the_output_says_that_it_is_a_model_and_where_its_numbers_come_from(file, capsys):
    assert capacity(file) == 0
    said = capsys.readouterr().out
    for part in ("A model, not a measurement", "a test", "What breaks first", "10,000,000", "10.0%"):
        assert part in said
    assert "not valid" not in said


def test_the_same_file_gives_the_same_json(file, capsys):
    capacity(file, json=True, streams=(10_000,))
    first = capsys.readouterr().out
    capacity(file, json=True, streams=(10_000,))
    assert capsys.readouterr().out == first
    said = json.loads(first)
    assert said["is_model"] is said["valid"] is True
    assert said["measured"]["load"]["source"] == "a test"


def test_a_model_that_misses_a_point_is_called_not_valid(file, capsys):
    wrong = msgspec.structs.replace(POINT, predicted=20.0)
    bad = msgspec.structs.replace(MEASURED, points=(POINT, wrong))
    assert is_valid(MEASURED)
    assert not is_valid(bad)
    assert not is_valid(msgspec.structs.replace(MEASURED, points=()))
    file.write_bytes(msgspec.json.encode(bad))
    capacity(file)
    assert "1 of 2 points" in capsys.readouterr().out


def test_a_missing_package_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    monkeypatch.setattr(_measurement, "paced_server", lambda **_: pytest.fail("it measures"))
    with pytest.raises(MissingExtraError, match=r"interwhen\[capacity\]"):
        measure(tmp_path / "m.json")


def test_wrong_options_are_refused(file, tmp_path):
    with pytest.raises(UsageError, match="--streams must be"):
        capacity(file, streams=(0,))
    with pytest.raises(UsageError, match="--rounds and --seconds must be"):
        measure(tmp_path / "m.json", rounds=0)
    with pytest.raises(UsageError, match="--rounds and --seconds must be"):
        measure(tmp_path / "m.json", seconds=float("nan"))
    with pytest.raises(UsageError, match="--out must be in a folder that exists"):  # not after minutes
        measure(tmp_path / "missing" / "m.json")
