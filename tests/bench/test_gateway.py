"""The benchmark of the gateway works; what it measures is no matter of a test."""

from __future__ import annotations

import anyio
import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra 'gateway' is not installed")

from interwhen.bench.arms import paced_server
from interwhen.bench.crowd import Reading, judge, read_crowd
from interwhen.bench.gateway import GatewayReport, measure


def test_a_small_run_gives_a_whole_report() -> None:
    report = anyio.run(lambda: measure(pairs=3, streams=8, seconds=0.5, run_rate=20.0))
    for part in (report.gateway, report.run):
        assert part.crowd.streams == part.direct.streams == 8
        assert part.crowd.lost == part.direct.lost == 0
        assert part.cpu_microseconds is None or part.cpu_microseconds > 0
    assert report.added.first_direct_p50_ms > 0
    assert msgspec.json.decode(msgspec.json.encode(report), type=GatewayReport) == report


def test_the_generator_keeps_time() -> None:
    async def main() -> list[Reading]:
        with paced_server("interwhen.bench.crowd_pacer") as url:
            return await read_crowd(url, 3, 11, 20.0)

    for reading in anyio.run(main):
        assert reading.ended
        assert len(reading.arrivals) == 11
        assert reading.begun is not None
        for number, arrival in enumerate(reading.arrivals):
            assert arrival >= reading.begun + number / 20.0 - 1e-3


def test_a_stream_that_lacks_chunks_is_lost() -> None:
    whole = Reading(0.0, 1.0, [1.0, 1.1, 1.2], ended=True)
    cut = Reading(0.0, 1.0, [1.0, 1.1], ended=True)
    broken = Reading(0.0, 1.0, [1.0, 1.1, 1.2], ended=False)
    found = judge([whole, cut, broken, whole], 3, 10.0)
    assert (found.streams, found.lost, found.delivered) == (4, 2, pytest.approx(0.5))
    assert found.late_p99_ms == pytest.approx(0.0, abs=1e-6)
