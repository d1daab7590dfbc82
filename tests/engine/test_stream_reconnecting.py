"""Reconnects are spaced: at once after text, then ever longer, as the server asks, never past a deadline."""

import random
from itertools import pairwise

import anyio
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


async def test_a_stream_that_brought_text_is_taken_up_at_once_and_silent_failures_wait_ever_longer():
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
    assert (result.status, result.text) == ("failed", "1+1=2\n2+2=4")
    assert [round(after - before, 6) for before, after in pairwise(asked[1:])] == [1.0, 2.0, 4.0]


@pytest.mark.fault("W15", injected="429 with Retry-After, to a resume", happens="obeyed, up to the budget")
async def test_a_time_that_the_server_names_is_obeyed():
    limited = RateLimited("slow down", status=429, retry_after=7.0)
    model = model_of([["1+1=2\n", limited], [limited], "2+2=4\n"])
    result, _ = await supervise(model, watch())
    assert result.text == "1+1=2\n2+2=4\n"
    assert opened_at(model) == [0, 7, 14]


async def test_a_time_beyond_the_budget_ends_the_run_at_once_with_the_text_kept():
    limited = RateLimited("slow down", status=429, retry_after=20.0)
    model = model_of([["1+1=2\n", limited], [limited]])
    result, _ = await supervise(model, watch())
    assert (result.status, result.text) == ("failed", "1+1=2\n")
    assert opened_at(model) == [0, 20]
    assert result.timing.total == 20.0


@pytest.mark.fault("W15", injected="a wait longer than the total deadline", happens="the deadline ends the run on time")
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_a_deadline_wins_over_the_wait(delivery):
    limited = RateLimited("slow down", status=429, retry_after=20.0)
    model = model_of([["1+1=2\n", limited]], timeouts=Timeouts(total=5.0))
    result, _ = await supervise(model, watch(delivery=delivery))
    assert (result.status, result.text, result.timing.total) == ("failed", "1+1=2\n", 5.0)
    model = model_of([["1+1=2\n", limited]])
    result, _ = await supervise(model, watch(delivery=delivery), budgets=Budgets(seconds=3.0))
    assert (result.status, result.timing.total) == ("abstained", 3.0)


async def test_a_violation_found_during_the_wait_is_acted_upon_at_once():
    limited = RateLimited("slow down", status=429, retry_after=10.0)
    model = model_of([["2+2=5\n", limited], "\n3+3=6\n"])
    result, _ = await supervise(model, watch(slow(2.0)))
    assert (result.status, result.text) == ("verified", "2+2=4\n3+3=6\n")
    assert opened_at(model) == [0, 10]
    assert [request.prefix for request in model.requests] == ["", "2+2=4"]


async def test_the_wait_is_no_stall():
    limited = RateLimited("slow down", status=429, retry_after=10.0)
    model = model_of(
        [["1+1=2\n", limited], [Pause(0.5), "2+2=4\n"]], timeouts=Timeouts(first_token=1.0, inter_token=1.0)
    )
    result, _ = await supervise(model, watch())
    assert (result.status, result.ledger.reconnects) == ("verified", 1)
