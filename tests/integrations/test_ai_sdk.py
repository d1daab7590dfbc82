"""The AI SDK for TypeScript: the field of the gateway becomes provider metadata, as docs/integrations.md shows."""

import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.integrations.conftest import SOUND, answering

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("starlette") is None, reason="the gateway is not installed (extra 'gateway')"),
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="there is no node or no npm here"),
]
PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


@pytest.fixture
def folder(tmp_path):
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "ai", "@ai-sdk/openai-compatible"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode:
        pytest.skip("the npm registry does not answer")
    return tmp_path


@pytest.fixture
def gateway(server):
    served = []

    def script(request):
        served.append(request)
        return answering(["17 * 24", " = 418\n"] if len(served) % 2 else ["\n"])

    server._script = script
    words = ["-c", "from interwhen_launcher.__main__ import main; main()", "serve", "--upstream", server.base_url]
    with subprocess.Popen(
        [sys.executable, *words, "--monitor", "arithmetic", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = process.stdout.readline()
        while not said.startswith("serving "):
            assert said, "the gateway did not start"
            said = process.stdout.readline()
        yield re.search(r"http://[\w.:]+\d", said)[0]
        process.send_signal(signal.SIGTERM)


def test_answer_and_stream_are_supervised(folder, gateway):
    [code] = re.findall(r"^```js\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "page.mjs").write_text(code.replace("http://localhost:8400", gateway))
    done = subprocess.run(["node", "page.mjs"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    first, *_, last = done.stdout.splitlines() or [done.stderr]
    assert first.endswith("verified"), done.stderr
    assert SOUND.strip() in done.stdout
    assert last.endswith("verified")
