"""The generated families: their answers are right, and the monitor that judges them agrees without sharing code."""

import random

import pytest
from interwhen import Pass, Segment, Span, Task, Violation
from interwhen.models import Request
from tests.benchmarks import precompute_world as _precompute_world
from tests.benchmarks.precompute_world import FAMILIES, About, MistakeRates, SlippingModel


@pytest.fixture(params=sorted(FAMILIES))
def case(request):
    return FAMILIES[request.param](random.Random(request.param), 12, 0.5)


def judged(case, line):
    source = _precompute_world.prepare(Task(case.text))
    (claim,) = _precompute_world.extract(Segment(line, Span(0, len(line)), "answer"), source)
    return _precompute_world.check(claim, source)


def test_everything_that_is_true_passes(case):
    for about, value in case.truth.items():
        assert isinstance(judged(case, case.say(about, value)), Pass), (about, value)


def test_any_other_value_is_refuted_and_repaired(case):
    values = sorted(set(case.truth.values()))
    for about, value in list(case.truth.items())[::3]:
        wrong = next(other for other in values if other != value)
        verdict = judged(case, case.say(about, wrong))
        assert isinstance(verdict, Violation)
        assert verdict.repair == case.say(about, value)


async def leaks(case, line):
    from interwhen.precompute import Accepted, Judge

    return isinstance(await Judge([_precompute_world.sources(misses=0.5)]).judge(line, case.text), Accepted)


@pytest.mark.anyio
async def test_a_monitor_that_misses_passes_some_wrong_statements_and_all_right_ones(case):
    values = sorted(set(case.truth.values()))
    some = list(case.truth.items())[:40]
    wrong = [case.say(about, next(other for other in values if other != value)) for about, value in some]
    missed = sum([await leaks(case, line) for line in wrong])
    assert 0 < missed < len(wrong)
    assert all([await leaks(case, case.say(about, value)) for about, value in some])


def test_each_value_comes_from_the_one_before(case):
    for about, value in case.truth.items():
        start, first = case.start(about)
        if about.number > start.number + 1:
            before = case.truth[About(about.who, about.number - 1)]
            assert case.advance(about, before) == value
        assert case.read(case.say(about, value)) == (about, value)
        assert first


def test_the_lines_that_are_cited_stand_in_the_text(case):
    there = set(case.text.splitlines())
    for about in list(case.truth)[::5]:
        start, value = case.start(about)
        assert set(case.lines(about, start.number, value)) <= there


def test_answers_are_graded(case):
    for question in case.questions:
        assert case.right(question, question.answer)
        wrong = next(value for value in case.truth.values() if value != question.answer)
        assert not case.right(question, wrong)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_questions_are_as_predictable_as_asked(share):
    for family in FAMILIES.values():
        case = family(random.Random(3), 12, share)
        assert {question.likely for question in case.questions} == {share == 1.0}
        assert all((question.about in case.likely) == question.likely for question in case.questions)


def test_a_seed_gives_the_same_case():
    for family in FAMILIES.values():
        assert family(random.Random(5), 4, 0.5).text == family(random.Random(5), 4, 0.5).text


def test_the_simulated_model_is_right_when_it_does_not_slip(case):
    model = SlippingModel(case, MistakeRates(step=0.0))
    for question in case.questions:
        last = model.reply(Request(f"{case.text}\n{question.text}")).splitlines()[-1]
        assert last == case.say(question.about, question.answer)


def test_the_simulated_model_slips_about_as_often_as_said(case):
    lines = wrong = 0
    for seed in range(40):
        model = SlippingModel(case, MistakeRates(step=0.1), seed=seed)
        question = max(case.questions, key=lambda one: one.about.number)
        said = model.reply(Request(f"{case.text}\n{question.text}")).splitlines()
        at, value = case.start(question.about)
        for line in said:
            about, told = case.read(line)
            value = case.advance(about, value) if about.number > at.number else value
            lines, wrong = lines + 1, wrong + (told != value)
            value = told
    assert 0.04 < wrong / lines < 0.18


def test_the_simulated_model_believes_its_notes(case):
    question = max(case.questions, key=lambda one: one.about.number)
    wrong = next(value for value in case.truth.values() if value != question.answer)
    note = case.say(question.about, wrong)
    said = SlippingModel(case, MistakeRates(step=0.0)).reply(Request(f"{note}\n{case.text}\n{question.text}"))
    assert said.splitlines() == [note]
