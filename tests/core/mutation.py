"""Mutation tests of the core: small changes of its code, each of which a test must notice.

``python -m tests.core.mutation --sample 400 --seed 1`` draws 400 of all mutants, and prints those that nothing notices.

Why our own script: cosmic-ray and mutmut start pytest afresh for each mutant, and mutmut also reads no more than the tests that
its own trace assigns. Here a process that has imported everything is forked for each mutant. The fork replaces the code of
one function, plays worlds of the simulator (most mutants break a promise within a few), and only then runs `tests/core`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

ROOT = Path(__file__).parents[2]
CORE = ROOT / "interwhen" / "_core"
WORLDS = 60
"""Worlds of the simulator that each mutant is played in."""
EXAMPLES = 20
"""The most examples of a property-based test."""
LIMITS = {"simulator": 30, "tests": 300}
"""Seconds of CPU time that a mutant has; a mutant that needs more is noticed: it would hang."""
SLOW = (
    "test_machine.py",
    "test_scanners_polls.py",
    "test_scanners.py",
    "test_violations_storms.py",
    "test_transcript.py",
)
"""These run last."""
LONGEST = "test_ten_thousand_races_end_the_same and not test_a_rewind_costs_the_same"
"""These do not run: they take most of the time, and test order and cost only."""

_OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_UNPLANTED = 3

_COMPARE: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change: *number* of its file, where, and what becomes of it."""

    file: str
    number: int
    line: int
    function: str
    """The function or method that holds it; empty: the change is outside any."""
    what: str


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of *node*."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in _COMPARE:
            changed = copy.deepcopy(node)
            changed.ops[0] = _COMPARE[type(op)]()
            yield changed
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.AugAssign(target=target, op=op, value=value):
            if type(op) in _ARITHMETIC:
                yield ast.AugAssign(target, _ARITHMETIC[type(op)](), value)
            yield ast.Pass()
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords) if name in _CALLS:
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), arguments, keywords)
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Assign(targets=[ast.Attribute()]):
            yield ast.Pass()
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.While(test=test, body=body):
            yield ast.If(test, body, []) if not _jumps(body) else ast.While(ast.UnaryOp(ast.Not(), test), body, [])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def _jumps(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Break | ast.Continue) for statement in body for node in ast.walk(statement))


