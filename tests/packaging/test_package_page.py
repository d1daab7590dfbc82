"""The package page and the URLs of the project, with a made-up public host and without one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import interwhen
import pytest

ROOT = Path(__file__).parents[2]
HOST = "https://code.example.org/people/interwhen"
INPUTS = (
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "tools/package_page.py",
    "interwhen/_types/__init__.py",
)

pytestmark = pytest.mark.source


@pytest.fixture
def metadata(tmp_path):
    pytest.importorskip("hatchling", reason="the build backend is not installed (extra 'test')")

    def build(host):
        for name in INPUTS:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
        settings = tmp_path / "pyproject.toml"
        text, count = re.subn(r'^host = ".*"$', f'host = "{host}"', settings.read_text(), flags=re.MULTILINE)
        assert count == 1, "the host is named in one place"
        settings.write_text(text)
        command = [sys.executable, "-m", "hatchling", "metadata"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        metadata = json.loads(done.stdout)
        return metadata["readme"]["text"], metadata.get("urls")

    return build


def targets(page):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def test_page_with_host_has_links_and_picture(metadata):
    page, urls = metadata(HOST)
    tag = f"v{interwhen.__version__}"
    assert f"]({HOST}/raw/{tag}/docs/pictures/demo.svg)" in page
    assert f"[Limits]({HOST}/blob/{tag}/docs/limits.md)" in page
    for target in targets(page):
        assert target.startswith(("https://", "#"))
        path = target.partition("#")[0].removeprefix(f"{HOST}/blob/{tag}/").removeprefix(f"{HOST}/raw/{tag}/")
        assert target.partition("#")[0] == path or (ROOT / path).exists(), target
    assert urls["Source"] == HOST
    assert all(url.startswith(HOST) for url in urls.values())


def test_page_without_host_shows_paths(metadata):
    page, urls = metadata("")
    assert urls is None
    assert all(target.startswith(("https://", "#")) for target in targets(page))
    assert "![" not in page
    assert "Limits (`docs/limits.md`)" in page
    assert "those of the source distribution" in page
    assert "## Changes" in page
    assert f"## {interwhen.__version__} - " in page
