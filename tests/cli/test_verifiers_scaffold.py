"""A new verifier's package works as it stands; a bad name and a folder that is there are refused."""

import ensurepip
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import interwhen
import pytest
from interwhen import UsageError
from interwhen.cli._verifiers import new

import interwhen_verifiers


def run(*command, cwd):
    completed = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.mark.parametrize(
    "name",
    ["", "A", "1st", "a-b", "a__b", "_a", "a_", "a b", "../a", "a/b", "é", "a\n", "x" * 31, "class", "match", "json"],
)
def test_bad_names_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match=r"^NAME .*(?:must be|choose another name)"):
        new(name, directory=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_existing_verifier_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"NAME must be new, got 'arithmetic', which is a verifier of interwhen"):
        new("arithmetic", directory=tmp_path / "x")


def test_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="must not exist yet"):
        new("dates", directory=tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the new folder must be writable"):
        new("dates", directory=tmp_path / "file" / "x")


def test_default_folder_has_verifier_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert new("leap_years") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interwhen-leap-years"]
    assert "interwhen verifiers try leap_years tests/traces.jsonl" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "$" in path.read_text()]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {
        "",
        ".md",
        ".toml",
        ".py",
        ".typed",
        ".jsonl",
    }


@pytest.mark.parametrize("name", ["a", "x" * 30])
def test_scaffold_passes_ruff_for_any_name_length(name, tmp_path):
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    if not ruff.exists():
        pytest.skip("ruff is not installed (extra 'dev')")
    new(name, directory=tmp_path / "package")
    run(ruff, "check", ".", cwd=tmp_path / "package")
    run(ruff, "format", "--check", ".", cwd=tmp_path / "package")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_scaffold_installs_and_passes_tests_and_linters(tmp_path):
    name = "leap_years"
    pytest.importorskip("hatchling", reason="the build backend is not installed (extra 'test')")
    new(name, directory=tmp_path / "package")
    environment = tmp_path / "venv"
    # pip runs from the wheel that comes with Python: to install it takes longer than all that it does here.
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    venv.create(environment, with_pip=not bundled)
    python = environment / "bin" / "python"
    # What is installed here is borrowed, interwhen too, so that no network is needed. That interwhen itself installs is
    # shown by the tests of what is built.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip())
    others = [path for path in (sysconfig.get_paths()["purelib"], *sys.path) if path.endswith("site-packages")]
    sources = [str(Path(module.__file__).parents[1]) for module in (interwhen, interwhen_verifiers)]
    (site / "borrowed.pth").write_text("\n".join(dict.fromkeys((*others, *sources))) + "\n")
    pip = (python, bundled[-1] / "pip") if bundled else (python, "-m", "pip")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile")
    run(*pip, "install", *options, tmp_path / "package", cwd=tmp_path)
    package = tmp_path / "package"
    assert " passed" in run(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=package)
    script = "from interwhen.cli._main import main; main()"
    tried = run(python, "-c", script, "verifiers", "try", name, "tests/traces.jsonl", "--json", cwd=package)
    assert json.loads(tried)["score"]["recall"]["value"] == 1.0
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    if ruff.exists():
        run(ruff, "check", ".", cwd=package)
        run(ruff, "format", "--check", ".", cwd=package)
    if any((Path(path) / "mypy").exists() for path in others):
        run(python, "-m", "mypy", "--cache-dir", os.devnull, cwd=package)
