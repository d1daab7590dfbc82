"""Reconnects are spaced: at once after text, then ever longer, as the server asks, never past a deadline."""

import random
from itertools import pairwise

import anyio
import interwhen
import pytest
from interwhen import Budgets
from interwhen.models import ConnectError, RateLimited, Retries, Timeouts, UpstreamError
from interwhen.testing import Pause
from sums import Accountant, slow, supervise, watch

pytestmark = pytest.mark.anyio


class Upper(random.Random):
    """Full jitter at its longest."""

    def uniform(self, low, high):
        assert low == 0
        return high


def model_of(script, *, retries=None, **options):
    model = Accountant(script, **options)
    model.retries = retries or Retries(base=1.0, cap=4.0, rng=Upper())
    return model


def opened_at(model):
    return [at - model.log[0][2] for what, _, at in model.log if what == "opened"]


async def test_only_reconnects_without_text_back_off():
    broken = [ConnectError("reset")]
    model = model_of([["1+1=2\n", *broken], broken, broken, broken, broken, ["2+2=4\n", *broken], "3+3=6\n"])
    result, _ = await supervise(model, watch(), budgets=Budgets(reconnects=9))
    assert (result.status, result.text) == ("verified", "1+1=2\n2+2=4\n3+3=6\n")
    assert opened_at(model) == [0, 0, 1, 3, 7, 11, 11]


@pytest.mark.fault(
    "W31", injected="a resume that is refused with 503", happens="tried again with full jitter, to a cap"
)
async def test_a_resume_that_is_refused_waits_with_jitter():
    busy = UpstreamError("busy", status=503)
    asked = []

    def opening(number):
        asked.append(anyio.current_time())
        return busy if number > 1 else 0.0

    model = model_of([["1+1=2\n", "2+2=5\n"]], opening=opening)
    result, _ = await supervise(model, watch())
    assert (result.status, result.text, result.upstream_status) == ("abstained", "1+1=2\n2+2=4", 503)
    assert [round(after - before, 6) for before, after in pairwise(asked[1:])] == [1.0, 2.0, 4.0]


@pytest.mark.fault("W15", injected="429 with Retry-After, to a resume", happens="obeyed, up to the budget")
async def test_retry_after_is_obeyed():
    limited = RateLimited("slow down", status=429, retry_after=7.0)
    model = model_of([["1+1=2\n", limited], [limited], "2+2=4\n"])
    result, _ = await supervise(model, watch())
    assert result.text == "1+1=2\n2+2=4\n"
    assert opened_at(model) == [0, 7, 14]


async def test_retry_after_beyond_budget_ends_the_run():
    limited = RateLimited("slow down", status=429, retry_after=20.0)
    model = model_of([["1+1=2\n", limited], [limited]])
    result, _ = await supervise(model, watch())
    assert (result.status, result.text, result.upstream_status) == ("abstained", "1+1=2\n", 429)
    assert opened_at(model) == [0, 20]
    assert result.timing.total == 20.0


@pytest.mark.fault("W15", injected="a wait longer than the total deadline", happens="the deadline ends the run on time")
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_time_budget_ends_the_reconnect_wait(delivery):
    limited = RateLimited("slow down", status=429, retry_after=20.0)
    model = model_of([["1+1=2\n", limited]], timeouts=Timeouts(total=5.0))
    result, _ = await supervise(model, watch(delivery=delivery))
    assert (result.status, result.text, result.timing.total) == ("failed", "1+1=2\n", 5.0)
    model = model_of([["1+1=2\n", limited]])
    result, _ = await supervise(model, watch(delivery=delivery), budgets=Budgets(seconds=3.0))
    assert (result.status, result.timing.total) == ("abstained", 3.0)


async def test_violation_during_reconnect_wait_is_acted_upon():
    limited = RateLimited("slow down", status=429, retry_after=10.0)
    model = model_of([["2+2=5\n", limited], "\n3+3=6\n"])
    result, _ = await supervise(model, watch(slow(2.0)))
    assert (result.status, result.text) == ("verified", "2+2=4\n3+3=6\n")
    assert opened_at(model) == [0, 10]
    assert [request.prefix for request in model.requests] == ["", "2+2=4"]


async def test_reconnect_wait_is_no_stall():
    limited = RateLimited("slow down", status=429, retry_after=10.0)
    model = model_of(
        [["1+1=2\n", limited], [Pause(0.5), "2+2=4\n"]], timeouts=Timeouts(first_token=1.0, inter_token=1.0)
    )
    result, _ = await supervise(model, watch())
    assert (result.status, result.ledger.reconnects) == ("verified", 1)


def refusing(*errors):
    left = list(errors)
    return model_of([["1+1=2\n", "2+2=5\n"], "\n"], opening=lambda number: left.pop(0) if number > 1 and left else 0.0)


@pytest.mark.fault(
    "H4", injected="a resume is refused with 429 once", happens="sent again after the time that is named"
)
async def test_refused_resume_is_retried_once():
    model = refusing(RateLimited("slow down", status=429, retry_after=7.0))
    result, _ = await supervise(model, watch(), budgets=Budgets(reconnects=0))
    assert (result.status, result.text, result.upstream_status) == ("verified", "1+1=2\n2+2=4\n", None)
    assert result.ledger.reconnects == 1
    assert result.timing.total == 7.0


@pytest.mark.parametrize(
    "errors",
    [
        [RateLimited("slow down", status=429, retry_after=1.0)] * 2,
        [RateLimited("slow down", status=429, retry_after=31.0)],
        [UpstreamError("too long", status=400)],
        [ConnectError("closed"), UpstreamError("no", status=403)],
    ],
    ids=["twice", "too long to wait", "no use", "in two ways"],
)
async def test_refused_resume_ends_with_the_shown_text(errors):
    model = refusing(*errors)
    result, _ = await supervise(model, watch(), budgets=Budgets(reconnects=0))
    assert (result.status, result.text) == ("abstained", "1+1=2\n2+2=4")
    assert result.upstream_status == errors[-1].status
    assert len(model.requests) == 1 + len(errors)


async def test_refused_resume_fails_a_drained_run():
    error = UpstreamError("no", status=400)
    async with interwhen.run(refusing(error), "Q", monitors=[watch()]) as run:
        result = await run.drain()
    assert (result.status, result.text, result.upstream_status) == ("failed", "1+1=2\n2+2=4", 400)
    assert run.error is error


@pytest.mark.parametrize("text", ["\n \n2+2=5\n", "2+2=5\n"])
async def test_a_refused_resume_fails_if_nothing_was_shown(text):
    model = model_of([text], opening=lambda number: UpstreamError("no", status=400) if number > 1 else 0.0)
    result, _ = await supervise(model, watch(delivery="final"))
    assert (result.status, result.upstream_status) == ("failed", 400)


async def test_resume_timeout_keeps_the_text():
    model = model_of(
        [["1+1=2\n", "2+2=5\n"], [Pause(99), "\n"]], timeouts=Timeouts(first_token=5.0), retries=Retries(attempts=0)
    )
    result, _ = await supervise(model, watch(), budgets=Budgets(reconnects=0))
    assert (result.status, result.text, result.timing.total) == ("abstained", "1+1=2\n2+2=4", 5.0)
