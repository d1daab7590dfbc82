"""Mutation tests of the core: small changes of its code, each of which a test must notice.

``python -m tests.core.mutation --sample 400 --seed 1`` draws 400 of all mutants, and prints those that nothing notices.

A mutant is noticed if a *unit* passes without the change and fails with it, twice: a unit is a test of `FOLDERS` or a
world of the simulator. Why our own script: cosmic-ray and mutmut start pytest for each mutant. This script collects the
tests once. It runs each unit in a fork, to find out which lines of the core the unit executes and how long it takes.
For each mutant it forks again, replaces the code of one function, and runs the units that execute the changed lines,
the quickest first, until one fails.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import functools
import gc
import hashlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import IO, Any, NamedTuple, TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "interwhen" / "_core"
WITHOUT_EFFECT = Path(__file__).with_name("mutants_without_effect.toml")
"""The mutants that no test can notice, each with the reason."""
FOLDERS = ("tests/core", "tests/engine", "tests/hostile")
LEFT_OUT = (
    *("tests/engine/test_workers_measured.py", "tests/engine/test_workers_processes.py"),
    *("tests/engine/test_loop_blocking.py", "tests/engine/test_timers_alarm.py", "tests/engine/test_token_cost.py"),
    *("tests/hostile/test_complexity.py", "tests/engine/test_docs.py", "tests/hostile/test_docs.py"),
)
"""Tests that start processes, use real time or signals, or count instructions: a fork or a busy machine disturbs them.
The tests of docs are left out because they run much code that is not the core."""
WORLDS = 60
"""The number of worlds of the simulator that are units."""
EXAMPLES = 20
"""The most examples of a property-based test."""
LONGEST = 8.0
"""Units that need more CPU time than these seconds (while their lines are recorded) do not run."""
MEMORY = 6 << 30
"""The most bytes of a fork: a loop that a change made endless may collect anything."""
PATIENCE = 120.0
"""Seconds of real time after which a unit that has not ended counts as failed, if it is usually quick."""

_OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "--timeout=0", "-m", "not source and not slow"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *(f"--ignore={path}" for path in LEFT_OUT),
)

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
    lines: list[int] = field(hash=False)
    """The lines of the statement, or of the head of the statement, that is changed, counted from the first line of the
    function."""
    function: str
    """The function or method that holds it; empty: the change is outside any."""
    digest: str
    """Of the source text of this function."""
    what: str
    nth: int
    """Counts the changes with the same text in one function, from 1."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.file, self.function, self.what, self.nth

    def __str__(self) -> str:
        nth = f" (number {self.nth})" if self.nth > 1 else ""
        return f"{self.file}:{self.line} {self.function}: {self.what}{nth}"


