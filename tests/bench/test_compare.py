"""Comparing: every attempt is made once, graded by the grader alone, and counted to the token."""

from functools import partial
from importlib.util import find_spec

import anyio
import msgspec
import pytest
from interwhen import Sampling, UsageError
from interwhen.bench import _compare
from interwhen.bench._compare import (
    AttemptFile,
    Attempts,
    Comparison,
    GradedAttempt,
    RowSettings,
    command,
    family_tables,
    front,
    paired_answers,
    read_budgets,
    run_in_turn,
)
from interwhen.bench._experiment import Output
from interwhen.bench._report import Report
from interwhen.models import Chunk, Usage
from interwhen.strategies import Exercise, attempt
from interwhen.strategies._catalog import load_strategies
from interwhen.testing import ScriptedModel
from tests.strategies.worlds import RIGHT, WRONG, question, telling, writer

SAMPLING = Sampling(temperature=0.5, max_tokens=60)


def exercises(count, right="4"):
    return [Exercise(question(name=f"q{number}"), lambda answer: answer == right) for number in range(count)]


def comparison(strategies="greedy,best-of-n:n=2,interrupt", count=3, **options):
    return Comparison(
        **{
            "exercises": exercises(count),
            "strategies": load_strategies(strategies),
            "budgets": (50, 100),
            "sampling": SAMPLING,
            **options,
        }
    )


def play(model, chosen, *, keep=None):
    kept = None if keep is None else lambda by_name: keep(by_name[""])
    done = anyio.run(lambda: run_in_turn({"": chosen}, model, keep=kept))[""]
    return done, {(row["budget"], row["strategy"]): row for row in done.report("t", "greedy").tables[0].rows}


def attempts(done):
    return [attempt for each in done.by_arm.values() for attempt in each]


def test_attempts_run_in_random_order(monkeypatch):
    made = []

    async def noted(strategy, *args, budget, **options):
        outcome = await attempt(strategy, *args, budget=budget, **options)
        made.append((budget, strategy.name))
        return outcome

    monkeypatch.setattr(_compare, "attempt", noted)
    chosen = comparison()
    done, _ = play(writer(lambda _: RIGHT), chosen)
    arms = {(budget, one.name) for budget in (50, 100) for one in chosen.strategies}
    assert done.by_arm.keys() == arms
    assert all([each.exercise for each in row] == [0, 1, 2] for row in done.by_arm.values())
    assert done.exercises == 3
    rounds = {tuple(made[at : at + 6]) for at in (0, 6, 12)}
    assert len(rounds) > 1
    assert all(set(order) == arms for order in rounds)
    assert all(each.right and each.outcome.status == "verified" for each in attempts(done))


def test_passing_steps_do_not_verify_the_answer():
    asked = [Exercise(question(monitors=("arithmetic",), prompt="What is it?"), lambda answer: answer == "7")]
    done, rows = play(writer(lambda _: RIGHT), comparison("greedy,until-verified:n=3", exercises=asked, budgets=(100,)))
    assert {each.outcome.scope for each in attempts(done)} == {"steps"}
    for row in rows.values():
        assert (row["answer verified"].value, row["steps verified"].value, row["right of those"].value) == (0, 100, 0)
        assert row["right of these"] is None
    assert rows[100, "until-verified:n=3"]["tokens"] > rows[100, "greedy"]["tokens"]  # it did not stop there


def test_grader_decides_correctness_against_the_verifier():
    done, _ = play(writer(lambda _: RIGHT), comparison(exercises=exercises(1, right="7"), budgets=(50,)))
    assert [each.outcome.status for each in attempts(done)] == ["verified"] * 3
    assert not any(each.right for each in attempts(done))


def test_shared_text_is_generated_once_but_billed_twice():
    shared, _ = play(writer(lambda _: RIGHT), comparison(count=1))
    alone, _ = play(writer(lambda _: RIGHT), comparison(count=1, share=False))
    length = len(RIGHT)
    billed = 2 * (length + 2 * length + length)
    assert sum(each.outcome.ledger.total_tokens for each in attempts(shared)) == billed == alone.generated
    # Greedy text and two samples once; our runs meet the model themselves.
    assert shared.generated == length + 2 * length + 2 * length


def test_sharing_changes_no_row():
    def rows(share):
        chosen = comparison("greedy,best-of-n:n=2,examples.strategies.dvts:TreeSearch", count=2, share=share)
        done, _ = play(telling(WRONG, RIGHT), chosen)
        return [(each.exercise, each.right, each.outcome.answer, each.outcome.ledger) for each in attempts(done)]

    assert rows(True) == rows(False)


def test_attempts_are_saved_after_each_exercise():
    kept = []
    done, _ = play(writer(lambda _: RIGHT), comparison(), keep=kept.append)
    assert [len(attempts(one)) for one in kept] == [6, 12, 18]
    assert kept[-1] == done


def test_no_exercise_begins_after_the_time_limit():
    done, _ = play(writer(lambda _: RIGHT), comparison(minutes=1e-9))
    assert done.exercises == 1
    assert len(attempts(done)) == 6