class _Places(ast.NodeTransformer):
    """Numbers the changes of a module in order; makes the one with number *wanted*."""

    def __init__(self, file: str, wanted: int = -1) -> None:
        self.file, self.wanted = file, wanted
        self.found: list[Mutant] = []
        self._within: list[str] = []
        self._in_function = 0

    def visit(self, node: ast.AST) -> Any:
        match node:
            case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Raise():
                return node  # no behaviour that may differ, or words
            case ast.AnnAssign(value=value):
                if value is not None:
                    node.value = self.visit(value)
                return node
            case ast.Assign(targets=[ast.Name(id="__slots__")]):
                return node
            case ast.FunctionDef() | ast.ClassDef():
                return self._enter(node)
            case _:
                line = getattr(node, "lineno", 0)
                for changed in _changes(node):
                    if len(self.found) == self.wanted:
                        self._add(node, changed, line)
                        return ast.fix_missing_locations(ast.copy_location(changed, node))
                    self._add(node, changed, line)
                return self.generic_visit(node)

    def _enter(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if not self._in_function:
            self._within.append(node.name)
        self._in_function += isinstance(node, ast.FunctionDef)
        if isinstance(node, ast.FunctionDef):
            node.args.defaults = [self.visit(one) for one in node.args.defaults]
            node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        node.body = [self.visit(one) for one in node.body]
        self._in_function -= isinstance(node, ast.FunctionDef)
        if not self._in_function:
            self._within.pop()
        return node

    def _add(self, node: ast.AST, changed: ast.AST, line: int) -> None:
        before, after = (ast.unparse(one).split("\n")[0] for one in (node, ast.fix_missing_locations(changed)))
        function = ".".join(self._within) if self._in_function else ""
        self.found.append(Mutant(self.file, len(self.found), line, function, f"{before}  ->  {after}"))


def mutants() -> list[Mutant]:
    """Return all mutants of the core, in order."""
    found: list[Mutant] = []
    for path in sorted(CORE.glob("*.py")):
        places = _Places(path.name)
        places.visit(ast.parse(path.read_text()))
        found += places.found
    return found


def _mutated(mutant: Mutant) -> ast.Module:
    places = _Places(mutant.file, mutant.number)
    tree = places.visit(ast.parse((CORE / mutant.file).read_text()))
    assert isinstance(tree, ast.Module)
    assert places.found[mutant.number] == mutant
    return ast.fix_missing_locations(tree)


def _function(owner: object, path: str) -> FunctionType:
    for name in path.split("."):
        owner = vars(owner)[name] if not isinstance(owner, dict) else owner[name]
    if isinstance(owner, property):
        owner = owner.fget
    owner = getattr(owner, "__wrapped__", getattr(owner, "__func__", owner))
    assert isinstance(owner, FunctionType), (path, owner)
    return owner


def _plant(mutant: Mutant) -> None:
    """Put the code of *mutant* in the place of the real one, for every module that has imported it."""
    module = sys.modules[f"interwhen._core.{mutant.file.removesuffix('.py')}"]
    scratch = {"__name__": module.__name__}
    exec(compile(_mutated(mutant), mutant.file, "exec"), scratch)
    real, changed = _function(vars(module), mutant.function), _function(scratch, mutant.function)
    real.__code__ = changed.__code__
    real.__defaults__, real.__kwdefaults__ = changed.__defaults__, changed.__kwdefaults__


def _simulate() -> bool:
    """Tell whether a promise is broken in one of the worlds."""
    from interwhen.testing.simulation._generation import generate  # here: the parent imports it after pytest
    from interwhen.testing.simulation._invariants import examine

    return any(examine(generate(seed)).broken for seed in range(WORLDS))


def _test(file: str) -> bool:
    """Tell whether a test of the core fails, those of *file* first."""
    import pytest
    from hypothesis import settings

    fewer = property(lambda self: min(self._max_examples, EXAMPLES))
    type.__setattr__(settings, "max_examples", fewer)  # the class refuses it by its own means
    own = f"test_{file.removesuffix('.py')}"
    files = sorted(
        (ROOT / "tests" / "core").glob("test_*.py"),
        key=lambda path: (path.name in SLOW, not path.name.startswith(own), path.name),
    )
    return pytest.main(["-x", "-m", "not source", "-k", f"not {LONGEST}", *_OPTIONS, *map(str, files)]) != 0


def _in_fork(mutant: Mutant | None, name: str, limit: int) -> bool | None:
    """Run the phase called *name* on *mutant* in a fork; ``None``: it ran out of time."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        noticed = True
        with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            try:
                if mutant is not None:
                    _plant(mutant)
            except ValueError:  # a function with other variables of its surroundings
                os._exit(_UNPLANTED)
            try:
                noticed = _simulate() if name == "simulator" else _test("" if mutant is None else mutant.file)
            except BaseException:  # noqa: BLE001  whatever a mutant raises is noticed
                noticed = True
        os._exit(1 if noticed else 0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return None
    if os.WEXITSTATUS(status) == _UNPLANTED:
        raise ValueError(mutant)
    return os.WEXITSTATUS(status) != 0


def judge(mutant: Mutant) -> str:
    """Return what notices *mutant*: ``simulator``, ``tests``, ``time``; empty: nothing does."""
    if not mutant.function:
        return _judge_afresh(mutant)
    try:
        for name, limit in LIMITS.items():
            noticed = _in_fork(mutant, name, limit)
            if noticed is None:
                return "time"
            if noticed:
                return name
    except ValueError:
        return _judge_afresh(mutant)
    return ""


def _judge_afresh(mutant: Mutant) -> str:
    """As :func:`judge`, in a new process: what is outside of functions is used as the modules are imported."""
    for name, limit in LIMITS.items():
        command = [sys.executable, "-m", "tests.core.mutation", "--one", json.dumps(asdict(mutant)), name]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=limit * 5, check=False)
        except subprocess.TimeoutExpired:
            return "time"
        if done.returncode:
            return name
    return ""


def _run_one(mutant: Mutant, name: str) -> int:
    tree = _mutated(mutant)
    path = str(CORE / mutant.file)
    from importlib.machinery import SourceFileLoader

    real = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str):  # type: ignore[no-untyped-def]
        return compile(tree, path, "exec") if self.path == path else real(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
    return int(_simulate() if name == "simulator" else _test(mutant.file))


def interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of Wilson for *share* of *count* draws."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def main() -> int:
    """Judge a sample of mutants; print the survivors and the score."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", type=int, default=400, help="how many mutants are drawn; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--part", default="1/1", help="of the sample, as 1/2 and 2/2: for two processes")
    parser.add_argument(
        "--log", type=Path, help="a file for one line of JSON per mutant; those in it are not judged again"
    )
    parser.add_argument("--one", nargs=2, metavar=("MUTANT", "PHASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.one:
        return _run_one(Mutant(**json.loads(options.one[0])), options.one[1])
    everything = mutants()
    drawn = random.Random(options.seed).sample(everything, options.sample or len(everything))
    part, parts = map(int, options.part.split("/"))
    drawn = drawn[part - 1 :: parts]
    known = _known(options.log)
    import interwhen.testing.simulation._invariants  # noqa: F401  what every fork needs
    import pytest

    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", *_OPTIONS, "tests/core"])
    for name, limit in LIMITS.items():
        if _in_fork(None, name, limit) is not False:
            _say(f"the code fails in the phase {name!r} without a mutant: repair that first")
            return 1
    counts: dict[str, int] = {}
    for mutant in drawn:
        began = time.monotonic()
        found = known.get((mutant.file, mutant.what, mutant.function, mutant.line))
        if found is None:
            found = judge(mutant)
            if options.log is not None:
                with options.log.open("a") as log:
                    log.write(json.dumps({**asdict(mutant), "noticed": found}) + "\n")
        counts[found] = counts.get(found, 0) + 1
        if not found:
            where = f"{mutant.file}:{mutant.line} {mutant.function}"
            _say(f"survives: {where}: {mutant.what} ({time.monotonic() - began:.0f} s)")
    noticed = len(drawn) - counts.get("", 0)
    low, high = interval(noticed / len(drawn), len(drawn))
    _say(
        f"{noticed} of {len(drawn)} noticed ({len(everything)} in all): {noticed / len(drawn):.1%}, "
        f"95 % interval {low:.1%} to {high:.1%}; by {counts}"
    )
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _known(log: Path | None) -> dict[tuple[str, str, str, int], str]:
    if log is None or not log.exists():
        return {}
    lines = map(json.loads, log.read_text().splitlines())
    return {(one["file"], one["what"], one["function"], one["line"]): one["noticed"] for one in lines}


if __name__ == "__main__":
    sys.exit(main())
