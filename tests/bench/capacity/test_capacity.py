"""The reading of the model: it grows with the load, names what breaks first, and says what to do then."""

import pytest
from interwhen.bench.capacity._capacity import BUSY, LATE_MS, cpu_share, journal_bytes, read_capacity, workers_for

from .support import LOAD, MEASURED, changed

pytest.importorskip("simpy")


@pytest.fixture(scope="module")
def found():
    return read_capacity(MEASURED, (10_000, 1_000_000))


def test_a_core_carries_what_its_time_allows(found):
    assert cpu_share(MEASURED, found.streams_per_core) <= BUSY
    assert found.at.late_p99_ms <= LATE_MS
    assert found.at.loop_busy == pytest.approx(cpu_share(MEASURED, found.streams_per_core), rel=0.1)


def test_each_simulation_is_reported(found):
    tried = []
    again = read_capacity(MEASURED, (10_000, 1_000_000), on_simulated=tried.append)
    assert again == found
    assert tried == sorted(tried, reverse=True)
    assert tried[-1] == found.streams_per_core


def test_needs_grow_with_the_streams(found):
    few, many = found.needs
    assert many.loop_processes == pytest.approx(100 * few.loop_processes, abs=100)
    assert many.machines > few.machines
    assert few.tokens_per_second == pytest.approx(10_000 * LOAD.rate)
    assert few.fork_tokens_per_second == pytest.approx(10_000 / 20 * 64)
    assert few.journal_gb_per_day == pytest.approx(10_000 / 20 * 86_400 * 16_000 / 1e9)


def test_the_numbers_of_one_answer_follow_from_the_costs(found):
    assert found.workers_per_thousand == pytest.approx(1000 / 20 * 10 * 0.0201 / BUSY)
    assert found.journal_bytes_per_answer == journal_bytes(MEASURED) == 1000 + 10_000 + 5000


def test_what_breaks_first_comes_first_with_advice(found):
    streams = [limit.streams for limit in found.limits]
    assert streams == sorted(streams)
    assert all(limit.then for limit in found.limits)
    by_name = {limit.what: limit.streams for limit in found.limits}
    assert by_name["one event loop"] == found.streams_per_core
    assert by_name["the ports to one model server"] == 28_000


@pytest.mark.parametrize(
    "cost", ["process_us", "stream_us", "wake_us", "token_us", "run_us", "check_us", "fork_us", "remedy_us"]
)
def test_a_larger_cost_leaves_less_of_the_core(cost):
    more = changed(**{cost: 3 * getattr(MEASURED.costs, cost)})
    assert cpu_share(more, 100) > cpu_share(MEASURED, 100)


def test_longer_checks_need_more_workers():
    assert workers_for(changed(check_ms=100.0), 100) > 4 * workers_for(MEASURED, 100)


def test_a_measurement_without_memory_names_the_other_limits():
    found = read_capacity(changed(stream_kb=0.0), (10_000,))
    assert found.needs[0].memory_mb == 0
    assert "the memory of this machine" not in [limit.what for limit in found.limits]
