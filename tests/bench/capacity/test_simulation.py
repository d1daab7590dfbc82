"""The simulation agrees with the formulas of the textbooks where they hold, and is deterministic."""

import math
import random

import pytest
from interwhen.bench.capacity._capacity import cpu_share, workers_for
from interwhen.bench.capacity._simulation import queue_waits, simulate

from .support import COSTS, LOAD, changed

pytest.importorskip("simpy")


def mean_wait(gap, service, servers, jobs=15_000):
    waits = queue_waits(gap, service, servers=servers, jobs=jobs, warm_up=jobs // 10)
    assert len(waits) == jobs
    return sum(waits) / jobs


def test_one_server_with_random_service_waits_as_long_as_the_formula_says():
    draw, busy = random.Random(1), 0.6
    found = mean_wait(lambda: draw.expovariate(busy), lambda: draw.expovariate(1.0), 1)
    assert found == pytest.approx(busy / (1 - busy), rel=0.08)


@pytest.mark.parametrize("servers", [1, 4])
def test_servers_with_fixed_service_wait_as_long_as_the_formula_says(servers):
    draw, busy = random.Random(2), 0.7
    found = mean_wait(lambda: draw.expovariate(busy * servers), lambda: 1.0, servers)
    assert found == pytest.approx(fixed_service_wait(busy, servers), rel=0.08)


def fixed_service_wait(busy, servers):
    """Return the mean wait of M/D/c, in service times, for *servers* that are *busy* for this share of the time.

    It is half of that of M/M/c (Erlang C), with the correction of Cosmetatos (1975).
    """
    load = busy * servers
    last = load**servers / math.factorial(servers) / (1 - busy)
    erlang = last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)
    random_wait = erlang / (servers * (1 - busy))
    correction = (1 - busy) * (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * busy * servers)
    return random_wait / 2 * (1 + correction)


def test_one_server_with_fixed_gaps_and_service_never_waits():
    assert mean_wait(lambda: 1.0, lambda: 0.9, 1, jobs=100) == pytest.approx(0.0, abs=1e-9)


def test_the_same_seed_gives_the_same_numbers_and_another_one_gives_others():
    one, again, other = (simulate(COSTS, LOAD, streams=100, tokens=4000, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_simulated_load_is_the_computed_one():
    measured = changed()
    found = simulate(COSTS, LOAD, streams=200, workers=8, tokens=6_000)
    assert found.loop_busy == pytest.approx(cpu_share(measured, 200), rel=0.05)
    assert found.workers_busy == pytest.approx(workers_for(measured, 200), rel=0.15)


def test_more_streams_are_later_and_more_workers_are_sooner():
    few, many = (simulate(COSTS, LOAD, streams=streams, tokens=6_000) for streams in (50, 500))
    assert few.loop_busy < many.loop_busy
    assert few.late_mean_ms < many.late_mean_ms
    narrow, wide = (simulate(COSTS, LOAD, streams=150, workers=workers, tokens=6_000) for workers in (2, 4))
    assert wide.check_mean_ms < narrow.check_mean_ms
