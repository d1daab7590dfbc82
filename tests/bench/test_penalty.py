"""The measurement of the penalty: what it says follows from the runs. What it finds on a machine is no matter of a test."""

from __future__ import annotations

from importlib.util import find_spec

import anyio
import msgspec
import pytest
from interwhen import Monitor, Pass, UsageError, verifier
from interwhen.bench._penalty import Plan, Setup, measure, run_sweep
from interwhen.bench._penalty_report import Penalty, Round, bars, parse_share, report_of
from interwhen.bench._penalty_runs import (
    RECORDED,
    Clocked,
    Endpoint,
    Flow,
    Local,
    Replayed,
    passing,
    read_bare,
    read_supervised,
)
from interwhen.bench._statistics import mean_of, paired
from interwhen.models import Request, load_recordings
from interwhen.testing import ScriptedModel
from interwhen.testing.server import ScriptedServer, events

SMALL = Replayed(speed=60.0, chunks=60)


def flow(*arrivals, total=None, **fields):
    defaults = {"total": arrivals[-1] if total is None else total, "tokens": len(arrivals), "text_sha256": "x"}
    return Flow(arrivals=arrivals, **{**defaults, **fields})


def one_round(number, bare, supervised, **more):
    return Round(number, {"bare": (bare,), "supervised": (supervised,), **more})


def report(*rounds, monitors=()):
    return report_of(rounds, machine="m", source="s", monitors=monitors, concurrency=1, seed=0)


def test_what_is_added_is_the_difference_within_pairs():
    pairs = [one_round(n, flow(1.0, 2.0 + n), flow(1.001, 2.1 + n, total=2.2 + n, tail=0.1)) for n in range(4)]
    found = report(*pairs)
    assert found.correct == found.same_text == 4
    assert found.difference("first").added.mean == pytest.approx(1.0)
    total = found.difference("total")
    assert total.added.mean == total.added.low == pytest.approx(0.2)
    assert total.percent.mean == pytest.approx(sum(20 / (2 + n) for n in range(4)) / 4)
    assert found.difference("last").added.mean == pytest.approx(0.1)
    assert found.tail_ms.mean == pytest.approx(100)
    assert found.chunk_added_p99_ms == pytest.approx(99)


def test_a_pair_that_was_interrupted_is_listed_and_not_counted():
    good, bad = flow(1.0, 2.0), flow(1.0, 9.0, why_not="interrupted by m1: wrong")
    found = report(one_round(0, good, good), one_round(1, good, bad), one_round(2, flow(1.0), good))
    assert [(other.pair, other.why) for other in found.others] == [
        (1, "interrupted by m1: wrong"),
        (2, "fewer than two pieces of text came"),
    ]
    assert (found.pairs, found.correct) == (3, 1)
    assert found.difference("total").added.mean == 0
    assert report(one_round(0, good, bad)) is None


def test_gaps_beside_a_fork_are_told_apart_from_the_others():
    supervised = flow(1.0, 2.0, 5.0, 6.0, forks=1, fork_tokens=7, fork_spans=((2.5, 3.5),))
    found = report(one_round(0, flow(1.0, 2.0, 3.0, 4.0), supervised))
    assert found.forks.gap_beside_ms.mean == 3000
    assert found.forks.gap_apart_ms.mean == 1000
    assert found.forks.share.mean == pytest.approx(60)
    assert found.forks.tokens.mean == 7


def test_leaving_a_monitor_out_tells_what_it_costs():
    bare, whole, less = flow(1.0, 2.0), flow(1.0, 2.0, total=2.5), flow(1.0, 2.0, total=2.1)
    costs = Clocked(passing(1)[0])
    whole = msgspec.structs.replace(
        whole, costs=(anyio.run(lambda: read_supervised(ScriptedModel(["hi "]), Request(""), [costs])).costs[0],)
    )
    found = report(one_round(0, bare, whole, **{"without m1": (less,)}), monitors=["m1"])
    assert found.costs[0].saved_ms.mean == pytest.approx(400)


def test_bars_look_at_the_upper_end_of_the_interval():
    pairs = [one_round(n, flow(1.0, 101.0), flow(1.0, 101.0, total=101.0 + 1.9 * (n % 2))) for n in range(20)]
    found = {bar.metric: bar for bar in bars(report(*pairs))}
    assert report(*pairs).difference("total").percent.mean < 1
    assert not found["total"].is_met
    assert found["first"].is_met
    assert found["gap p99"].is_met


def test_means_have_intervals_that_hold_them():
    found = mean_of([1.0, 2.0, 3.0, 10.0])
    assert found.low < found.mean == 4.0 < found.high
    assert mean_of([5.0]).low == mean_of([5.0]).high == 5.0
    assert paired("x", "s", [0.0], [1.0]).percent.mean == 0


