"""A journal is data: whatever it names, no reader of it runs, asks or opens anything."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import interwhen
import pytest

from forged_journals import forged

COUNT = 200
KEY = "sk-a-planted-key"
ROOT = Path(interwhen.__file__).parents[1]


def read_all(folder, planted, *paths):
    """Return what ``forged_readers.py`` found in a process with the audit hook."""
    log = planted / "audit.log"
    allowed = (sys.prefix, sys.base_prefix, str(ROOT), str(Path(os.__file__).parent), str(folder), "/proc", "/sys", "/dev", str(log))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent / "forged_hook"), *map(str, paths), *sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUDIT_LOG": str(log),
        "AUDIT_ALLOWED": os.pathsep.join(allowed),
        "AUDIT_FOLDER": str(folder),
        "AUDIT_MODULES": ",".join((*packages_distributions(), "interwhen", "interwhen_verifiers", "tests", "sitecustomize")),
        "OPENAI_API_KEY": KEY,
    }
    script = Path(__file__).with_name("forged_readers.py")
    done = subprocess.run([sys.executable, script, folder], env=environment, cwd=planted, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def planted(tmp_path):
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "planted_module.py").write_text("def factory(): pass\n")
    for name in ("schema.json", "policy.toml", "model.gguf", "journal"):
        (planted / name).write_text("{}")
    return planted


@pytest.mark.fault("H1", injected="200 forged journals, read in every way", happens="nothing that they name is used")
def test_forged_journals_run_ask_and_open_nothing(tmp_path, planted):
    folder = tmp_path / "forged"
    (tmp_path / "honest").mkdir()
    names = {}
    for number, (name, data) in enumerate(forged(tmp_path / "honest", planted, "http://127.0.0.1:9/v1", COUNT)):
        path = folder / f"{number:03}" / "run.journal"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        names[path.parent.name] = name
    found = read_all(folder, planted, planted)
    wrong = [f"{names[each.split()[1]]}\n{each}" for each in found["wrong"]]
    assert not wrong, "\n\n".join(wrong[:20]) + f"\n{len(wrong)} findings; {found['by']}"
    assert found["read"] >= COUNT * 15
    assert found["memory"] < 1_000_000  # KiB
    assert not (planted / "touched").exists()
