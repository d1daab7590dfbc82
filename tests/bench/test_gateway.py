"""The benchmark of the gateway works; what it measures is no matter of a test."""

from __future__ import annotations

import io
import socket
from typing import Any

import anyio
import msgspec
import pytest

pytest.importorskip("starlette", reason="the extra 'gateway' is not installed")
pytest.importorskip("openai", reason="the extra 'openai' is not installed")

from interwhen import UsageError
from interwhen.bench._crowd import (
    Reading,
    ask_generator,
    httpx2_crowd,
    judge,
    openai_crowd,
    read_crowd,
    transport_crowd,
)
from interwhen.bench._gateway import Carried, GatewayReport, judged, measure, middle_of
from interwhen.bench._overhead import open_transport
from interwhen.testing._paced_server import loopback_process, paced_server


@pytest.fixture(scope="module")
def report() -> GatewayReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interwhen.bench._gateway._SDK_CHUNKS", 100)
        return anyio.run(lambda: measure(pairs=3, streams=8, seconds=0.5, run_rate=20.0, run_rounds=2, sdk_rounds=1))


def test_a_small_run_gives_a_whole_report(report: GatewayReport) -> None:
    parts = {"gateway": report.gateway, "run": report.run, **report.beside}
    for part in parts.values():
        assert part.crowd.streams == part.direct.streams == 8
        assert part.crowd.lost == part.direct.lost == 0
        assert part.cpu_microseconds is None or part.cpu_microseconds > 0
        assert part.generator.sent == 8 * 11  # the end included
        assert part.generator.late_p99_ms <= part.generator.late_max_ms + 0.1
    assert report.added.first_direct_p50_ms > 0
    assert report.added.relay_p50_ms <= report.added.relay_p99_ms
    assert report.gateway.direct_cpu_microseconds is None  # what was measured is another process
    assert (report.run.direct_cpu_microseconds or 0) > 0
    assert report.sdk.bare.n == report.sdk.wrapped.n == 1
    assert report.sdk.added.median == pytest.approx(report.sdk.wrapped.median - report.sdk.bare.median)
    assert msgspec.json.decode(msgspec.json.encode(report), type=GatewayReport) == report


def test_each_bar_is_judged_by_its_number(report: GatewayReport) -> None:
    assert len({bar.what for bar in report.bars}) == len(report.bars)
    bars = [bar for bar in report.bars if bar.bar is not None]
    assert [(bar.bar, bar.unit) for bar in bars] == [
        (2.0, "ms"), (8.0, "ms"), (5.0, "ms"), (99.0, "%"), (0.0, ""), (300.0, "KB"),
        (99.0, "%"), (0.0, ""), (3.0, "ms"), (99.0, "%"), (0.0, ""), (3.0, "ms"), (0.0, "µs"),
    ]  # fmt: skip
    for bar in bars:
        assert bar.bar is not None
        assert bar.met == (bar.value >= bar.bar if bar.is_least else bar.value <= bar.bar)
    worse = msgspec.structs.replace(report.run, crowd=msgspec.structs.replace(report.run.crowd, delivered=0.5, lost=4))
    missed = [bar.what for bar in judged(msgspec.structs.replace(report, run=worse)).bars if bar.met is False]
    assert "interwhen.run: 8 streams at 20/s, share of the offered rate" in missed
    assert "interwhen.run: streams lost" in missed


def test_no_round_hides_what_another_one_lost(report: GatewayReport) -> None:
    def round_of(late: float, lost: int) -> Carried:
        crowd = msgspec.structs.replace(report.run.crowd, late_p99_ms=late, lost=lost, delivered=1 - lost / 8)
        return msgspec.structs.replace(report.run, crowd=crowd)

    found = middle_of([round_of(3.0, 2), round_of(1.0, 1), round_of(2.0, 0)])
    assert (found.crowd.late_p99_ms, found.crowd.lost, found.crowd.delivered) == (2.0, 2, 0.75)


def test_a_generator_that_is_late_is_told_of(report: GatewayReport) -> None:
    late = msgspec.structs.replace(report.run.generator, late_p99_ms=7.5, busy=1.0)
    run = msgspec.structs.replace(report.run, generator=late)
    found = judged(msgspec.structs.replace(report, run=run)).warnings
    assert any("interwhen.run" in line and "7.5 ms" in line and "100%" in line for line in found)


def test_the_table_shows_each_number_beside_its_bar(report: GatewayReport) -> None:
    from interwhen.bench._cli import gateway_table
    from rich.console import Console

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(gateway_table(msgspec.structs.replace(report, warnings=["the generator was late"])))
    text = console.export_text()
    for bar in report.bars:
        assert bar.what in text
    assert "≥ 99 %" in text
    assert "the generator was late" in text


@pytest.mark.parametrize(
    "wrong", [{"pairs": 0}, {"streams": 0}, {"seconds": 0.01}, {"sdk_rounds": 0}, {"run_rounds": 0}]
)
def test_what_cannot_be_measured_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        anyio.run(lambda: measure(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("crowd", [read_crowd, httpx2_crowd, openai_crowd])
def test_every_reader_sees_every_chunk_at_its_time(crowd: Any) -> None:
    async def main() -> list[Reading]:
        with paced_server(stamped=True) as url:
            return await crowd(url, 3, 11, 20.0)

    found = anyio.run(main)
    assert judge(found, 11, 20.0).lost == 0
    for reading in found:
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


def test_a_relay_passes_on_what_comes_and_that_either_side_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with loopback_process("interwhen.bench._relay", str(server.getsockname()[1])) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            for leaver in (0, 1):
                near = socket.create_connection(("127.0.0.1", port), timeout=5)
                far, _ = server.accept()
                far.settimeout(5)
                near.sendall(b"question")
                assert far.recv(100) == b"question"
                far.sendall(b"answer")
                assert near.recv(100) == b"answer"
                ends = (near, far)
                ends[leaver].close()
                assert ends[1 - leaver].recv(100) == b""
                ends[1 - leaver].close()


def test_a_stream_that_fails_is_lost_and_the_others_are_not() -> None:
    async def main() -> list[Reading]:
        return await openai_crowd("http://127.0.0.1:9/v1", 2, 3, 20.0)

    assert judge(anyio.run(main), 3, 20.0).lost == 2


def test_the_generator_knows_what_its_reader_did_not_take() -> None:
    """A reader who takes nothing holds up neither the generator nor the other readers."""

    async def main() -> tuple[list[Reading], Any]:
        with paced_server(stamped=True) as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            body = b'{"model": "60000@100000"}'  # more than the system keeps for a reader
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            found = await read_crowd(url, 2, 11, 20.0)
            tally = await ask_generator(url)
            again = await ask_generator(url)
            slow.close()
            return found, (tally, again)

    found, (tally, again) = anyio.run(main)
    assert judge(found, 11, 20.0).lost == 0
    assert tally.held > 0
    assert again.sent < tally.sent  # it began to count anew


def test_the_generator_keeps_time() -> None:
    async def main() -> list[Reading]:
        with paced_server(stamped=True) as url:
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
