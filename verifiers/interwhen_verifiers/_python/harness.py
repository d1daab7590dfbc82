"""What runs inside the sandbox: it compiles the code, runs the tests, and says how they went.

Its text is given to the interpreter there, so it imports the standard library only, and little of that.
Both the code and what is told about it are the model's: whoever wants to cheat here can.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from typing import Any

Told = dict[str, Any]

_LONGEST = 160
_DEPTH = 5000
"""How deep calls may go: five times as deep as usual, so that nothing fails here that would not elsewhere."""
_FILE = "solution"


class _Failed(Exception):
    """A test came to its end, and the code is not as it says."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told


class _Sink:
    """Keeps the beginning of what is printed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text = (self.text + text)[:10_000]
        return len(text)

    def flush(self) -> None:
        pass


def judge(code: str, earlier: list[str], programs: list[str], sessions: list[str], own: bool) -> Told:  # noqa: FBT001
    """Return how *code* fares: with *programs*, *sessions* of an interpreter, and (*own*) the examples in it.

    *earlier* is the code of the blocks before it: it is run first where *code* lacks a name that one of them has.
    """
    sys.setrecursionlimit(_DEPTH)
    sys.stdout = sys.stderr = _Sink()
    try:
        tree = ast.parse(code, _FILE)
        compile(code, _FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        version = list(sys.version_info[:2])
        return {"kind": "syntax", "line": error.lineno, "message": _text(error.msg), "version": version}
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return {"kind": "unread", "message": type(error).__name__}
    bound, before = _bound(code), {name for text in earlier for name in _bound(text)}
    mine = [program for program in programs if _is_about(program, bound, before)]
    examples = [example for text in sessions for example in _examples(text) if _is_about(example[0], bound, before)]
    if own:
        examples += [example for text in _docstrings(tree) for example in _examples(text)]
    told: Told = {"kind": "compiled"}
    if mine or examples:
        told = _run(tree, [], mine, examples)
        if told.get("raised", told).get("name") in before:
            told = _run(tree, earlier, mine, examples)
    told["wanted"] = sorted({name for program in programs for name in _lacking(_free(program)) - bound - before})
    told["lines"] = {node.name: node.lineno for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    told["elsewhere"] = (
        bool(programs) and not mine and all(_lacking(_free(text)) <= before | bound for text in programs)
    )
    return told


def _run(tree: ast.Module, earlier: list[str], programs: list[str], examples: list[tuple[str, str]]) -> Told:
    told = _try(tree, earlier, programs, examples)
    if told["kind"] == "raised" and told["what"] == "the code":
        # What it shows at its end may be meant to fail; the tests are of what it defines.
        kept = [node for node in tree.body if not isinstance(node, ast.Expr | ast.Assert)]
        if len(kept) < len(tree.body):
            again = _try(ast.Module(kept, []), earlier, programs, examples)
            return {**told, "defined": True} if again["kind"] == "passed" else again
    return told


def _try(tree: ast.Module, earlier: list[str], programs: list[str], examples: list[tuple[str, str]]) -> Told:
    scope: dict[str, Any] = {"__name__": _FILE}
    counts = {"asserts": 0, "examples": 0, "unclear": 0}
    sys.modules[_FILE] = type(sys)(_FILE)  # dataclasses and others look their module up
    try:
        for text in earlier:
            _carry_out(text, "earlier", scope)
        exec(compile(tree, _FILE, "exec", dont_inherit=True), scope)  # noqa: S102  (what all this is for)
    except BaseException as error:  # noqa: BLE001  (it is their code)
        return {"kind": "raised", "what": "the code", **_described(error)}
    try:
        for number, program in enumerate(programs):
            _test(program, f"tests{number}", dict(scope), counts)
        session = dict(scope)
        for source, want in examples:
            _try_example(source, want, session, counts)
    except _Failed as failed:
        return {"kind": "failed", **failed.told, **counts}
    except BaseException as error:  # noqa: BLE001  (the same)
        return {"kind": "raised", "what": "the tests", **_described(error), **counts}
    return {"kind": "passed", **counts}


def _carry_out(source: str, name: str, scope: dict[str, Any]) -> None:
    exec(compile(source, name, "exec", dont_inherit=True), scope)  # noqa: S102  (what all this is for)


# ---------------------------------------------------------------- programs with asserts


class _Watched(ast.NodeTransformer):
    """Makes each assert say what it compared."""

    def __init__(self) -> None:
        self.sources: list[tuple[str, str]] = []

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Replace ``assert a == b`` by a call that compares, and knows both sides."""
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right = test.left, test.comparators[0]
            held: ast.expr = ast.Compare(ast.Name("_a", ast.Load()), test.ops, [ast.Name("_b", ast.Load())])
            sides = [left, right]
        else:
            left, held, sides = test, ast.Name("_a", ast.Load()), [test]
        self.sources.append((ast.unparse(left), type(test.ops[0]).__name__ if len(sides) == 2 else ""))  # type: ignore[attr-defined]
        names = [ast.arg("_a"), ast.arg("_b")][: len(sides)]
        holds = ast.Lambda(ast.arguments([], names, None, [], [], None, []), held)
        thunks = [ast.Lambda(ast.arguments([], [], None, [], [], None, []), side) for side in sides]
        call = ast.Call(
            ast.Name("_interwhen_check", ast.Load()), [ast.Constant(len(self.sources) - 1), holds, *thunks], []
        )
        return ast.copy_location(ast.Expr(call), node)


