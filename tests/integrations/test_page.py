"""Each block of code of docs/integrations.md runs and prints what was found."""

import os
import re
from pathlib import Path

import pytest
from tests.forked_scripts import run_script

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.*?)\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
LIBRARIES = {
    "LangChain": "langchain_openai",
    "pydantic-ai": "pydantic_ai",
    "OpenAI Agents": "agents",
    "smolagents": "smolagents",
    "litellm": "litellm",
}


def test_every_code_block_is_tested():
    assert BLOCKS.keys() == LIBRARIES.keys()
    assert PAGE.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("heading", LIBRARIES)
def test_code_block_runs(heading, server, tmp_path):
    pytest.importorskip(LIBRARIES[heading], reason=f"{heading} is not installed")
    from tests.integrations.conftest import answering

    if heading == "smolagents":
        texts = ["17 * 24", " = 418\n"], ["\n<code>\nfinal_answer(408)\n</code>"]
        server._script = lambda request: answering(texts[min(request.number, 1)])
    # In a process of its own: the agents' `run_sync` leaves its event loop open, which another test would be blamed for.
    path = tmp_path / "page.py"
    path.write_text(BLOCKS[heading])
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
    done = run_script(path, cwd=tmp_path, env=environment, warn="ignore")
    assert done.returncode == 0, done.stderr
    said = done.stdout.strip()
    assert said.endswith("17 * 24 = 408") if heading == "OpenAI Agents" else said.endswith("verified")
