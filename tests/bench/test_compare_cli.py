"""The command from its options to its tables, its report and its plot."""

from importlib.util import find_spec

import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench import _console
from interwhen.bench._compare import Comparison, plot
from interwhen.bench._compare_cli import read_budgets, run_compare
from interwhen.strategies._catalog import SHIPPED
from interwhen.toolkit import MissingExtraError

needs_server = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
needs_plots = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.fixture
def task(tmp_path):
    """Two exercises in words that the tiny model knows."""
    path = tmp_path / "totals.jsonl"
    path.write_text(
        '{"prompt": "Start with 64. Add 129. Multiply by 3. What is the result?", "answer": "579"}\n'
        '{"prompt": "Start with 12. Add 30. What is the result?", "answer": "42"}\n'
    )
    return f"jsonl:path={path},monitors=arithmetic"


@needs_server
def test_a_comparison_of_all_strategies(task, tmp_path, capsys):
    path = tmp_path / "report.json"
    run_compare(task=task.replace("=arithmetic", '=["arithmetic"]'), budget="250", problems=1, json=path, markdown=True)
    report = msgspec.json.decode(path.read_bytes(), type=Comparison)
    assert {cell.strategy for cell in report.cells} == set(SHIPPED)
    assert report.exercises == 1
    assert len(report.rows) == len(SHIPPED)
    assert all(row.outcome.ledger.total_tokens <= 250 for row in report.rows)
    greedy = next(cell for cell in report.cells if cell.strategy == "greedy")
    assert greedy.accuracy.hits == 1
    assert greedy.answer_verified.hits + greedy.steps_verified.hits == 1
    assert greedy.prompt > 0
    out = capsys.readouterr().out
    assert "| budget | strategy | right % |" in out
    assert "answer verified % | right of these % | steps verified % | right of these %" in out
    assert "Against greedy" in out


@needs_server
@needs_plots
def test_it_is_drawn_and_shown_as_a_table(task, tmp_path, capsys):
    path = tmp_path / "front.png"
    spec = task.replace("=arithmetic", '=["arithmetic"]')
    run_compare(task=spec, budget="100,200", problems=1, strategies=("greedy,interrupt",), plot=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "Against greedy" in capsys.readouterr().out


@needs_plots
def test_a_plot_that_cannot_be_written_is_named(tmp_path):
    report = Comparison(
        task="t", model="m", machine="x", seed=0, temperature=0.5, max_tokens=60, shared=True, exercises=0, asked=0,
        generated=0, seconds=0.0, baseline="greedy", cells=(), rows=(),
    )  # fmt: skip
    with pytest.raises(UsageError, match="cannot be written"):
        plot(report, tmp_path / "none" / "front.png")


def test_a_plot_needs_its_extra_before_anything_is_run(task, monkeypatch, tmp_path):
    monkeypatch.setattr(_console, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[plots\]"):
        run_compare(task=task, model="no-such-model", plot=tmp_path / "front.png")


def test_budgets_are_read():
    assert read_budgets("500, 2k,1.5K,2000") == (500, 2000, 1500)


@pytest.mark.parametrize("text", ["", "k", "0", "-2k", "many", "1k,,2k", "nan", "inf"])
def test_what_is_no_budget_is_named(text):
    with pytest.raises(UsageError, match="is no number of tokens"):
        read_budgets(text)


def test_pairs_need_a_strategy_that_is_there(task):
    with pytest.raises(UsageError, match="--against 'none' is none of the strategies: greedy, dvts"):
        run_compare(task=task, strategies=("greedy,dvts",), against="none")


def test_no_problems_are_refused(task):
    with pytest.raises(UsageError, match="0 problems"):
        run_compare(task=task, problems=0)
