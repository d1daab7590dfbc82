"""Every wait for the model has an end: four timers, in virtual time."""

import anyio
import interwhen
import pytest
from interwhen import Budgets
from interwhen.events import StreamBroken
from interwhen.models import ConnectError, ContextOverflow, StreamTimeout, Timeouts, UpstreamError
from interwhen.testing import Pause, ScriptedModel
from sums import Accountant, apply, slow, supervise, watch

pytestmark = pytest.mark.anyio

NEVER = Pause(1e6)


async def timed(model, *monitors, **options):
    begun = anyio.current_time()
    result, events = await supervise(model, *monitors, **options)
    assert result.text.startswith(apply(events))
    assert result.status == "abstained" or apply(events) == result.text
    return result, events, anyio.current_time() - begun


@pytest.mark.fault(
    "W19", injected="600 s of silence, in virtual time", happens="closed on time, and resumed from the text so far"
)
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
@pytest.mark.parametrize("first", ["first_token", "inter_token"])
async def test_stalled_stream_is_closed_and_resumed(first, delivery):
    steps = [NEVER] if first == "first_token" else ["1+1=2\n", Pause(599.0), "2+2=4\n", NEVER]
    model = Accountant([steps, "3+3=6\n"], timeouts=Timeouts(first_token=600.0, inter_token=600.0))
    result, events, took = await timed(model, watch(delivery=delivery))
    assert took == (600.0 if first == "first_token" else 1199.0)
    assert result.text == ("" if first == "first_token" else "1+1=2\n2+2=4\n") + "3+3=6\n"
    assert result.status == "verified"
    assert result.ledger.reconnects == 1
    assert [event for event in events if isinstance(event, StreamBroken)] == [
        StreamBroken(
            f"the {first} timeout of 600 s ran out: allow more time, or look whether the server still answers",
            "reconnect",
        )
    ]
    model.assert_all_closed_once()


async def test_token_timers_work_independently():
    for timeouts, script, seconds in (
        (Timeouts(first_token=None, inter_token=5.0), [Pause(60.0), "a\n", NEVER], 65.0),
        (Timeouts(first_token=5.0, inter_token=None), [Pause(4.0), "a\n", Pause(60.0), "b\n", NEVER], None),
        (Timeouts(first_token=100.0, inter_token=5.0), [Pause(99.0), "a\n", Pause(4.0), "b\n", NEVER], 108.0),
        (Timeouts(first_token=5.0, inter_token=100.0), [Pause(4.0), "a\n", Pause(99.0), "b\n", NEVER], 203.0),
    ):
        model = ScriptedModel([script], timeouts=timeouts)
        result, _, took = await timed(model, budgets=Budgets(reconnects=0, seconds=1e5))
        assert took == (seconds or 1e5)
        assert result.status == ("failed" if seconds else "abstained")


async def test_waiting_for_a_first_token_does_not_poll(monkeypatch):
    sleeps = 0
    sleep = anyio.sleep

    async def counted(seconds):
        nonlocal sleeps
        sleeps += 1
        await sleep(seconds)

    monkeypatch.setattr(anyio, "sleep", counted)
    model = ScriptedModel([[Pause(119.0), "a\n"]], timeouts=Timeouts(first_token=120.0, inter_token=1.0))
    await timed(model)
    assert sleeps < 130


async def test_model_without_timeouts_uses_defaults():
    model = ScriptedModel([["1+1=2\n", NEVER]])
    del model.timeouts
    result, _, took = await timed(model, watch(), budgets=Budgets(reconnects=0))
    assert (result.status, result.text, took) == ("failed", "1+1=2\n", 60.0)


@pytest.mark.fault("W19", injected="a total deadline", happens="the run fails on time, without another request")
@pytest.mark.parametrize("opening", [0.0, 1e6])
async def test_total_timeout_ends_run_without_retry(opening):
    model = Accountant(
        [["1+1=2\n", *[step for _ in range(50) for step in (Pause(10.0), "x")]]],
        opening=opening,
        timeouts=Timeouts(first_token=None, inter_token=60.0, total=100.0),
    )
    result, events, took = await timed(model, watch())
    assert took == 100.0
    assert (result.status, result.error) == (
        "failed",
        "the total timeout of 100 s ran out: allow more time, or look whether the server still answers",
    )
    assert result.text.startswith("1+1=2\n") == (opening == 0.0)
    assert [event.action for event in events if isinstance(event, StreamBroken)] == ["fail"]
    assert len(model.requests) == 1
    model.assert_all_closed_once()


async def test_no_resume_is_requested_after_total_timeout():
    model = Accountant([["2+2=5\n", NEVER], "\n"], timeouts=Timeouts(total=10.0), closing=0.2)
    result, _, _ = await timed(model, watch(slow(9.9)))
    assert (result.status, result.text) == ("failed", "2+2=4")
    assert len(model.requests) == 1


