"""The changelog and the fragments of the next one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import interwhen
import pytest

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SIZE = re.compile(r"\(\d+ statements? added, \d+ removed\)\s*$")

pytestmark = pytest.mark.source


def fragments():
    return [path for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]


def test_the_version_has_a_dated_entry():
    assert re.search(rf"^## {re.escape(interwhen.__version__)} - \d{{4}}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)


def test_each_fragment_has_a_kind_and_a_size():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    for path in fragments():
        assert path.name.split(".")[-2] in kinds, path.name
        assert SIZE.search(path.read_text(encoding="utf-8")), f"{path.name}: (N statements added, N removed)"


def test_the_fragments_render(tmp_path):
    pytest.importorskip("towncrier", reason="towncrier is not installed (extra 'test')")
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    for path in fragments():
        (folder / path.name).write_text(path.read_text(encoding="utf-8"))
    (folder / "gate-timeouts.fixed.md").write_text("A gate closes in time. (12 statements added, 3 removed)\n")
    command = [sys.executable, "-m", "towncrier", "build", "--keep", "--version", "9.9.9", "--date", "2030-01-02"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = (tmp_path / "CHANGELOG.md").read_text()
    new = rendered.partition("<!-- towncrier release notes start -->")[2].partition(f"## {interwhen.__version__}")[0]
    assert new.strip().startswith("## 9.9.9 - 2030-01-02")
    assert "### Fixed" in new
    assert "- A gate closes in time. (12 statements added, 3 removed)" in new
    for path in fragments():
        assert path.read_text(encoding="utf-8").split("\n")[0] in new
