"""The tutorial is run as it stands: each file that it shows is written, each command of it is run, in order."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial-verifier.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
# Without a network; what it would bring is borrowed from here.
PIP = "python -m pip install --quiet --no-deps --no-build-isolation --no-index"


def test_every_block_is_file_or_command():
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}
    assert all(re.match(r"# [\w/.]+\.py\n", code) for kind, code in BLOCKS if kind == "python")


@pytest.fixture
def environment(tmp_path):
    pytest.importorskip("hatchling", reason="the build backend is not installed (extra 'test')")
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / "bin"
    process = subprocess.run(
        [scripts / "python", "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    others = [path for path in (sysconfig.get_paths()["purelib"], *sys.path) if path.endswith("site-packages")]
    (Path(process.stdout.strip()) / "borrowed.pth").write_text("\n".join(dict.fromkeys(others)) + "\n")
    subprocess.run([scripts / "python", *PIP.split()[1:], ROOT], check=True, timeout=200, capture_output=True)
    for name, call in (("interwhen", "interwhen.cli._main"), ("pytest", "pytest")):
        script = f"#!{scripts / 'python'}\nimport sys\nfrom {call} import main\nsys.exit(main())\n"
        (scripts / name).write_text(script)
        (scripts / name).chmod(0o755)
    return {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(tmp_path), "NO_COLOR": "1"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tutorial_works_from_first_to_last_block(environment, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    outputs = []
    for kind, code in BLOCKS:
        if kind == "python":
            (folder / code.split("\n", 1)[0][2:]).write_text(code)
            continue
        commands = code.replace("pip install -e '.[test]'", f"{PIP} .")
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        outputs.append(done.stdout)
    said = "\n".join(outputs)
    assert "false alarms: right, and flagged (1 of 1)\nhypothesis" in said
    assert "3 passed" in said
    assert list((folder / "package" / "dist").glob("*.whl"))
