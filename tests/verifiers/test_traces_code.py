"""The verifier ``python`` against recorded completions and their recorded verdicts, where these are at hand."""

from __future__ import annotations

import gzip
import json
import sys

import anyio
import pytest
from interwhen import Pass, Segment, Span, Task, Violation
from tests.public_sets import public_set

from interwhen_verifiers.python import python, start, step
from interwhen_verifiers.traces.code import mbpp, verina

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process sandbox needs Linux")
MONITOR = python()


async def judge(trace):
    (turn,) = trace.turns
    prepared = MONITOR.prepare(Task(turn.prompt))
    _, claims = step(start(prepared), Segment(turn.text[: turn.text.rindex("```") + 3], Span(0, 9**9), "answer"))
    return [await MONITOR.verifier.check(claim, prepared) for claim in claims]


def agreement(traces):
    differing = []
    for trace in traces:
        verdicts = anyio.run(judge, trace)
        right = bool(verdicts) and all(isinstance(verdict, Pass) for verdict in verdicts)
        wrong = any(isinstance(verdict, Violation) for verdict in verdicts)
        if (trace.label, right, wrong) not in (("right", True, False), ("wrong", False, True)):
            differing.append((trace.name, trace.label, verdicts))
    return differing


def write(path, records):
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)


def completion(task, code, *, solved):
    test = f"def check(candidate):\n    assert candidate([1, 2]) == 3\n\ncheck({task})\n"
    return {"run": "r", "task_id": task, "prompt": "", "completion": code, "test": test, "is_solved": solved}


@linux
def test_recorded_completions_have_labels(tmp_path):
    records = [
        completion("total", "def total(x): return x[0] + x[1]", solved=True),
        completion("sum", "def sum(x): return x[0] + x[1] + 1", solved=False),
        completion("add", "def add(x): return sum(x)", solved=False),
        completion("plus", "def plus(x): return 4", solved=False),
    ]
    write(tmp_path / "completions.jsonl.gz", records)
    traces = list(mbpp(tmp_path))
    assert [trace.label for trace in traces] == ["right", "wrong", "unclear", "wrong"]
    assert agreement(trace for trace in traces if trace.label != "unclear") == []


@pytest.mark.parametrize("name", ["sum", "other"])
def test_completion_shadowing_a_builtin_is_unclear(tmp_path, name):
    records = [
        completion("total", f"async def {name}(x): return 1", solved=True),
        completion("deep", "a" + ".b" * 100_000, solved=False),
        completion("add", "def add(x): return sum(x)", solved=False),
    ]
    write(tmp_path / "completions.jsonl.gz", records)
    assert [trace.label for trace in mbpp(tmp_path)] == ["right", "wrong", "unclear" if name == "sum" else "wrong"]


@linux
def test_expected_and_unexpected_values_become_traces(tmp_path):
    tests = [
        {"input": {"xs": "#[1, 2]", "s": "[1"}, "expected": "some 3", "unexpected": ["none", "some 4"]},
        {"input": {"xs": "[]", "s": ""}, "expected": "none", "unexpected": ["none"]},
        {"input": {"xs": "fun x => x", "s": ""}, "expected": "none", "unexpected": ["some 1"]},
    ]
    signature = {
        "name": "total",
        "parameters": [{"param_name": "xs", "param_type": "Array Int"}, {"param_name": "s", "param_type": "String"}],
        "return_type": "Option Int",
    }
    write(tmp_path / "verina.jsonl.gz", [{"id": "v", "signature": signature, "description": "Add.", "tests": tests}])
    traces = list(verina(tmp_path))
    assert [(trace.name, trace.label) for trace in traces] == [("v/expected", "right"), ("v/unexpected-0", "wrong")]
    assert agreement(traces) == []


@linux
@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(("reader", "name", "every"), [(mbpp, "mbpp", 90), (verina, "verina", 60)])
def test_verdicts_agree_with_data_set_sample(reader, name, every, part):
    traces = [trace for trace in reader(public_set(name)) if trace.label != "unclear"]
    assert len(traces) > 500
    assert agreement(traces[part * every // 2 :: every]) == []
