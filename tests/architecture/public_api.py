"""The promised names of interwhen: those in the ``__all__`` of a module without an underscore on its path.

``python -m tests.architecture.public_api > tests/public_api.txt`` rewrites the list after an intended change. It has
the signature of each function, the fields, methods and base classes of each class, and the members of each union. It
is made from the source, so that it is the same on each version of Python.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]
UNPROMISED = {"__eq__", "__getattr__", "__hash__", "__post_init__", "__reduce__", "__repr__", "__slots__", "__str__"}
LONGEST_VALUE = 200


def facades() -> Iterator[str]:
    folder = ROOT / "interwhen"
    for path in sorted(folder.rglob("*.py")):
        parts = ["interwhen", *path.relative_to(folder).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if not any(part.startswith("_") for part in parts) and promised(path):
            yield ".".join(parts)


def promised(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _package() -> griffe.Module:
    package = griffe.load("interwhen", search_paths=[ROOT])
    assert isinstance(package, griffe.Module)
    return package


def lines() -> Iterator[str]:
    for module in facades():
        holder = _package()[module.partition(".")[2]] if "." in module else _package()
        for name in sorted(promised(file_of(module))):
            yield from _lines(f"{module}.{name}", _target(holder.members[name]))


def _lines(path: str, member: griffe.Object) -> Iterator[str]:
    if isinstance(member, griffe.Function):
        for overload in member.overloads or [member]:
            yield f"{'async ' if 'async' in member.labels else ''}{path}{_signature(overload)}"
    elif isinstance(member, griffe.Class):
        bases = [base for base in map(str, member.bases) if not base.startswith(("_", "msgspec."))]
        yield f"class {path}({', '.join(bases)})"
        # In the order of the source: the fields of a record may be given by their places.
        for name, child in {**member.inherited_members, **member.members}.items():
            if (name.endswith("__") or not name.startswith("_")) and name not in UNPROMISED:
                yield from _lines(f"{path}.{name}", _target(child))
    elif isinstance(member, griffe.Attribute):
        value = (
            "" if member.labels == {"instance-attribute"} or "property" in member.labels else str(member.value or "")
        )
        kind = "" if member.annotation is None else f": {member.annotation}"
        yield f"{path}{kind}{f' = {value}' if value and len(value) <= LONGEST_VALUE else ''}"


def _target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    target = member.final_target if isinstance(member, griffe.Alias) else member
    assert isinstance(target, griffe.Object)
    return target


def _signature(function: griffe.Function) -> str:
    parts: list[str] = []
    kinds = griffe.ParameterKind
    last = None
    is_method = function.parent is not None and function.parent.is_class and "staticmethod" not in function.labels
    for parameter in list(function.parameters)[is_method:]:
        kind = parameter.kind
        if last is kinds.positional_only is not kind:
            parts.append("/")
        is_named_only = kind is kinds.keyword_only or str(parameter.annotation).startswith("Unpack[")
        if is_named_only and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts += _parameter(function, parameter)
        last = kind
    if last is kinds.positional_only:
        parts.append("/")
    return f"({', '.join(parts)}) -> {function.returns}"


def _parameter(function: griffe.Function, parameter: griffe.Parameter) -> list[str]:
    annotation = str(parameter.annotation)
    if annotation.startswith("Unpack["):
        options = _package()[function.module.resolve(annotation[7:-1]).partition(".")[2]]
        return [f"{name}: {member.annotation} = ..." for name, member in options.attributes.items()]
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is None or stars else f" = {parameter.default}"
    return [f"{stars}{parameter.name}{'' if parameter.annotation is None else f': {annotation}'}{default}"]


if __name__ == "__main__":
    print("\n".join(lines()))
