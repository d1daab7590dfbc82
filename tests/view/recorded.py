"""Journals for the tests of the page: runs of a scripted model with the real monitors."""

import json
import re
import subprocess
import sys

import httpx2
import interwhen
import pytest
from anyio.from_thread import start_blocking_portal
from interwhen.gateway import Config, make_app
from interwhen.journal._directory import JournalSettings
from interwhen.testing import ScriptedModel
from interwhen.testing.server import ScriptedServer, events
from tests.view.browser import serving

REPAIRED = [
    "Shop one sells 39 boxes of 28 screws.\n39 * 28 = 1092\nThen it buys 17 crates of 164.\n17 * 164 = 2818\n1092 + 2818 = 3910\n",
    "\nSo 1092 + 2788 = 3880\nThat is all.\n",
]
PLAIN = ["Shop one sells 39 boxes of 28 screws.\n39 * 28 = 1092\nThat is all.\n"]

PROMPT = "Shop one sells 39 boxes of 28 screws, and buys 17 crates of 164. How many screws?"


def record(path, replies, monitors=("arithmetic",), *, size=4, **options):
    replies = list(replies)
    model = ScriptedModel(replies, size=size)
    # With its numbers in the prompt, a wrong sum gets a repair.
    prompt = f"{PROMPT} {re.findall('[0-9]+', ''.join(replies))}"
    with interwhen.run_sync(model, prompt, monitors=list(monitors), journal=path, **options) as run:
        run.drain()
    return path


def long_replies(lines, every=50):
    reply = []
    for number in range(lines):
        a, b = 100 + number * 7 % 900, 100 + number * 13 % 900
        wrong = number % every == every - 1
        reply.append(
            f"Let me think about part {number} of the problem and keep track of all of it.\n{a} + {b} = {a + b + wrong}\n"
        )
        if wrong:
            yield "".join(reply)
            reply = ["\n"]
    yield "".join(reply) + "That is all.\n"


SUMS = [f"We come to sum {chr(64 + n)}. \U0001f600\n{10 + n} + {20 + n} = {31 + 2 * n}\n" for n in range(1, 7)]
"""Six lines of sums, each of them wrong by one."""


def record_call(folder):
    # The model behind the gateway writes SUMS, and continues each correction with the next of them.
    pytest.importorskip("uvloop", reason="uvloop is not installed")

    def answer(request):
        left = "".join(SUMS[request.kept.count("We come to sum") :])
        text = f"\n{left}That is all.\n" if request.kept else left
        return events([text[at : at + 4] for at in range(0, len(text), 4)], api="chat")

    server = ScriptedServer(answer)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        settings = {"monitors": ("arithmetic",), "journal": JournalSettings(path=str(folder))}
        app = make_app(Config(upstreams=(server.base_url,), **settings))
        # Leaving the block ends the gateway, which closes the journal.
        with serving(app, lifespan="on", loop="uvloop") as port:
            # With its numbers in the prompt, a wrong sum gets a repair.
            asked = {
                "model": "m",
                "messages": [{"role": "user", "content": f"Add {[*range(11, 17), *range(21, 27)]}."}],
            }
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            httpx2.post(url, json=asked, timeout=60).raise_for_status()
    [path] = folder.iterdir()
    return path


def tried(cases):
    code = f"from interwhen.cli._main import main; main(['verifiers', 'try', 'arithmetic', {str(cases)!r}, '--json'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["score"]


def trace_at(form, number):
    known, entry_number = dict(form.get("numbers", [])), 0
    cuts, trace, tape = [cut for cut in form.get("cuts", []) if cut["number"] <= number], [], 0
    for entry, chars in enumerate([*form["chars"], None]):
        entry_number = known.get(entry, entry_number + 1)
        is_last = chars is None or entry_number > number
        while cuts and (is_last or cuts[0]["number"] <= entry_number):
            del trace[cuts.pop(0)["to"] :]
        if is_last:
            return trace
        trace.extend(range(tape, tape + chars))
        tape += chars
    raise AssertionError


def place_of(form, check):
    start, end = check["span"]
    places = trace_at(form, check["number"])[start:end]
    return places[0], places[-1] + 1


def words_of(form, check):
    start, end = check["span"]
    tape = form["text"].encode("utf-16-le", "surrogatepass")
    units = (tape[2 * at : 2 * at + 2] for at in trace_at(form, check["number"])[start:end])
    return b"".join(units).decode("utf-16-le", "surrogatepass")
