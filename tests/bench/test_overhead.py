"""The benchmark itself works; what it measures is no matter of a test."""

from __future__ import annotations

import subprocess
import sys

import anyio
import msgspec
import pytest
from interwhen.bench._overhead import (
    Overhead,
    armed,
    measure,
    open_transport,
    read_decoded,
    read_raw,
    read_supervised,
)
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
    report = anyio.run(lambda: measure(chunks=200, rounds=2, closes=2, sizes=(64, 256)))
    assert {row.arm for row in report.cpu} == {
        "decoded",
        "no monitor",
        "3 monitors",
        "3 mixed monitors",
        "10 mixed monitors",
    }
    assert report.closes == 2
    assert report.close_p50_ms > 0
    assert report.memory_mb["raw"] > 1
    assert msgspec.json.decode(msgspec.json.encode(report), type=Overhead) == report


def test_the_command_line_offers_it() -> None:
    code = "import sys; from interwhen.cli._main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", "overhead", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--per-second" in done.stdout
