"""Ledgers are what endpoints count: the comparison itself, its teeth, and a sample of its runs."""

from __future__ import annotations

import msgspec
import pytest
from interwhen import UsageError
from interwhen.results import Ledger
from tests.benchmarks import ledger as _ledger
from tests.benchmarks import ledger_endpoint as _ledger_endpoint
from tests.benchmarks.ledger import command, counters, habits_of, ledger, play
from tests.benchmarks.soak_server import prompt_of


def test_no_counter_of_sixty_runs_differs():
    report = ledger(runs=60)
    assert report.observations == ()
    assert report.passed
    assert report.warnings == ()  # forks, rewinds, reconnects and every fault have happened
    assert report.value("runs", "counted") == 60


@pytest.mark.slow
def test_no_counter_of_a_thousand_runs_differs():
    assert ledger(runs=1000, seed=1000).observations == ()


def test_no_counter_of_sixty_calls_by_strategies_differs():
    report = ledger(runs=60, strategies="all")
    assert report.observations == ()
    assert report.passed
    assert report.value("runs", "counted") > 50
    assert report.value("prompt tokens of main streams", "counted") > 0


@pytest.mark.slow
def test_no_counter_of_calls_by_strategies_differs():
    assert ledger(runs=260, seed=1000, strategies="all").observations == ()


def test_simulated_run_is_deterministic():
    assert [play(seed).result.ledger for seed in range(5)] == [play(seed).result.ledger for seed in range(5)]


def test_replayed_journal_has_the_same_ledger():
    from interwhen import replay
    from interwhen.journal import Journal
    from tests.simulation.play import Disk, LoopClerk

    for seed in range(40):
        disk = Disk()
        journal = Journal("it", store=disk, clerk=lambda disk=disk: LoopClerk(disk, 0.0, lambda: None))
        ledger_of_the_run = play(seed, journal=journal).result.ledger
        again = replay(journal)
        assert again.differences == ()
        assert again.result.ledger == ledger_of_the_run


@pytest.mark.parametrize(
    "counter", ["requests", "main_tokens", "prompt_tokens", "fork_tokens", "fork_prompt_tokens", "cached_tokens"]
)
def test_miscounted_counter_is_reported(counter, monkeypatch):
    real = counters

    def wrong(ledger):
        return {**real(ledger), counter: real(ledger)[counter] + 1}

    monkeypatch.setattr(_ledger, "counters", wrong)
    report = ledger(runs=3)
    assert {mismatch["counter"] for mismatch in report.observations} == {counter}
    assert report.value("counters that differ", "counted") == 3
    assert not report.passed
    assert counter in report.warnings[0]


def test_the_endpoint_counts_by_itself():
    from interwhen.testing._server_script import ReceivedRequest
    from interwhen.testing.server import Send

    endpoint = _ledger_endpoint.CountingEndpoint(msgspec.structs.replace(habits_of(3), broken=0.0, has_end_token=True))
    body = {"prompt": prompt_of(3), "stream": True}
    request = ReceivedRequest(0, "POST", "/v1/completions", {}, b"", body, 1, received_at=0.0)
    events = b"".join(step.data for step in endpoint(request) if isinstance(step, Send)).split(b"\n\n")
    texts = [line for line in events if b'"text": "' in line and b'"text": ""' not in line]
    (served,) = endpoint.books.served
    assert served.sent >= len(texts) + 1
    assert served.told
    assert served.prompt == -(-len(prompt_of(3)) // _ledger_endpoint._TOKEN)
    totals = endpoint.books.totals()
    assert totals["main_tokens"] == served.sent
    assert totals.keys() == counters(Ledger()).keys()


def test_the_command_ends_with_its_result(capsys):
    assert command(runs=2) == 0
    out = capsys.readouterr().out
    assert "counters that differ" in out
    assert "never happened" in out  # in two runs not every fault has a turn
    with pytest.raises(UsageError, match="--runs must be a whole number of at least 1, got 0"):
        command(runs=0)
