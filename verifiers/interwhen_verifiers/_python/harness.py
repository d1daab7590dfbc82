"""The program inside the sandbox, which runs the code and returns the value of one expression as data.

It starts again for each call, so it imports few modules. The model controls everything that a process with its code
reports, so such a process gets no test.
"""

from __future__ import annotations

import builtins
import sys

TYPE_CHECKING = False  # the real one costs an import
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 160
_REPR = 4_000
_DEPTH = 5000
"""The recursion limit: higher than usual, so that the frames of the harness do not make a call fail."""
_NESTED, _PARTS = 60, 20_000
_DEEPEST = 80
"""The most values around a value that is decoded."""
_FILE = "solution"
_NAMES = (
    "eq ne lt le gt ge contains len bool iter getitem missing neg pos abs invert int float index round add radd sub "
    "rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul and rand or ror xor rxor"
)
_OPERATORS = frozenset(f"__{name}__" for name in _NAMES.split())


class _Sink:
    """Replaces stdout and stderr, and stores only the beginning of the printed text."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text = (self.text + text)[:10_000]
        return len(text)

    def flush(self) -> None:
        pass


def look(code: str) -> str:
    try:
        compiled = compile(code, _FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        version = list(sys.version_info[:2])
        return _json({"kind": "syntax", "line": error.lineno, "message": _text(error.msg), "version": version})
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return _json({"kind": "unread", "message": type(error).__name__})
    # Functions and classes are constants of the module that makes them. A decorator stands before its function.
    inner = [one for one in compiled.co_consts if isinstance(one, type(compiled))]
    lines = {one.co_name: one.co_firstlineno for one in inner if one.co_name.isidentifier()}
    texts = _docstrings(code) if ">>>" in code else []
    return _json({"kind": "compiled", "bound": sorted(_bound(code)), "lines": lines, "texts": texts})


def _docstrings(code: str) -> list[str]:
    import ast

    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    docstrings = (ast.get_docstring(node) for node in ast.walk(ast.parse(code)) if isinstance(node, kinds))
    return [text for text in docstrings if text and ">>>" in text][:20]


def answer(code: str, earlier: list[str], setup: str, expression: str, bare: bool) -> str:  # noqa: FBT001
    """Run *code*, and report the value of *expression* after it, or the exception, as JSON.

    *earlier*: the code of the blocks before it. *bare*: leave out expressions and asserts at the top level of *code*.
    This replaces stdout and stderr of the process.
    """
    sys.setrecursionlimit(_DEPTH)
    sys.stdout = sys.stderr = sink = _Sink()
    scope: dict[str, Any] = {"__name__": _FILE}
    sys.modules[_FILE] = type(sys)(_FILE)  # dataclasses and others look their module up
    try:
        for text in earlier:
            exec(compile(text, "earlier", "exec", dont_inherit=True), scope)  # noqa: S102  (what all this is for)
        exec(compile(_bare(code) if bare else code, _FILE, "exec", dont_inherit=True), scope)  # noqa: S102  (the same)
    except BaseException as error:  # noqa: BLE001  (it is their code)
        return _json({"kind": "raised", "what": "the code", **_described(error)})
    try:
        exec(compile(setup, "setup", "exec", dont_inherit=True), scope)  # noqa: S102  (the same)
        sink.text = ""
        value = eval(compile(expression, "call", "eval", dont_inherit=True), scope)  # noqa: S307  (the same)
    except BaseException as error:  # noqa: BLE001  (the same)
        return _json({"kind": "raised", "what": "the call", **_described(error)})
    encoding = _Encoding()
    told: dict[str, Any] = {"kind": "value", "shown": _shown(value), "printed": sink.text[:_REPR]}
    encoded = _encoded(value, encoding)
    told["own"] = encoding.own
    return f'{_json(told)[:-1]}, "value": {encoded}}}'


def hold(setup: str, expression: str, names: list[str], values: list[str]) -> str:
    """Evaluate the test *expression* in a process without any code of the model; report the result as JSON.

    *names* are variables of the test, and *values* are their values, encoded as JSON.
    """
    import json

    sys.stdout = sys.stderr = _Sink()
    scope: dict[str, Any] = {"__name__": "tests"}
    try:
        scope.update((name, decoded(json.loads(value))) for name, value in zip(names, values, strict=True))
        exec(compile(setup, "setup", "exec", dont_inherit=True), scope)  # noqa: S102  (the task's own)
        scope.update((name, decoded(json.loads(value))) for name, value in zip(names, values, strict=True))
        return _json({"kind": "held", "held": bool(eval(compile(expression, "test", "eval"), scope))})  # noqa: S307
    except BaseException as error:  # noqa: BLE001  (it is the task's code)
        return _json({"kind": "raised", "what": "the test", **_described(error)})


def _bare(code: str) -> Any:
    import ast

    tree = ast.parse(code, _FILE)
    return ast.Module([node for node in tree.body if not isinstance(node, ast.Expr | ast.Assert)], [])


def _bound(code: str) -> set[str]:
    import _symtable  # type: ignore[import-not-found]  # what the module symtable is made of: it imports much more

    symbols = _symtable.symtable(code, "names", "exec").symbols
    return {name for name, flags in symbols.items() if flags & (_symtable.DEF_LOCAL | _symtable.DEF_IMPORT)}


def _encoded(value: object, encoding: _Encoding) -> str:
    try:
        return encoding.text(value, 0)
    except BaseException:  # noqa: BLE001  (it is their object)
        return '{"o": "object"}'


class _Encoding:
    """Encodes values of plain built-in types as JSON. Of any other object, it encodes only the name of the type."""

    def __init__(self) -> None:
        self.left = _PARTS
        self.own = False
        """Whether a value has operators of the code, such as ``__add__`` of its own kind of list."""

    def text(self, value: Any, depth: int) -> str:
        self.left -= 1
        if depth > _NESTED or self.left < 0:
            raise ValueError
        self.own = self.own or any(
            kind.__module__ == _FILE and not _OPERATORS.isdisjoint(kind.__dict__) for kind in type(value).__mro__
        )
        match value:
            case None | True | False:
                return {None: "null", True: "true", False: "false"}[value]
            case int():
                return f'{{"i": "{int.__index__(value):x}"}}'
            case float():
                return f'{{"f": "{float.__repr__(value)}"}}'
            case complex():
                return f'{{"c": ["{value.real!r}", "{value.imag!r}"]}}' if type(value) is complex else '{"o": "object"}'
            case str():
                return _string(str.__str__(value))
            case bytes():
                return f'{{"b": "{bytes.hex(value)}"}}'
            case _:
                return self._of_many(value, depth + 1)

    def _of_many(self, value: Any, depth: int) -> str:
        kinds: tuple[tuple[Any, str], ...] = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z"))
        for kind, mark in kinds:
            if isinstance(value, kind):
                inner = ", ".join([self.text(one, depth) for one in kind.__iter__(value)])
                return f'{{"{mark}": [{inner}]}}'
        if isinstance(value, dict):
            pairs = [f"[{self.text(k, depth)}, {self.text(v, depth)}]" for k, v in dict.items(value)]
            return f'{{"d": [{", ".join(pairs)}]}}'
        return f'{{"o": {_string(short(type(value).__name__))}}}'


def decoded(told: Any, opaque: Any = None, depth: int = 0) -> Any:
    """Return the value that *told*, data from a process with the code, encodes.

    *opaque* makes the value for an object that stayed there, from the name of its type. Raises an exception, such as
    ``ValueError``, if *told* is nothing that this program writes.
    """
    if depth > _DEEPEST:
        raise ValueError
    if told is None or isinstance(told, bool | str):
        return told
    ((kind, held),) = told.items()
    match kind:
        case "i":
            return int(held, 16)
        case "f":
            return float(held)
        case "c":
            return complex(float(held[0]), float(held[1]))
        case "b":
            return bytes.fromhex(held)
        case "o":
            return opaque(str(held)[:80])
        case "d":
            return {decoded(key, opaque, depth + 1): decoded(value, opaque, depth + 1) for key, value in held}
        case _:
            made = {"l": list, "t": tuple, "s": set, "z": frozenset}[kind]
            return made([decoded(one, opaque, depth + 1) for one in held])


def _json(told: Any) -> str:
    match told:
        case dict():
            return "{" + ", ".join([f"{_string(key)}: {_json(value)}" for key, value in told.items()]) + "}"
        case list():
            return "[" + ", ".join(map(_json, told)) + "]"
        case str():
            return _string(told)
        case _:
            return "null" if told is None else str(told).lower()  # a number, or a truth value


def _string(text: str) -> str:
    from _json import encode_basestring_ascii

    return encode_basestring_ascii(text)


def _described(error: BaseException) -> dict[str, Any]:
    line, at = 0, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == _FILE:
            line = at.tb_lineno
        at = at.tb_next
    name = getattr(error, "name", None)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return {
        "error": type(error).__name__,
        "kinds": [kind for kind in kinds if hasattr(builtins, kind)],
        "message": _text(error),
        "line": line,
        "name": name if isinstance(name, str) else "",
    }


def _text(value: object) -> str:
    try:
        return short(str(value))
    except BaseException:  # noqa: BLE001  (it is their code that makes the text)
        return ""


def _shown(value: object) -> str:
    try:
        return repr(value)[:_REPR]
    except BaseException:  # noqa: BLE001  (the same)
        return f"something of type {type(value).__name__}"


def short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
