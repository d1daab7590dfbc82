"""The benchmark of the gateway works; what it measures is no matter of a test."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra 'gateway' is not installed")
pytest.importorskip("openai", reason="the extra 'openai' is not installed")

from interwhen import UsageError
from interwhen.bench._processes import open_transport
from interwhen.bench._report import Report
from interwhen.bench._statistics import Estimate
from interwhen.testing._paced_server import LoadTally, loopback_process, paced_server
from tests.benchmarks.crowd import (
    Crowd,
    Reading,
    ask_generator,
    httpx2_crowd,
    judge,
    openai_crowd,
    read_crowd,
    transport_crowd,
)
from tests.benchmarks.gateway import CrowdPair, gateway, middle_of, report_of

CROWD = Crowd(streams=8, lost=0, delivered=1.0, late_p50_ms=1.0, late_p99_ms=3.0)
CARRIED = CrowdPair(20.0, CROWD, CROWD, LoadTally(80, 1.0, 2.0, 0, 0.1), 5.0, 4.0)
GATEWAY = msgspec.structs.replace(CARRIED, floor_cpu_microseconds=None, memory_kb=10.0)
NAMES = ("gateway", "interwhen.run", "interwhen.run, no monitor", "httpx2, raw bytes")


def reading(first: float) -> Reading:
    return Reading(0.0, 0.0, [first, first + 0.02, first + 0.04], ended=True)


def report_with(**parts: CrowdPair) -> Report:
    changed = {name.replace("_", "."): part for name, part in parts.items()}
    carried = {**dict.fromkeys(NAMES, CARRIED), "gateway": GATEWAY, **changed}
    added = {"direct": [reading(0.001)], "relay": [reading(0.0011)], "gateway": [reading(0.002)]}
    return report_of(added, carried, {"bare": [10.0], "wrapped": [12.0]}, "arithmetic")


@pytest.mark.nightly
def test_a_small_run_gives_a_whole_report() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.benchmarks.gateway._SDK_CHUNKS", 100)
        report = anyio.run(lambda: gateway(pairs=3, streams=8, seconds=0.5, run_rate=20.0, run_pairs=2, sdk_pairs=1))
    labels = [str(row["what"]) for row in report.tables[1].rows]
    assert len(set(labels)) == len(labels)
    assert sum(label.endswith("streams lost") for label in labels) == 6
    for label in labels:
        if label.endswith("streams lost"):
            assert report.value(label) == report.value(label, "floor") == 0
        if label.endswith("CPU per chunk"):
            assert report.value(label) > 0
    assert report.value("time to first token, direct, p50") > 0
    assert report.row("gateway: CPU per chunk").get("floor") is None  # the gateway is another process
    assert report.value("interwhen.run: CPU per chunk", "floor") > 0


def test_each_bar_is_judged_by_its_number() -> None:
    rows = [row for table in report_with().tables for row in table.rows]
    bars = [cell for row in rows for cell in row.values() if isinstance(cell, Estimate) and cell.limit is not None]
    assert [bar.bar for bar in bars] == [
        "≤ 2 ms", "≤ 8 ms", "≤ 5 ms", "≥ 99 %", "≤ 0", "≤ 300 KB",
        "≥ 99 %", "≤ 0", "≤ 3 ms", "≥ 99 %", "≤ 0", "≤ 3 ms", "≤ 0 µs",
    ]  # fmt: skip
    worse = msgspec.structs.replace(CARRIED, crowd=msgspec.structs.replace(CROWD, delivered=0.5, lost=4))
    report = report_with(interwhen_run=worse)
    share = report.row("interwhen.run: 8 streams at 20/s, share of the offered rate")["measured"]
    lost = report.row("interwhen.run: streams lost")["measured"]
    assert isinstance(share, Estimate)
    assert isinstance(lost, Estimate)
    assert share.met is lost.met is False
    assert report.value("time to first token, added by the gateway, p50") == pytest.approx(1.0)
    assert report.value("wrapping adds, within pairs") == 2.0


def test_losses_are_summed_over_rounds() -> None:
    def round_of(late: float, lost: int) -> CrowdPair:
        crowd = msgspec.structs.replace(CROWD, late_p99_ms=late, lost=lost, delivered=1 - lost / 8)
        return msgspec.structs.replace(CARRIED, crowd=crowd)

    middle = middle_of([round_of(3.0, 2), round_of(1.0, 1), round_of(2.0, 0)])
    assert (middle.crowd.late_p99_ms, middle.crowd.lost, middle.crowd.delivered) == (2.0, 2, 0.75)


def test_a_generator_that_is_late_gives_a_warning() -> None:
    late = msgspec.structs.replace(CARRIED.generator, late_p99_ms=7.5, busy=1.0)
    warnings = report_with(interwhen_run=msgspec.structs.replace(CARRIED, generator=late)).warnings
    assert any("interwhen.run" in line and "7.5 ms" in line and "100%" in line for line in warnings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 0}, "--pairs must be a whole number of at least 1"),
        ({"streams": 0}, "--streams must be a whole number of at least 1"),
        ({"seconds": 0.01}, "--seconds must give each stream at least two chunks, got 0.01"),
        ({"sdk_pairs": 0}, "--sdk-pairs must be a whole number of at least 1"),
        ({"run_pairs": 0}, "--run-pairs must be a whole number of at least 1"),
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        anyio.run(lambda: gateway(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("crowd", [read_crowd, httpx2_crowd, openai_crowd])
def test_every_reader_sees_every_chunk_at_its_time(crowd: Any) -> None:
    async def main() -> list[Reading]:
        with paced_server(stamped=True) as url:
            return await crowd(url, 3, 11, 20.0)

    readings = anyio.run(main)
    assert judge(readings, 11, 20.0).lost == 0
    for reading in readings:
        assert reading.begun is not None
        assert all(b >= reading.begun + n / 20.0 - 1e-3 for n, b in enumerate(reading.arrivals))


def test_a_transport_alone_sees_every_chunk() -> None:
    async def main() -> list[Reading]:
        transport = open_transport("httpx2")
        try:
            with paced_server(stamped=True) as url:
                return await transport_crowd(url, 3, 11, 20.0, transport)
        finally:
            await transport.aclose()

    assert judge(anyio.run(main), 11, 20.0).lost == 0


def test_relay_forwards_data_and_disconnects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        with loopback_process("tests.benchmarks.relay", str(server.getsockname()[1])) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            for leaver in (0, 1):
                near = socket.create_connection(("127.0.0.1", port), timeout=60)
                far, _ = server.accept()
                far.settimeout(60)
                near.sendall(b"question")
                assert far.recv(100) == b"question"
                far.sendall(b"answer")
                assert near.recv(100) == b"answer"
                ends = (near, far)
                ends[leaver].close()
                assert ends[1 - leaver].recv(100) == b""
                ends[1 - leaver].close()


def test_failing_stream_does_not_affect_others() -> None:
    async def main() -> list[Reading]:
        return await openai_crowd("http://127.0.0.1:9/v1", 2, 3, 20.0)

    assert judge(anyio.run(main), 3, 20.0).lost == 2


def test_generator_counts_text_unread_by_slow_reader() -> None:
    async def main() -> tuple[list[Reading], Any]:
        with paced_server(stamped=True) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            body = b'{"model": "25000@100000"}'  # more than the system keeps for a reader
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            received = await read_crowd(url, 2, 11, 20.0)
            tally = await ask_generator(url)
            again = await ask_generator(url)
            slow.close()
            return received, (tally, again)

    readings, (tally, again) = anyio.run(main)
    assert judge(readings, 11, 20.0).lost == 0
    assert tally.held > 0
    assert again.sent < tally.sent  # it counted from zero


def test_generator_sends_at_its_rate() -> None:
    async def main() -> list[Reading]:
        with paced_server(stamped=True) as url:
            return await read_crowd(url, 3, 11, 20.0)

    for reading in anyio.run(main):
        assert reading.ended
        assert len(reading.arrivals) == 11
        assert reading.begun is not None
        for number, arrival in enumerate(reading.arrivals):
            assert arrival >= reading.begun + number / 20.0 - 1e-3


def test_incomplete_stream_counts_as_lost() -> None:
    whole = Reading(0.0, 1.0, [1.0, 1.1, 1.2], ended=True)
    cut = Reading(0.0, 1.0, [1.0, 1.1], ended=True)
    broken = Reading(0.0, 1.0, [1.0, 1.1, 1.2], ended=False)
    crowd = judge([whole, cut, broken, whole], 3, 10.0)
    assert (crowd.streams, crowd.lost, crowd.delivered) == (4, 2, pytest.approx(0.5))
    assert crowd.late_p99_ms == pytest.approx(0.0, abs=1e-6)
