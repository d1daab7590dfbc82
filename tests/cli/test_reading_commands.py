"""Commands that only ask write nothing: neither in the working directory, nor in the folders of caches."""

import tempfile
from pathlib import Path

import interwhen
import pytest
from interwhen.cli._main import main
from interwhen.testing import ScriptedModel

import interwhen_verifiers.policies

POLICY = Path(interwhen_verifiers.policies.__path__[0]) / "retail"

READING = {
    "precompute status": 0,
    "precompute status NAME": 2,
    "precompute status --store other.db": 2,
    "precompute status --store file://shared": 0,
    "precompute why NAME STEP": 2,
    "precompute evict NAME STEP": 2,
    "precompute run --base-url http://127.0.0.1:9/v1 --model m": 2,
    "precompute ask NAME question --base-url http://127.0.0.1:9/v1 --model m": 2,
    "run question --context NAME --base-url http://127.0.0.1:9/v1 --model m": 2,
    "verifiers list": 0,
    "verifiers list --load": 0,
    "verifiers formats": 0,
    "verifiers show arithmetic": 0,
    "verifiers why-failed arithmetic": 0,
    "verifiers try arithmetic no.jsonl": 2,
    "doctor --base-url http://127.0.0.1:9/v1 --model m": 5,
    "doctor --base-url http://127.0.0.1:9/v1 --model m --contract": 5,
    "doctor --journals journals": 5,
    "view journals": 2,
    "view journals --json": 2,
    "view journals --html page.html": 2,
    "view no.journal --plain": 2,
    "recheck no.journal": 2,
    "resume no.journal": 2,
    "export no.journal --format prm --output rows.jsonl": 2,
    f"policy check {POLICY}": 0,
    f"policy lint {POLICY} --replay no.jsonl": 2,
    f"policy explain {POLICY} NAME": 2,
    f"policy review {POLICY}": 0,
    "doctor --sandbox": 0,
    "--version": 0,
    "--help": 0,
}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("INTERWHEN_STORE_KEY", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


@pytest.mark.parametrize("command", READING)
def test_reading_command_writes_no_file(empty, command, capsys):
    before = tree(empty)
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert tree(empty) == before
    assert ended.value.code == READING[command], capsys.readouterr()


def test_reading_command_changes_no_existing_file(empty, capsys):
    Path("book.txt").write_text("Some text.")
    with interwhen.run_sync(ScriptedModel(["1 + 2 = 3\n"]), "p", monitors=["arithmetic"], journal="a.journal") as run:
        run.drain()
    with pytest.raises(SystemExit):
        main(["precompute", "add", "book", "book.txt"])
    before = tree(empty)
    for command in (
        "precompute status",
        "precompute status book",
        "replay a.journal",
        "recheck a.journal",
        "view . --json",
        "doctor --journals .",
    ):
        with pytest.raises(SystemExit):
            main(command.split())
        assert tree(empty) == before, command
