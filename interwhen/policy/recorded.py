"""Recorded situations, and how often the rules of a policy refuted one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from interwhen.errors import UsageError
from interwhen.policy.example_reading import read_situation
from interwhen.policy.policies import WrittenPolicy
from interwhen.verdicts import Violation


def fired_in(policy: WrittenPolicy, path: Path) -> Counter[str]:
    """Count the calls that each rule of *policy* refutes, among the situations in the file at *path*.

    A line of JSON each, with what examples have: ``tool``, ``args``, ``state``, ``calls``, ``talk``, ``beside``,
    ``now``. Raises :class:`UsageError`, which names the line.
    """
    counts: Counter[str] = Counter()
    now = policy.now if policy.now != "clock" else None
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    counts.update(_fired(policy, line, now, f"{str(path)!r}, line {number}"))
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    return counts


def _fired(policy: WrittenPolicy, line: str, now: Any, where: str) -> list[str]:
    try:
        situation = read_situation(msgspec.json.decode(line, type=dict[str, Any]), policy.schema, now)
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: this is no situation ({str(error)[:200]})") from error
    return [judged.rule.id for judged in policy.judge(situation) if isinstance(judged.verdict, Violation)]
