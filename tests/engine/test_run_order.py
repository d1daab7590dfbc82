"""Time and order: the earliest violation wins, gates open when their checks pass, the tail is measured."""

import anyio
import interwhen
import pytest
from interwhen import Delta, Pass
from interwhen.events import FrontierMoved
from interwhen.models import Capabilities
from interwhen.testing import End, Pause, Say, ScriptedModel
from sums import apply, slow, sums, supervise, watch

pytestmark = pytest.mark.anyio


def only(*lefts):
    return lambda segment: [claim for claim in sums(segment) if claim.left in lefts]


async def timeline(model, *monitors, **options):
    begun = anyio.current_time()
    async with interwhen.run(model, "Q", monitors=monitors, **options) as run:
        events = [(anyio.current_time() - begun, event) async for event in run]
    return run.result, events


@pytest.mark.fault("V6", injected="the earlier violation found later", happens="the earlier one is acted upon")
@pytest.mark.fault("V8", injected="monitors in either order", happens="the same result")
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
async def test_earliest_violation_beats_a_faster_verifier(order, delivery):
    model = ScriptedModel([["1+1=3\n", "2+2=5\n", Pause(100)], "\nend\n"])
    early = watch(slow(5.0), name="early", extractor=only(1), delivery=delivery)
    late = watch(slow(1.0, name="fast"), name="late", extractor=only(2), delivery=delivery)
    result, events = await supervise(model, *[early, late][::order])
    assert result.text == apply(events) == "1+1=2\nend\n"
    assert [violation.monitor for violation in result.violations] == ["early"]
    assert [request.prefix for request in model.requests] == ["", "1+1=2"]


async def test_later_violation_acts_after_earlier_check_passes():
    model = ScriptedModel([["1+1=2\n", "2+2=5\n", Pause(100)], "\n"])
    result, events = await timeline(model, watch(slow(lambda claim: 5.0 if claim.left == 1 else 1.0)))
    assert result.text == "1+1=2\n2+2=4\n"
    assert [at for at, event in events if isinstance(event, interwhen.events.Remedied)] == [5.0]
    assert result.timing.close_latency == (0.0,)
    assert result.timing.paused == 4.0


async def test_tail_measures_wait_for_open_checks():
    model = ScriptedModel([["1+1=2\n", Pause(2.0)]])
    result, _ = await timeline(model, watch(slow(10.0)))
    assert (result.timing.tail, result.timing.total, result.timing.checking) == (8.0, 10.0, 10.0)


async def test_gate_opens_on_pass_while_model_is_silent():
    model = ScriptedModel([["1+1=2\n", Pause(50.0), "2+2=4\n"]])
    result, events = await timeline(model, watch(slow(3.0), delivery="gate"))
    shown = [(at, event.text) for at, event in events if isinstance(event, Delta)]
    assert shown[0] == (3.0, "1+1=2\n")
    assert shown[-1][0] == 53.0
    assert next(at for at, event in events if isinstance(event, FrontierMoved)) == 3.0
    assert result.status == "verified"


async def test_only_open_gate_releases_after_failed_check():
    model = ScriptedModel([["1+1=2\n", Pause(20.0), "x\n"]])
    result, events = await timeline(model, watch(slow(1e9, deadline=7.0), delivery="gate"))
    assert not any(isinstance(event, Delta) for _, event in events)
    assert (result.status, result.text, events[-1][0]) == ("abstained", "", 7.0)
    result, events = await timeline(model, watch(slow(1e9, deadline=7.0), delivery="gate", on_error="open"))
    assert next(at for at, event in events if isinstance(event, Delta)) == 7.0
    assert result.status == "unverified"


async def test_final_delivery_streams_reasoning_and_withholds_answer():
    steps = [Say("1+1=2\n", "reasoning"), Pause(1), Say("so ", "answer"), Pause(1), Say("2\n", "answer"), Pause(1)]
    model = ScriptedModel([steps], capabilities=Capabilities("prefix", think_tags=None))
    result, events = await timeline(model, watch(slow(10.0), delivery="final"))
    assert [(at, event.text, event.phase) for at, event in events if isinstance(event, Delta)] == [
        (0.0, "1+1=2\n", "reasoning"),
        (10.0, "so 2\n", "answer"),
    ]
    assert (result.reasoning, result.answer, result.status) == ("1+1=2\n", "so 2\n", "verified")


@pytest.mark.parametrize("end", [End("length"), End("content_filter"), End(None)])
async def test_truncated_stream_is_never_verified(end):
    result, _ = await supervise(ScriptedModel([["1+1=2\n", end]]), watch())
    assert result.status == "unverified"
    assert result.finish_reason == (end.reason or "truncated")


async def test_largest_gap_and_first_token_are_measured():
    model = ScriptedModel([[Pause(3), "1+1=2\n", Pause(4), "x", Pause(2), "y\n"]])
    result, _ = await timeline(model, watch(slow(0.0, function=lambda _: Pass())))
    assert (result.timing.first_token, result.timing.largest_gap) == (3.0, 4.0)


@pytest.mark.fault("P11", injected="two runs that interleave", happens="neither touches the other")
async def test_concurrent_runs_share_no_state():
    model = ScriptedModel(lambda request: [f"{request.prompt}+1=0\n" if not request.pieces else "\n", Pause(1)])
    monitor = watch(slow(1.0))
    results = {}

    async def one(number):
        results[number] = await supervise(model, monitor, prompt=str(number))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    for number, (result, events) in results.items():
        assert result.text == apply(events) == f"{number}+1={number + 1}\n"
        assert (result.status, result.ledger.requests, len(result.violations)) == ("verified", 2, 1)


async def test_concurrent_runs_get_scripted_replies_in_turn():
    model = ScriptedModel(["1+1=2\n", "2+2=4\n"])
    texts = []

    async def one():
        result, _ = await supervise(model, watch())
        texts.append(result.text)

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)
    assert sorted(texts) == ["1+1=2\n", "2+2=4\n"]