@pytest.mark.fault("W19", injected="stalls without end", happens="failed on time, text kept")
async def test_exhausted_reconnects_fail_with_the_text_kept():
    model = ScriptedModel([["1+1=2\n", NEVER], [NEVER]], timeouts=Timeouts(first_token=10.0, inter_token=20.0))
    async with interwhen.run(model, "Q", monitors=[watch()], budgets=Budgets(reconnects=2)) as run:
        await run.drain()
    assert (run.result.status, run.result.text) == ("failed", "1+1=2\n")
    assert run.result.timing.total == 20.0 + 10.0 + 10.0
    assert isinstance(run.error, StreamTimeout)
    assert run.result.ledger.reconnects == 2


@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_time_budget_ends_the_run_in_any_state(delivery):
    for script in (["1+1=2\n", NEVER], ["1+1=2\n"]):
        model = Accountant([script], timeouts=Timeouts(None, None, None))
        result, _, took = await timed(
            model, watch(slow(1e8, deadline=1e9), delivery=delivery), budgets=Budgets(seconds=600.0)
        )
        assert took == 600.0
        assert result.status == "abstained"
        model.assert_all_closed_once()


async def test_a_slow_reader_is_no_stall():
    model = ScriptedModel(["1+1=2\n2+2=4\n"], size=6, timeouts=Timeouts(first_token=1.0, inter_token=1.0))
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        async for _ in run:
            await anyio.sleep(100)
    assert run.result.status == "verified"
    assert run.result.ledger.reconnects == 0
    assert run.result.timing.largest_gap == 0.0


@pytest.mark.fault("W18", injected="a reset, 529 or 429 inside the stream", happens="resumed from the text so far")
@pytest.mark.parametrize(
    "error", [ConnectError("reset"), UpstreamError("overloaded", status=529), UpstreamError("slow down", status=429)]
)
async def test_broken_stream_is_resumed_from_its_text(error):
    model = Accountant([["1+1=2\n2+", error], "2=4\n"])
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        events = [event async for event in run]
    assert (run.result.status, run.result.text) == ("verified", "1+1=2\n2+2=4\n")
    assert apply(events) == run.result.text
    assert model.requests[1].prefix == "1+1=2\n2+"
    assert run.error is None
    model.assert_all_closed_once()


@pytest.mark.parametrize(
    ("error", "requests"),
    [(ConnectError("reset"), 4), (UpstreamError("no", status=401), 1), (ContextOverflow("long", status=400), 1)],
)
async def test_unrecoverable_stream_fails_with_the_text_kept(error, requests):
    model = Accountant([["1+1=2\n", error], [error]])
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        await run.drain()
    assert (run.result.status, run.result.text, run.result.error) == ("failed", "1+1=2\n", str(error))
    assert run.error is error
    assert len(model.requests) == requests


async def test_unknown_capabilities_fail_the_run():
    for error, seconds, status in (
        (ConnectError("no route"), 0.0, "failed"),
        (None, 120.0, "failed"),
        (None, 5.0, "abstained"),
    ):

        class Mute(ScriptedModel):
            async def capabilities(self, error=error):
                if error is not None:
                    raise error
                await anyio.sleep(1e6)

        budgets = Budgets(seconds=seconds if status == "abstained" else None)
        result, _, took = await timed(Mute([""]), watch(delivery="gate"), budgets=budgets)
        assert (result.status, took, result.text) == (status, seconds, "")


@pytest.mark.fault(
    "G7",
    injected="a stall within a line with an error",
    happens="repaired and resumed, long before the reconnect",
)
@pytest.mark.parametrize(("said", "seconds"), [("3+3=7, and so we", 2.0), ("3+3=7", 10.0)])
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_violation_in_unfinished_stalled_line_is_acted_upon(said, seconds, delivery):
    model = Accountant([["2+2=4\n" + said, NEVER], "\n4+4=8\n"], timeouts=Timeouts(inter_token=60.0))
    result, _, took = await timed(model, watch(delivery=delivery))
    assert took == seconds
    assert result.text == "2+2=4\n3+3=6\n4+4=8\n"
    assert (result.status, result.ledger.remedies, result.ledger.reconnects) == ("verified", 1, 0)
    model.assert_all_closed_once()


@pytest.mark.parametrize("pause", [1.0, 3.0, 30.0])
async def test_model_resuming_after_silence_is_not_interrupted(pause):
    steps = ["so 2+2=4 and 3+3=6", Pause(pause), " we", Pause(pause), " see 9+9=1", Pause(pause), "8\n"]
    model = Accountant([steps], timeouts=Timeouts(inter_token=60.0))
    result, _, took = await timed(model, watch())
    assert (result.status, result.ledger.remedies, took) == ("verified", 0, 3 * pause)


@pytest.mark.parametrize("inter_token", [1.0, 3.0])
async def test_stalled_text_is_checked_before_reconnect(inter_token):
    model = Accountant([["3+3=7", NEVER], "\n"], timeouts=Timeouts(inter_token=inter_token))
    result, _, took = await timed(model, watch())
    assert (result.text, result.ledger.reconnects, took) == ("3+3=6\n", 0, inter_token * 0.9)
