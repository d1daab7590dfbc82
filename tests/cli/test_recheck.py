"""``interwhen recheck``: what of a record still holds, without a model."""

import json

import interwhen
import msgspec
import pytest
from interwhen.cli._main import main
from interwhen.testing import ScriptedModel

RIGHT = "17 * 3 = 51\nso 51 + 9 = 60\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.journal"
    with interwhen.run_sync(ScriptedModel([RIGHT]), "Q", monitors=["arithmetic"], journal=path) as run:
        assert run.drain().status == "verified"
    return path


def recheck(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["recheck", *map(str, arguments)])
    return caught.value.code


def test_a_journal_names_its_own_monitors(path, capsys):
    assert recheck(path) == 0
    out = capsys.readouterr().out
    assert "arithmetic 0-11  17 * 3 = 51" in out
    assert "2 of 2 checks that passed pass again; the run was steps verified" in out


def test_a_result_as_json(path, tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_bytes(msgspec.json.encode(interwhen.read_journal(path).result))
    assert recheck(file, "-m", "arithmetic", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["span"], row["passes"]) for row in rows] == [([0, 11], True), ([15, 26], True)]
    assert recheck(file) == 2
    assert "which does not say how to make them" in capsys.readouterr().err


def test_a_changed_result_is_refused(path, tmp_path, capsys):
    file = tmp_path / "result.json"
    result = interwhen.read_journal(path).result
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, text=RIGHT.replace("51", "52"))))
    assert recheck(file, "-m", "arithmetic") == 2
    assert "must agree with itself" in capsys.readouterr().err
    file.write_text("{}")
    assert recheck(file, "-m", "arithmetic") == 2
    assert "must be a journal, or a result as JSON" in capsys.readouterr().err


def test_what_does_not_pass_any_more_is_named(path, capsys):
    assert recheck(path, "-m", "arithmetic:phase=reasoning") == 3
    out = capsys.readouterr().out
    assert out.count("its claim is not found again") == 2
    assert "0 of 2 checks that passed pass again" in out
