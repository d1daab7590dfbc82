"""The benchmark itself works; what it measures is no matter of a test."""

from __future__ import annotations

import anyio
import pytest
from interwhen.bench._overhead import armed, overhead, read_decoded, read_raw, read_supervised
from interwhen.bench._processes import open_transport
from interwhen.testing._paced_server import chunk_texts, paced_server


@pytest.mark.parametrize("transport", ["httpx2", "fast"])
def test_every_arm_reads_the_whole_stream(transport: str) -> None:
    from interwhen import run
    from interwhen.models import CompletionsModel

    async def main() -> None:
        with paced_server() as url:
            way = open_transport(transport)
            for read in (read_raw, read_decoded):
                assert await read(url, "50@0", way) > 0
            assert await read_supervised(url, "50@0", way, armed(3)) > 0
            async with run(CompletionsModel(url, "50@0", transport=way), "") as supervised:
                result = await supervised.drain()
            assert result.text == "".join(chunk_texts(50))
            await way.aclose()

    anyio.run(main)


def test_a_small_run_gives_a_whole_report() -> None:
    report = anyio.run(lambda: overhead(chunks=200, pairs=2, closes=2, sizes=(64, 256)))
    labels = {row["what"] for row in report.tables[0].rows}
    assert {"decoded over raw", "no monitor over decoded", "3 mixed monitors over decoded"} <= labels
    assert report.value("raw reading, CPU per chunk") > 0
    assert report.value("violation to closed, p50") > 0
    assert report.value("peak memory at 256 chunks, raw") > 1
    assert len(report.observations) == 2 * 6
    assert len(report.charts[0].series[0].points) == 2