def test_a_row_counts_its_attempts():
    done, rows = play(telling(WRONG, RIGHT), comparison(count=2, budgets=(100,)))
    _, tokens, against = done.report("t", "greedy").tables
    greedy, best = rows[100, "greedy"], rows[100, "best-of-n:n=2"]
    assert [greedy[name].value for name in ("right", "answered", "answer verified", "sound")] == [0, 100, 0, 0]
    assert greedy["right of these"] is None
    assert [best[name].value for name in ("right", "answer verified", "right of these")] == [100, 100, 100]
    spent = next(row for row in tokens.rows if row["strategy"] == "best-of-n:n=2")
    assert (spent["kept"], spent["discarded"], best["tokens"]) == (len(RIGHT), len(WRONG), len(RIGHT + WRONG))
    pairs = {row["strategy"]: row for row in against.rows}
    assert "greedy" not in pairs
    paired = pairs["best-of-n:n=2"]
    assert (paired["fixed"], paired["broken"], paired["p"]) == (2, 0, 0.5)
    assert paired["could act"].value == 100
    assert paired["handed over"].value == 0
    assert next(row for row in tokens.rows if row["strategy"] == "interrupt")["remedies"] > 0
    assert against.title == "Against greedy"


def test_prompt_tokens_count_against_the_budget():
    class Long(ScriptedModel):
        async def stream(self, request):
            return Reads([[Chunk(RIGHT, tokens=20, finish_reason="stop", usage=Usage(60, 50))]])

    done, rows = play(Long([""]), comparison("greedy", count=2, budgets=(79, 80)))
    assert [rows[budget, "greedy"]["right"].value for budget in (79, 80)] == [100, 100]
    assert [rows[budget, "greedy"]["within all tokens"].value for budget in (79, 80)] == [0, 100]
    assert [row["right per 1,000"] for row in done.report("t", "greedy").tables[1].rows] == [12.5, 12.5]


def test_rows_are_sorted_by_budget_and_accuracy():
    _, rows = play(telling(WRONG, RIGHT), comparison("greedy,best-of-n:n=2"))
    assert list(rows) == [(50, "best-of-n:n=2"), (50, "greedy"), (100, "best-of-n:n=2"), (100, "greedy")]


def test_front_contains_only_undominated_points():
    chosen = comparison("greedy,best-of-n:n=2,best-of-n:n=1", budgets=(100,))
    done, _ = play(telling(WRONG, RIGHT), chosen)
    names = [name for _, name in front(done.by_arm)]
    assert names[-1] == "best-of-n:n=2"
    assert len(names) == 2
    (chart,) = done.report("t", "greedy").charts
    assert [series.label for series in chart.series][-1] == "not beaten by any"
    assert len(chart.series[-1].points) == 2
    assert {series.label for series in chart.series[:-1]} == {one.name for one in chosen.strategies}


def test_pairs_are_of_the_same_exercises():
    done, _ = play(writer(lambda _: RIGHT), comparison(count=1, budgets=(50,)))
    outcome = attempts(done)[0].outcome
    base, other = (
        [GradedAttempt(outcome, right, n) for n, right in enumerate(rights)] for rights in ((1, 0, 0), (0, 1, 1))
    )
    assert paired_answers(base, other) == (2, 1)
    with pytest.raises(ValueError, match="shorter"):
        paired_answers(base, base[:2])


def test_all_kinds_of_tokens_have_a_column():
    done, _ = play(writer(lambda _: RIGHT), comparison())
    report = done.report("t", "greedy")
    assert {"prompt", "cached", "kept", "discarded", "forks", "offline"} <= set(report.tables[1].columns)
    assert [len(table.rows) for table in report.tables] == [6, 6, 4]
    assert len(report.observations) == 18
    assert report.observations[0]["outcome"]["ledger"]["kept"] > 0


def test_comparisons_run_in_turn_and_are_pooled():
    made = []
    each = {
        name: comparison(
            "greedy,best-of-n:n=2", budgets=(100,), minutes=1e-9, when_made=lambda _, name=name: made.append(name)
        )
        for name in "ab"
    }
    by_name = anyio.run(lambda: run_in_turn(each, telling(WRONG, RIGHT)))
    assert made == ["a", "a", "b", "b"]
    pooled = Attempts.pooled(by_name.values())
    assert (pooled.exercises, [len(row) for row in pooled.by_arm.values()]) == (2, [2, 2])
    right, pairs = family_tables(by_name, "greedy")
    assert [(row["strategy"], row["a, of 1"], row["b, of 1"]) for row in right.rows] == [
        ("greedy", 0, 0),
        ("best-of-n:n=2", 1, 1),
    ]
    assert [(row["task"], row["fixed"], row["difference"].value) for row in pairs.rows] == [
        ("a", 1, 100),
        ("b", 1, 100),
    ]


class Reads:
    """A fake stream whose reads return the items of *reads* in turn, and then nothing."""

    def __init__(self, reads):
        self.reads = reads

    async def receive(self):
        return self.reads.pop(0) if self.reads else ()

    async def aclose(self):
        self.reads.clear()


