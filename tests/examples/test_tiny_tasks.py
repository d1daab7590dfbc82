"""The tiny model's families as tasks: worked solutions are right and verified, wrong answers are neither."""

import anyio
import pytest
from interwhen.models import Chunk
from interwhen.strategies import Trace
from interwhen.strategies._attempts import load_exercises
from interwhen.strategies._strategy import judge
from interwhen.testing import ScriptedModel
from tests.measurements import tiny_tasks
from tests.measurements.measure_tiny.problems import worked

FAMILIES = ["totals", "countdown", "maze", "ordering", "stock"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_worked_solution_is_right_and_verified(family):
    exercises = load_exercises(f"tests.measurements.tiny_tasks:{family}", count=4, seed=2, shipped={})
    assert callable(getattr(tiny_tasks, family))
    for one, known in zip(exercises, worked(family, "test", 4, 2), strict=True):
        assert one.question.prompt[0].content == known.problem.prompt
        lines = "\n".join(step.text for step in known.steps)
        text = f"<think>\n{lines}\n</think>\n{known.answer}"
        trace = Trace((Chunk(text),), "stop")
        assert one.grade(one.question.answer(trace))
        judgement = anyio.run(judge, one.question, trace, ScriptedModel([""]))
        assert judgement.verified, judgement.result
        assert one.question.read("<think>\nhm") is None
        assert not one.grade("Answer: nothing")
