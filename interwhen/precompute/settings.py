"""The settings that code holds on to: two functions under one name may make different things of the same task."""

from __future__ import annotations

import enum
import functools
import re
import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec

from interwhen.monitors import Monitor
from interwhen.precompute.items import Digest, digest


class Unseen(Exception):
    """A function holds something that cannot be told from outside."""


def settings_of(function: object) -> Digest:
    """Return what stands for *function* with all that it closes over. Raises :class:`Unseen` where that cannot be told.

    Its code is not looked at: a verifier's version stands for that.
    """
    return digest(repr(_seen(function, (), _parts)))


def settings_seen_of(monitor: Monitor) -> Digest:
    """Return what stands for *monitor* with all that its functions close over, as far as that can be told.

    Of an object that cannot be told from another one, only its type counts: what it holds may be its state. Of a
    verifier, plain attributes count, too.
    """
    own: Mapping[str, object] = getattr(monitor.verifier, "__dict__", {})
    plain = {name: value for name, value in own.items() if isinstance(value, _PLAIN)}
    return digest(repr(_seen((monitor, plain), (), _parts_or_type)))


_PLAIN = (type(None), bool, int, float, complex, str, bytes, range)


def _seen(value: Any, above: tuple[int, ...], parts: Callable[[Any], list[object]]) -> object:
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        return type(value).__name__, repr(value)
    if id(value) in above:
        return "again", len(above) - above.index(id(value))
    deeper = (*above, id(value))

    def seen(each: Any) -> object:
        return _seen(each, deeper, parts)

    if isinstance(value, AbstractSet):
        return "set", sorted(repr(seen(each)) for each in value)
    if isinstance(value, Mapping):
        return "mapping", [(seen(key), seen(each)) for key, each in value.items()]
    if isinstance(value, Sequence):
        return "list", [seen(each) for each in value]
    return [seen(each) for each in parts(value)]


def _parts_or_type(value: Any) -> list[object]:
    try:
        return _parts(value)
    except Unseen:
        return [type(value)]


def _parts(value: Any) -> list[object]:
    """Return what *value*, which is no plain data, is made of."""
    if isinstance(value, enum.Enum):
        return [type(value), value.name]
    if isinstance(value, type | types.BuiltinFunctionType):
        return [value.__module__, value.__qualname__]
    if isinstance(value, types.FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return [value.__module__, value.__qualname__, value.__defaults__, value.__kwdefaults__, *cells]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if is_dataclass(value):
        return [type(value), *(getattr(value, field.name) for field in fields(value))]
    if isinstance(value, msgspec.Struct):
        return [type(value), *(getattr(value, name) for name in value.__struct_fields__)]
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, Path):
        return [str(value)]
    raise Unseen(f"it holds a {type(value).__name__}, which cannot be told from another one")


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None
