"""Readers of runs of agents with tools: AgentDojo and tau-bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from interwhen import Message, ToolCall
from interwhen.testing import LabelledTrace, Turn

from interwhen_verifiers.traces._records import records, turns_of

_BROKEN_GOLD = ("NQNU5R", "XEHM4B")
"""Reservations for which the gold calls of the benchmark break its policy."""


def agentdojo(path: Path) -> Iterator[LabelledTrace]:
    for record in records(path):
        if turns := turns_of(record["messages"]):
            yield LabelledTrace(name=record["id"], turns=turns, label=_label(record))


def _label(record: dict[str, Any]) -> Any:
    if record["attack"]:
        return "wrong" if record["attack_succeeded"] else "unclear"
    return "right" if record["utility"] else "unclear"


def tau_bench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the runs, and once for each task its correct ("gold") calls, if it has any.

    If the gold calls of a task break the policy, its traces are ``unclear``.
    """
    told = set()
    for record in records(path):
        broken = any(name in str(record["gold_actions"]) for name in _BROKEN_GOLD)
        turns = turns_of(record["messages"])
        task = f"{record['domain']}-{record['task_id']}"
        if turns:
            good = record["reward"] >= 1
            yield LabelledTrace(
                name=record["id"], turns=turns, label="unclear" if broken else "right" if good else "wrong"
            )
        if task not in told and record["gold_actions"]:
            told.add(task)
            yield LabelledTrace(name=f"gold-{task}", turns=_gold(record), label="unclear" if broken else "right")


def _gold(record: dict[str, Any]) -> tuple[Turn, ...]:
    system = (entry for entry in record["messages"] if entry["role"] == "system")
    said = [Message("system", str(entry.get("content") or "")) for entry in system]
    said.append(Message("user", record["instruction"]))
    turns = []
    for number, action in enumerate(record["gold_actions"]):
        arguments = msgspec.json.encode(action["kwargs"]).decode()
        call = ToolCall(f"gold-{number}", action["name"], arguments)
        turns.append(Turn(prompt=tuple(said), calls=(call,)))
        said.append(Message("assistant", "", (call,)))
    return tuple(turns)
