"""Takes tests apart into calls, which the sandbox makes with the code, and comparisons, which are made without it.

``assert f(xs) == [1, 2]`` gives the question ``f(xs)``, with the statements that define ``xs``, and the test ``_v0 ==
[1, 2]``. The process with the code does not get the test.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import symtable
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from interwhen_verifiers._python.values import NotPlainError, plain

_MOST_CASES = 60
_MOST_STEPS = 2_000
_DEEPEST = 12
_MODULES = frozenset(
    (
        "math",
        "cmath",
        "random",
        "itertools",
        "functools",
        "collections",
        "string",
        "re",
        "copy",
        "operator",
        "statistics",
        "heapq",
        "bisect",
        "datetime",
        "decimal",
        "fractions",
        "json",
        "typing",
        "numbers",
    )
)
_WRAPPERS = frozenset(
    ("list", "set", "tuple", "dict", "sorted", "len", "str", "frozenset", "sum", "max", "min", "repr", "type")
)
"""Functions that turn the result of a call into a value. The sandbox evaluates them directly around a call of the
code.
"""


@dataclass(frozen=True, slots=True)
class Question:
    """An expression that the sandbox must evaluate in one process, after the statements ``setup``."""

    setup: str
    expression: str


@dataclass(frozen=True, slots=True)
class Case:
    """One test, taken apart."""

    shown: str
    """The tested expression."""
    questions: tuple[Question, ...]
    test: ast.expr
    """The condition on the values ``_v0``, ``_v1`` ... of the questions."""
    relation: str
    """The operator of a test that compares a call with an expected value, such as ``Eq``; else empty."""
    outside: str
    """The statements that the comparison needs."""
    in_order: tuple[Question, ...] = ()
    """The same questions after all calls of the tests before it, for code that has a state."""


@dataclass(frozen=True, slots=True)
class Cases:
    """The tests of one program."""

    cases: tuple[Case, ...] = ()
    unreached: int = 0
    """How many asserts cannot be taken apart; a loop over unknown items, for example, counts as one."""


def cases_of(program: str, code_names: frozenset[str]) -> Cases:
    # `program` is only parsed, never run here. Splitting stops after 60 tests or 2,000 statements, or where calls and
    # loops are nested too deep; the rest then adds one to `unreached`.
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Cases(unreached=1)
    # A module that the test uses without an import is that of the standard library, even if the code binds its name.
    top = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    reader = Reader(code_names - _defined(tree.body) - _MODULES, frozenset().union(*map(_bound, top)))
    for name in sorted(read_names(tree) & _MODULES - _defined(tree.body)):
        reader.keep(ast.Import([ast.alias(name)]))
    try:
        reader.read(tree.body, {}, 0)
    except (_TooLongError, RecursionError):
        return Cases(tuple(reader.cases), reader.unreached + 1)
    return Cases(tuple(reader.cases), reader.unreached)


def free_names(code: str) -> frozenset[str]:
    try:
        top = symtable.symtable(code, "names", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    names: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                names.add(symbol.get_name())
    return frozenset(names - own)


class _TooLongError(Exception):
    """The program is too long to be split into its tests."""


@dataclass
class Step:
    """A statement that a later test may need, because it may set or change a variable."""

    # It is from the program, or made from a call in it.

    node: ast.stmt
    binds: frozenset[str]
    """The variables that it may set outside of its functions, classes, lambdas and comprehensions."""
    reads: frozenset[str]
    """The names that it reads or binds."""
    text: str
    changes: bool
    """Whether it may change the variables that it reads, as a call of a method may."""


@dataclass
class Reader:
    """Reads a program of the task, and collects its tests and the statements that they may need."""

    names: frozenset[str]
    """The names of the tested code that the program uses."""
    taken: frozenset[str] = frozenset()
    """The variables that the program sets outside of functions, and in the functions that are being read."""
    cases: list[Case] = field(default_factory=list)
    unreached: int = 0
    _before: list[Step] = field(default_factory=list)
    _functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    _asserting: set[str] = field(default_factory=set)
    """The names of functions of the tests that assert something, or that call such a function."""
    _steps: int = 0
    """How many statements were read."""

    def read(self, body: Iterable[ast.stmt], values: dict[str, ast.expr], depth: int) -> None:
        """Read the statements of *body*: add their tests to ``cases``, and record statements that later tests may need.

        Tests that cannot be taken apart are counted in ``unreached``.
        *values* maps the parameters and loop variables that *body* uses to their expressions. *depth* is the number of
        function bodies and loops around *body*. Raises ``_TooLongError`` for too many tests or statements, or too
        great a depth.
        """
        for node in body:
            self._steps += 1
            if self._steps > _MOST_STEPS or depth > _DEEPEST:
                raise _TooLongError
            self._statement(_put_in(node, values), values, depth)

    def _statement(self, node: ast.stmt, values: dict[str, ast.expr], depth: int) -> None:
        match node:
            case ast.Assert():
                self._assert(node.test)
            case ast.FunctionDef(name=name):
                self._functions[name] = node
                if _has_assert(node) or _called(node) & self._asserting:
                    self._asserting.add(name)
                self.keep(node)
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=args, keywords=[])) if name in self._functions:
                self._inline(self._functions[name], args, depth)
            case ast.For(target=target, iter=source, body=body, orelse=[]) if _has_assert(node):
                self._unroll(target, source, body, values, depth)
            case ast.If(test=test) if _is_main(test):
                pass  # the tests are not run as a script
            case _ if _has_assert(node):
                self.unreached += sum(isinstance(inner, ast.Assert) for inner in ast.walk(node))
            case _:
                self.keep(node)

    def _inline(self, function: ast.FunctionDef, args: list[ast.expr], depth: int) -> None:
        parameters = function.args
        plain_ones = not (parameters.kwonlyargs or parameters.vararg or parameters.kwarg or parameters.posonlyargs)
        if function.name not in self._asserting:
            self.keep(ast.Expr(ast.Call(ast.Name(function.name, ast.Load()), args, [])))
        elif plain_ones and len(parameters.args) == len(args) and not function.decorator_list:
            values = dict(zip((one.arg for one in parameters.args), args, strict=True))
            own, taken = frozenset().union(*map(_bound, function.body)), self.taken
            if own & (taken | values.keys() | read_names(ast.Tuple(args))) or _jumps(function.body):
                self.unreached += 1
                return
            self.taken = taken | own
            self.read(function.body, values, depth + 1)
            self.taken = taken
        else:
            self.unreached += 1

    def _unroll(
        self, target: ast.expr, source: ast.expr, body: list[ast.stmt], values: dict[str, ast.expr], depth: int
    ) -> None:
        items = self._items(source)
        set_again = frozenset().union(*map(_bound, body)) & (_bound(target) | values.keys())
        if items is None or set_again or _jumps(body):
            self.unreached += 1
            return
        for item in items:
            bound = _matched(target, item)
            if bound is None:
                self.unreached += 1
                return
            self.read(body, {**values, **bound}, depth + 1)
            self.keep(ast.Assign([target], item, lineno=0))  # as after a loop, its variables keep their last values

    def _items(self, source: ast.expr) -> list[ast.expr] | None:
        match source:
            case ast.Name(id=name):
                literal = self._literal(name)
                return self._items(literal) if literal is not None else None
            case ast.List(elts=elts) | ast.Tuple(elts=elts):
                return elts
            case ast.Call(func=ast.Name(id="zip"), args=args, keywords=[]) if args:
                columns = [items for one in args if (items := self._items(one)) is not None]
                if len(columns) < len(args):
                    return None
                return [ast.Tuple(list(row), ast.Load()) for row in zip(*columns, strict=False)]
            case ast.Call(func=ast.Attribute(value=inner, attr="items"), args=[], keywords=[]):
                literal = self._literal(inner.id) if isinstance(inner, ast.Name) else inner
                if not isinstance(literal, ast.Dict) or any(key is None for key in literal.keys):
                    return None
                return [
                    ast.Tuple([key, value], ast.Load())
                    for key, value in zip(literal.keys, literal.values, strict=True)
                    if key
                ]
            case ast.Call(func=ast.Name(id="range"), args=args, keywords=[]):
                try:
                    numbers = range(*(plain(one, {}) for one in args))
                except (NotPlainError, TypeError, ValueError):
                    return None
                return [ast.Constant(number) for number in numbers] if len(numbers) <= _MOST_STEPS else None
            case _:
                return None

    def _literal(self, name: str) -> ast.expr | None:
        literal: ast.expr | None = None
        for step in self._before:
            if name in step.binds or (step.changes and name in step.reads):
                match step.node:
                    case ast.Assign(targets=[ast.Name()], value=value) if literal is None:
                        literal = value
                    case _:
                        return None
        return literal

    def keep(self, node: ast.stmt) -> None:
        binds = frozenset(_set_by(node))
        # A definition or an import does not change the variables that it reads.
        quiet = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)
        calls = any(isinstance(inner, ast.Call | ast.AugAssign | ast.Delete) for inner in ast.walk(node))
        stores = any(
            isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del)
            for inner in ast.walk(node)
        )
        changes = not quiet and (calls or stores)
        self._before.append(Step(node, binds, read_names(node), ast.unparse(node), changes))

    def _assert(self, test: ast.expr) -> None:
        match test:
            case ast.Constant(value=value) if value:
                return  # such as `assert True`, which tests nothing
            case ast.BoolOp(op=ast.And(), values=parts):
                for part in parts:
                    self._assert(part)
                return
        if len(self.cases) >= _MOST_CASES:
            raise _TooLongError
        inside = _Inside(self.names, self._mutable())
        folding = _Folding(self._literals())
        residual = inside.visit(folding.visit(copy.deepcopy(test)))
        questions = inside.questions
        # If a class of the code made the comparison, the code would decide its own verdict.
        known = (
            questions
            and not inside.impossible
            and not (_is_truth(residual) and any(self._judges(node) for node in questions))
        )
        case = self._case(test, residual, questions, folding.used) if known else None
        if case is None:
            self.unreached += 1
        else:
            self.cases.append(case)
        for question in questions:
            self.keep(ast.Expr(question))

    def _judges(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and any(
            read_names(argument) & self.names and any(isinstance(inner, ast.Call) for inner in ast.walk(argument))
            for argument in (*node.args, *(keyword.value for keyword in node.keywords))
        )

    def _literals(self) -> dict[str, Any]:
        literals: dict[str, Any] = {}
        for name in {name for step in self._before for name in step.binds}:
            node = self._literal(name)
            if node is not None:
                with contextlib.suppress(NotPlainError):
                    literals[name] = plain(node, {})
        return literals

    def _mutable(self) -> frozenset[str]:
        names: set[str] = set()
        for step in self._before:
            if isinstance(step.node, ast.Assign | ast.AnnAssign | ast.AugAssign) and step.reads & (self.names | names):
                names |= step.binds
        return frozenset(names)

    def _case(
        self, test: ast.expr, residual: ast.expr, questions: list[ast.expr], tables: frozenset[str]
    ) -> Case | None:
        inner_names = {
            name
            for node in questions
            for step in self._needed(read_names(node))
            for name in step.binds
            if _is_value(step)
        }
        wanted = {name for name in read_names(residual) if not name.startswith("_v")}
        outer = self._needed(frozenset(wanted))
        # The expected values must not go in with the call: a table of inputs and outputs, for example. A variable that
        # is an argument as a whole is an input.
        compared = {name for step in outer for name in step.binds if _is_value(step)} | wanted | tables
        shared = inner_names & compared
        if shared - {name for node in questions for name in _whole_arguments(node)}:
            return None
        if any(step.reads & self.names for step in outer) or wanted & self.names:
            return None
        shown, relation = _described(test, questions, residual)
        asked = tuple(map(self.question, questions))
        in_order = tuple(self.question(node, in_order=True) for node in questions)
        return Case(shown, asked, residual, relation, "\n".join(step.text for step in outer), in_order)

    def question(self, node: ast.expr, *, in_order: bool = False) -> Question:
        steps = self._needed(read_names(node), in_order=in_order)
        return Question("\n".join(step.text for step in steps), ast.unparse(node))

    def _needed(self, names: frozenset[str], *, in_order: bool = False) -> list[Step]:
        """Return the statements, in order, that bind or change the variables *names*, and those that these need.

        *in_order*: return also all statements that call the code, and those that they need.
        """
        known = frozenset(name for step in self._before for name in step.binds)
        known = known | self.names if in_order else known - self.names
        wanted, steps = known & (names | self.names), []
        while True:
            parts = self._parts_of(wanted)
            steps = [step for step in self._before if step.binds & wanted or (step.changes and step.reads & parts)]
            more = wanted.union(*(step.reads & known for step in steps))
            if more == wanted:
                return steps
            wanted = more

    def _parts_of(self, names: frozenset[str]) -> frozenset[str]:
        parts = names
        for step in self._before:
            match step.node:
                case ast.Assign(value=ast.Name() | ast.Attribute() | ast.Subscript() as value) if (
                    read_names(value) & parts
                ):
                    parts |= step.binds
                case _:
                    pass
        return parts


class _Inside(ast.NodeTransformer):
    """Replaces what the sandbox must evaluate by the names ``_v0``, ``_v1`` ..."""

    def __init__(self, names: frozenset[str], made: frozenset[str]) -> None:
        self._names = names
        self._made = made
        self.questions: list[ast.expr] = []
        self.impossible = False
        """Whether a comprehension or a lambda uses the code, so that the test cannot be taken apart."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and self._goes_in(node):
            self.questions.append(node)
            return ast.Name(f"_v{len(self.questions) - 1}", ast.Load())
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            self.impossible |= bool(read_names(node) & (self._names | self._made))
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # Its method is called outside, on the value that comes out.
            node.func.value = self.visit(node.func.value)
            node.args = [self.visit(argument) for argument in node.args]
            node.keywords = [self.visit(keyword) for keyword in node.keywords]
            return node
        return super().generic_visit(node)

    def _goes_in(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._made
            case ast.Call(func=ast.Name(id=name)) if name in self._names:
                return True
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _WRAPPERS:
                return self._goes_in(inner)
            case ast.Call(func=ast.Attribute(value=inner), args=args, keywords=keywords):
                if (args or keywords) and not isinstance(inner, ast.Name):
                    return False  # a method of the result may belong to a class of the code
                return self._goes_in(inner) or (isinstance(inner, ast.Name) and inner.id in self._names)
            case ast.Attribute(value=inner):
                return self._goes_in(inner) or (isinstance(inner, ast.Name) and inner.id in self._names)
            case ast.Subscript(value=inner):
                return self._goes_in(inner)
            case _:
                return False


def _described(test: ast.expr, questions: list[ast.expr], residual: ast.expr) -> tuple[str, str]:
    match residual:
        case ast.Compare(left=ast.Name(), ops=[op]) if len(questions) >= 1:
            return ast.unparse(questions[0]), type(op).__name__
        case _:
            return ast.unparse(test), ""


class _Folding(ast.NodeTransformer):
    """Replaces a look-up in a literal table by the entry of the table."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self.used: frozenset[str] = frozenset()
        """The variables in the replaced look-ups."""

    def visit(self, node: ast.AST) -> ast.AST:
        # Comprehensions and lambdas have variables of their own, which may have the names of the tables.
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            return node
        visited: ast.AST = super().visit(node)
        return visited

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        try:
            folded = ast.parse(repr(plain(node, self._names)), mode="eval").body
        except (NotPlainError, SyntaxError, ValueError, RecursionError, MemoryError):
            return self.generic_visit(node)
        self.used |= read_names(node)
        return folded


def _whole_arguments(node: ast.expr) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            for argument in (*inner.args, *(keyword.value for keyword in inner.keywords)):
                whole = argument.value if isinstance(argument, ast.Starred) else argument
                if isinstance(whole, ast.Name):
                    yield whole.id


def _is_truth(residual: ast.expr) -> bool:
    match residual:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return _is_truth(inner)
        case ast.Compare(comparators=[ast.Constant(value=bool())]) | ast.Compare(left=ast.Constant(value=bool())):
            return True
        case _:
            return isinstance(residual, ast.Name)


def _is_value(step: Step) -> bool:
    return not isinstance(step.node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)


def read_names(node: ast.AST) -> frozenset[str]:
    return frozenset(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


def _defined(body: Iterable[ast.AST]) -> frozenset[str]:
    defined: set[str] = set()
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                defined.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                defined |= {(one.asname or one.name).partition(".")[0] for one in names}
            case _:
                pass
    return frozenset(defined)


def _names_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case _:
            yield from _defined([node])


_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def _set_by(node: ast.AST, *, in_comprehension: bool = False) -> Iterator[str]:
    if not in_comprehension:
        yield from _names_of(node)
    if isinstance(node, _SCOPES):
        return
    if isinstance(node, ast.NamedExpr):
        yield node.target.id  # `:=` also sets a variable outside of a comprehension
    inside = in_comprehension or isinstance(node, _COMPREHENSIONS)
    for inner in ast.iter_child_nodes(node):
        yield from _set_by(inner, in_comprehension=inside)


def _bound(node: ast.AST) -> frozenset[str]:
    inside = list(ast.walk(node))
    names = {name for inner in inside for name in _names_of(inner)}
    return frozenset(names | {inner.arg for inner in inside if isinstance(inner, ast.arg)})


def _jumps(body: Iterable[ast.stmt]) -> bool:
    kinds = ast.Return | ast.Break | ast.Continue | ast.Yield | ast.YieldFrom
    return any(isinstance(inner, kinds) for node in body for inner in ast.walk(node))


def _has_assert(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Assert) for inner in ast.walk(node))


def _called(node: ast.AST) -> set[str]:
    return {
        inner.func.id for inner in ast.walk(node) if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name)
    }


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _matched(target: ast.expr, item: ast.expr) -> dict[str, ast.expr] | None:
    match target, item:
        case ast.Name(id=name), _:
            return {name: item}
        case ((ast.Tuple(elts=names) | ast.List(elts=names)), (ast.Tuple(elts=parts) | ast.List(elts=parts))):
            bindings: dict[str, ast.expr] = {}
            if len(names) != len(parts):
                return None
            for one, part in zip(names, parts, strict=True):
                inner = _matched(one, part)
                if inner is None:
                    return None
                bindings |= inner
            return bindings
        case _:
            return None


class _Putting(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        replacement = self._values.get(node.id) if isinstance(node.ctx, ast.Load) else None
        return node if replacement is None else copy.deepcopy(replacement)


def _put_in(node: ast.stmt, values: Mapping[str, ast.expr]) -> ast.stmt:
    if not values:
        return node
    changed: ast.stmt = ast.fix_missing_locations(_Putting(values).visit(copy.deepcopy(node)))
    return changed
