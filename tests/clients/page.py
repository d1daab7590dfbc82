"""The page about wrapping: its blocks of code, by the heading that they stand under, and a server for them."""

import json
import os
import re
from pathlib import Path

from interwhen.testing._server_script import delta
from interwhen.testing.server import events, reply
from responses_writer import Writer
from tests.forked_scripts import run_script

PAGE = Path(__file__).parents[2] / "docs" / "wrap.md"


def blocks(heading, language="python"):
    [section] = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def everything(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def mistaken(request):
    texts = ["17 * 24", " = 418\n"] if request.number == 0 else ["\n"]
    api = request.path.removeprefix("/v1/")
    if api == "responses":
        writer = Writer(f"resp_{request.number}").text(*texts)
        return writer.steps() if request.json.get("stream") else whole(writer.response("completed"))
    if request.json.get("stream"):
        return events(texts, api="chat" if api == "chat/completions" else "completions")
    text = "".join(texts)
    said = {"message": {"role": "assistant", "content": text}} if api == "chat/completions" else {"text": text}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, **said}
    return whole({"id": "x", "object": "answer", "created": 0, "model": "m", "choices": [choice]})


def whole(body):
    return reply(200, json.dumps(body).encode())


def thinking(request):
    texts = ["17 * 24", " = 418\n"] if request.number == 0 else ["\n"]
    return (*[delta({"reasoning_content": text}) for text in texts], *events(["So it is."], api="chat"))


def run(script, folder, url=""):
    path = folder / "page.py"
    path.write_text(script)
    environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    done = run_script(path, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
