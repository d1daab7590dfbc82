"""An evaluation finishes each row once, moves only the rows whose server fails, and stops when its budget is spent."""

import errno
import itertools
import os
import resource
from dataclasses import replace

import anyio
import pytest
from interwhen import UsageError
from interwhen.bench.evaluation._results import read_rows, summarize
from interwhen.models import Retries
from interwhen.registry import load_monitors
from interwhen.testing._server_script import chunk, data
from interwhen.testing.server import Disconnect, Head, Send, Sleep, events
from tests.virtual_clock import virtual_backend

from .support import asked, doubling, evaluation, refusing, written


def run(folder, scripts, **options):
    async def main():
        async with evaluation(folder, scripts, **options) as made:
            return made, await made.run()

    return anyio.run(main)


def test_every_row_gets_one_graded_result(tmp_path):
    written(tmp_path, 35)
    made, progress = run(tmp_path, [doubling, doubling], monitors=["arithmetic"])
    rows = sorted(read_rows(tmp_path / "out"), key=lambda row: row.row)
    assert [row.row for row in rows] == list(range(35))
    assert all(row.grade == "right" and row.text.endswith(f"Answer: {2 * row.row}") and row.tokens > 0 for row in rows)
    assert {row.status for row in rows} == {"unverified", "verified"} or {row.status for row in rows} == {"verified"}
    assert {row.endpoint for row in rows} == {one.url for one in made.fleet.endpoints}
    assert progress.rows == 35
    assert progress.affinity == 1.0
    assert not any(one.busy for one in made.fleet.endpoints)
    assert len(list((tmp_path / "out").glob("shard-*.jsonl"))) == 4


def test_repeated_command_sends_no_requests(tmp_path):
    written(tmp_path, 12)
    run(tmp_path, [doubling])
    before = sorted(row.row for row in read_rows(tmp_path / "out"))

    def never(request):
        raise AssertionError

    _, progress = run(tmp_path, [never])
    assert (progress.before, progress.rows) == (12, 0)
    assert sorted(row.row for row in read_rows(tmp_path / "out")) == before


def test_rows_of_failing_server_move_to_others(tmp_path):
    written(tmp_path, 40)
    count = itertools.count()

    def dying(request):
        if next(count) < 3:
            return doubling(request)
        return [Head(), Send(data(chunk("chat", "2 *"))), Disconnect()]

    made, progress = run(tmp_path, [dying, doubling])
    rows = list(read_rows(tmp_path / "out"))
    assert sorted(row.row for row in rows) == list(range(40))
    assert {row.grade for row in rows} == {"right"}
    dead, alive = made.fleet.endpoints
    assert dead.failures >= 1
    assert alive.runs > dead.runs
    assert progress.moved >= 1
    assert progress.tokens_again >= 1
    summary = summarize(tmp_path / "out")
    assert summary.tokens_again == progress.tokens_again
    assert summary.tokens == sum(row.tokens for row in rows)


def test_refusing_server_gets_fewer_runs_without_loss(tmp_path):
    written(tmp_path, 30)
    running = 0

    def narrow(request):
        nonlocal running
        if running >= 2:
            return refusing(429, **{"retry-after": "0"})(request)
        running += 1

        def steps():
            nonlocal running
            try:
                yield from doubling(request, 0.005)
            finally:
                running -= 1

        return steps()

    made, progress = run(tmp_path, [narrow], limit=8)
    assert sorted(row.row for row in read_rows(tmp_path / "out")) == list(range(30))
    (server,) = made.fleet.endpoints
    assert server.refusals > 0
    assert server.limit < 8
    assert server.failures == 0
    assert not progress.left


def test_invalid_request_fails_only_its_row(tmp_path):
    written(tmp_path, 6)

    def picky(request):
        return refusing(400)(request) if asked(request) == 3 else doubling(request)

    _, progress = run(tmp_path, [picky])
    rows = {row.row: row for row in read_rows(tmp_path / "out")}
    assert rows[3].status == "failed"
    assert "400" in rows[3].why
    assert len(rows) == 6
    assert not progress.left


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_key_or_url_ends_evaluation_without_results(tmp_path, status):
    written(tmp_path, 6)
    with pytest.raises(UsageError, match=f"(?s)must be right for http://server0/v1.*{status}"):
        run(tmp_path, [refusing(status)])
    assert list(read_rows(tmp_path / "out")) == []
    _, progress = run(tmp_path, [doubling])
    assert progress.rows == 6


def test_html_instead_of_answer_is_a_server_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("interwhen.bench.evaluation._fleet._RETRIES", Retries(base=0.001, cap=0.001))
    written(tmp_path, 3)
    page = [Head(headers={"content-type": "text/html"}), Send(b"<html>"), Disconnect()]
    _, progress = run(tmp_path, [lambda request: page], tries=2)
    assert sorted(progress.left) == [0, 1, 2]
    assert list(read_rows(tmp_path / "out")) == []


