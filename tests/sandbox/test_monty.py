"""The small interpreter: values in and out, many calls, and a worker that can be replaced."""

import anyio
import pytest
from interwhen import UsageError
from interwhen.sandbox import Call, Command, Crashed, Limited, Limits, MontySandbox, Returned, Script
from interwhen.sandbox import _monty as module
from interwhen.toolkit import MissingExtraError

pytest.importorskip("pydantic_monty", reason="the extra 'sandbox' is not installed")
CALM = Limits(seconds=20.0, cpu_seconds=20.0)


@pytest.fixture(scope="module")
def sandbox():
    with MontySandbox(parallel=2) as sandbox:
        yield sandbox


@pytest.mark.parametrize("value", [None, True, 0, 10**30, 1.5, 'ä\n"\\', [], [1, [2, {"a": None}]], {"": {}}])
def test_json_arguments_round_trip(sandbox, value):
    outcome = sandbox.run_sync(Call(source="def same(x): return x", function="same", arguments=(value,)), CALM)
    assert isinstance(outcome, Returned)
    assert outcome.value == value
    assert outcome.record.stdout == ""


def test_output_is_separate_from_the_value(sandbox):
    source = "import sys\ndef f():\n    print('out')\n    print('err', file=sys.stderr)\n    return 'value'"
    outcome = sandbox.run_sync(Call(source=source, function="f"), CALM)
    assert isinstance(outcome, Returned)
    assert (outcome.value, outcome.record.stdout, outcome.record.stderr) == ("value", "out\n", "err\n")


def test_calls_share_no_state(sandbox):
    assert isinstance(sandbox.run_sync(Script(source="kept = 1"), CALM), Returned)
    for _ in range(4):  # any worker
        outcome = sandbox.run_sync(Script(source="print(kept)"), CALM)
        assert isinstance(outcome, Crashed)
        assert "kept" in outcome.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(): return {1}", "TypeError: "),
        ("def f(): return float('inf')", "ValueError: "),
        ("def f(): raise KeyError('no')", "KeyError: "),
        ("def g(): pass", "NameError: "),
        ("def f(:", "SyntaxError: "),
        ("def print(*a): pass\ndef f(): return 1", "the program must print its value"),
    ],
)
def test_a_function_that_returns_no_json_has_crashed(sandbox, source, reason):
    outcome = sandbox.run_sync(Call(source=source, function="f"), CALM)
    assert isinstance(outcome, Crashed)
    assert outcome.reason.startswith(reason)


def test_exponential_value_is_limited(sandbox):
    source = "def f():\n    a = [1]\n    for _ in range(60): a = [a, a]\n    return a"
    outcome = sandbox.run_sync(Call(source=source, function="f"), Limits(seconds=1.0))
    assert isinstance(outcome, Limited)


def test_output_and_value_have_a_limit_each(sandbox):
    limits = Limits(seconds=20.0, output_bytes=1000)
    fine = sandbox.run_sync(Call(source="def f():\n    print('x' * 999)\n    return 'y' * 900", function="f"), limits)
    assert isinstance(fine, Returned)
    assert len(fine.record.stdout) == 1000
    for source in ("def f():\n    print('x' * 1000)\n    return 1", "def f(): return 'y' * 1000"):
        outcome = sandbox.run_sync(Call(source=source, function="f"), limits)
        assert isinstance(outcome, Limited)
        assert outcome.which == "output"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_frees_the_worker(backend):
    async def main():
        async with MontySandbox(parallel=1) as one:
            with anyio.move_on_after(0.3) as scope:
                await one.run(
                    Script(source="10 ** (10 ** 8) % 7"), Limits(seconds=600.0, cpu_seconds=600.0, memory_bytes=1 << 30)
                )
            assert scope.cancelled_caught
            return await one.run(Call(source="def f(): return 2", function="f"), CALM)

    outcome = anyio.run(main, backend=backend)
    assert isinstance(outcome, Returned)
    assert outcome.value == 2


def test_installed_monty_enforces_every_guarantee(sandbox):
    assert sandbox.probe().missing == frozenset()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (Command(argv=("ls",)), "must be Python code, got a Command"),
        (Script(source="", stdin=b"x"), "no stdin"),
        (Script(source="", files={"x": b""}), "no files"),
        (Call(source="", function="f", arguments=(float("nan"),)), "must have a JSON form"),
    ],
)
def test_unsupported_program_is_a_usage_error(sandbox, program, message):
    with pytest.raises(UsageError, match=message):
        sandbox.run_sync(program)


def test_sandbox_must_be_entered_first():
    outside = MontySandbox()
    with pytest.raises(UsageError, match="must be entered"):
        outside.run_sync(Script(source=""))
    with pytest.raises(UsageError, match="async with"):
        anyio.run(outside.run, Script(source=""))


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(module.sys.modules, "pydantic_monty", None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[sandbox\]"), MontySandbox():
        pytest.fail("entered")
