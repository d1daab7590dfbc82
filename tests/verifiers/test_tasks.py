"""Generated tasks: seeded, graded by their own dataset, and worded so that the verifiers know them."""

import sys
import tomllib
from pathlib import Path

import anyio
import pytest
from interwhen import UsageError
from interwhen.models import Chunk
from interwhen.strategies import Trace
from interwhen.strategies._attempts import load_exercises
from interwhen.strategies._strategy import judge
from interwhen.testing import ScriptedModel
from interwhen.toolkit import MissingExtraError

from interwhen_verifiers import tasks

pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (extra: tasks)")

ROOT = Path(__file__).parents[2]
TASKS = {
    "chain_sum": tasks.chain_sum,
    "chained_arithmetic": tasks.chained_arithmetic,
    "countdown": tasks.countdown,
    "gsm_symbolic": tasks.gsm_symbolic,
    "shortest_path": tasks.shortest_path,
}


def load(spec, count=5, seed=3):
    return load_exercises(spec, count=count, seed=seed, shipped=TASKS)


def gold(exercise):
    return exercise.grade._entry["answer"]


def judged(exercise, text):
    trace = Trace((Chunk(text),), "stop")
    return anyio.run(judge, exercise.question, trace, ScriptedModel([""]))


def test_every_task_has_an_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["interwhen.tasks"]
    assert points == {name: f"{made.__module__}:{made.__name__}" for name, made in TASKS.items()}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_equal_seeds_give_equal_tasks_with_right_golds(name):
    first, again, other = load(name), load(name), load(name, seed=4)
    assert [one.question.prompt for one in first] == [one.question.prompt for one in again]
    assert [one.question.prompt for one in first] != [one.question.prompt for one in other]
    for one in first:
        answer = one.question.read(f"Some steps.\nAnswer: {gold(one)}")
        assert answer is not None
        assert one.grade(answer)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_answer_is_read_where_none_is_given(name):
    for one in load(name, count=1):
        assert one.question.read("The answer is hard to find.\n") is None
        assert one.question.read(f"<think>\nAnswer: {gold(one)}\n</think>\nThe answer is hard to find.\n") is None


@pytest.mark.parametrize("name", ["chain_sum", "chained_arithmetic", "gsm_symbolic"])
def test_other_numbers_are_graded_wrong(name):
    for one in load(name):
        assert not one.grade(one.question.read(f"Answer: {int(float(gold(one))) + 1}"))


@pytest.mark.parametrize("name", ["chain_sum", "chained_arithmetic"])
@pytest.mark.parametrize("wording", ["worked", "orders"])
def test_chains_are_worked_out_from_left_to_right(name, wording):
    words = {"Add": "+", "Subtract": "-", "Multiply": "*"}
    for one in load(f"{name}:wording={wording}"):
        asked = one.question.prompt[-1].content.replace(",", "").replace(".", "").split()
        signs = [words.get(word, word) for word in asked if words.get(word, word) in "+-*"]
        first, *numbers = [int(word) for word in asked if word.isdigit()]
        for sign, number in zip(signs, numbers, strict=True):
            first = {"+": first + number, "-": first - number, "*": first * number}[sign]
        assert one.grade(str(first))


def test_wrong_chain_is_refuted_and_solution_verified():
    [one] = load("chain_sum:terms=2", count=1)
    expression = one.question.prompt[-1].content
    assert judged(one, f"{expression} {gold(one)}\nAnswer: {gold(one)}").verified
    assert judged(one, f"{expression} {int(gold(one)) + 1}\nAnswer: 1").refuted


def test_countdown_verifier_judges_its_tasks():
    for one in load("countdown"):
        right = one.question.read(f"Answer: {gold(one)}")
        assert judged(one, f"Answer: {right}").verified
        assert judged(one, "Answer: 1 + 1").refuted


def test_dead_ends_option_disables_that_check():
    for spec, refuted in (("countdown:numbers=2", 1), ("countdown:numbers=2,dead_ends=false", 0)):
        [one] = load(spec, count=1)
        left, right = map(int, one.question.prompt[-1].content.split("\n")[0].split()[1:])
        target = int(one.question.prompt[-1].content.split()[-1])
        dead = next(
            f"{left} {sign} {right} = {value} (left: {value})"
            for sign, value in (("+", left + right), ("*", left * right), ("-", left - right))
            if value != target
        )
        assert judged(one, dead).refuted == refuted


def walked(one):
    grid = one.grade._entry["metadata"]["matrix"]
    row, column = next((y, x) for y, line in enumerate(grid, 1) for x, cell in enumerate(line, 1) if cell == "*")
    lines = [f"The start is at ({row},{column})."]
    for move in gold(one).split():
        row += {"down": 1, "up": -1}.get(move, 0)
        column += {"right": 1, "left": -1}.get(move, 0)
        lines.append(f"Move {move} to ({row},{column})")
    wrong = lines[0], lines[1].replace(f"({lines[1][-4]},", f"({int(lines[1][-4]) + 2},")
    return "\n".join([*lines, f"Answer: {gold(one)}"]), "\n".join(wrong)


def test_maze_verifier_judges_its_tasks():
    ways = [one for one in load("shortest_path", count=12) if gold(one) != "infeasible"]
    assert len(ways) > 3
    for one in ways:
        text, turn = walked(one)
        assert judged(one, text).verified
        assert judged(one, turn).refuted
        assert "e.g." not in one.question.prompt[-1].content
        assert one.grade(gold(one))
        assert not one.grade("infeasible")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("(3 + 5) * 7", "(3 + 5) * 7"),
        ("(3 + 5) × 7 = 56", "(3 + 5) * 7"),
        ("`8/2`", "8/2"),
        ("9**9**9", None),
        ("__import__('os').system('x')", None),
        ("x + 1", None),
        ("()", None),
        ("7//2", None),
        ("1" * 300, None),
    ],
)
def test_nothing_but_arithmetic_reaches_the_grader_of_countdown(said, read):
    assert tasks.read_expression(f"Steps\nAnswer: {said}") == read


@pytest.mark.parametrize(
    ("said", "read"), [("up, Right down", "up right down"), ("infeasible", "infeasible"), ("none", None)]
)
def test_moves_are_read(said, read):
    assert tasks.read_moves(f"Answer: {said}") == read


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Answer: -1,234", "-1234"),
        ("**Answer:** $5.50", "5.5"),
        ("Answer: 3\nAnswer: \u22124", "-4"),
        ("Answer 7", "7"),
    ],
)
def test_last_number_after_answer_is_read(text, number):
    assert tasks.read_result(text) == number


@pytest.mark.parametrize("spec", ["chain_sum:terms=1", "chained_arithmetic:digits=0"])
def test_a_chain_of_one_is_refused(spec):
    with pytest.raises(UsageError, match="at least 2"):
        load(spec)


def test_missing_reasoning_gym_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[tasks\]"):
        load("countdown")
