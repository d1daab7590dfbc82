"""The measurement of pauses notices a loop that is stopped."""

import time

import anyio
import pytest
from interwhen import Run, Workers
from tests.measurements import measure_pause


async def pause_of(schema):
    async with Workers() as workers:
        return await measure_pause.longest_pause(measure_pause.monitor_of(schema), workers)


@pytest.mark.parametrize("name", measure_pause.SCHEMAS)
def test_each_schema_is_measured(name):
    pause = anyio.run(pause_of, measure_pause.SCHEMAS[name])
    assert 0 < pause.own < 500
    assert pause.wall >= 0


def test_a_loop_that_is_stopped_is_noticed(monkeypatch):
    def slow(self):
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        return self

    monkeypatch.setattr(Run, "__aiter__", slow)  # what drain() calls first
    pause = anyio.run(pause_of, measure_pause.SCHEMAS["no pattern"])
    assert pause.own > 50


def test_a_line_is_printed_for_each_schema(capsys):
    anyio.run(measure_pause.main, 1)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(measure_pause.SCHEMAS)
