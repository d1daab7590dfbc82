"""Tools from a file: JSON as the OpenAI API takes it, or Python functions, which are read and never imported."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from interwhen.errors import UsageError
from interwhen.policy import limits
from interwhen.policy.kinds import Anything, Bool, Date, Kind, ListOf, MapOf, Moment, Number, Record, Text
from interwhen.policy.schemas import Tool

_DEEPEST = 12
_SAYS = 600
_WORDS: Mapping[str, Kind] = {
    "str": Text(),
    "int": Number(whole=True),
    "float": Number(),
    "Decimal": Number(),
    "Fraction": Number(),
    "bool": Bool(),
    "date": Date(),
    "datetime": Moment(),
}
_FORMATS: Mapping[str, Kind] = {"date": Date(), "date-time": Moment()}
_SIMPLE: Mapping[str, Kind] = {
    "string": Text(),
    "integer": Number(whole=True),
    "number": Number(),
    "boolean": Bool(),
}


def read_tools(text: str, name: str) -> tuple[Tool, ...]:
    """Read the tools of a file from its *text*; its *name* ends in ``.json`` or ``.py``. Raises :class:`UsageError`."""
    if len(text.encode(errors="surrogatepass")) > limits.FILE_BYTES:
        raise UsageError(f"{name!r:.80}: larger than {limits.FILE_BYTES:,} bytes")
    try:
        if name.endswith(".json"):
            return tuple(_from_json(msgspec.json.decode(text)))
        if name.endswith(".py"):
            with warnings.catch_warnings():  # about odd escapes in it, which are nothing to us
                warnings.simplefilter("ignore")
                return tuple(_from_python(ast.parse(text)))
    except (msgspec.DecodeError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"the tools in {name!r:.80} cannot be read: {str(error)[:200]}") from error
    raise UsageError(f"tools are read from a .json or a .py file, not from {name!r:.80}")


def _from_json(listed: Any) -> Iterator[Tool]:
    if not isinstance(listed, list):
        raise UsageError("a list of tools is needed, as the OpenAI API takes it")
    for entry in listed:
        function = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(function, Mapping) or limits.NAME.fullmatch(str(function.get("name"))) is None:
            raise UsageError(f"this is no tool with a name: {entry!r:.120}")
        name = str(function["name"])
        kind = _schema_kind(function.get("parameters") or {"type": "object"}, f"the arguments of {name}", 0)
        arguments = kind if isinstance(kind, Record) else Record(f"the arguments of {name}", ())
        yield Tool(name, arguments, says=str(function.get("description") or "")[:_SAYS])


def _schema_kind(schema: Any, where: str, depth: int) -> Kind:
    """Return the kind of a JSON schema; what it leaves open is anything, so that no rule can rest on it."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return Anything()
    words = schema.get("enum")
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return Text(frozenset(words))
    form = schema.get("type")
    if isinstance(form, list):
        form = next((part for part in form if part != "null"), None) if len(form) <= 2 else None
    if form == "string":
        return _FORMATS.get(str(schema.get("format")), Text())
    if form == "array":
        return ListOf(_schema_kind(schema.get("items"), f"{where}[]", depth + 1))
    if form == "object":
        return _object(schema, where, depth)
    return _SIMPLE.get(str(form), Anything())


def _object(schema: Mapping[str, Any], where: str, depth: int) -> Kind:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            return MapOf((Text(),), _schema_kind(extra, f"{where}[]", depth + 1))
        return Record(where, ())
    fields = (
        (name, _schema_kind(inner, f"{where}.{name}", depth + 1))
        for name, inner in properties.items()
        if limits.NAME.fullmatch(name)
    )
    return Record(where, tuple(fields))


def _from_python(module: ast.Module) -> Iterator[Tool]:
    """Yield the public functions of a module, and the public methods of its classes without fields."""
    records: dict[str, Kind] = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            fields = {
                part.target.id: _annotation(part.annotation, records, 0)
                for part in parts
                if isinstance(part.target, ast.Name)
            }
            if fields:
                records[node.name] = Record(node.name, tuple(fields.items()))
                continue
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in functions:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and not function.name.startswith("_"):
                yield _tool(function, records)


def _tool(function: ast.FunctionDef | ast.AsyncFunctionDef, records: Mapping[str, Kind]) -> Tool:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    named = [part for part in given if part.arg not in ("self", "cls")]
    fields = tuple((part.arg, _annotation(part.annotation, records, 0)) for part in named)
    returns = _annotation(function.returns, records, 0)
    says = (ast.get_docstring(function) or "")[:_SAYS]
    return Tool(function.name, Record(f"the arguments of {function.name}", fields), returns, says)


def _annotation(node: ast.expr | None, records: Mapping[str, Kind], depth: int) -> Kind:
    """Return the kind of an annotation; what it does not say is anything."""
    match node:
        case _ if depth > _DEEPEST:
            return Anything()
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return records.get(name) or _WORDS.get(name, Anything())
        case ast.Constant(value=str(text)):
            return _annotation(ast.parse(text, mode="eval").body, records, depth + 1)
        case ast.BinOp(left=kind, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _annotation(kind, records, depth + 1)
        case ast.Subscript(value=ast.Name(id=head) | ast.Attribute(attr=head), slice=inside):
            return _generic(head, inside, records, depth)
        case _:
            return Anything()


def _generic(head: str, inside: ast.expr, records: Mapping[str, Kind], depth: int) -> Kind:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if head == "Literal":
        words = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return Text(frozenset(words)) if len(words) == len(parts) else Anything()
    kinds = [_annotation(part, records, depth + 1) for part in parts]
    if head in ("list", "List", "Sequence", "Iterable") and len(kinds) == 1:
        return ListOf(kinds[0])
    if head in ("dict", "Dict", "Mapping") and len(kinds) == 2:
        return MapOf((kinds[0],), kinds[1])
    return kinds[0] if head in ("Optional", "Annotated") else Anything()
