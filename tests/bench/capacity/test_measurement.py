"""The measured costs: the fit finds the costs that made the numbers, and a short measurement has all of them."""

import anyio
import pytest
from interwhen.bench.capacity._measurement import fit_tokens, measure, steps_of, wakes_of_a_token


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_the_fit_finds_the_costs_of_a_token(step):
    wake, token = 180.0, 22.0
    costs = [(rate, token + wake * wakes_of_a_token(rate, step)) for rate in (400.0, 2400.0, 15_000.0)]
    found = fit_tokens(costs)
    for rate in (800.0, 5000.0, 20_000.0):
        predicted = found.token_us + found.wake_us * wakes_of_a_token(rate, found.batch_ms)
        assert predicted == pytest.approx(token + wake * wakes_of_a_token(rate, step), rel=0.05)


def test_a_token_wakes_the_loop_once_if_it_comes_alone():
    assert wakes_of_a_token(1e-3, 1.0) == pytest.approx(1.0)
    assert wakes_of_a_token(1e5, 1.0) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_a_measurement_has_all_costs_and_points(monkeypatch):
    pytest.importorskip("simpy")
    monkeypatch.setattr("interwhen.bench.capacity._measurement._LOADS", ((5, 20.0), (10, 20.0), (20, 20.0)))
    monkeypatch.setattr("interwhen.bench.capacity._measurement._CHECKED", ((8, 20.0),))
    monkeypatch.setattr("interwhen.bench.capacity._measurement._MEMORY_STREAMS", 10)
    monkeypatch.setattr("interwhen.bench.capacity._measurement._SILENT_STREAMS", 10)
    seen = []
    found = anyio.run(
        lambda: measure(("arithmetic",), rounds=1, seconds=1.0, on_progress=lambda *step: seen.append(step))
    )
    assert seen == [(number, steps_of(1)) for number in range(1, steps_of(1) + 1)]
    assert len(found.points) == 5
    assert all(point.measured > 0 and point.predicted > 0 for point in found.points)
    assert found.load.tokens == 1000
    assert found.costs.process_us + found.costs.stream_us > 0
    # Counts, which no other process changes.
    sizes = next(point for point in found.points if "journal" in point.what)
    assert sizes.error < 0.15
