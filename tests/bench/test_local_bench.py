"""The measurement of the local model works; what it finds is no matter of a test."""

from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench import _cli
from interwhen.bench._local import FORKS, LocalReport, measure, memory_mb, stream_beside
from interwhen.models import open_local

needs_server = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


@needs_server
def test_a_small_run_gives_a_whole_report_and_a_table(capsys):
    report = anyio.run(lambda: measure(tokens=48, rounds=2, starts=1))
    assert report.model == "local:tiny"
    assert report.tokens == 2 * 48
    assert [row.forks for row in report.rows] == list(FORKS)
    assert report.rows[0].answered == report.rows[0].added_p99.median == 0
    assert report.first_token_seconds.median > 0
    assert report.tokens_per_second.median > 0
    assert all(row.p50.median <= row.p99.median <= row.largest.median for row in report.rows)
    assert msgspec.json.decode(msgspec.json.encode(report), type=LocalReport) == report
    _cli.Console(width=160).print(_cli.local_table(report))
    assert "2 forks at a time: gap, p99" in capsys.readouterr().out


@needs_server
@pytest.mark.parametrize("forks", [0, 2])
def test_forks_are_asked_beside_the_stream(forks):
    async def once():
        async with open_local(slots=3) as model:
            return await stream_beside(model, "What is 37 * 46?", forks, 300)

    flow = anyio.run(once)
    assert 250 < flow.tokens <= 300  # a token that ends a turn is no text
    assert len(flow.gaps) > 20
    assert sum(flow.gaps) < flow.seconds
    assert (flow.answered > 0) == (forks > 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_read_where_the_system_shows_it():
    import os

    resident, peak = memory_mb(os.getpid())
    assert 5 < resident <= peak
    assert memory_mb(None) == (None, None)


@pytest.mark.parametrize("options", [{"model": "acme"}, {"rounds": 0}, {"starts": 0}])
def test_what_cannot_be_measured_is_refused(options):
    with pytest.raises(UsageError):
        _cli.local(**options)
