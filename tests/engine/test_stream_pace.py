"""A slow model is an alarm in the log and in the result, never an error."""

import anyio
import interwhen
import pytest
from interwhen.models import Timeouts
from interwhen.testing import Pause, ScriptedModel
from structlog.testing import capture_logs
from sums import supervise, watch

pytestmark = pytest.mark.anyio


def drip(seconds, count):
    return ["1+1=2\n", *[step for _ in range(count) for step in (Pause(seconds), "x")]]


@pytest.fixture
def logs(configured):
    with capture_logs() as entries:
        yield entries


@pytest.mark.fault("W21", injected="a token every two seconds", happens="an alarm in log and result; the run continues")
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_slow_model_raises_rate_limited_warnings(delivery, logs):
    model = ScriptedModel([drip(2.0, 30)], timeouts=Timeouts(min_rate=1.0))
    result, _ = await supervise(model, watch(delivery=delivery))
    assert (result.status, result.ledger.reconnects) == ("verified", 0)
    assert result.wire.slow_seconds == pytest.approx(60.0)
    assert result.wire.slowest_rate == pytest.approx(0.5, abs=0.11)
    alarms = [entry for entry in logs if entry["event"] == "stream.slow"]
    assert len(alarms) == 6
    assert all(entry["log_level"] == "warning" and entry["min_rate"] == 1.0 for entry in alarms)


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 0.9), (0.4, 2.0), (None, 50.0)])
async def test_fast_enough_model_raises_no_warning(rate, seconds, logs):
    model = ScriptedModel([drip(seconds, 30)], timeouts=Timeouts(min_rate=rate))
    result, _ = await supervise(model, watch())
    assert (result.wire.slow_seconds, result.wire.slowest_rate) == (0.0, None)
    assert "stream.slow" not in {entry["event"] for entry in logs}


async def test_reader_time_is_not_slow_time():
    model = ScriptedModel([drip(0.1, 50)], timeouts=Timeouts(min_rate=5.0))
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        async for _ in run:
            await anyio.sleep(5)
    assert run.result.wire.slow_seconds == 0.0


async def test_wait_for_first_token_is_not_slow():
    model = ScriptedModel([[Pause(100.0), "1+1=2\n"]], timeouts=Timeouts(min_rate=5.0))
    result, _ = await supervise(model, watch())
    assert result.wire.slow_seconds == 0.0


async def test_a_stall_counts_while_it_lasts(logs):
    model = ScriptedModel([["1+1=2\n", Pause(55.0), "x"]], timeouts=Timeouts(min_rate=1.0))
    result, _ = await supervise(model, watch())
    assert result.wire.slow_seconds == pytest.approx(55.0)
    assert result.wire.slowest_rate == 0.0
