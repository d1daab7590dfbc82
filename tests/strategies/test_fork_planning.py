from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.strategies import Actual, ForkPlanner, ForkSituation, Planner, Rates, work_of

RATES = Rates(request=0.005, prefill=0.001, decode=0.02, restore=0.005, restored=0.00002)
ALL = frozenset({"live", "prefill", "restored", "parser", "summary"})
BASE = ForkSituation(prefix=1000, side=20, reply=4, held=0, stored=0, summary=0, routes=frozenset({"live", "prefill"}))


def taken(planner: ForkPlanner, situation: ForkSituation, *, times: int = 1, actual: Actual | None = None) -> list[str]:
    routes = []
    for _ in range(times):
        planned = planner.choose(situation)
        routes.append(planned.route)
        planner.learn(planned, actual or Actual(planned.seconds))
    return routes


def test_a_planner_is_what_its_protocol_says():
    assert isinstance(ForkPlanner(), Planner)


def test_what_is_held_is_used():
    assert taken(ForkPlanner(RATES), replace(BASE, held=900)) == ["live"]


def test_a_saved_state_is_restored_where_little_is_held_and_that_is_soon_known():
    situation = replace(BASE, held=0, stored=950, routes=frozenset({"live", "prefill", "restored"}))
    assert "restored" in taken(ForkPlanner(RATES), situation, times=3)
    assert taken(ForkPlanner(RATES), situation, times=12)[-3:] == ["restored"] * 3


def test_nothing_is_restored_that_was_not_saved():
    situation = replace(BASE, routes=frozenset({"prefill", "restored"}))
    assert set(taken(ForkPlanner(RATES), situation, times=12)) == {"prefill"}


def test_a_summary_stands_for_a_long_prefix():
    situation = replace(BASE, summary=60, routes=frozenset({"prefill", "summary"}))
    assert taken(ForkPlanner(RATES), situation) == ["summary"]


def test_a_parser_that_never_has_an_answer_is_asked_no_more_for_long():
    planner = ForkPlanner(RATES)
    situation = replace(BASE, prefix=10, side=2, reply=1, routes=frozenset({"live", "parser"}))
    assert taken(planner, situation) == ["parser"]
    silent = Actual(0.01, parsed=False)
    routes = taken(planner, situation, times=30, actual=silent)
    assert routes[-1] == "live"


def test_a_server_that_forgets_is_found_out_by_its_counters():
    planner = ForkPlanner(RATES)
    situation = replace(BASE, held=950, stored=950, routes=frozenset({"live", "restored"}))
    for _ in range(10):
        planned = planner.choose(situation)
        cached = 0 if planned.route == "live" else 950
        seconds = work_of(planned.route, replace(situation, held=cached), 1.0).seconds(RATES)
        planner.learn(planned, Actual(seconds, 1020, cached, 4))
    assert planner.hit < 0.8
    assert planner.choose(situation).route == "restored"
    assert planner.choose(situation).save


def test_nothing_is_saved_for_a_server_that_keeps_all():
    situation = replace(BASE, held=950, routes=frozenset({"live", "restored"}))
    assert not ForkPlanner(RATES).choose(situation).save


def test_the_others_are_shown_with_what_they_would_have_cost():
    planned = ForkPlanner(RATES).choose(replace(BASE, held=900))
    assert planned.others == (("prefill", pytest.approx(0.005 + 1.02 + 0.08)),)
    assert planned.seconds == pytest.approx(0.005 + 0.12 + 0.08)
    assert planned.prefilled == pytest.approx(120)


def test_server_timings_say_more_than_the_clock():
    planner = ForkPlanner(RATES)
    for _ in range(8):
        planned = planner.choose(BASE)
        planner.learn(planned, Actual(0.005 + 2.04 + 0.08, 1020, 0, 4, 2.04, 0.08))
    assert planner.rates.prefill == pytest.approx(0.002, rel=0.1)
    assert planner.rates.decode == pytest.approx(0.02, rel=0.1)


@given(
    st.builds(
        ForkSituation,
        prefix=st.integers(0, 10**5),
        side=st.integers(0, 500),
        reply=st.integers(0, 500),
        held=st.integers(0, 10**5),
        stored=st.integers(0, 10**5),
        summary=st.integers(0, 10**4),
        routes=st.frozensets(st.sampled_from(sorted(ALL)), min_size=0),
    ),
    st.floats(0, 1e4),
)
def test_a_choice_is_always_one_that_can_be_made(situation, seconds):
    planner = ForkPlanner(RATES)
    for _ in range(6):
        planned = planner.choose(situation)
        assert planned.route in situation.routes | {"live"}
        assert planned.seconds >= 0
        planner.learn(planned, Actual(seconds))