def _changes(node: ast.AST) -> Iterator[ast.AST]:
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
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"))))):
            # Not "pass": functions with `super()` have one variable more, and the code of the others cannot replace it.
            yield ast.If(ast.Constant(False), [node], [])
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return  # no code runs it: it is for the type checker
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
        self.mutants: list[Mutant] = []
        self._within: list[str] = []
        self._in_function = 0
        self._digest = ""
        self._lines = 0, 0
        self._first = 0
        self._same: Counter[tuple[str, str]] = Counter()

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt):
            self._lines = _head(node)
            if not self._in_function and self.wanted < 0:
                self._digest, self._first = _digest(node), node.lineno
        if isinstance(node, ast.match_case):
            self._lines = node.pattern.lineno, (node.guard or node.pattern).end_lineno or node.pattern.lineno
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
                    if len(self.mutants) == self.wanted:
                        self._add(node, changed, line)
                        return ast.fix_missing_locations(ast.copy_location(changed, node))
                    self._add(node, changed, line)
                return self.generic_visit(node)

    def _enter(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if not self._in_function:
            self._within.append(node.name)
        self._in_function += isinstance(node, ast.FunctionDef)
        if isinstance(node, ast.FunctionDef):
            self._lines = node.lineno, node.end_lineno or node.lineno  # any call uses the defaults
            if self._in_function == 1:
                self._first = node.lineno
                self._digest = "" if self.wanted >= 0 else _digest(node)
            node.args.defaults = [self.visit(one) for one in node.args.defaults]
            node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        node.body = [self.visit(one) for one in node.body]
        self._in_function -= isinstance(node, ast.FunctionDef)
        if not self._in_function:
            self._within.pop()
        return node

    def _add(self, node: ast.AST, changed: ast.AST, line: int) -> None:
        if self.wanted >= 0:
            self.mutants.append(_ANY)  # only the number is needed: `ast.unparse` takes long
            return
        before, after = (ast.unparse(one).split("\n")[0] for one in (node, ast.fix_missing_locations(changed)))
        function = ".".join(self._within) if self._in_function else ""
        what = f"{before}  ->  {after}"
        self._same[function, what] += 1
        nth = self._same[function, what]
        number = len(self.mutants)
        lines = [each - self._first for each in range(self._lines[0], self._lines[1] + 1)]
        self.mutants.append(Mutant(self.file, number, line, lines, function, self._digest, what, nth))


_ANY = Mutant("", 0, 0, [], "", "", "", 0)


def _head(node: ast.stmt) -> tuple[int, int]:
    last = node.end_lineno or node.lineno
    match node:
        case ast.If(body=[first, *_]) | ast.While(body=[first, *_]) | ast.For(body=[first, *_]):
            last = max(node.lineno, first.lineno - 1)
        case ast.With(body=[first, *_]) | ast.Try(body=[first, *_]):
            last = max(node.lineno, first.lineno - 1)
    return node.lineno, last


def _digest(node: ast.stmt) -> str:
    return hashlib.sha256(ast.unparse(node).encode()).hexdigest()[:12]


@functools.cache
def _sources() -> dict[str, str]:
    # Return the text of each file of the core. It is read once, so that the files can be edited meanwhile.
    return {path.name: path.read_text() for path in sorted(CORE.glob("*.py"))}


def mutants() -> list[Mutant]:
    all_mutants: list[Mutant] = []
    for name, source in _sources().items():
        places = _Places(name)
        places.visit(ast.parse(source))
        all_mutants += places.mutants
    return all_mutants


def _mutated(mutant: Mutant) -> ast.Module:
    places = _Places(mutant.file, mutant.number)
    tree = places.visit(ast.parse(_sources()[mutant.file]))
    assert isinstance(tree, ast.Module)
    assert len(places.mutants) > mutant.number
    return ast.fix_missing_locations(tree)


def _function(owner: object, path: str) -> FunctionType:
    for name in path.split("."):
        owner = vars(owner)[name] if not isinstance(owner, dict) else owner[name]
    if isinstance(owner, property):
        owner = owner.fget
    owner = getattr(owner, "__wrapped__", getattr(owner, "__func__", owner))
    assert isinstance(owner, FunctionType), (path, owner)
    return owner


@functools.lru_cache(maxsize=1)
def _compiled(mutant: Mutant) -> CodeType:
    body: list[ast.stmt] = _mutated(mutant).body
    *classes, name = mutant.function.split(".")
    for each in (*classes, name):
        # The last one, because the stubs of overloads come before the function.
        body = [[one for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name == each][-1]]
        if isinstance(body[0], ast.ClassDef):
            body = body[0].body
    definition: ast.stmt = body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    for each in reversed(classes):
        definition = ast.ClassDef(each, [], [], [definition], [])
    module = ast.fix_missing_locations(ast.Module([definition], []))
    code: CodeType = compile(module, mutant.file, "exec", annotations.compiler_flag)
    return code


def _plant(mutant: Mutant, code: CodeType) -> None:
    module = sys.modules[f"interwhen._core.{mutant.file.removesuffix('.py')}"]
    scratch = dict(vars(module))
    exec(code, scratch)
    real, changed = _function(vars(module), mutant.function), _function(scratch, mutant.function)
    real.__code__ = changed.__code__
    real.__defaults__, real.__kwdefaults__ = changed.__defaults__, changed.__kwdefaults__


# ---------------------------------------------------------------------- units: tests and worlds


@dataclass
class Unit:
    """A test, or a world of the simulator."""

    name: str
    fails: Callable[[], bool]
    seconds: float = 0.0
    """CPU time, while its lines were recorded."""
    reached: dict[str, tuple[str, set[int]]] = field(default_factory=dict)
    """The functions of the core that it runs, by file and name. Each has the digest that it had when the unit was
    recorded, and the lines that were executed, counted from its first line."""

    @property
    def limits(self) -> tuple[float, float]:
        return 3 + 10 * self.seconds, PATIENCE + 10 * self.seconds

    def reaches(self, mutant: Mutant) -> bool:
        digest, lines = self.reached.get(f"{mutant.file} {mutant.function}", ("", set()))
        return not lines.isdisjoint(mutant.lines) if digest == mutant.digest else bool(digest)


def _world_fails(seed: int) -> bool:
    from tests.simulation.generation import generate  # here: pytest rewrites the asserts of plug-ins first
    from tests.simulation.invariants import examine

    return bool(examine(generate(seed)).broken)


class _Session:
    """A plug-in of pytest that does *work* with all units in place of running the tests."""

    def __init__(self, work: Callable[[list[Unit]], object]) -> None:
        self._work = work
        self._failed = False
        self.error: BaseException | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True  # some could not be collected
        units = [Unit(f"world {seed}", lambda seed=seed: _world_fails(seed)) for seed in range(WORLDS)]  # type: ignore[misc]
        units += [Unit(item.nodeid, lambda item=item: self._test_fails(item)) for item in session.items]  # type: ignore[misc]
        try:
            self._work(units)
        except BaseException as error:  # noqa: BLE001  pytest would print it to a stream that is not shown
            self.error = error
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def _test_fails(self, item: pytest.Item) -> bool:
        self._failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return self._failed


def _with_units(work: Callable[[list[Unit]], object], folders: Iterable[str] = FOLDERS) -> None:
    from hypothesis import Phase, settings

    fewer = property(lambda self: min(self._max_examples, EXAMPLES))
    # The same examples each time: those that were recorded. And a failure is enough, it need not be small.
    for name, value in (
        ("max_examples", fewer),
        ("derandomize", property(lambda _: True)),
        ("database", property(lambda _: None)),
        ("phases", property(lambda _: (Phase.explicit, Phase.generate))),
    ):
        type.__setattr__(settings, name, value)  # the class refuses it by its own means
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as null,
        contextlib.redirect_stdout(null),
    ):
        session = _Session(work)
        pytest.main([*_OPTIONS, f"--basetemp={folder}/tests", *folders], plugins=[session])
    if session.error is not None:
        raise session.error


