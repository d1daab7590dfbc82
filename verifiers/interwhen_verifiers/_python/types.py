"""Whether the types of a code block fit, as mypy sees them: in the sandbox, like everything that a model wrote."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec

from interwhen import Pass, Unknown, UsageError, Verdict

from interwhen_verifiers._command.checker import PRESETS
from interwhen_verifiers._command.runs import Ran, judge, run_inside

_MYPY = replace(
    PRESETS["mypy"],
    # A name that is missing may be defined by a later block.
    unclear=re.compile(rf"{PRESETS['mypy'].unclear.pattern}|\[(?:name-defined|used-before-def)\]"),
)
SECONDS = 20.0
"""What mypy may take: it starts anew, and without a cache."""


def need_mypy() -> None:
    """Raise :class:`UsageError` where mypy is not installed."""
    if find_spec("mypy") is None:
        raise UsageError(f"python: typecheck=true needs mypy; {PRESETS['mypy'].hint}")


async def judge_types(code: str, earlier: tuple[str, ...], starts: tuple[int, ...], size: int) -> Verdict:
    """Judge *code*, and, if it does not stand alone, *code* behind the blocks before it."""
    alone = judge(_MYPY, await _run(code), starts, size, before=0)
    if alone.passed or not earlier:
        return alone.verdict
    before = "".join(earlier)
    return judge(_MYPY, await _run(before + code), starts, size, before=before.count("\n")).verdict


async def _run(text: str) -> Ran:
    return await run_inside(_MYPY, text.encode("utf-8", "replace"), seconds=SECONDS, readable=())


def both(found: Verdict, types: Verdict) -> Verdict:
    """Return the verdict on code of which the tests say *found*, which is no violation, and mypy says *types*."""
    match found, types:
        case Pass(evidence=evidence, scope=scope), Pass():
            return Pass(f"{evidence}; mypy accepts it", scope=scope)
        case Pass(), Unknown(why=why):
            # What was asked for and could not be looked at is not passed.
            return Unknown(why)
        case _, Pass():
            return found
        case _:
            return types
