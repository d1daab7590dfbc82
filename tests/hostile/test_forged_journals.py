"""A journal is data: whatever it names, no reader of it runs, asks or opens anything."""

import json
import os
import subprocess
import sys
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import interwhen
import msgspec
import pytest
from forged_journals import MONITORS, REFERENCE, running, written
from interwhen._run.run import SyncRun
from interwhen.cli._main import main
from interwhen.journal._files import frames
from interwhen.testing import ScriptedModel
from interwhen.testing.server import ScriptedServer, events
from interwhen.view._app import PageServer, gateway_pages, loopback_only
from interwhen.view._runs import RunFolder, run_id

COUNT = int(os.environ.get("FORGED_JOURNALS", "80"))
SEED = int(os.environ.get("FORGED_SEED", "36"))
KEY = "sk-a-planted-key"
SUPPORT = ("forged_readers", "forged_journals", "journals", "sums", "tests")
ROOT = Path(interwhen.__file__).parents[1]
CODE = "```c\nint main() {}\n```\n"


def record(path, text, prompt, monitor):
    with interwhen.run_sync(ScriptedModel([text]), prompt, monitors=[monitor], journal=path) as run:
        return run.drain()


def taken_apart(path):
    return [msgspec.msgpack.decode(frame.payload) for frame in frames(path.read_bytes(), str(path))]


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


# A header that names a command.


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "runs" / "run.journal"
    path.parent.mkdir()
    record(path, CODE, "Q", running("/dev/null"))
    trees = taken_apart(path)
    trees[0][MONITORS][0]["spec"] = running(tmp_path / "touched")
    path.write_bytes(written(trees))
    return path