def _fork(
    work: Callable[[Callable[[object], None]], None], patience: Callable[[list[Any]], float]
) -> tuple[list[Any], int]:
    """Do *work* in a fork, and return what it tells, and its exit status.

    *work* gets a function that sends the parent a message. *patience* gets all messages so far, and returns how many
    seconds the parent waits for more before it ends the fork.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            with os.fdopen(theirs, "w") as pipe:
                _work_in_fork(work, pipe)
            os._exit(0)
        finally:  # the fork must never continue with the code of its parent
            os._exit(3)
    os.close(theirs)
    told: list[Any] = []
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            ready, _, _ = select.select([pipe], [], [], patience(told))
            if not ready:
                os.kill(pid, signal.SIGKILL)
            new = pipe.read(1 << 20) if ready else b""
            *lines, rest = (rest + new).split(b"\n")
            told += map(json.loads, lines)
            if not new:
                break
    return told, os.waitpid(pid, 0)[1]


def _work_in_fork(work: Callable[[Callable[[object], None]], None], pipe: IO[str]) -> None:
    def tell(what: object) -> None:
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()

    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        work(tell)
    except BaseException as error:  # noqa: BLE001  the fork must end here, and not in the code of its parent
        tell(repr(error))
        os._exit(2)


def _recorded(units: list[Unit], cache: Path | None) -> list[Unit]:
    """Run each of the *units* once, and return those that pass, with their times and lines.

    *cache* is a file with what was recorded before: a unit whose files have not changed is not run again.
    """
    known = json.loads(cache.read_text()) if cache is not None and cache.exists() else {}
    kept = []
    for number, unit in enumerate(units, 1):
        test = ROOT / unit.name.partition("::")[0]
        digest = hashlib.sha256(test.read_bytes()).hexdigest() if test.is_file() else ""
        if unit.name not in known or known[unit.name][0] != digest:
            known[unit.name] = [digest, *_recording(unit)]
            if cache is not None and (number % 50 == 0 or number == len(units)):
                cache.write_text(json.dumps(known))
        _, failure, unit.seconds, reached = known[unit.name]
        unit.reached = {name: (digest, set(lines)) for name, (digest, lines) in reached.items()}
        if failure:
            _say(f"left out: {unit.name}: {failure}")
        elif unit.reached:
            kept.append(unit)
    return kept


class _Function(NamedTuple):
    name: str
    first: int
    last: int
    digest: str


@functools.cache
def _functions(file: str) -> list[_Function]:
    def within(body: list[ast.stmt], path: str) -> Iterator[_Function]:
        for node in body:
            match node:
                case ast.ClassDef():
                    yield from within(node.body, f"{path}{node.name}.")
                case ast.FunctionDef(lineno=first, end_lineno=last):
                    yield _Function(f"{file} {path}{node.name}", first, last or first, _digest(node))

    return list(within(ast.parse(_sources()[file]).body, ""))


def _recording(unit: Unit) -> tuple[str, float, dict[str, tuple[str, list[int]]]]:
    told, _ = _fork(lambda tell: _record(unit, tell), lambda _: PATIENCE)
    match told:
        case [{"failed": failed, "seconds": seconds, "lines": lines}]:
            return "it fails without a change" if failed else "", seconds, _by_function(lines)
        case _:
            return f"it did not end in {LONGEST:g} s of CPU time and {PATIENCE:g} s", 0.0, {}


def _by_function(lines: dict[str, list[int]]) -> dict[str, tuple[str, list[int]]]:
    reached = {}
    for file, executed in lines.items():
        for each in _functions(file):
            inner = [line - each.first for line in executed if each.first <= line <= each.last]
            if inner:
                reached[each.name] = each.digest, inner
    return reached


def _record(unit: Unit, tell: Callable[[object], None]) -> None:
    lines: dict[str, set[int]] = {path.name: set() for path in CORE.glob("*.py")}
    files = {str(path): lines[path.name] for path in CORE.glob("*.py")}
    entries: Counter[CodeType] = Counter()

    def enter(frame: FrameType, _event: str, _value: object) -> Any:
        code = frame.f_code
        executed = files.get(code.co_filename)
        if executed is None:
            return None
        entries[code] += 1
        if entries[code] > 50 and entries[code] % 16:
            return None  # a line that is missed for this reason makes the score lower, not higher
        executed.add(frame.f_lineno)

        def advance(frame: FrameType, _event: str, _value: object) -> Any:
            executed.add(frame.f_lineno)
            return advance

        return advance

    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
    began = time.process_time()
    threading.settrace(enter)
    sys.settrace(enter)
    failed = unit.fails()
    sys.settrace(None)
    threading.settrace(None)
    seconds = time.process_time() - began
    tell(
        {
            "failed": failed,
            "seconds": seconds,
            "lines": {name: sorted(executed) for name, executed in lines.items() if executed},
        }
    )


# ---------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Judgement:
    """Which unit noticed a mutant, if any."""

    unit: str = ""
    late: bool = False
    """Whether it did not end in its time, in place of failing."""
    complete: bool = True
    """Whether all units have run, or one has noticed the mutant."""


def judge(mutant: Mutant, units: list[Unit], noticing: Counter[str], quick: float = math.inf) -> Judgement:
    """Tell which of the *units* notices *mutant*.

    *noticing*: how many mutants of the same function each unit has noticed. Those that noticed most run first. Units
    that together need more than *quick* seconds do not run.
    """
    if not mutant.function:
        of_file = [unit for unit in units if any(name.startswith(f"{mutant.file} ") for name in unit.reached)]
        return _judge_afresh(mutant, *_in_order(of_file, Counter(), quick))
    left, complete = _in_order([unit for unit in units if unit.reaches(mutant)], noticing, quick)
    while left:
        number, late = _first_failure(mutant, left)
        if number is None:
            break
        # Once more, in a fork that has run nothing else: a unit may fail because of load, or of what ran before it.
        if _first_failure(mutant, [left[number]])[0] == 0:
            return Judgement(left[number].name, late)
        del left[: number + 1]
    return Judgement(complete=complete)


def _in_order(units: list[Unit], noticing: Counter[str], quick: float) -> tuple[list[Unit], bool]:
    # Return the `units` in the order in which they run, and whether these are all. They end in `quick` seconds.
    variants: Counter[str] = Counter()
    costs: list[tuple[int, float, int]] = []
    for unit in units:
        group = unit.name.partition("[")[0].partition(" ")[0]
        variants[group] += 1
        # Different tests first: the variants of one test notice the same mutants.
        costs.append((-noticing[unit.name], unit.seconds * variants[group], len(costs)))
    ranked = [units[number] for _, _, number in sorted(costs)]
    ordered: list[Unit] = []
    spent = 0.0
    for unit in ranked:
        spent += unit.seconds
        if spent <= quick:
            ordered.append(unit)
    return ordered, len(ordered) == len(units)


def _first_failure(mutant: Mutant, units: list[Unit]) -> tuple[int | None, bool]:
    code = _compiled(mutant)

    def work(tell: Callable[[object], None]) -> None:
        _plant(mutant, code)
        for number, unit in enumerate(units):
            signal.setitimer(signal.ITIMER_VIRTUAL, unit.limits[0])
            tell(number)
            if unit.fails():
                os._exit(1)

    told, status = _fork(work, lambda told: units[told[-1]].limits[1] if told else PATIENCE)
    if status == 0:
        return None, False
    numbers = [one for one in told if isinstance(one, int)]
    assert numbers, (mutant, told)  # it could not be planted
    return numbers[-1], os.WIFSIGNALED(status)


def _judge_afresh(mutant: Mutant, units: list[Unit], complete: bool) -> Judgement:  # noqa: FBT001
    names = [unit.name for unit in units]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(names, file)
        file.flush()
        command = [sys.executable, "-m", "tests.core.mutation", "--one", json.dumps(asdict(mutant)), file.name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Judgement(complete=complete)
    *_, last = ["the import", *done.stdout.split("\n")[:-1]]
    return Judgement(last, late=done.returncode < 0)


def _run_one(mutant: Mutant, order: Path) -> int:
    # Run the units in `order` with `mutant`, in this process. Return 1 if one fails, which was printed last.
    # By its key, because its number is another one if the file was edited meanwhile.
    tree = _mutated(next(one for one in mutants() if one.key == mutant.key))
    path = str(CORE / mutant.file)
    real = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str):  # type: ignore[no-untyped-def]
        return compile(tree, path, "exec") if self.path == path else real(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
    places = {name: number for number, name in enumerate(json.loads(order.read_text()))}
    files = sorted({name.partition("::")[0] for name in places if "::" in name})
    failed = True  # unless the tests can be collected

    def work(units: list[Unit]) -> None:
        nonlocal failed
        known = [unit for unit in units if unit.name in places]
        failed = any(_says_and_fails(unit) for unit in sorted(known, key=lambda unit: places[unit.name]))

    _with_units(work, files)
    return int(failed)


def _says_and_fails(unit: Unit) -> bool:
    signal.setitimer(signal.ITIMER_VIRTUAL, 60 + unit.limits[0])
    _say(unit.name)
    return unit.fails()


def interval(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def without_effect() -> dict[tuple[str, str, str, int], str]:
    listed = tomllib.loads(WITHOUT_EFFECT.read_text()).get("mutant", [])
    return {(one["file"], one["function"], one["change"], one.get("nth", 1)): one["reason"] for one in listed}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.core.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", type=int, default=400, help="how many mutants are drawn; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--part", default="1/1", help="of the sample, as 1/2 and 2/2: for two processes")
    parser.add_argument("--within", default="", help="only mutants whose file and function contain this text")
    parser.add_argument("--log", type=Path, help="a file with a JSON line per mutant, to continue an interrupted run")
    parser.add_argument("--recorded", type=Path, help="a file for what units execute, to run them only once")
    parser.add_argument(
        "--quick", type=float, default=math.inf, help="the most seconds that the units of a mutant need"
    )
    parser.add_argument("--again", action="store_true", help="judge those again that survive according to the log")
    parser.add_argument("--one", nargs=2, metavar=("MUTANT", "ORDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.one:
        mutant, order = options.one
        return _run_one(Mutant(**json.loads(mutant)), Path(order))
    everything = mutants()
    drawn = _draw(everything, options.seed)[: options.sample or None]
    part, parts = map(int, options.part.split("/"))
    drawn = [one for one in drawn[part - 1 :: parts] if options.within in f"{one.file} {one.function}"]
    known = _known(options.log)
    if options.again:
        known = {mutant: judgement for mutant, judgement in known.items() if judgement.unit}
    if options.quick == math.inf:
        known = {mutant: judgement for mutant, judgement in known.items() if judgement.complete}
    if any((one.key, one.digest) not in known for one in drawn):
        _with_units(
            lambda units: _judge_all(drawn, known, _recorded(units, options.recorded), options.log, options.quick)
        )
    return _report(drawn, known, len(everything))


_Known: TypeAlias = dict[tuple[tuple[str, str, str, int], str], Judgement]


def _draw(everything: list[Mutant], seed: int) -> list[Mutant]:
    # The order of those that stay does not change when the code gets other mutants.
    return sorted(everything, key=lambda one: hashlib.sha256(f"{seed} {one.key}".encode()).digest())


def _judge_all(drawn: list[Mutant], known: _Known, units: list[Unit], log: Path | None, quick: float) -> None:
    _say(f"{len(units)} units in {sum(unit.seconds for unit in units):.0f} s of CPU time")
    gc.collect()
    gc.freeze()
    for mutant in drawn:
        if (mutant.key, mutant.digest) in known:
            continue
        began = time.monotonic()
        noticing = Counter(
            one.unit for (key, _), one in known.items() if one.unit and key[:2] == (mutant.file, mutant.function)
        )
        judgement = known[mutant.key, mutant.digest] = judge(mutant, units, noticing, quick)
        seconds = time.monotonic() - began
        if log is not None:
            with log.open("a") as file:
                file.write(json.dumps({**asdict(mutant), **asdict(judgement), "seconds": round(seconds, 1)}) + "\n")
        if not judgement.unit:
            _say(f"{'survives' if judgement.complete else 'survives so far'}: {mutant} ({seconds:.0f} s)")


def _known(log: Path | None) -> _Known:
    judgements: _Known = {}
    for line in log.read_text().splitlines() if log is not None and log.exists() else ():
        one = json.loads(line)
        key = one["file"], one["function"], one["what"], one["nth"]
        judgements[key, one["digest"]] = Judgement(one["unit"], one["late"], one["complete"])
    return judgements


def _report(drawn: list[Mutant], known: _Known, count: int) -> int:
    # Print the survivors with their reasons, and the score. Return 1 if a mutant was not judged.
    judged = [(one, known[one.key, one.digest]) for one in drawn if (one.key, one.digest) in known]
    reasons = without_effect()
    left = [one for one, judgement in judged if not judgement.unit]
    for one in left:
        _say(f"survivor: {one}\n    {reasons.get(one.key, 'NO TEST NOTICES IT')}")
    for one, judgement in judged:
        if judgement.unit and one.key in reasons:
            _say(f"noticed, although it is listed as without effect: {one} by {judgement.unit}")
    equal = sum(one.key in reasons for one in left)
    by = Counter(
        "a time limit" if judgement.late else "a world" if judgement.unit.startswith("world") else "a test"
        for _, judgement in judged
        if judgement.unit
    )
    _say(f"{len(judged)} of {len(drawn)} drawn mutants judged, of {count} in all; noticed by {dict(by)}")
    _say(f"noticed, of all judged: {_share(len(judged) - len(left), len(judged))}")
    _say(
        f"noticed, without the {equal} listed as without effect: {_share(len(judged) - len(left), len(judged) - equal)}"
    )
    return int(len(judged) < len(drawn))


def _share(part: int, count: int) -> str:
    if not count:
        return "none"
    low, high = interval(part / count, count)
    return f"{part} of {count}, {part / count:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _say(line: str) -> None:
    # Not by `sys.stdout`, which pytest captures.
    os.write(_OUTPUT, f"{line}\n".encode())


_OUTPUT = os.dup(1)


if __name__ == "__main__":
    sys.exit(main())
