"""``interwhen precompute add|run|status|why|evict``, and a worker that is killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from interwhen.cli import _flags
from interwhen.precompute import open_store
from interwhen.precompute._contexts import read_context, spending
from interwhen_launcher.__main__ import main
from tests.precompute.prepared import QUESTION, named, prepare
from tests.precompute.toys import Sums, ToyModel, watcher

# Long paragraphs, so that each is a piece.
TEXT = "\n\n".join(f"{'some words and ' * 90}the number {3 * at}" for at in range(8))
ROOT = Path(__file__).parents[2]


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["precompute", *map(str, arguments)])
    return caught.value.code


@pytest.fixture
def producer(monkeypatch):
    made = Sums()
    monkeypatch.setattr("interwhen.cli._precompute.load_producers", lambda _names: (made,))
    monkeypatch.setattr("interwhen.precompute._precomputer.load_producers", lambda _names: (made,))
    monkeypatch.setattr(_flags, "load_model", lambda *_args, **_options: ToyModel())
    monkeypatch.setattr("interwhen.precompute._judge.load_monitors", lambda specs: [watcher() for _ in specs])
    return made


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    return path


def test_context_lifecycle_works_on_command_line(producer, book, capsys):
    assert run("status") == 0
    assert "no contexts" in capsys.readouterr().out
    assert run("add", "book", book) == 0
    assert capsys.readouterr().out == "book: 8 pieces, generation 1\n"
    assert run("status") == 0
    assert run("run", "-m", "toy", "--slices", 3) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("3 steps, ")
    assert run("run", "-m", "toy") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("5 steps, ")
    assert run("status") == 0
    row = " ".join(capsys.readouterr().out.split()).partition("steps ")[2]
    name, generation, pieces, served, _tokens, wasted, accepted = row.split()[:7]
    assert (name, generation, pieces, wasted) == ("book", "1", "8", "0")
    assert served == accepted
    assert sum(int(word) for word in row.split()[6:] if word.isdigit()) == 8
    assert run("status", "book") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    step = next(line.split()[0] for line in lines if " accepted " in line)
    assert run("why", "book", step) == 0
    said = capsys.readouterr().out
    assert f"{step}: accepted\nit may be served\n" in said
    assert "as it was" in said
    assert "judged: 1 checks passed (sums 1)" in said
    assert run("evict", "book", step) == 0
    assert capsys.readouterr().out == "1 items deleted, generation 2\n"
    assert run("why", "book", step) == 0
    assert capsys.readouterr().out == f"{step}: due\n"
    producer.made.clear()
    assert run("run", "-m", "toy") == 0
    assert len(producer.made) == 1
    assert run("evict", "book", "--all") == 0
    assert " 8 items deleted" in f" {capsys.readouterr().out.splitlines()[-1]}"


def test_pieces_are_counted_before_any_work(book, capsys):
    assert run("add", "book", book) == 0
    assert run("status") == 0
    assert "steps book 1 8 0 " in " ".join(capsys.readouterr().out.split())


def test_an_edit_is_explained_by_what_has_changed(producer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for at, text in enumerate(["number 5", "number 9"]):
        (tmp_path / f"{at}.txt").write_text(text)
    files = (tmp_path / "0.txt", tmp_path / "1.txt")
    assert run("add", "book", *files, "--kind", "answers") == 0
    assert run("run", "-m", "toy") == 0
    files[0].write_text("number 6")
    assert run("add", "book", *files, "--kind", "answers") == 0
    capsys.readouterr()
    assert run("why", "book", "sum/0.txt") == 0
    out = capsys.readouterr().out
    assert "sums::sum/0.txt: due\nit is not served" in out
    assert "read piece '0.txt': CHANGED" in out
    assert run("why", "book", "sum/1.txt") == 0
    assert "read piece '1.txt': as it was" in capsys.readouterr().out


def test_a_small_size_gives_small_pieces(producer, book, capsys):
    Path("long.txt").write_text("It rains today. " * 40)
    assert run("add", "rain", "long.txt", "--size", 100) == 0
    assert "rain: 7 pieces" in capsys.readouterr().out
    assert run("add", "rain", "long.txt", "--size", 8) == 2
    assert "the size of a piece must be at least 16 characters" in capsys.readouterr().err


def test_a_budget_ends_the_work(producer, book, capsys):
    run("add", "book", book)
    assert run("run", "-m", "toy", "--token-budget", 3) == 0
    assert len(producer.made) < 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "book", "no file"), "'no file' must be a readable text file"),
        (("add", "book", "book.txt", "other/book.txt"), "must have its own name, got 'book.txt' twice"),
        (("add", "\udcff", "book.txt"), "the name of a context or piece must be a text that is not empty"),
        (("add", "", "book.txt"), "the name of a context or piece must be a text that is not empty"),
        (("ask", "book", " "), "the question must not be blank, got ' '"),
        (("run", "-m", "toy", "--slices", "0"), "--slices must be a whole number of at least 1 or None, got 0"),
        (("status", "never"), "context 'never' must be in the store"),
        (("run", "never", "-m", "toy"), "context 'never' must be in the store"),
        (("why", "book", "nothing"), "must name one step of context 'book', got 0 steps"),
        (("evict", "book"), "name steps, or give --all"),
        (("add", "book", "book.txt", "--store", "book.txt"), "must be a store or not exist"),
        (("status", "--key-file", "no file"), "'no file' must be a readable text file"),
        (("status", "--key-file", "empty"), "must have at least 16 bytes, got 0"),
    ],
)
def test_errors_are_one_line_with_exit_code(arguments, said, producer, book, capsys):
    run("add", "book", book)
    run("run", "-m", "toy", "--slices", 1)
    capsys.readouterr()
    Path("empty").write_text("")
    Path("other").mkdir()
    Path("other/book.txt").write_text(TEXT)
    code = run(*arguments)
    out, err = capsys.readouterr()
    assert code in (2, 5)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert out == ""


def test_a_question_is_asked_with_what_was_prepared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_flags, "load_model", lambda *_args, **_options: named("m"))
    anyio.run(prepare, "interwhen-precompute.db")
    assert run("ask", "wages", QUESTION, "--plain") == 3  # nothing watches this run
    out = capsys.readouterr().out
    assert "prepared items used" in out
    with pytest.raises(SystemExit) as caught:
        main(["run", QUESTION, "--context", "wages", "--json"])
    assert caught.value.code == 3
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["result"]["precomputed"]


def test_removed_options_name_what_to_do_instead(capsys):
    for arguments, hint in (
        (("add", "book", "book.txt", "--passes", 2), "leave it out"),
        (("measure", "contexts", "--data", "asked.jsonl"), "write interwhen precompute measure prefixes"),
    ):
        assert run(*arguments) == 2
        assert f"was removed: {hint}" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "used"), [((), "none"), (("--passages", "4000"), "passages")])
def test_run_reports_used_passages(options, used, producer, book, capsys):
    run("add", "book", book)
    with pytest.raises(SystemExit):
        main(["run", "words 3 4 and the number 6", "--context", "book", "--json", *options])
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["result"]["context"]["used"] == used


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--passages", "400"), "must be used with --context, and it is missing"),
        (("--context", "book", "--passages", "-1"), "--passages must be a whole number of at least 0, got -1"),
        (("--context", "never"), "context 'never' must be in the store"),
        (("--context", "never", "--store", "elsewhere.db"), "must exist, got no file 'elsewhere.db'"),
        (("--store", "elsewhere.db"), "must be used with --context, and it is missing"),
    ],
)
def test_unavailable_context_ends_run_with_one_line(options, said, producer, book, capsys):
    run("add", "book", book)
    with pytest.raises(SystemExit) as caught:
        main(["run", "add 3 4", *options])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_shared_store_is_sealed_with_a_key(way, producer, book, monkeypatch, capsys):
    key = "0123456789abcdef, and more"
    Path("key").write_text(f"{key}\n")
    options = ("--key-file", "key") if way == "file" else ()
    if way == "environment":
        monkeypatch.setenv("INTERWHEN_STORE_KEY", key)
    assert run("add", "book", book, *options) == 0
    assert run("run", "-m", "toy", "--slices", 1, *options) == 0
    assert run("status", "book", *options) == 0
    assert "accepted" in capsys.readouterr().out
    with closing(open_store("interwhen-precompute.db", key=key)) as store:
        [kept] = store.items()
    # The same file without the key, with the empty one, and with another one.
    for value in (None, ""):
        monkeypatch.delenv("INTERWHEN_STORE_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("INTERWHEN_STORE_KEY", value)
        assert run("status") == 5
        assert "sealed with a key: open the store with it (key=, --key-file" in capsys.readouterr().err
    monkeypatch.setenv("INTERWHEN_STORE_KEY", "another key, long enough")
    assert run("status") == 0
    out = capsys.readouterr().out
    assert "no contexts" in out
    assert "the last one because it is not sealed with the key of this store" in out
    # The file is stronger than the environment, and what another key could not read is there.
    assert run("why", "book", producer.made[0], "--key-file", "key") == 0
    assert kept.id in capsys.readouterr().out


def test_store_key_is_refused_as_argument(book, capsys):
    assert run("status", "--key", "0123456789abcdef") == 2
    assert "0123456789abcdef" not in capsys.readouterr().out


def test_model_text_cannot_control_the_terminal(producer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.precompute.toys.answer", lambda *_: "\x1b[2J1+1=2")
    (tmp_path / "a.txt").write_text("\x1b[31mnumber 5\n")
    assert run("add", "b\x1book", tmp_path / "a.txt") == 0
    assert run("run", "-m", "toy") == 0
    assert run("status", "b\x1book") == 0
    [step] = producer.made
    assert run("why", "b\x1book", step) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2J1+1=2" in out


WORKER = """
import sys, anyio
from interwhen.precompute import open_store
from tests.precompute.prepared import QUESTION, named, prepare
from tests.precompute.toys import ToyModel, numbers, precomputer

async def main():
    pre = precomputer(open_store(sys.argv[1]), model=ToyModel(delay=0.02))
    await pre.add("book", numbers(60))
    async with pre.idle():
        while True:
            await anyio.sleep(0.01)
            print(len(pre.contexts["book"].current.items), flush=True)

anyio.run(main)
"""


@pytest.mark.fault(
    "P6",
    injected="SIGKILL of an idle worker",
    happens="the next one makes what is missing, and makes nothing twice except the interrupted step",
)
def test_killed_worker_can_continue(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    paths = [str(ROOT), str(ROOT / "tests" / "engine" / "support"), os.environ.get("PYTHONPATH", "")]
    place = tmp_path / "store.db"
    kept = 0
    for turn in range(2):
        process = subprocess.Popen(
            [sys.executable, str(script), str(place)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        try:
            while int(process.stdout.readline()) < kept + 5:
                pass
            time.sleep(0.013 * turn)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        store = open_store(place)
        items = list(store.items())
        before, kept = kept, len(items)
        assert kept >= before + 5
        asked = sum(item.cost.requests for item in items)
        assert asked <= spending(store, "book").cost.requests <= asked + turn + 1
        assert read_context(store, "book")[0] == 1
        assert store.quarantined() == ()
        store.close()
