"""What is built holds what is needed to run: the weights of the tiny model are data of the package."""

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("interwhen", "interwhen_launcher", "interwhen_pytest", "verifiers/interwhen_verifiers")

pytestmark = pytest.mark.source
NAMES = {"interwhen/models/tiny.gguf", "interwhen/models/tiny.sha256", "interwhen/py.typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build backend is not installed (extra 'test')")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_wheel_contains_unchanged_weights(built):
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        assert set(wheel.namelist()) >= NAMES
        packed = hashlib.sha256(wheel.read("interwhen/models/tiny.gguf")).digest()
    assert packed == hashlib.sha256((ROOT / "interwhen/models/tiny.gguf").read_bytes()).digest()


def test_source_distribution_contains_the_weights(built):
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert names >= NAMES


def tracked(*folders):
    done = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return {name for name in done.stdout.split("\0") if name and (ROOT / name).exists()}
    files = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def test_no_file_is_missing_from_the_wheel(built):
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    wanted = {name.removeprefix("verifiers/") for name in tracked(*PACKAGES)}
    # The trace page is there as its bundle.
    wanted = {name for name in wanted if not name.startswith("interwhen/view/page/")}
    assert wanted - names == set()
    assert "interwhen/view/_page.html" in names
    assert not any("interwhen/view/page/" in name for name in names)


def test_no_file_is_missing_from_the_source(built):
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert tracked(".") - names == set()


def test_package_page_is_self_contained(built):
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith("METADATA")]
        head, _, page = wheel.read(name).decode().partition("\n\n")
    assert re.findall(r"\]\((?!https?://|#)[^)]+\)", page) == []
    assert "\n## Changes\n" in page
    assert "![" not in page
    assert "!A tiny model" not in page
    assert "Project-URL" not in head, "there is no public host yet"
    assert "Classifier: Operating System :: POSIX :: Linux" in head
