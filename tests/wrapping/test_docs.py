"""The page's code runs as it stands, but for the address."""

import re
import subprocess
import sys
from pathlib import Path

from interwhen.testing.server import events

PAGE = Path(__file__).parents[2] / "docs" / "wrap.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(script, tmp_path, url=""):
    path = tmp_path / "page.py"
    path.write_text(script.replace("OpenAI()", f"OpenAI(base_url={url!r}, api_key='k')"))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_before_and_after(serve, tmp_path):
    server = serve(
        lambda request: events(["17 * 24", " = 418\n"] if len(request.json["messages"]) == 1 else ["!\n"], api="chat")
    )
    assert run(BLOCKS[0], tmp_path, server.base_url) == "17 * 24 = 418\n"
    after = run(BLOCKS[1].replace("for chunk in stream", "chunks = []\nfor chunk in stream"), tmp_path, server.base_url)
    assert "17 * 24 = 408!\nverified" in after


def test_keeping_the_trace(serve, tmp_path):
    server = serve(
        lambda request: events(["17 * 24", " = 418\n"] if len(request.json["messages"]) == 1 else ["!\n"], api="chat")
    )
    stream = BLOCKS[1].partition("for chunk in stream")[0]
    shown = run(f"{stream}\n{BLOCKS[2]}\nprint(trace, chunk.interwhen.result.text == trace)", tmp_path, server.base_url)
    assert shown == "17 * 24 = 408!\n True\n"


def test_tools(tmp_path):
    shown = run(f"{BLOCKS[3]}\n{BLOCKS[4]}", tmp_path)
    assert shown == "The call of delete_file was not made: nothing may be deleted here.\n"