def _test(program: str, name: str, scope: dict[str, Any], counts: dict[str, int]) -> None:
    watched = _Watched()
    tree = ast.fix_missing_locations(watched.visit(ast.parse(program, name)))

    def check(number: int, holds: Any, *sides: Any) -> None:
        source, relation = watched.sources[number]
        candidate = sys._getframe(1).f_locals.get("candidate")  # noqa: SLF001
        if candidate is not None and hasattr(candidate, "__name__"):
            source = source.replace("candidate(", f"{candidate.__name__}(")
        try:
            values = [side() for side in sides]
            held = bool(holds(*values))
        except BaseException as error:  # noqa: BLE001  (the same)
            raise _Failed({"test": _short(source), "raised": _described(error)}) from None
        if not held:
            shown = [_shown(value) for value in values]
            raise _Failed({"test": _short(source), "relation": relation, "values": shown})
        counts["asserts"] += 1

    scope["_interwhen_check"] = check
    exec(compile(tree, name, "exec", dont_inherit=True), scope)  # noqa: S102  (the same)


# ---------------------------------------------------------------- examples of an interpreter


def _examples(text: str) -> list[tuple[str, str]]:
    """Return the examples ``>>> source`` of *text*, each with the lines that should follow."""
    found: list[tuple[str, str]] = []
    source: list[str] = []
    want: list[str] = []
    for line in [*text.expandtabs().splitlines(), ">>>"]:
        bare = line.strip()
        if bare == ">>>" or bare.startswith(">>> "):
            if source:
                found.append(("\n".join(source), "\n".join(want)))
            source, want = ([bare[4:]] if bare[4:] else []), []
        elif source and not want and (bare == "..." or bare.startswith("... ")):
            source.append(line.strip()[4:])
        elif source and bare and bare not in ('"""', "'''"):
            want.append(bare)
        elif source:
            found.append(("\n".join(source), "\n".join(want)))
            source, want = [], []
    return found


def _try_example(source: str, want: str, scope: dict[str, Any], counts: dict[str, int]) -> None:
    sys.stdout = sink = _Sink()
    try:
        expression = compile(source, "example", "eval", dont_inherit=True)
    except SyntaxError:
        try:
            _carry_out(source, "example", scope)
        except BaseException:  # noqa: BLE001  (an example that is none)
            counts["unclear"] += 1
        return
    try:
        value = eval(expression, scope)  # noqa: S307  (the same)
    except BaseException as error:  # noqa: BLE001  (the same)
        if want.startswith("Traceback"):
            counts["examples"] += 1
            return
        if not want:
            counts["unclear"] += 1
            return
        raise _Failed({"test": _short(source), "raised": _described(error), "example": True}) from None
    _compare(source, want, value, sink.text, counts)


def _compare(source: str, want: str, value: object, printed: str, counts: dict[str, int]) -> None:
    if not want:
        counts["unclear"] += value is not None
        return
    if printed.split() == want.split() or (value is not None and repr(value).split() == want.split()):
        counts["examples"] += 1
        return
    try:
        expected = ast.literal_eval(want)
        got = ast.literal_eval(printed.strip()) if printed.strip() else value
        same = got == expected or _rounds(got, expected, want)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        counts["unclear"] += 1
        return
    if same:
        counts["examples"] += 1
    elif _is_plain(got):
        raise _Failed(
            {"test": _short(source), "relation": "Eq", "values": [_shown(got), _shown(expected)], "example": True}
        )
    else:
        counts["unclear"] += 1


def _rounds(got: object, expected: object, want: str) -> bool:
    if not (isinstance(got, int | float) and isinstance(expected, float) and not isinstance(got, bool)):
        return False
    digits = len(want.partition(".")[2])
    return abs(got - expected) <= 10.0**-digits


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str, bytes, list, tuple, dict, set, frozenset, complex)


def _docstrings(tree: ast.Module) -> list[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [text for text in texts if text and ">>>" in text]


# ---------------------------------------------------------------- names


def _bound(code: str) -> set[str]:
    """Return the names that *code* binds at its top level."""
    try:
        table = symtable.symtable(code, "names", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def _free(code: str) -> set[str]:
    """Return the names that *code* takes from elsewhere."""
    try:
        top = symtable.symtable(code, "names", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    found: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                found.add(symbol.get_name())
    return found - own


def _is_about(program: str, bound: set[str], before: set[str]) -> bool:
    """Tell whether *program* needs something that this code has, and nothing that nobody has."""
    free = _free(program)
    return bool(free & bound) and _lacking(free) <= bound | before


def _lacking(free: set[str]) -> set[str]:
    """Return those of the names *free* that Python itself does not have."""
    return {name for name in free if not hasattr(builtins, name)}


# ---------------------------------------------------------------- words


def _described(error: BaseException) -> Told:
    line, at = 0, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == _FILE:
            line = at.tb_lineno
        at = at.tb_next
    name = getattr(error, "name", None)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return {"error": type(error).__name__, "kinds": kinds, "message": _text(error), "line": line,
            "name": name if isinstance(name, str) else ""}  # fmt: skip


def _text(value: object) -> str:
    try:
        return _short(str(value))
    except BaseException:  # noqa: BLE001  (it is their code that makes the text)
        return ""


def _shown(value: object) -> str:
    try:
        return _short(repr(value))
    except BaseException:  # noqa: BLE001  (the same)
        return f"something of type {type(value).__name__}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
