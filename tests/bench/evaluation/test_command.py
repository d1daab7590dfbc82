"""The command: a run that is killed again and again ends with the same rows as an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from interwhen import UsageError
from interwhen.bench.evaluation._command import describe, evaluate
from interwhen.bench.evaluation._evaluation import Progress
from interwhen.bench.evaluation._results import read_rows, summarize
from interwhen.testing.server import Sleep

from .support import asked, doubling, serving, written

START = "import sys; from interwhen_launcher.__main__ import main; main(sys.argv[1:])"


def command(folder, url, out, *more):
    prompts = str(folder / "prompts.jsonl")
    options = ["--task", prompts, "--endpoint", url, "--model", "m", "--out", str(folder / out)]
    return ["eval", *options, "--shard-size", "20", "--concurrency", "2", "--max-concurrency", "2", "--quiet", *more]


def kept(folder, out):
    return {row.row: (row.text, row.status, row.grade) for row in read_rows(folder / out)}


def test_killed_evaluation_loses_and_repeats_no_row(tmp_path):
    written(tmp_path, 50)
    held = 0

    def script(request):
        """Answer no prompt from number *held* on, so that no process ends before it is killed."""
        while asked(request) >= held:
            yield Sleep(0.02)
        yield from doubling(request, 0.02)

    with serving(script) as url:
        for rows, held in ((3, 20), (25, 40)):  # noqa: B007  the script reads it
            process = subprocess.Popen([sys.executable, "-c", START, *command(tmp_path, url, "killed")])
            while sum(1 for _ in (tmp_path / "killed").glob("shard-*")) == 0 or len(kept(tmp_path, "killed")) < rows:
                assert process.poll() is None, "the command ended by itself"
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        held = 50
        last = subprocess.run(
            [sys.executable, "-c", START, *command(tmp_path, url, "killed", "--json")],
            check=False,
            capture_output=True,
            text=True,
        )
    assert last.returncode == 0, last.stderr
    said = json.loads(last.stdout)
    assert said["summary"]["rows"] == 50
    numbers = [row.row for row in read_rows(tmp_path / "killed")]
    assert sorted(numbers) == list(range(50))
    with serving() as url:
        code = evaluate(task=str(tmp_path / "prompts.jsonl"), endpoint=(url,), model="m", out=tmp_path / "whole")
    assert code == 0
    assert kept(tmp_path, "killed") == kept(tmp_path, "whole")
    assert summarize(tmp_path / "whole").tokens_again == 0


def test_summary_reports_remaining_rows(tmp_path, capsys):
    written(tmp_path, 20)
    with serving() as url:
        code = evaluate(
            task=str(tmp_path / "prompts.jsonl"),
            endpoint=(url,),
            model="m",
            out=tmp_path / "out",
            budget_tokens=20,
            concurrency=1,
            price_tokens=1e6,
        )
    said = capsys.readouterr().out
    assert code == 3
    assert "--budget-tokens" in said
    assert "cost" in said
    assert "20 of 20" not in said


def test_wrong_options_are_refused(tmp_path):
    written(tmp_path, 1)
    task = str(tmp_path / "prompts.jsonl")
    with pytest.raises(UsageError, match="--tries must be a whole number of at least 1"):
        evaluate(task=task, endpoint=("http://a/v1",), model="m", out=tmp_path / "out", tries=0)


def test_progress_counts_running_and_failed_rows():
    progress = Progress(known=5000, before=1000, rows=1000, running=7, tokens=5000, left=[3])
    assert describe(progress) == "7 running, 5,000 tokens, 1 rows failed"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"patience": float("nan")}, "--patience must be a number above 0"),
        ({"patience": -1.0}, "--patience must be a number above 0"),
        ({"budget_tokens": 0}, "--budget-tokens must be a whole number of at least 1"),
        ({"max_concurrency": 0}, "--max-concurrency must be a whole number of at least 1"),
        ({"price_tokens": -1.0}, "--price-tokens must be a number of at least 0"),
    ],
    ids=str,
)
def test_invalid_number_is_refused(tmp_path, option, message):
    written(tmp_path, 1)
    with pytest.raises(UsageError, match=message):
        evaluate(
            task=str(tmp_path / "prompts.jsonl"), endpoint=("http://a",), model="m", out=tmp_path / "out", **option
        )