def test_cache_hits_from_earlier_attempts_are_not_savings():
    # From an empty cache, it would read the prompt, too.
    counts = iter([Usage(10, 0), Usage(10, 9), Usage(12, 11)])

    class Counting(ScriptedModel):
        async def stream(self, request):
            return Reads([[Chunk(RIGHT, tokens=9, finish_reason="stop", usage=next(counts))]])

    greedy, best = (
        anyio.run(partial(attempt, strategy, Counting([""]), question(), budget=100))
        for strategy in load_strategies("greedy,best-of-n:n=2")
    )
    assert (greedy.warm, best.warm, best.ledger.cached_tokens) == (0, 9, 20)
    assert [_compare._uncached(each) for each in (greedy, best)] == [10, 11]


# ---------------------------------------------------------------------- the file of attempts


SETTINGS = RowSettings("m", 0, 0.5, 60, counts_prompts=False)


def continued(path, strategies="greedy,interrupt-auto", settings=SETTINGS, **options):
    chosen = AttemptFile(path, settings).comparison("t", comparison(strategies, **options))
    return play(telling(WRONG, RIGHT), chosen)[0]


def test_a_file_of_attempts_continues_a_comparison(tmp_path):
    path = tmp_path / "rows.jsonl"
    begun = continued(path, count=1)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(attempts(begun)) == 4
    path.write_bytes(path.read_bytes() + b'{"task": "t", "attem')  # killed while it wrote
    more = continued(path, count=2)
    assert [each for each in attempts(more) if not each.exercise] == attempts(begun)
    assert path.read_bytes().splitlines()[:4] == lines
    assert len(path.read_bytes().splitlines()) == 8
    assert continued(path, count=2).by_arm == more.by_arm
    assert len(path.read_bytes().splitlines()) == 8


def test_attempts_with_other_settings_are_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    continued(path, count=1)
    continued(path, count=1, settings=msgspec.structs.replace(SETTINGS, seed=1))
    assert len(path.read_bytes().splitlines()) == 8


def test_attempts_at_other_exercises_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    continued(path, count=1)
    other = [Exercise(question(name="another"), lambda answer: answer == "4")]
    with pytest.raises(UsageError, match="must have attempts at the same exercises, got 'q0' instead of 'another'"):
        continued(path, exercises=other)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    for content in (b'{"a": 1}\n', b'{"task": "\xff"}\n', b'{"a": 1}', b'{"a": 1}\nnotes', b"notes"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="--rows must be a file of attempts"):
            AttemptFile(path, SETTINGS)
        assert path.read_bytes() == content


# ---------------------------------------------------------------------- the command

needs_server = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
needs_plots = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "totals.jsonl"
    path.write_text(
        '{"prompt": "Start with 64. Add 129. Multiply by 3. What is the result?", "answer": "579"}\n'
        '{"prompt": "Start with 12. Add 30. What is the result?", "answer": "42"}\n'
    )
    return f'jsonl:path={path},monitors=["arithmetic"]'


@needs_server
def test_compare_command_reports_all_strategies(task, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert command(task=(task,), budget="250", problems=1, output=Output(json=path, markdown=True)) == 0
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    rows = {row["strategy"]: row for row in report.tables[0].rows}
    shipped = {strategy.name for strategy in load_strategies()}
    assert rows.keys() == shipped
    assert len(report.observations) == len(shipped)
    ledgers = [each["outcome"]["ledger"] for each in report.observations]
    assert all(ledger["kept"] + ledger["discarded"] + ledger["fork_tokens"] <= 250 for ledger in ledgers)
    greedy = rows["greedy"]
    assert greedy["right"].value == 100
    assert greedy["answer verified"].value + greedy["steps verified"].value == 100
    assert next(row for row in report.tables[1].rows if row["strategy"] == "greedy")["prompt"] > 0
    out = capsys.readouterr().out
    assert "| strategy | budget | right |" in out
    assert "answer verified | right of these | steps verified | right of those" in out
    assert "Against greedy" in out


@needs_server
@needs_plots
def test_comparison_writes_plot_and_table(task, tmp_path, capsys):
    output = Output(plot=tmp_path / "front.png")
    command(task=(task,), budget="100,200", problems=1, strategies=("greedy,interrupt",), output=output)
    assert output.plot.read_bytes().startswith(b"\x89PNG")
    assert "Against greedy" in capsys.readouterr().out


def test_budgets_are_read():
    assert read_budgets("500, 2k,1.5K,2000") == (500, 2000, 1500)


@pytest.mark.parametrize("text", ["", "k", "0", "-2k", "many", "1k,,2k", "nan", "inf"])
def test_invalid_budget_is_refused(text):
    with pytest.raises(UsageError, match="--budget must be numbers of tokens"):
        read_budgets(text)


def test_unknown_baseline_strategy_is_refused(task):
    with pytest.raises(
        UsageError, match=r"--against must be one of the strategies \(greedy, weighted-vote\), got 'none'"
    ):
        command(task=(task,), strategies=("greedy,weighted-vote",), against="none")


def test_zero_problems_are_refused(task):
    with pytest.raises(UsageError, match="must be a whole number of at least 1, got 0"):
        command(task=(task,), problems=0)
