"""Each block of code of docs/integrations.md runs and prints what was found."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.*?)\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
LIBRARIES = {
    "LangChain": "langchain_openai",
    "pydantic-ai": "pydantic_ai",
    "OpenAI Agents": "agents",
    "smolagents": "smolagents",
    "litellm": "litellm",
}


def test_no_block_is_left_out():
    assert BLOCKS.keys() == LIBRARIES.keys()
    assert PAGE.count("```python") == len(BLOCKS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("heading", LIBRARIES)
def test_a_block(heading, server, monkeypatch):
    pytest.importorskip(LIBRARIES[heading], reason=f"{heading} is not installed")
    from tests.integrations.conftest import answering

    if heading == "smolagents":
        texts = ["17 * 24", " = 418\n"], ["\n<code>\nfinal_answer(408)\n</code>"]
        server._script = lambda request: answering(texts[min(request.number, 1)])
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(BLOCKS[heading], heading, "exec"), {"__name__": "page"})
    said = shown.getvalue().strip()
    assert said.endswith("17 * 24 = 408") if heading == "OpenAI Agents" else said.endswith("verified")
