"""Checks the types of a code block by mypy, in the sandbox."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec

from interwhen import Pass, Unknown, UsageError, Verdict

from interwhen_verifiers._command.checker import PRESETS
from interwhen_verifiers._command.runs import Ran, judge, run_inside

_MYPY = replace(
    PRESETS["mypy"],
    # A later block may define a missing name. Invalid syntax is judged without mypy, and may be that of a newer Python.
    unclear=re.compile(rf"{PRESETS['mypy'].unclear.pattern}|\[(?:name-defined|used-before-def|syntax)\]"),
)
_SILENCED = re.compile(r"#\s*(?:type:\s*ignore|mypy:)")
SECONDS = 20.0
"""Seconds for mypy, which runs without a cache."""


def need_mypy() -> None:
    if find_spec("mypy") is None:
        raise UsageError(f"python: typecheck=true needs mypy, which is not installed; {PRESETS['mypy'].hint}")


async def judge_types(code: str, earlier: tuple[str, ...], starts: tuple[int, ...], size: int) -> Verdict:
    """Judge the types of *code* alone, or else after the *earlier* blocks.

    *starts* are the offsets of the lines of *code*, and *size* is the length of the claim. Raises
    :class:`~interwhen.sandbox.SandboxUnavailable` if this machine cannot make the sandbox.
    """
    text = code
    verdict = judge(_MYPY, await _run(text), starts, size, before=0)
    if earlier and not isinstance(verdict, Pass):
        before = "".join(earlier)
        text = before + code
        verdict = judge(_MYPY, await _run(text), starts, size, before=before.count("\n"))
    if isinstance(verdict, Pass) and _SILENCED.search(text):
        return Unknown("it tells mypy to ignore errors")
    return verdict


async def _run(text: str) -> Ran:
    return await run_inside(_MYPY, text.encode("utf-8", "replace"), seconds=SECONDS, readable=())


def both(tests: Verdict, types: Verdict) -> Verdict:
    # `tests` is never a violation: mypy is not asked about code that has failed a test.
    match tests, types:
        case Pass(evidence=evidence, scope=scope), Pass():
            return Pass(f"{evidence}; mypy accepts it", scope=scope)
        case Pass(), Unknown(why=why):
            # A check that was asked for and did not happen is not a pass.
            return Unknown(why)
        case _, Pass():
            return tests
        case _:
            return types
