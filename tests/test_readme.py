"""The Python of README.md and docs/runs.md runs as it stands, against a scripted server where it needs one."""

from __future__ import annotations

import re
import runpy
import threading
from pathlib import Path

import anyio
import pytest
from tests.forked_scripts import run_script

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(script: Path, code: str) -> str:
    script.write_text(code, encoding="utf-8")
    done = run_script(script, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 120


def test_the_eight_lines_print_what_the_readme_shows(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the local model needs the extra 'local'")
    code = blocks(README)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    shown = README.partition("```text\n")[2].partition("```")[0]
    assert run(tmp_path / "eight.py", code) == shown


def test_the_picture_shows_what_the_demo_prints() -> None:
    pytest.importorskip("xllamacpp", reason="the demo needs the extra 'local'")
    pytest.importorskip("rich", reason="the demo needs the extra 'cli'")
    pictures = ROOT / "docs" / "pictures"
    namespace = runpy.run_path(str(pictures / "make_demo.py"))
    printed = namespace["svg_of"](namespace["terminal_lines"]())
    words = namespace["words_of"]((pictures / "demo.svg").read_text(encoding="utf-8"))
    assert words == namespace["words_of"](printed), "run: make picture"
    shown = " ".join(words)
    for part in ("590 + 118 = 608", "Answer: 545", "~~608⏎6~~ «708»", "Answer: 645", "steps verified"):
        assert part in shown, part


def test_the_verifier_of_the_readme_works(tmp_path: Path) -> None:
    checked = """
from interwhen.testing import ScriptedModel

model = ScriptedModel(["2024-02-29 was a Friday. ", "So 2024-02-29 was a Thursday."])
with interwhen.run_sync(model, "", monitors=[weekdays]) as run:
    result = run.drain()
assert result.ledger.remedies == 1, result
assert result.violations[0].why == "that date was not a Friday", result.violations
"""
    run(tmp_path / "weekdays.py", blocks(README)[1] + checked)


@pytest.fixture
def server_url():
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
    assert started.wait(60)
    yield ready[0]
    stop.set()
    thread.join(60)


def test_example_run_works_as_its_page_shows(server_url: str, tmp_path: Path) -> None:
    (code,) = blocks((ROOT / "docs" / "runs.md").read_text(encoding="utf-8"))
    assert "http://localhost:8000/v1" in code
    printed = run(tmp_path / "journey.py", code.replace("http://localhost:8000/v1", server_url))
    assert "408" in printed
    assert " verified: 1 checks" in printed
