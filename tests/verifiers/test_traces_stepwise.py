"""The readers of GSM8K and ProcessBench: texts as a model writes them, and labels at their steps."""

import gzip
import json

import pytest
from interwhen.testing import read_traces, score, try_monitor_sync
from tests.public_sets import public_set

from interwhen_verifiers.traces.stepwise import bigbench_mistake, gsm8k, processbench


def write(path, *records):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_solutions_lose_the_notes_of_the_calculator(tmp_path):
    write(tmp_path / "a.jsonl.gz", {"id": "1", "question": "Q", "answer": "So 2+2 = <<2+2=4>>4 pens.\n#### 4"})
    steps = ["2+2 = <<2+2=5>>5", "A: 5"]
    write(tmp_path / "b.jsonl.gz", {"id": "2", "problem": "P", "steps": steps, "final_correct": False})
    human, model = gsm8k(tmp_path)
    assert (human.name, human.turns[0].prompt, human.turns[0].text, human.label) == (
        "1",
        "Q",
        "So 2+2 = 4 pens.",
        "right",
    )
    assert (model.turns[0].prompt, model.turns[0].text, model.label) == ("P", "2+2 = 5\nA: 5", "unclear")


def test_the_first_wrong_step_is_the_mistake(tmp_path):
    write(
        tmp_path / "a.jsonl.gz",
        {"id": "1", "problem": "P", "steps": ["One.", "Two.", "Three."], "first_error": 1},
        {"id": "2", "problem": "P", "steps": ["One."], "first_error": -1},
    )
    wrong, right = processbench(tmp_path / "a.jsonl.gz")
    assert (wrong.label, right.label, right.mistake) == ("wrong", "right", None)
    span = wrong.mistake.span
    assert wrong.turns[0].text[span.start : span.end] == "Two."


def test_chain_without_mistake_needs_right_answer(tmp_path):
    chain = {"problem": "P", "steps": ["One.", "Two."]}
    write(
        tmp_path / "a.jsonl.gz",
        {"id": "1", **chain, "first_error": -1, "final_correct": True},
        {"id": "2", **chain, "first_error": -1, "final_correct": False},
        {"id": "3", **chain, "first_error": 1, "final_correct": True},
    )
    traces = list(bigbench_mistake(tmp_path))
    assert [each.label for each in traces] == ["right", "unclear", "wrong"]
    span = traces[2].mistake.span
    assert traces[2].turns[0].text[span.start : span.end] == "Two."


@pytest.mark.parametrize(
    ("name", "most"), [("gsm8k", 4), ("processbench", 0)]
)  # the four of GSM8K are equations that are false as written
def test_arithmetic_false_alarms_stay_within_known_count(name, most):
    scores = score(try_monitor_sync("arithmetic", read_traces(public_set(name), name)))
    assert scores.false_interrupts.hits <= most
    assert scores.before == 0
    assert scores.troubles == 0
