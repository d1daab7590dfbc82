"""The README's Python is executed as it stands, against a scripted server where it wants one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_journeys_are_there() -> None:
    assert len(blocks()) == 3


def test_writing_a_verifier_works_as_shown(tmp_path: Path) -> None:
    script = tmp_path / "journey.py"
    script.write_text("\n\n".join(blocks()[1:3]))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def server_url():
    """A scripted completions server in a thread of its own."""
    from interwhen.testing.server import ScriptedServer, events

    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with ScriptedServer(lambda _request: events(["17 * 24", " = 40", "8\n"])) as server:
            ready.append(server.base_url)
            started.set()
            while not stop.is_set():
                await anyio.sleep(0.01)

    thread = threading.Thread(target=anyio.run, args=(serve,))
    thread.start()
    assert started.wait(10)
    yield ready[0]
    stop.set()
    thread.join(10)


def test_supervising_a_call_works_as_shown(server_url: str, tmp_path: Path) -> None:
    script = tmp_path / "journey.py"
    code = blocks()[0]
    assert "http://localhost:8000/v1" in code
    script.write_text(code.replace("http://localhost:8000/v1", server_url))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "408" in done.stdout
    assert " verified: 1 checks" in done.stdout
