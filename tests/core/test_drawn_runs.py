"""What holds in any run of the core, whatever its monitors, texts, verdicts and faults are."""

import functools

import pytest
from interwhen import Delta, Retracted
from interwhen._core.messages import Abandoned, Broken, Ended, Extract, Idle, Opened, OutOfTime, Resumed, SwitchedOff
from interwhen.events import CheckSettled, CheckStarted
from interwhen.models import Chunk
from tests.core.drawn_runs import DrawnRun

RUNS = 160
FACTS = (
    *(Chunk("late", tokens=1), Opened("turn"), Ended(), Broken("reset", retryable=True), Idle(1.0), OutOfTime(1.0)),
    *(Resumed(), SwitchedOff(), Abandoned()),
)


@functools.cache
def drawn(seed):
    run = DrawnRun(seed)
    run.play()
    return run


@pytest.fixture(params=range(0, RUNS, 20))
def runs(request):
    return [drawn(seed) for seed in range(request.param, request.param + 20)]


def test_the_same_facts_give_the_same_run(runs):
    for run in runs:
        again = DrawnRun(run.seed)
        for fact in run.facts:
            again.tell(fact)
        assert again.lines == run.lines


def test_a_finished_run_answers_nothing(runs):
    for run in runs:
        assert run.over
        for fact in FACTS:
            assert run.core.step(fact) == []
            assert not run.core.events


def test_a_finished_run_leaves_no_job_open(runs):
    assert not any(run.pending for run in runs)


def test_the_reader_sees_the_text_without_gaps(runs):
    for run in runs:
        shown = ""
        for event in run.events:
            match event:
                case Delta(text=text, start=start):
                    assert start == len(shown)
                    shown += text
                case Retracted(to=to):
                    assert to < len(shown)
                    shown = shown[:to]
        assert run.summary.text.startswith(shown)


def test_all_places_lie_inside_of_the_text(runs):
    for run in runs:
        assert all(max(shown, frontier) <= length for shown, frontier, length in run.ends)
        whole = len(run.summary.text)
        for record in run.summary.checks:
            assert record.segment.end <= whole
            assert record.span is None or record.segment.covers(record.span)
        for order in run.orders:
            if isinstance(order, Extract):
                assert len(order.segment.text) == len(order.segment.span)


def test_each_check_that_started_ends(runs):
    for run in runs:
        started = {(each.monitor, each.key) for each in run.events if isinstance(each, CheckStarted)}
        ended = {(each.check.monitor, each.check.key) for each in run.events if isinstance(each, CheckSettled)}
        assert started <= ended