def asked(app, path, route, body, prefix=""):
    async def post():
        transport = httpx2.ASGITransport(app, client=("127.0.0.1", 50000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as http:
            assert (await http.get(f"{prefix}/runs")).status_code == 200
            url = f"{prefix}/runs/{run_id(path)}/{route}"
            return await http.post(url, json=body, headers={"x-interwhen": "page"})

    answer = anyio.run(post)
    return answer.status_code, answer.text


def viewed(path, route, body):
    return asked(
        PageServer(RunFolder([path.parent]), loopback_only, verify=True, any_monitor=True).app(), path, route, body
    )


def gated(path, route, body):
    return asked(gateway_pages([str(path.parent)], "", lambda: False), path, route, body, "/ui")


def resumed(path):
    trees = taken_apart(path)
    path.write_bytes(written([tree for tree in trees if tree[0] != "ending"][:3]))
    with SyncRun(interwhen.resume(path, model=ScriptedModel([CODE]))) as going:
        going.drain()


BY_NAME = [{"monitor": "terms (command)"}, {"monitor": "terms"}]
WAYS = {
    "recheck": lambda path: run("recheck", path),
    "resume": resumed,
    "verify": lambda path: viewed(path, "verify", {"check": 0}),
    "another monitor": lambda path: [viewed(path, "recheck", name) for name in BY_NAME],
    "gateway verify": lambda path: gated(path, "verify", {"check": 0}),
    "gateway monitor": lambda path: [gated(path, "recheck", name) for name in BY_NAME],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_command_that_a_header_names_never_runs(way, path, tmp_path, capsys):
    try:
        told = WAYS[way](path)
    except interwhen.journal.JournalError as error:
        told = str(error)
    out, err = capsys.readouterr()
    assert not (tmp_path / "touched").exists()
    # What it is, not what it calls itself; and how to use it all the same.
    shown = f"{told} {out} {err}"
    assert "command" in shown
    assert "it needs your consent: write -m ... or --trust FILE" in shown


def test_with_consent_the_command_runs(path, tmp_path):
    run("recheck", path, "--trust")
    assert (tmp_path / "touched").exists()


def test_the_page_names_the_plugin(path):
    [row] = [RunFolder([path.parent]).row(path)]
    assert row.monitors == ("terms (command)",)
    [monitor] = json.loads(interwhen.journal.timeline(path).compact)["monitors"]
    assert monitor["name"] == "terms (command)"


# A header that names a server.


@pytest.mark.anyio
async def test_servers_named_in_journals_never_get_the_key(tmp_path, monkeypatch, capsys, real_time):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = tmp_path / "run.journal"
    await anyio.to_thread.run_sync(record, path, "2 + 2 = 4\n", "Q", "arithmetic")
    async with ScriptedServer(lambda _: events(["2 + 2 = 4\n"])) as server:
        trees = taken_apart(path)[:2]
        trees[0][REFERENCE] = {"spec": server.base_url, "name": "m", "api": "completions"}
        path.write_bytes(written(trees))
        code = await anyio.to_thread.run_sync(partial(run, "resume", path))
        assert not any(KEY in str(request.headers) for request in server.requests)
        assert code == 2
        err = capsys.readouterr().err
        assert "give the model with --base-url and --model" in err
        assert server.base_url in err
        assert server.requests == []
        assert await anyio.to_thread.run_sync(partial(run, "resume", path, "--trust")) == 0
        assert server.posts
        assert not any(KEY in str(request.headers) for request in server.requests)


# 80 forged journals, and each reader.


def read_all(folder, planted):
    log = planted / "audit.log"
    hook = Path(__file__).with_name("forged_hook")
    allowed = (sys.prefix, sys.base_prefix, ROOT, Path(os.__file__).parent, folder, "/proc", "/sys", "/dev", log)
    modules = (*packages_distributions(), "interwhen", "interwhen_verifiers", "sitecustomize", *SUPPORT)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (hook, Path(__file__).parent, planted, *sys.path))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUDIT_LOG": str(log),
        "AUDIT_ALLOWED": os.pathsep.join(map(str, allowed)),
        "AUDIT_FOLDER": str(folder),
        "AUDIT_MODULES": ",".join(modules),
        "OPENAI_API_KEY": KEY,
    }
    # Not as a script: worker processes would import it again.
    begin = f"import forged_readers as f; f.read_all({str(folder)!r}, {str(planted)!r}, {COUNT}, {SEED})"
    done = subprocess.run([sys.executable, "-c", begin], env=environment, cwd=planted, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def planted(tmp_path):
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "planted_module.py").write_text("def factory(): pass\n")
    for name in ("schema.json", "policy.toml", "model.gguf", "journal"):
        (planted / name).write_text("{}")
    return planted


@pytest.mark.timeout(600)
@pytest.mark.fault("H1", injected="80 forged journals, read in every way", happens="nothing that they name is used")
def test_forged_journals_run_ask_and_open_nothing(tmp_path, planted):
    outcomes = read_all(tmp_path / "forged", planted)
    assert not outcomes["wrong"], "\n\n".join((*outcomes["wrong"][:20], f"{len(outcomes['wrong'])} findings"))
    assert outcomes["read"] >= COUNT * 15
    assert outcomes["memory"] < 2_000_000  # KiB
    assert not (planted / "touched").exists()


# 20 honest journals.

SWAPS = (
    "At the start of the game, they each hold a ball: Alice has a red ball, Bob has a blue ball, and Claire has a pink "
    "ball. First, Alice and Bob swap balls. Then, Bob and Claire swap balls. At the end of the game, Claire has the\n"
    "Options:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
)
MAZE = (
    "# is a wall, S the start, E the exit, X marks the path.\n\n#######\n#E#XXS#\n#X#X# #\n#XXX# #\n##### #\n#     #\n"
    "#######\n\nHow many right turns are there in the provided path from S to E? Available options:\nA. 3\nB. 5\nC. 2"
)
HOUSES = """There are 2 houses, numbered 1 to 2 from left to right. Each house has a unique attribute:
 - Each person has a unique name: `Eric`, `Peter`
 - The people keep unique animals: `cat`, `dog`

## Clues:
1. Eric is in the first house.
2. Eric has the cat.
"""
PERSON = {"name": "json_schema", "schema": {"type": "object", "required": ["name"]}}
HONEST = [
    ("arithmetic", "Compute.", "17 * 3 = 51\nso 51 + 9 = 60\n"),
    ("arithmetic:rounding=exact", "Compute.", "2 / 4 = 0.5\n"),
    ("arithmetic:delivery=gate", "Compute.", "12 - 5 = 7\n"),
    ("terms:terms=maine", "Say it.", "The state of Oregon.\n"),
    ({"name": "terms", "terms": ["foo"], "label": "words"}, "Say it.", "Nothing of it.\n"),
    ({"name": "regex", "patterns": [r"\d{3}-\d{4}"]}, "Say it.", "No number here.\n"),
    ({"name": "regex", "patterns": ["secret", "password"]}, "Say it.", "All is open.\n"),
    (PERSON, "As JSON.", '```json\n{"name": "Eric"}\n```\n'),
    (PERSON, "As JSON.", '{"name": "Peter", "age": 3}'),
    ("logic", SWAPS, "Alice and Bob swap: Alice: blue, Bob: red, Claire: pink.\nSo the answer is (A)\n"),
    ("logic", "Sort the following words alphabetically: List: fig apple", "The answer is apple fig\n"),
    ("maze", MAZE, "S is at (1,5)\nStep 1: Move LEFT from (1,5) to (1,4)\nAnswer: C\n"),
    ("maze", MAZE, "Answer: C\n"),
    ("zebralogic", HOUSES, "House 1: Eric, cat\nHouse 2: Peter, dog\n"),
]


@pytest.mark.parametrize("number", range(20))
def test_honest_journals_are_rechecked_without_a_question(number, tmp_path, capsys):
    monitor, prompt, text = HONEST[number % len(HONEST)]
    if number >= len(HONEST):
        text += "That is all.\n" if not text.endswith("}") else " "
    if monitor == "zebralogic":
        pytest.importorskip("z3", reason="the extra 'z3' is not installed")
    path = tmp_path / "run.journal"
    recorded = record(path, text, prompt, monitor)
    code = run("recheck", path, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows, recorded
    assert [row["why"] for row in rows] == [""] * len(rows)
    assert len(rows) == sum(type(check.outcome.verdict) is interwhen.Pass for check in recorded.checks)
    assert code == 0
