"""The wheel with each extra alone, in a clean environment: each command works, or one line names the extra that it needs."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = tuple(
    extra
    for extra in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    if extra not in {"all", "test", "dev"}
)
NOWHERE = "http://127.0.0.1:9/v1"
"""Nothing listens there."""

# Commands, and the extras that they need besides `cli`.
COMMANDS = {
    "--version": "",
    "verifiers list": "",
    "verifiers show arithmetic": "",
    "doctor --sandbox": "",
    "precompute status": "",
    "demo --plain --speed 10000": "local",
    "run 'Problem: 3 + 4' --model local --max-tokens 20 --plain": "local",
    "bench compare --task chain_sum --problems 1 --max-tokens 8": "tasks",
    "bench overhead --chunks 50 --pairs 2 --closes 2 --uvloop": "fast",
    f"serve --upstream {NOWHERE} --port 0": "gateway",
}
# What an extra brings to Python, where no command needs it alone.
CALLS = {
    "datasets": "from interwhen.bench._task_files import hub\nhub",
    "fast": "import interwhen, interwhen.testing as t\nwith interwhen.run_sync(t.ScriptedModel(['x']), '', uvloop=True) as r: r.drain()",
    "jsonschema": "from interwhen_verifiers.json_schema import json_schema\njson_schema(schema={'type': 'object'})",
    "openai": "import openai, interwhen\ninterwhen.wrap(openai.AsyncOpenAI(api_key='k'), monitors=['arithmetic'])",
    "plots": "from matplotlib.figure import Figure",
    "precompute": "from interwhen.precompute._fsspec_shelf import FsspecShelf\nFsspecShelf('memory://x', one_writer=True)",
    "ray": "from ray.cluster_utils import Cluster",
    "re2": "import re2",
    "sandbox": "from interwhen.sandbox._monty import MontySandbox\nwith MontySandbox(): pass",
    "sign": "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey",
    "tasks": "from interwhen_verifiers.tasks import chain_sum\nprint(next(iter(chain_sum(count=1, seed=1))))",
    "z3": "import interwhen.toolkit.solving",
}
# Where a command exits with this although nothing is missing: no model reached a verdict in so few tokens.
FINE = {0, 3, 4}


@pytest.fixture(scope="module")
def install(request, tmp_path_factory):
    wheel, uv = request.config.getoption("--wheel"), request.config.getoption("--uv")
    if wheel is None:
        pytest.skip("needs --wheel, and downloads packages: run by .ci/run")

    def make(extra):
        folder = tmp_path_factory.mktemp(extra or "none")
        what = f"{wheel}[{extra}]" if extra else wheel
        environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_NO_PROGRESS": "1"}
        python = sys.base_prefix + "/bin/python" + ".".join(map(str, sys.version_info[:2]))
        subprocess.run([uv, "venv", "-q", "-p", python, folder / "env"], check=True, env=environment)
        subprocess.run(
            [uv, "pip", "install", "-q", "-p", folder / "env" / "bin" / "python", what], check=True, env=environment
        )
        return folder / "env" / "bin"

    return make


def run(folder, command):
    with subprocess.Popen(
        [folder / words[0], *words[1:]] if (words := shlex.split(command))[0] == "python" else [folder / "interwhen", *words],
        cwd=folder.parent,
        env={"HOME": str(folder.parent), "PATH": os.environ["PATH"], "COLUMNS": "200"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("serving "):
                process.send_signal(signal.SIGTERM)
    return process.returncode, "".join(lines)


def wanted(extra, command):
    # The extra that the line must name; None if the command must work.
    if command == "--version":
        return None
    has = {"": set(), "gateway": {"cli", "gateway"}}.get(extra, {extra})
    if "cli" not in has:
        return {"cli"}
    lacking = {each for each in COMMANDS[command].split(",") if each} - has
    return lacking or None


def named(said):
    assert "Traceback" not in said, said
    extras = re.findall(r"pip install 'interwhen\[([a-z0-9,]+)\]'", said)
    assert len(extras) == 1, said
    assert said.splitlines()[-1].startswith("error: "), said
    return set(extras[0].split(","))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_each_command_works_or_names_the_extra(extra, install):
    folder = install(extra)
    # Without `cli` one line answers all: two commands tell.
    commands = COMMANDS if extra in {"cli", "gateway"} else ("--version", "demo", "bench overhead --pairs 1")
    for command in commands:
        code, said = run(folder, command)
        # Shown with -s: the table of extras and commands.
        print(f"{extra or '(none)':<12}{command:<60}{code}  {said.splitlines()[-1][:90] if said else ''}")  # noqa: T201
        need = wanted(extra, command) if command in COMMANDS else {"cli"}
        if need is None:
            assert "Traceback" not in said, said
            assert code in FINE, (command, said)
        else:
            assert (code, named(said)) == (2, need), command
    if extra in CALLS:
        done = subprocess.run([folder / "python", "-c", CALLS[extra]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_with_all_extras_every_command_works(install):
    folder = install("all")
    for command in COMMANDS:
        code, said = run(folder, command)
        assert "Traceback" not in said, said
        assert code in FINE, (command, said)


def test_every_extra_is_tried():
    assert set(EXTRAS) == {"cli", "gateway", "local"} | CALLS.keys()
