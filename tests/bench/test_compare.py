"""Comparing: every attempt is made once, graded by the grader alone, and counted to the token."""

import anyio
import pytest
from interwhen import Sampling
from interwhen.bench._compare import Comparison, Plan, Row, cells, compare, front, markdown, paired, tables
from interwhen.strategies import Exercise, load_strategies
from tests.strategies.worlds import RIGHT, WRONG, question, telling, writer

SAMPLING = Sampling(temperature=0.5, max_tokens=60)


def exercises(count, right="4"):
    return [Exercise(question(name=f"q{number}"), lambda answer: answer == right) for number in range(count)]


def plan(strategies="greedy,best-of-n:samples=2,interrupt", count=3, **options):
    return Plan(
        **{
            "exercises": exercises(count),
            "strategies": load_strategies(strategies),
            "budgets": (50, 100),
            "sampling": SAMPLING,
            **options,
        }
    )


def play(model, chosen):
    said = []
    compared = anyio.run(lambda: compare(model, chosen, say=said.append))
    return compared, said


def key(row):
    return row.exercise, row.outcome.budget, row.outcome.strategy


def test_all_attempts_are_made_in_an_order_of_their_own():
    chosen = plan()
    compared, said = play(writer(lambda _: RIGHT), chosen)
    assert sorted(map(key, compared.rows)) == sorted(
        (number, budget, one.name) for number in range(3) for budget in (50, 100) for one in chosen.strategies
    )
    assert compared.exercises == len(said) == 3
    orders = {tuple(key(row)[1:] for row in compared.rows if row.exercise == number) for number in range(3)}
    assert len(orders) > 1
    assert all(row.right and row.outcome.status == "verified" for row in compared.rows)


def test_steps_that_passed_are_no_claim_on_the_answer():
    """The model computes something else correctly: all sums hold, and the answer is wrong."""
    asked = [Exercise(question(monitors=("arithmetic",), prompt="What is it?"), lambda answer: answer == "7")]
    compared, _ = play(
        writer(lambda _: RIGHT), plan("greedy,until-verified:samples=3", exercises=asked, budgets=(100,))
    )
    found = {cell.strategy: cell for cell in cells(compared, "greedy")}
    assert {row.outcome.scope for row in compared.rows} == {"steps"}
    for cell in found.values():
        assert (cell.answer_verified.hits, cell.steps_verified.hits, cell.sound_steps_verified.value) == (0, 1, 0.0)
    assert found["until-verified:samples=3"].tokens > found["greedy"].tokens  # it did not stop there


def test_the_grader_knows_better_than_the_verifier():
    compared, _ = play(writer(lambda _: RIGHT), plan(exercises=exercises(1, right="7"), budgets=(50,)))
    assert [row.outcome.status for row in compared.rows] == ["verified"] * 3
    assert not any(row.right for row in compared.rows)


def test_shared_text_is_generated_once_and_billed_to_each():
    shared, _ = play(writer(lambda _: RIGHT), plan(count=1))
    alone, _ = play(writer(lambda _: RIGHT), plan(count=1, share=False))
    length = len(RIGHT)
    billed = 2 * (length + 2 * length + length)
    assert sum(row.outcome.ledger.total_tokens for row in shared.rows) == billed == alone.generated
    # Greedy text and two samples once; our runs meet the model themselves.
    assert shared.generated == length + 2 * length + 2 * length


def test_sharing_changes_no_row():
    def rows(share):
        compared, _ = play(telling(WRONG, RIGHT), plan("greedy,best-of-n:samples=2,dvts", count=2, share=share))
        return [(key(row), row.right, row.outcome.answer, row.outcome.ledger) for row in compared.rows]

    assert rows(True) == rows(False)


def test_what_came_of_it_so_far_is_told_after_each_exercise():
    kept = []
    chosen = plan()
    compared = anyio.run(lambda: compare(writer(lambda _: RIGHT), chosen, say=lambda _: None, keep=kept.append))
    assert [len(one.rows) for one in kept] == [6, 12, 18]
    assert kept[-1] == compared


