"""What is built holds what is needed to run: the weights of the tiny model are data of the package."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from interwhen.models.local_weights import TinyWeights

ROOT = Path(__file__).parents[1]
NAMES = {"interwhen/models/tiny.gguf", "interwhen/models/tiny.sha256", "interwhen/py.typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist of this source; needs no network."""
    pytest.importorskip("hatchling", reason="the build backend is not installed (extra 'test')")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_the_wheel_holds_the_weights_as_they_are(built):
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        assert set(wheel.namelist()) >= NAMES
        packed = hashlib.sha256(wheel.read("interwhen/models/tiny.gguf")).digest()
    assert packed == hashlib.sha256(TinyWeights().path.read_bytes()).digest()


def test_the_source_holds_them_too(built):
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert names >= NAMES
