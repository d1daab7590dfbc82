"""PlanBench: plans for blocksworld that models wrote, with the verdict of the validator VAL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen.testing import Label, LabelledTrace, Turn

from interwhen_verifiers.traces._records import records

_NONE = "[PLAN]\n[PLAN END]\n"
"""A plan without actions, in the format of PlanBench's prompts. An empty text could not be judged."""
_LABELS: dict[Any, Label] = {True: "right", False: "wrong"}


def planbench(path: Path) -> Iterator[LabelledTrace]:
    """Yield the plans in the file or folder at *path*, one action on each line; invalid plans are ``wrong``.

    The data set does not say which action fails. A plan without a verdict is ``unclear``.
    """
    for record in records(path):
        plan = record["plan"]
        lines = plan.splitlines() if isinstance(plan, str) else plan
        yield LabelledTrace(
            name=record["id"],
            turns=(Turn(prompt=record["prompt"], text="\n".join(lines) + "\n" if lines else _NONE),),
            label=_LABELS.get(record["valid"], "unclear"),
        )
