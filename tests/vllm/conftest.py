"""A real vLLM on the CPU, for the tests in this folder: `make test-vllm` installs it and runs them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.vllm.environment import as_user, folder

WANTED = "INTERWHEN_VLLM" in os.environ
START_SECONDS = 240
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
OPTIONS = (
    *("--dtype", "float32"),
    *("--max-model-len", "1024"),
    *("--max-num-seqs", "8"),
    # The CPU build caches blocks of 128 tokens, which the prompts here hardly fill; 32 is the smallest that it can.
    *("--block-size", "32"),
    *("--reasoning-parser", "qwen3"),
    *("--tool-call-parser", "hermes"),
    "--enable-auto-tool-choice",
    "--enable-prompt-tokens-details",
    "--enforce-eager",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not WANTED:
        skip = pytest.mark.skip(reason="needs a real vLLM: make test-vllm")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(folder: Path, home: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server as an unprivileged user on the loopback interface, and wait until it answers."""
    port = free_port()
    python = folder / "env" / "bin" / "python"
    command = [
        str(python),
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
        str(folder / "tiny"),
        "--served-model-name",
        "tiny",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), *OPTIONS]
    environment = {**SETTINGS, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(),
        )
    url = f"http://127.0.0.1:{port}/v1"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return process, url
    stop(process)
    raise RuntimeError(f"vLLM did not start within {START_SECONDS} s; the end of its log:\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started."""
    for number in (15, 9):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory):
    here = tmp_path_factory.mktemp("vllm")
    # pytest's folders belong to its own user, and the server runs as another.
    with tempfile.TemporaryDirectory(prefix="interwhen-vllm-home-") as home:
        Path(home).chmod(0o777)
        process, address = started(folder(), Path(home), here / "server.log")
        yield address
        stop(process)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