@pytest.mark.parametrize(("text", "share"), [("1%", 1.0), (" 0.5 %", 0.5)])
def test_a_share_is_a_percentage(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["1", "x%", "-1%", "%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="percentage"):
        parse_share(text)


# ---------------------------------------------------------------------- the replay


def test_the_recording_that_comes_with_it_is_a_thousand_tokens_long():
    (recording,) = load_recordings(RECORDED)
    assert sum(1 for arrival in recording.arrivals if arrival.chunk.text) == 1000
    assert [arrival.at for arrival in recording.arrivals] == sorted(arrival.at for arrival in recording.arrivals)


def test_a_small_measurement_gives_a_whole_report():
    monitors = passing(3, verifier_seconds=0.01)
    plan = Plan(pairs=2, control=True, leave_one_out=True)
    found = anyio.run(measure, SMALL, monitors, plan)
    assert (found.pairs, found.correct, found.same_text) == (2, 2, 2)
    assert found.tokens.mean == 60
    assert found.monitors == ("m1", "m2", "m3")
    assert len(found.differences) == len(found.control) == 7
    assert [row.checks.mean > 0 for row in found.costs] == [True] * 3
    assert all(row.saved_ms is not None and row.open.mean == 0 for row in found.costs)
    assert found.tail_ms.mean >= 10  # the last segment's check cannot begin before the stream's end
    assert found.forks is None
    assert msgspec.json.decode(msgspec.json.encode(found), type=Penalty) == found


def test_forks_are_counted():
    async def once():
        with anyio.fail_after(60):
            return await measure(SMALL, passing(1, verifier_seconds=0.0, forks=True), Plan(pairs=1))

    found = anyio.run(once)
    assert found.forks.forks.mean >= 1
    assert found.costs[0].checks.mean >= 1


def test_a_pair_is_a_crowd_where_streams_run_at_once():
    found = anyio.run(measure, SMALL, passing(1, verifier_seconds=0.0), Plan(pairs=1, concurrency=3))
    assert len(found.curves.bare_totals) == len(found.curves.supervised_totals) == 3


def test_a_measurement_without_a_correct_run_says_so():
    @verifier(name="fussy", worker="inline")
    def refute(_claim):
        from interwhen import Violation

        return Violation(why="I do not like it")

    from interwhen import Stop

    fussy = Monitor(name="fussy", verifier=refute, extractor=passing(1)[0].extractor, remedy=Stop())
    with pytest.raises(UsageError, match="interrupted by fussy"):
        anyio.run(measure, SMALL, [fussy], Plan(pairs=1))


def test_a_sweep_changes_one_thing_at_a_time():
    setup = Setup(source=SMALL, plan=Plan(pairs=1), monitors=1, verifier_seconds=0.0)
    found = anyio.run(run_sweep, setup, "length", (20, 20, 40))  # each value once
    assert [(row.value, row.tokens.mean) for row in found.rows] == [(20, 20), (40, 40)]
    assert found.slope is not None
    for axis, value in (("verifier-latency", 10), ("polls", 50), ("monitors", 2), ("concurrency", 2)):
        changed = setup.at(axis, value)
        assert changed != setup
    assert len(setup.at("monitors", 2).watchers()) == 2


@pytest.mark.parametrize(("axis", "values"), [("polls", (0,)), ("length", (0, 5))])
def test_values_that_cannot_be_swept_are_refused(axis, values):
    with pytest.raises(UsageError, match="too small"):
        anyio.run(run_sweep, Setup(source=SMALL), axis, values)


@pytest.mark.parametrize("options", [{"pairs": 0}, {"concurrency": 0}])
def test_a_plan_of_nothing_is_refused(options):
    with pytest.raises(UsageError, match="at least 1"):
        Plan(**options)


# ---------------------------------------------------------------------- reading


def test_both_ways_of_reading_see_the_same_text_and_count_the_same():
    async def once():
        model = ScriptedModel([["one ", "two ", "three"]] * 2)
        return await read_bare(model, Request("")), await read_supervised(model, Request(""), [])

    bare, supervised = anyio.run(once)
    assert bare.text_sha256 == supervised.text_sha256
    assert bare.tokens == supervised.tokens == 3
    assert len(bare.arrivals) == len(supervised.arrivals) == 3
    assert bare.arrivals[-1] <= bare.total
    assert not supervised.why_not


def test_a_monitor_that_holds_the_loop_is_named():
    @verifier(name="v", worker="inline")
    def accept(_claim):
        return Pass()

    def slow(segment):
        sum(range(200_000))
        yield from passing(1)[0].extractor(segment)

    slowly = Monitor(name="slow", verifier=accept, extractor=slow)
    quickly = Monitor(name="quick", verifier=accept, extractor=passing(1)[0].extractor)

    async def once():
        model = ScriptedModel([["a line\n"] * 5])
        return await read_supervised(model, Request(""), [Clocked(slowly), Clocked(quickly)])

    first, second = anyio.run(once).costs
    assert first.on_loop > second.on_loop > 0
    assert first.checks == first.passed == 5


# ---------------------------------------------------------------------- other sources


def test_an_endpoint_is_asked_the_same_twice():
    async def once():
        async with ScriptedServer(lambda _request: events(["one ", "two ", "three.\n"])) as server:
            source = Endpoint(server.base_url, "m", api="completions", tokens=7, prompts=("P", "Q"))
            found = await measure(source, passing(1, verifier_seconds=0.0), Plan(pairs=2, seed=5))
            return found, [request.json for request in server.posts]

    found, asked = anyio.run(once)
    assert found.same_text == 2
    assert found.tokens.mean == 3
    assert [(body["prompt"], body["seed"], body["max_tokens"]) for body in asked] == [
        *[("P", 5, 7)] * 4,  # the first pair warms up
        *[("Q", 6, 7)] * 2,
    ]


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_forks_share_the_local_model_with_its_stream():
    source = Local(tokens=120, slots=2)
    monitors = passing(1, verifier_seconds=0.0, forks=True, poll_chars=60, fork_tokens=8)
    found = anyio.run(measure, source, monitors, Plan(pairs=1))
    assert found.source == "local:tiny"
    assert found.tokens.mean > 60
    assert found.forks.forks.mean >= 1
    assert found.forks.prompt_tokens.mean > 0
