"""What the generators write: every right solution passes, every mistake is refuted, in the words that were trained."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from interwhen import Pass, Unknown, Violation
from tests.examples.tiny import SEEDS, is_pass, judge, last, problems, refuted
from tools.train_tiny.families import FAMILIES

REWORDED = {
    "maze": "a way back or an unfinished room may have several doors, and any of them is a witness",
    "countdown": "of two equal numbers the other one may have been used: the same numbers left, in another order",
}
"""Where the witness of a step may differ from the generator's own."""


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_right_solution_passes_line_by_line(family, hard):
    for worked in problems(family, hard=hard):
        lines = [step.text for step in worked.steps]
        verdicts = judge(family, worked.problem.prompt, lines, worked.answer)
        assert all(map(is_pass, verdicts)), (worked.problem.prompt, lines, verdicts)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_mistake_is_refuted_at_its_place(family, hard):
    seen = Counter()
    for seed, worked in enumerate(problems(family, hard=hard)):
        rng, lines = random.Random(seed), [step.text for step in worked.steps]
        for at, step in enumerate(worked.steps):
            if step.blunder is None:
                continue
            mistake = step.blunder(rng)
            verdict = last(family, worked.problem.prompt, [*lines[:at], mistake.text])
            where, why, witness, repair = refuted(verdict, mistake.text)
            assert (where, why) == (mistake.wrong, mistake.why), (worked.problem.prompt, lines[:at], mistake)
            assert repair != where
            seen[witness == mistake.witness] += 1
    assert seen[True] > SEEDS / 2
    assert seen[False] <= (0.1 * seen[True] if family in REWORDED else 0), seen


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrong_answer_is_refuted_without_the_solution(family, hard):
    for seed, worked in enumerate(problems(family, hard=hard)):
        mistake = worked.blunder(random.Random(seed))
        lines = [step.text for step in worked.steps]
        verdict = last(family, worked.problem.prompt, lines, mistake.text)
        where, why, witness, repair = refuted(verdict, mistake.text)
        assert (where, why) == (mistake.wrong, mistake.why)
        assert (witness, repair) == ("", None)


@pytest.mark.parametrize("family", FAMILIES)
def test_repair_is_a_prefix_of_right_line(family):
    repaired = 0
    for seed, worked in enumerate(problems(family)):
        rng, lines = random.Random(seed), [step.text for step in worked.steps]
        for at, step in enumerate(worked.steps):
            mistake = step.blunder(rng) if step.blunder else None
            verdict = mistake and last(family, worked.problem.prompt, [*lines[:at], mistake.text])
            if isinstance(verdict, Violation) and verdict.repair is not None:
                begun = mistake.text[: verdict.where.start] + verdict.repair
                same_numbers = family == "countdown" and sorted(begun.split()) == sorted(step.text.split())
                assert step.text.startswith(begun) or same_numbers, (step.text, begun)
                repaired += 1
    assert repaired > 25


@pytest.mark.parametrize("family", FAMILIES)
def test_garbled_lines_give_valid_spans(family):
    for seed, worked in enumerate(problems(family, seeds=100)):
        rng, lines = random.Random(seed), [step.text for step in worked.steps]
        for text in (*lines, worked.answer):
            garbled = list(text)
            for _ in range(rng.randint(1, 4)):
                garbled[rng.randrange(len(garbled))] = rng.choice(
                    ["", " ", "-", "0", "9", "A", ">", "=", ",", "×", "{", '"']
                )
            line = "".join(garbled)
            for verdict in judge(family, worked.problem.prompt, [line, *lines[:2]], line):
                assert verdict is None or isinstance(verdict, Pass | Violation | Unknown)
            verdict = last(family, worked.problem.prompt, [line])
            if isinstance(verdict, Violation) and verdict.where:
                assert verdict.where.end <= len(line)
