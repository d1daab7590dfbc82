"""The option ``typecheck`` of the verifier ``python``: mypy is asked where no test refutes, and never passed over."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import anyio
import pytest
from interwhen import Pass, Segment, Span, Task, Unknown, UsageError, Violation

from interwhen_verifiers._python import types
from interwhen_verifiers._python.given import read_given
from interwhen_verifiers._python.types import both
from interwhen_verifiers.python import python, start, step

TASK = "```python\nassert double(2) == 4\n```"
WRONG = "def double(n: int) -> str:\n    return 2 * n"
SKIPPED = not sys.platform.startswith("linux") or find_spec("mypy") is None


def verdict_on(*codes):
    monitor = python(typecheck=True)
    before, claims = start(read_given(TASK)), []
    for code in codes:
        text = f"```python\n{code}\n```"
        before, more = step(before, Segment(text, Span(0, len(text)), "answer"))
        claims += more
    return anyio.run(monitor.verifier.check, claims[-1], monitor.prepare(Task(TASK)))


@pytest.mark.parametrize(
    ("found", "said", "verdict"),
    [
        (Pass("it compiles"), Pass("python -m mypy accepts it"), Pass("it compiles; mypy accepts it")),
        (Pass("it compiles"), Unknown("no such module"), Unknown("no such module")),
        (Pass("it compiles"), Violation(why="line 1"), Violation(why="line 1")),
        (Unknown("late"), Pass("mypy accepts it"), Unknown("late")),
        (Unknown("late"), Violation(why="line 1"), Violation(why="line 1")),
        (Unknown("late"), Unknown("no such module"), Unknown("no such module")),
    ],
)
def test_test_and_type_verdicts_are_combined(found, said, verdict):
    assert both(found, said) == verdict


def test_mypy_must_be_installed(monkeypatch):
    monkeypatch.setattr(types, "find_spec", lambda _name: None)
    with pytest.raises(
        UsageError,
        match="typecheck=true needs mypy, which is not installed; install it beside interwhen, with: pip install mypy",
    ):
        python(typecheck=True)
    assert python().verifier.name == "python"


def test_type_checking_verifier_has_own_name():
    if SKIPPED:
        pytest.skip("needs mypy")
    assert python(typecheck=True).verifier.name == "python-types"


@pytest.mark.slow
@pytest.mark.skipif(SKIPPED, reason="needs mypy, and Linux for the process sandbox")
@pytest.mark.parametrize(
    ("codes", "kind", "said"),
    [
        (("def double(n: int) -> int:\n    return 2 * n",), Pass, "1 asserts hold; mypy accepts it"),
        ((WRONG,), Violation, "mypy refuses line 2 of that text: Incompatible return value type"),
        (("N: int = 2", "def double(n: int) -> int:\n    return N * n"), Pass, "accepts it"),
        (("def double(n):\n    return n + n\n\ndef later() -> int:\n    return other(1)",), Unknown, "lacks something"),
        ((f"# mypy: ignore-errors\n{WRONG}",), Unknown, "tells mypy to ignore errors"),
        ((WRONG.replace("* n", "* n  # type: ignore"),), Unknown, "tells mypy to ignore errors"),
    ],
    ids=["right", "wrong", "after an earlier block", "a name of a later block", "ignored", "an ignored line"],
)
def test_mypy_finding_becomes_verdict(codes, kind, said):
    verdict = verdict_on(*codes)
    assert isinstance(verdict, kind), verdict
    assert said in getattr(verdict, "evidence", "") + getattr(verdict, "why", "")
    if kind is Violation:
        assert WRONG[verdict.where.start : verdict.where.end].strip() == "2 * n"


@pytest.mark.slow
@pytest.mark.skipif(SKIPPED or sys.version_info >= (3, 12), reason="needs mypy, Linux, and a Python before 3.12")
def test_newer_python_syntax_is_unknown():
    assert isinstance(verdict_on("def double[T: int](n: T) -> int:\n    return 2 * n"), Unknown)