@pytest.mark.parametrize("room", [1500, 1600, 1700])
def test_evaluation_resumes_after_a_full_disk(tmp_path, room):
    written(tmp_path, 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # takes a part of a write, as a full disk does
    try:
        with pytest.raises(UsageError, match="make room"):
            run(tmp_path, [doubling], shard_size=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    saved = [row.row for row in read_rows(tmp_path / "out")]
    assert saved
    _, progress = run(tmp_path, [doubling], shard_size=100)
    assert progress.before == len(saved)
    assert sorted(row.row for row in read_rows(tmp_path / "out")) == list(range(20))


@pytest.mark.parametrize("waits", [0.0, 10.0], ids=["at the end", "meanwhile"])
def test_failed_disk_sync_ends_the_evaluation(tmp_path, monkeypatch, waits):
    written(tmp_path, 4)

    def broken(file):
        raise OSError(errno.EIO, "Input/output error")

    def slow(request):
        return doubling(request, waits) if asked(request) == 3 else doubling(request)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(UsageError, match=r"--out must be a folder that can be written.*Input/output error"):
            run(tmp_path, [slow])
    assert [row.row for row in read_rows(tmp_path / "out")][:3] == [0, 1, 2]
    _, progress = run(tmp_path, [doubling])  # no file is left locked
    assert progress.before + progress.rows == 4


def test_repeatedly_failing_row_waits_for_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr("interwhen.bench.evaluation._fleet._RETRIES", Retries(base=0.001, cap=0.001))
    written(tmp_path, 6)

    def broken(request):
        return [Head(), Disconnect()] if asked(request) == 2 else doubling(request)

    _, progress = run(tmp_path, [broken], tries=2)
    assert progress.left == [2]
    assert sorted(row.row for row in read_rows(tmp_path / "out")) == [0, 1, 3, 4, 5]
    _, progress = run(tmp_path, [doubling])
    assert (progress.before, progress.rows) == (5, 1)


def test_spent_token_budget_starts_no_rows(tmp_path):
    written(tmp_path, 50)
    _, progress = run(tmp_path, [doubling], budget_tokens=30, limit=1)
    assert progress.is_budget_spent
    assert 0 < progress.rows < 50
    assert progress.tokens < 60


def test_exactly_spent_budget_leaves_no_row(tmp_path):
    written(tmp_path, 3)
    _, progress = run(tmp_path, [doubling], budget_tokens=9, limit=3)
    assert (progress.rows, progress.is_budget_spent) == (3, False)
    _, progress = run(tmp_path, [doubling], budget_tokens=9)
    assert (progress.before, progress.rows, progress.is_budget_spent) == (3, 0, False)


def test_failing_servers_end_evaluation_and_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("interwhen.bench.evaluation._fleet._RETRIES", Retries(base=0.01, cap=0.01))
    written(tmp_path, 3)
    with pytest.raises(UsageError, match="http://server0/v1"):
        run(tmp_path, [lambda request: [Disconnect()]], patience=0.05, tries=100)


def test_missing_monitor_ends_the_evaluation(tmp_path):
    written(tmp_path, 3)

    async def main():
        async with evaluation(tmp_path, [doubling]) as made:
            made.monitors = lambda more: (_ for _ in ()).throw(UsageError("no such monitor"))
            await made.run()

    with pytest.raises(UsageError, match="no such monitor"):
        anyio.run(main)


def test_first_token_time_ignores_gating(tmp_path):
    written(tmp_path, 1)

    def slow(request):
        first = events(["2 * 0 ="], api="chat", finish_reason=None)[0]
        return [Head(), Sleep(1.0), first, Sleep(5.0), *events([" 0\n"], api="chat")]

    async def main():
        async with evaluation(tmp_path, [slow]) as made:
            made.monitors = lambda more: [replace(one, delivery="final") for one in load_monitors(["arithmetic"])]
            await made.run()

    backend, options = virtual_backend()
    anyio.run(main, backend=backend, backend_options=options)
    (row,) = read_rows(tmp_path / "out")
    assert row.first_token_seconds == pytest.approx(1.0)
    assert row.seconds == pytest.approx(6.0)


def test_answer_only_in_reasoning_is_not_right(tmp_path):
    written(tmp_path, 2)

    def thinking(request):
        number = asked(request)
        said = f"Answer: {2 * number}\n" if number else "I do not know.\n"
        return [Head(), *events([f"<think>\nAnswer: {2 * number}\n</think>\n", said], api="chat")]

    run(tmp_path, [thinking])
    assert {row.row: row.grade for row in read_rows(tmp_path / "out")} == {0: "wrong", 1: "right"}
