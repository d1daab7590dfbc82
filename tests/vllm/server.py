"""Starts and stops a real vLLM on the CPU, from the environment that `environment.py` has made."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.vllm.environment import as_user, folder

START_SECONDS = 300
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    # The tiny model gains nothing from a second thread, and on a busy machine threads wait for each other at each layer.
    "OMP_NUM_THREADS": "1",
    # Even an eager server compiles what computes log-probabilities, at the first request for them.
    "TORCHDYNAMO_DISABLE": "1",
}
OPTIONS = (
    *("--dtype", "float32"),
    *("--max-model-len", "1024"),
    *("--max-num-seqs", "16"),
    # The CPU build caches blocks of 128 tokens, which the prompts here hardly fill; 32 is the smallest that it can.
    *("--block-size", "32"),
    *("--tool-call-parser", "hermes"),
    "--enable-auto-tool-choice",
    "--enable-prompt-tokens-details",
    "--enforce-eager",
)
PARSERS = {"parser-on": ("--reasoning-parser", "qwen3"), "parser-off": ()}
"""How a server sends reasoning: in a field, or between tags in the text."""


class _Started(NamedTuple):
    process: subprocess.Popen[bytes]
    url: str
    log: Path


@contextmanager
def vllm_servers(names: Sequence[str]) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        # Folders of pytest belong to its own user, and the server runs as another one.
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interwhen-vllm-")))
        home.chmod(0o755)
        shutil.copytree(folder() / "tiny", home / "tiny")
        started = {}
        for name in names:
            started[name] = _start(home, name)
            stack.callback(stop, started[name].process)
        deadline = time.monotonic() + START_SECONDS
        for server in started.values():
            _await(server, deadline)
        yield {name: server.url for name, server in started.items()}


def _start(home: Path, name: str) -> _Started:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = home / name
    own.mkdir()
    own.chmod(0o777)
    python = folder() / "env" / "bin" / "python"
    # A relative path to the model, because the server shows the path in its model list, and that is recorded.
    command = [str(python), "-m", "vllm.entrypoints.cli.main", "serve", "tiny", "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), *OPTIONS, *PARSERS[name]]
    log = own / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**SETTINGS, "HOME": str(own), "PATH": "/usr/local/bin:/usr/bin:/bin"},
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(),
        )
    return _Started(process, f"http://127.0.0.1:{port}/v1", log)


def _await(server: _Started, deadline: float) -> None:
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            urllib.request.urlopen(f"{server.url}/models", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    end = server.log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"vLLM did not start within {START_SECONDS} s; the end of its log:\n{end}")


def stop(process: subprocess.Popen[bytes]) -> None:
    for number in (15, 9):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
