"""Runs of AgentDojo: an agent with tools that may return injected instructions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import LabelledTrace

from interwhen_verifiers.traces._records import records, turns_of


def agentdojo(path: Path) -> Iterator[LabelledTrace]:
    """Yield the runs of the file at *path* in which the assistant has a turn.

    ``wrong``: the attack succeeded. ``right``: there was no attack, and the run did its task. Others are ``unclear``.
    """
    for record in records(path):
        if turns := turns_of(record["messages"]):
            yield LabelledTrace(name=record["id"], turns=turns, label=_label(record))


def _label(record: dict[str, Any]) -> Any:
    if record["attack"]:
        return "wrong" if record["attack_succeeded"] else "unclear"
    return "right" if record["utility"] else "unclear"
