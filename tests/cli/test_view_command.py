"""``interwhen view``: the page in a file, the terminal, JSON, and the command that serves."""

import html
import json
import os
import re
import subprocess
import sys
from urllib.parse import unquote

import httpx2
import pytest
from interwhen.view._runs import run_id
from interwhen_launcher.__main__ import main
from tests.view.recorded import PLAIN, REPAIRED, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "repaired.journal", REPAIRED)
    record(folder / "plain.journal", PLAIN)
    return folder


def view(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["view", *map(str, arguments)])
    return caught.value.code


def test_html_option_writes_the_page(folder, tmp_path, capsys):
    out = tmp_path / "runs.html"
    assert view(folder, "--html", out) == 0
    assert "2 runs" in capsys.readouterr().err
    page = out.read_text()
    assert len(re.findall('<script type="application/json" id="run-', page)) == 2
    assert view(folder, "--html", out, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert view(folder, "--html", tmp_path / "missing" / "x.html") == 2
    assert "--html must be a file that can be written" in capsys.readouterr().err


def test_plain_and_json_options_print_runs(folder, capsys):
    assert view(folder, "--plain") == 0
    out = capsys.readouterr().out
    assert "steps verified" in out
    assert "violations" in out
    assert view(folder / "repaired.journal", "--plain") == 0
    assert "«2788»" in capsys.readouterr().out
    assert view(folder, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(row.get("violations", 0) for row in rows) == [0, 1]


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_invalid_port_is_refused(port, folder, capsys):
    assert view(folder, f"--port={port}") == 2
    assert f"--port must be a whole number from 0 to 65535, got {port}" in capsys.readouterr().err


def test_the_page_does_not_overwrite_a_journal(folder, tmp_path, capsys):
    path = tmp_path / "a.journal"
    data = (folder / "plain.journal").read_bytes()
    path.write_bytes(data)
    assert view(tmp_path, "--html", path) == 2
    assert "--html must not be one of the journals" in capsys.readouterr().err
    assert path.read_bytes() == data


def test_a_port_without_a_server_is_refused(folder, tmp_path, capsys):
    assert view(folder, "--html", tmp_path / "x.html", "--port", "8000") == 2
    assert "--port must be used without --html, --plain and --json" in capsys.readouterr().err


def test_names_that_are_not_utf_8_are_escaped(folder, tmp_path, capsys):
    path = tmp_path / os.fsdecode(b"a\xff.journal")
    path.write_bytes((folder / "plain.journal").read_bytes())
    assert view(tmp_path, "--json") == 0
    [row] = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["path"] == str(path)
    out = tmp_path / "runs.html"
    assert view(tmp_path, "--html", out) == 0
    assert r"a\udcff.journal" in out.read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_named_pipe_in_folder_is_skipped(folder, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.journal").write_bytes((folder / "plain.journal").read_bytes())
    assert view(tmp_path, "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_output_formats_exclude_each_other(folder, tmp_path, capsys):
    out = tmp_path / "x.html"
    for options in (["--html", out, "--json"], ["--html", out, "--plain"], ["--html", out, "--plain", "--json"]):
        assert view(folder / "repaired.journal", *options) == 2
        assert "--html must be used without --plain and --json" in capsys.readouterr().err
    assert not out.exists()


def test_unreadable_journal_is_reported(tmp_path, capsys):
    path = tmp_path / "a.journal"
    path.write_text("no journal")
    assert view(path, "--html", tmp_path / "x.html") == 2
    assert "there must be at least one readable journal" in capsys.readouterr().err
    assert view(path, "--json") == 0
    assert "must begin with" in json.loads(capsys.readouterr().out)["error"]
    assert view(tmp_path / "missing") == 2


def test_view_serves_under_secret_path_until_stopped(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", "from interwhen_launcher.__main__ import main; main()", "view", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", line)[0]
        assert "interwhen view" in httpx2.get(address, timeout=60).text
        assert len(httpx2.get(f"{address}runs", timeout=60).json()["runs"]) == 2
        assert httpx2.get(re.sub(r"/[\w-]{20,}/", "/runs", address), timeout=60).status_code == 404
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def test_recheck_monitors_are_shown_side_by_side(folder, tmp_path, capsys):
    out = tmp_path / "run.html"
    one, two = "arithmetic", "regex:patterns=sells"
    run = run_id(folder / "repaired.journal")
    for monitors, halves in (([one], [run, f"{run}@{one}"]), ([one, two], [f"{run}@{one}", f"{run}@{two}"])):
        options = [part for monitor in monitors for part in ("--recheck", monitor)]
        assert view(folder / "repaired.journal", *options, "--html", out) == 0
        page = out.read_text()
        config = json.loads(re.search(r'id="config">(.*?)</script>', page)[1])
        assert [unquote(part) for part in config["start"].split("/")[2:]] == halves
        assert all(f'id="run-{html.escape(half)}"' in page for half in halves)
    capsys.readouterr()
    for wrong in (
        [folder, "--recheck", one, "--html", out],
        [folder / "repaired.journal", "--recheck", one, "--json"],
        [folder / "repaired.journal", *["--recheck", one] * 3, "--html", out],
        [folder / "repaired.journal", "--recheck", "no_such_monitor"],
    ):
        assert view(*wrong) == 2