def test_after_its_time_no_exercise_is_begun():
    compared, _ = play(writer(lambda _: RIGHT), plan(seconds=0.0))
    assert compared.exercises == 1
    assert len(compared.rows) == 6


def report(compared, baseline="greedy"):
    return Comparison(
        task="t", model="m", machine="x", seed=0, temperature=0.5, max_tokens=60, shared=True,
        exercises=compared.exercises, asked=3, generated=compared.generated, seconds=1.0, baseline=baseline,
        cells=cells(compared, baseline), rows=compared.rows,
    )  # fmt: skip


def test_a_cell_counts_what_its_rows_say():
    """Greedy is wrong and refuted; the second sample is right; our run is repaired to a wrong answer."""
    compared, _ = play(telling(WRONG, RIGHT), plan(count=2, budgets=(100,)))
    found = {cell.strategy: cell for cell in cells(compared, "greedy")}
    greedy, best = found["greedy"], found["best-of-n:samples=2"]
    assert (greedy.accuracy.hits, greedy.coverage.hits, greedy.answer_verified.hits, greedy.refuted.hits) == (
        0,
        2,
        0,
        2,
    )
    assert greedy.soundness.value == 0
    assert greedy.sound_answer_verified.value is None
    assert (best.accuracy.hits, best.answer_verified.hits, best.sound_answer_verified.value) == (2, 2, 1.0)
    assert (best.kept, best.discarded, best.tokens) == (len(RIGHT), len(WRONG), len(RIGHT + WRONG))
    assert (best.fixed, best.broken, best.p) == (2, 0, 0.5)
    assert (greedy.fixed, greedy.broken, greedy.p) == (0, 0, 1.0)
    assert best.could_act.hits == 2
    assert best.handed.value == 0
    ours = found["interrupt"]
    assert ours.remedies > 0
    assert ours.handed.of == ours.accuracy.hits


def test_cells_stand_in_the_order_of_budgets_and_of_right_answers():
    compared, _ = play(telling(WRONG, RIGHT), plan("greedy,best-of-n:samples=2"))
    order = [(cell.budget, cell.strategy) for cell in cells(compared, "greedy")]
    assert order == [(50, "best-of-n:samples=2"), (50, "greedy"), (100, "best-of-n:samples=2"), (100, "greedy")]


def test_the_front_holds_what_no_other_beats():
    compared, _ = play(telling(WRONG, RIGHT), plan("greedy,best-of-n:samples=2,best-of-n:samples=1", budgets=(100,)))
    names = [cell.strategy for cell in front(cells(compared, "greedy"))]
    assert names[-1] == "best-of-n:samples=2"
    assert len(names) == 2


def test_pairs_are_of_the_same_exercises():
    def row(number, right):
        return Row(compared.rows[0].outcome, right, number)

    compared, _ = play(writer(lambda _: RIGHT), plan(count=1, budgets=(50,)))
    base = [row(0, True), row(1, False), row(2, False)]
    assert paired(base, [row(0, False), row(1, True), row(2, True)]) == (2, 1)
    with pytest.raises(ValueError, match="shorter"):
        paired(base, base[:2])


def test_tables_have_a_line_for_each_cell_and_all_kinds_of_tokens():
    compared, _ = play(telling(WRONG, RIGHT), plan())
    made = tables(report(compared))
    for head, lines in made.values():
        assert all(len(line) == len(head) for line in lines)
    quality, costs, against = made.values()
    assert len(quality[1]) == len(costs[1]) == 6
    assert {"prompt", "cached", "kept", "discarded", "forks", "offline"} <= set(costs[0])
    assert "greedy" not in {line[1] for line in against[1]}
    text = markdown(*costs)
    assert text.count("\n") == 7
    assert text.startswith("| budget | strategy | prompt |")
