"""The benchmark of journals works; what it measures is no matter of a test."""

from __future__ import annotations

import anyio
import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra 'gateway' is not installed")

from interwhen import UsageError
from interwhen.bench._statistics import Estimate
from tests.benchmarks.crowd import Crowd, Reading
from tests.benchmarks.journals import Round, RoundWork, journals, report_of

CROWD = Crowd(streams=8, lost=0, delivered=1.0, late_p50_ms=1.0, late_p99_ms=3.0)


@pytest.mark.nightly
def test_small_run_writes_one_journal_per_stream() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.benchmarks.journals._FLUSHED_SECONDS", 0.0)
        report = anyio.run(lambda: journals(pairs=1, streams=3, seconds=0.2, rounds=1, repeats=1))
    # Six rounds of a single stream and two of three streams. The files of the last ones may not be there yet.
    assert 6 <= report.value("journals at the end") <= 12
    assert report.value("streams lost, with journals") == report.value("streams lost, without journals") == 0
    assert report.value("CPU per chunk, with journals") > 0
    assert report.value("without sockets: CPU per chunk, without journals") > 0
    assert report.value("first chunk, without journals, p50") > 0


def test_bars_are_judged_by_differences_within_pairs() -> None:
    single = {"off": [Reading(0.0, 0.0, [0.010])], "on": [Reading(0.0, 0.0, [0.0102])]}
    worse = msgspec.structs.replace(CROWD, delivered=0.98, lost=1)
    rounds = {"off": [Round(50.0, CROWD), Round(90.0, CROWD)], "on": [Round(51.0, CROWD), Round(93.0, worse)]}
    work = {"off": [RoundWork(30.0, 4.0), RoundWork(35.0, 5.0)], "on": [RoundWork(30.5, 5.0), RoundWork(36.5, 6.0)]}
    report = report_of(single, rounds, work, 2, "arithmetic")
    bars = {
        str(row["what"]): row["measured"].met
        for table in report.tables
        for row in table.rows
        if isinstance(row["measured"], Estimate) and row["measured"].limit is not None
    }
    assert report.value("CPU per chunk, journals add, within pairs") == 2.0
    assert report.value("without sockets: CPU per chunk, journals add, within pairs") == 2.0
    assert report.value("of this, on the event loop") == report.value("of this, on other threads") == 1.0
    assert report.value("first chunk, journals add, p50 within pairs") == pytest.approx(0.2)
    assert bars == {
        "first chunk, journals add, p50 within pairs": False,
        "without sockets: CPU per chunk, journals add, within pairs": True,
        "share of the offered rate, with journals, least": False,
        "streams lost, with journals": False,
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 0}, "--pairs must be a whole number of at least 1"),
        ({"rounds": 0}, "--rounds must be a whole number of at least 1"),
        ({"repeats": 0}, "--repeats must be a whole number of at least 1"),
        ({"streams": 0}, "--streams must be a whole number of at least 1"),
        ({"seconds": 0.01}, "--seconds must give each stream at least two chunks, got 0.01"),
        ({"monitor": ()}, "--monitor must name a monitor, got none"),
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        anyio.run(lambda: journals(**wrong))  # type: ignore[arg-type]
