"""``interwhen recheck``: what of a record still holds, without a model."""

import dataclasses
import json

import interwhen
import interwhen.toolkit
import msgspec
import pytest
from interwhen.cli._main import main
from interwhen.journal._directory import JournalDirectory, JournalSettings
from interwhen.journal._settings import CallHead
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


def test_recheck_uses_monitors_of_journal(path, capsys):
    assert recheck(path) == 0
    out = capsys.readouterr().out
    assert "arithmetic 0-11  17 * 3 = 51" in out
    assert "2 of 2 checks that passed pass again; the run was steps verified" in out


def test_result_file_can_be_rechecked(path, tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_bytes(msgspec.json.encode(interwhen.journal.read_journal(path).result))
    assert recheck(file, "-m", "arithmetic", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["span"], row["passes"]) for row in rows] == [([0, 11], True), ([15, 26], True)]
    assert recheck(file) == 2
    assert "which does not say how to make them" in capsys.readouterr().err


def test_lone_surrogates_are_escaped(tmp_path, capsys):
    odd = interwhen.verifier(name="odd", version="1")(lambda _: interwhen.Pass())
    monitor = interwhen.Monitor(
        name="odd",
        trigger=interwhen.Lines(),
        extractor=lambda segment: [interwhen.Claim(key=segment.text, span=segment.span)],
        verifier=odd,
        delivery="observe",
    )
    path = tmp_path / "run.journal"
    with interwhen.run_sync(ScriptedModel(["\ud800 = 1\n"]), "Q", monitors=[monitor], journal=path) as run:
        run.drain()
    assert recheck(path, "--json") == 3
    [row] = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["key"] == "\ud800 = 1"


def test_a_changed_result_is_refused(path, tmp_path, capsys):
    file = tmp_path / "result.json"
    result = interwhen.journal.read_journal(path).result
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, text=RIGHT.replace("51", "52"))))
    assert recheck(file, "-m", "arithmetic") == 2
    assert "must agree with itself" in capsys.readouterr().err
    file.write_text("{}")
    assert recheck(file, "-m", "arithmetic") == 2
    assert "must be a journal, or a result as JSON" in capsys.readouterr().err


def test_unreadable_file_is_refused(path, tmp_path, capsys):
    missing = tmp_path / "missing"
    assert recheck(missing) == 2
    assert f"FILE must be a readable journal or result, got {str(missing)!r}" in capsys.readouterr().err
    assert recheck(path, "--prompt", missing) == 2
    assert f"must be readable UTF-8 text, got {str(missing)!r}" in capsys.readouterr().err


def test_checks_that_stop_passing_are_listed(path, capsys):
    assert recheck(path, "-m", "arithmetic:phase=reasoning") == 3
    out = capsys.readouterr().out
    assert out.count("its claim is not found again") == 2
    assert "0 of 2 checks that passed pass again" in out


def test_monitor_missing_from_journal_is_reported_per_check(tmp_path, capsys):
    path = tmp_path / "run.journal"
    made = interwhen.load_monitor("arithmetic")
    odd = dataclasses.replace(made, name="ours", spec=None)
    with interwhen.run_sync(ScriptedModel([RIGHT]), "Q", monitors=[odd, "arithmetic"], journal=path) as run:
        assert len(run.drain().checks) == 4
    assert recheck(path, "--json") == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["passes"] for row in rows if row["monitor"] == "arithmetic"] == [True, True]
    whys = [row["why"] for row in rows if row["monitor"] == "ours"]
    assert len(whys) == 2
    assert all("must say how to make the monitor 'ours'" in why and "give it with -m" in why for why in whys)
    assert recheck(path, "-m", "arithmetic:label=ours", "-m", "arithmetic") == 0


@interwhen.toolkit.safe_from_data()
def several(*, level: interwhen.toolkit.Level = "witness"):
    return [
        interwhen.load_monitor({"name": "arithmetic", "level": level}),
        interwhen.load_monitor("arithmetic:label=second"),
    ]


def test_name_for_several_monitors_loads_once(tmp_path, monkeypatch, capsys):
    real = interwhen.registry.load_verifier
    monkeypatch.setattr(interwhen.registry, "load_verifier", lambda name: several if name == "several" else real(name))
    path = tmp_path / "run.journal"
    specs = ["several:level=explain", "arithmetic:label=third"]
    with interwhen.run_sync(ScriptedModel([RIGHT]), "Q", monitors=specs, journal=path) as run:
        assert len(run.drain().checks) == 6
    assert [one.untrusted_spec for one in interwhen.journal.read_journal(path).header.monitors] == [
        specs[0],
        specs[0],
        specs[1],
    ]
    assert recheck(path) == 0
    assert "6 of 6 checks that passed pass again" in capsys.readouterr().out


def test_redacted_journal_cannot_be_rechecked(tmp_path, capsys):
    folder = tmp_path / "journals"
    directory = JournalDirectory.at(JournalSettings(path=str(folder), text="redacted"))
    head = CallHead("0193" + "0" * 28, "wrap", "chat", "m")
    journal = directory.begin(head, shows_path=True)
    with interwhen.run_sync(ScriptedModel([RIGHT]), "Q", monitors=["arithmetic"], journal=journal) as run:
        run.drain()
    journal.slot.called({}, has_problem=False)
    directory.close()
    [path] = folder.glob("*.journal")
    assert recheck(path) == 2
    assert "it is redacted" in capsys.readouterr().err
