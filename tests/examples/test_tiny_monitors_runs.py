"""The tiny monitors in real runs: chunked at random, repaired, rewound, answered, resampled, observed."""

from __future__ import annotations

import random

import pytest
from interwhen import Feedback, Repair, Resample, Unverified, Verified
from interwhen.remedies import Stop
from tests.examples.tiny import chunked, learner, problems, supervise, trace_of
from tools.train_tiny.families import FAMILIES

REMEDIES = {
    "repair": Repair(otherwise=Feedback(place="rewind")),
    "rewind": Feedback(place="rewind"),
    "append": Feedback(place="append"),
    "resample": Resample(),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_right_solution_is_verified_for_any_chunking(family):
    for seed, worked in enumerate(problems(family, seeds=30)):
        rng = random.Random(seed)
        result = supervise(family, worked.problem.prompt, [chunked(rng, trace_of(worked))])
        assert isinstance(result, Verified), (trace_of(worked), result.violations)
        assert len(result.checks) == len(worked.steps) + 1


@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_run_continues_after_remedy_and_is_verified(family, remedy, delivery):
    for seed, worked in enumerate(problems(family, hard=True, seeds=25)):
        rng = random.Random(seed)
        places = [(at, step.blunder) for at, step in enumerate(worked.steps) if step.blunder]
        at, blunder = rng.choice(places)
        script = learner(rng, worked, at, blunder(rng).text)
        result = supervise(family, worked.problem.prompt, script, remedy=REMEDIES[remedy], delivery=delivery)
        assert result.ledger.remedies == 1
        assert isinstance(result, Verified), (
            seed,
            result.text,
            result.violations,
            getattr(result, "unverified_reasons", None),
        )
        assert result.answer.strip() == worked.answer


@pytest.mark.parametrize("level", ["flag", "locate", "explain", "witness"])
@pytest.mark.parametrize("family", FAMILIES)
def test_feedback_length_does_not_affect_the_state(family, level):
    for seed, worked in enumerate(problems(family, seeds=25)):
        rng = random.Random(seed)
        places = [(at, step.blunder) for at, step in enumerate(worked.steps) if step.blunder]
        at, blunder = rng.choice(places)
        script = learner(rng, worked, at, blunder(rng).text)
        result = supervise(family, worked.problem.prompt, script, remedy=Feedback(place="rewind"), level=level)
        assert result.ledger.remedies == 1
        assert isinstance(result, Verified), (seed, result.text, result.violations)


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_answer_gets_feedback_and_is_rewritten(family):
    for seed, worked in enumerate(problems(family, seeds=20)):
        rng = random.Random(seed)
        right = trace_of(worked)
        wrong = right.removesuffix(worked.answer) + worked.blunder(rng).text
        texts = [chunked(rng, wrong + "\n"), chunked(rng, worked.answer)]
        result = supervise(family, worked.problem.prompt, texts, remedy=Feedback(place="rewind"))
        assert isinstance(result, Verified), (result.text, result.violations)
        assert result.violations[0].remedy == "feedback"
        assert result.answer.strip().startswith(f"Wait, {result.violations[0].why}.\n")


def test_stale_line_of_same_chunk_is_dropped():
    prompt = "Start with 64. Add 29. Subtract 3. Add 10. Result?"
    begun = ["<think>\n64 + 29 = 95\n93 - 3 = 90\n90 + 10 = 100\n</think>\nAnswer: 100"]
    rest = "64 + 29 = 93\n93 - 3 = 90\n90 + 10 = 100\n</think>\nAnswer: 100"
    for place in ("rewind", "append"):
        result = supervise("totals", prompt, [begun, rest], remedy=Feedback(place=place))
        assert isinstance(result, Verified), (result.text, result.violations)


def test_feedback_of_equal_length_hides_no_line():
    # "Wait, 13 - 4 is not 8." is as long as the line that it replaces.
    prompt = "Make 24 from 13 4 3 5. Use each number once."
    wrong = "13 - 4 = 8, left 3 5 8"
    assert len(wrong) == len("Wait, 13 - 4 is not 8.")
    rest = "13 - 4 = 9, left 3 5 9\n9 × 3 = 27, left 5 27\n27 - 5 = 22, left 22\n22 is not 24, again\n"
    result = supervise(
        "countdown", prompt, [f"<think>\n{wrong}\n", rest], level="explain", remedy=Feedback(place="rewind")
    )
    assert isinstance(result, Unverified)  # no answer was given
    assert [violation.why for violation in result.violations] == ["13 - 4 is not 8"]
    assert len(result.checks) == 4


def test_repeated_mistake_is_refuted_again():
    prompt = "Start with 64. Add 29. Subtract 3. Result?"
    replies = ["<think>\n64 + 29 = 95\n", "64 + 29 = 95\n", "64 + 29 = 93\n93 - 3 = 90\n</think>\nAnswer: 90"]
    for remedy in (Feedback(place="rewind"), Feedback(place="append"), Resample()):
        result = supervise("totals", prompt, replies, remedy=remedy)
        assert isinstance(result, Verified), (result.text, result.violations)
        assert result.ledger.remedies == 2


def test_observed_mistake_does_not_taint_later_lines():
    prompt = "Start with 64. Add 29. Subtract 3. Add 10. Result?"
    trace = "<think>\n64 + 29 = 95\n95 - 3 = 92\n92 + 10 = 103\n</think>\nAnswer: 102"
    result = supervise("totals", prompt, [trace], delivery="observe")
    assert isinstance(result, Unverified)
    assert [violation.why for violation in result.violations] == ["64 + 29 is not 95", "92 + 10 is not 103"]


def test_stopped_run_keeps_the_right_text():
    prompt = "Start with 64. Add 29. Subtract 3. Result?"
    result = supervise("totals", prompt, ["<think>\n64 + 29 = 93\n93 - 3 = 91\n"], remedy=Stop())
    assert result.text.endswith("64 + 29 = 93\n")
