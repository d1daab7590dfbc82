"""What a check is shown of a call and of its result: JSON that leaves nothing out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import math
import numbers
import os
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from interwhen.errors import UsageError
from interwhen.tool_calls import ToolCall

_SPELLED = (dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)


class Unshowable(ValueError):
    """A value that JSON cannot say whole. The text names no part of it: a model may have written it."""


class Signature:
    """The parameters of one function, as a model sees them.

    *context* names those that are none of the model's business. Raises :class:`~interwhen.errors.UsageError` on a name
    that is no parameter, and on a default that no check could be shown.
    """

    def __init__(self, tool: Callable[..., Any], name: str, context: Collection[str]) -> None:
        self._name = name
        try:
            self._signature = inspect.signature(tool)
        except (TypeError, ValueError) as error:
            raise UsageError(f"guard({tool!r:.200}): its parameters are not known ({error}); guard a `def`") from error
        parameters = self._signature.parameters
        open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        for each in context:
            if each not in parameters and not open_ended:
                raise UsageError(f"context={each!r}: {name} has no such parameter; it has {', '.join(parameters)}")
        self._hidden = frozenset(context) | _own(tool, self._signature)
        for each, parameter in parameters.items():
            if each not in self._hidden and parameter.default is not inspect.Parameter.empty:
                try:
                    as_json(parameter.default)
                except Unshowable as error:
                    raise UsageError(
                        f"{name}({each}={parameter.default!r:.80}): no check can be shown this default ({error}); "
                        f"where none needs it, say guard(..., context=[{each!r}])"
                    ) from error

    def call(self, args: Sequence[Any], options: Mapping[str, Any]) -> ToolCall:
        """Return the call with *args* and *options*, defaults included, as a model would have written it.

        Raises :class:`Unshowable`, and :class:`TypeError` as the function itself would.
        """
        bound = self._signature.bind(*args, **options)
        bound.apply_defaults()
        texts: dict[str, str] = {}
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                for more, each in value.items():
                    if more in bound.arguments and more != name:
                        raise Unshowable(f"there are two arguments {more!r:.80}")
                    self._put(texts, more, each)
            elif kind is not inspect.Parameter.VAR_POSITIONAL or value:
                self._put(texts, name, value)
        spelled = ", ".join(f"{name}: {text}" for name, text in texts.items())
        return ToolCall("", self._name, f"{{{spelled}}}")

    def _put(self, texts: dict[str, str], name: str, value: object) -> None:
        if name not in self._hidden:
            try:
                texts[as_json(name)] = as_json(value)
            except Unshowable as error:
                raise Unshowable(f"the argument {name!r:.80} cannot be checked: {error}") from error


def as_text(value: object) -> str:
    """Return *value* as a check reads it: text as it is, anything else as JSON. Raises :class:`Unshowable`."""
    if not isinstance(value, str | bytes | bytearray | memoryview):
        return as_json(value)
    try:
        return _text(value)
    except UnicodeError as error:
        raise Unshowable("it is no valid text") from error


def as_json(value: object) -> str:
    """Return *value* as JSON that says all of it. Raises :class:`Unshowable` where there is none."""
    try:
        return msgspec.json.encode(_plain(value)).decode()
    except UnicodeError as error:
        raise Unshowable("it holds text that is no valid Unicode") from error
    except RecursionError as error:
        raise Unshowable("it is nested too deeply") from error
    except Unshowable:
        raise
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise Unshowable(f"a {type(value).__name__} is no JSON value") from error


def _plain(value: Any) -> Any:
    """Return *value* made of what JSON has. Nothing is left out, masked or cut, as a `str` or a dump may do."""
    match value:
        case enum.Enum():
            return _plain(value.value)
        case None | bool():
            return value
        case numbers.Integral() | float():
            return _number(value)
        case str() | bytes() | bytearray() | memoryview():
            return _text(value)
        case os.PathLike():
            return _plain(os.fspath(value))
        case Mapping():
            return _named(value.items())
        case Sequence() | AbstractSet():
            return [_plain(each) for each in value]
    if isinstance(value, _SPELLED):
        return msgspec.to_builtins(value)
    fields = ((name, getattr(value, name)) for name in _fields(value))
    return _named((name, each) for name, each in fields if each is not msgspec.UNSET)


def _number(value: Any) -> int | float:
    if isinstance(value, numbers.Integral):
        return int(value)
    if not math.isfinite(value):
        raise Unshowable("JSON has no infinite numbers, and none that are not a number")
    return float(value)


def _text(value: str | bytes | bytearray | memoryview) -> str:
    return str.__str__(value) if isinstance(value, str) else bytes(value).decode()


def _fields(value: Any) -> Collection[str]:
    """Return the names of the fields of a record: of msgspec, dataclasses, pydantic or attrs."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if callable(getattr(kind, "model_dump", None)):
        return [name for name, _ in value]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    raise Unshowable(f"a {kind.__name__} is no JSON value; where no check needs it, guard(context=[...]) names it")


def _named(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = _plain(key)
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str) or name in found:
            raise Unshowable("the keys of a mapping must be different texts")
        found[name] = _plain(value)
    return found


def _own(tool: Callable[..., Any], signature: inspect.Signature) -> frozenset[str]:
    """Return the name of the object whose method *tool* is, where it is written in a class."""
    outside = str(getattr(tool, "__qualname__", "")).rpartition(".")[0]
    first = next(iter(signature.parameters), "")
    in_class = bool(outside) and not outside.endswith("<locals>")
    return frozenset({first}) if in_class and first in ("self", "cls") else frozenset()
