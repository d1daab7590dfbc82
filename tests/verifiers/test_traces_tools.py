"""The readers of recorded tool use, on records of the same form that were made up here."""

from __future__ import annotations

import gzip
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from interwhen import Message, ToolCall
from interwhen.testing import read_traces

CALL = {"id": "c1", "name": "cancel_reservation", "arguments": {"reservation_id": "R1"}}
TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Cancel R1."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "{}", "tool_call_id": "c1", "name": "cancel_reservation"},
    {"role": "assistant", "content": "Done."},
]


def write(path: Path, *records: dict[str, Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
    return path


def run(reward: float, task: int = 3, gold: str = "R1", number: int = 0) -> dict[str, Any]:
    return {
        "id": f"run-{task}-{number}",
        "domain": "airline",
        "task_id": task,
        "reward": reward,
        "instruction": "You want R1 to be cancelled.",
        "gold_actions": [{"name": "cancel_reservation", "kwargs": {"reservation_id": gold}}],
        "messages": TALK,
    }


def test_tau_bench_yields_runs_and_gold_calls(tmp_path: Path) -> None:
    file = write(tmp_path / "runs.jsonl.gz", run(1.0), run(0.0, number=1), run(0.0, task=4, gold="XEHM4B"))
    traces = list(read_traces(file, "tau_bench"))
    assert [(trace.name, trace.label) for trace in traces] == [
        ("run-3-0", "right"),
        ("gold-airline-3", "right"),
        ("run-3-1", "wrong"),
        ("run-4-0", "unclear"),
        ("gold-airline-4", "unclear"),
    ]
    first, gold = traces[0].turns, traces[1].turns
    assert [len(turn.prompt) for turn in first] == [2, 4]
    assert first[0].calls == (ToolCall("c1", "cancel_reservation", '{"reservation_id":"R1"}'),)
    assert first[1].prompt[3] == Message("tool", "{}", call_id="c1", name="cancel_reservation")
    assert first[1].text == "Done."
    assert gold[0].prompt == (Message("system", "Be kind."), Message("user", "You want R1 to be cancelled."))
    assert gold[0].calls[0].values() == {"reservation_id": "R1"}


@pytest.mark.parametrize(
    ("attack", "succeeded", "utility", "label"),
    [
        ("x", True, True, "wrong"),
        ("x", False, True, "unclear"),
        (None, True, True, "right"),
        (None, False, False, "unclear"),
    ],
)
def test_agentdojo_runs_become_labelled_traces(
    tmp_path: Path,
    attack: str | None,
    succeeded: bool,  # noqa: FBT001
    utility: bool,  # noqa: FBT001
    label: str,
) -> None:
    parts = [{"type": "text", "content": "Pay."}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    record = {
        "id": "m/banking/t",
        "attack": attack,
        "attack_succeeded": succeeded,
        "utility": utility,
        "messages": messages,
    }
    (trace,) = read_traces(write(tmp_path / "runs.jsonl.gz", record), "agentdojo")
    assert trace.label == label
    (turn,) = trace.turns
    assert turn.prompt == (Message("user", "Pay."),)
    assert turn.calls[0].name == "cancel_reservation"


def test_trace_formats_have_entry_points() -> None:
    assert {"agentdojo", "tau_bench"} <= {entry.name for entry in entry_points(group="interwhen.traces")}
