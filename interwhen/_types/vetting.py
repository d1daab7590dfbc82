"""Compares options with their annotations.

The annotation is the only place that says what a value may be: a type, a ``Literal``, or a range by
``Annotated[int, Meta(ge=1)]``. The ``description`` of a ``Meta`` replaces the words that are derived from its range.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Inside = Annotated[float, Meta(gt=0, lt=1)]
Amount = Annotated[float, Meta(ge=0)]
Above = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0, description="positive seconds")]
Text = Annotated[str, Meta(min_length=1)]
Texts = tuple[Text, ...]


def vet(record: object, label: str | None = None, hint: str = "correct it") -> None:
    """Raise :class:`UsageError` if a field of *record* has a value that its annotation does not allow.

    In the message, *label* stands before the name of the field; by default, it is the class of *record*.
    """
    twin, kinds, apart = _kinds(cast("Any", type(record)))
    try:
        msgspec.convert({name: getattr(record, name) for name in twin.__struct_fields__}, twin)
    except msgspec.ValidationError:
        apart = {name: _test_of(kind) for name, kind in kinds.items()}
    for name, test in apart.items():
        if not test(getattr(record, name)):
            before = f"{type(record).__name__}: " if label is None else label
            require(f"{before}{name}", getattr(record, name), kinds[name], hint)


def prepare(*records: type) -> None:
    # Read the annotations of `records` now, so that the first `vet` of each compiles nothing.
    for record in records:
        _kinds(record)


def require(label: str, value: object, kind: Any, hint: str = "correct it") -> None:
    if not is_of(value, kind):
        raise UsageError(f"{label} must be {describe(kind)}, got {value!r:.200}: {hint}")


def vetted(label: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    # Checks the arguments whose annotation has a limit: a `Literal`, or a `Meta`.
    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def checked(*args: P.args, **given: P.kwargs) -> T:
            for name, kind in _limited(cast("Any", function)).items():
                if name in given:
                    option = name.strip("_").replace("_", "-") if label == "--" else name
                    require(label + option, given[name], kind)
            return function(*args, **given)

        return checked

    return decorate


@cache
def _limited(function: Callable[..., object]) -> dict[str, Any]:
    hints = get_type_hints(function, include_extras=True)
    return {name: kind for name, kind in hints.items() if name != "return" and _has_limit(kind)}


def _has_limit(kind: Any) -> bool:
    parts = (*get_args(kind), *getattr(kind, "__metadata__", ())) if get_origin(kind) in _NESTED else ()
    return isinstance(kind, Meta) or get_origin(kind) is Literal or any(map(_has_limit, parts))


def require_distinct(label: str, values: Sequence[object], hint: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"{label} must differ, got {value!r:.80} twice: {hint}")


REMOVED = {
    "allocator": "choose the strategy until-verified, or the remedy auto, which stop at a verified answer",
    "learner": "use the remedy Auto, and set its order if you want another one: Auto(order=...)",
}


def require_known(label: str, names: Iterable[object], known: Sequence[str]) -> None:
    for name in names:
        if name in known:
            continue
        if name in REMOVED:
            raise UsageError(f"{label} must exist, got {name!r}, which was removed: {REMOVED[str(name)]}")
        import difflib  # only for the message of an error

        close = difflib.get_close_matches(str(name), known, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ": correct or remove it"
        raise UsageError(f"{label} must be among {', '.join(known)}, got {name!r:.200}{meant}")


def is_of(value: object, kind: Any) -> bool:
    return _test_of(kind)(value)


@lru_cache(maxsize=1024)
def _test_of(kind: Any) -> Callable[[object], bool]:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        takes_none, tests = NoneType in inside, tuple(_test_of(each) for each in inside if each is not NoneType)
        return lambda value: takes_none if value is None else any(test(value) for test in tests)
    if origin is Annotated and (_needs_isinstance(inside[0]) or not any(isinstance(each, Meta) for each in inside[1:])):
        return _test_of(inside[0])
    if (expected := _class_of(kind)) is not None:
        return partial(_fits if getattr(expected, "_is_protocol", False) else _is_instance, expected)
    if origin in _LISTS and _needs_isinstance(inside[0]):
        test = _test_of(inside[0])
        return lambda value: isinstance(value, tuple | list) and all(map(test, value))
    return partial(_converts, kind)


def _is_instance(expected: type, value: object) -> bool:
    return isinstance(value, expected)


def _fits(expected: type, value: object) -> bool:
    return fits(value, expected)


def _converts(kind: Any, value: object) -> bool:
    try:
        # A subclass of float, such as a number of numpy, is a number, too.
        msgspec.convert(float(value) if isinstance(value, float) else value, kind)
    except msgspec.ValidationError:
        return False
    return True


_UNIONS = (typing.Union, UnionType)
_LISTS = (tuple, list, frozenset, Sequence)
_NESTED = (Annotated, *_UNIONS, *_LISTS)
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", NoneType: "None"}


def describe(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe_range(describe(inside[0]), [each for each in inside[1:] if isinstance(each, Meta)])
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}" if inside[1:] else repr(*inside)
    if origin in _UNIONS:
        return " or ".join(describe(each) for each in inside)
    if origin in (Callable, Mapping):
        return "a function" if origin is Callable else "a mapping"
    if origin in _LISTS:
        return f"a {'tuple' if origin is tuple else 'list'}, each item {describe(inside[0])}"
    name = (origin or kind).__name__
    return _WORDS.get(kind) or (f"a {name}" if getattr(kind, "_is_protocol", False) else f"{name}(...)")


def _describe_range(words: str, metas: list[Meta]) -> str:
    for meta in metas:
        if meta.description:
            return meta.description
        if meta.min_length:
            words += " that is not empty"
        if meta.ge is not None and meta.le is not None:
            return f"{words} from {meta.ge:g} to {meta.le:g}"
        limits = (("of at least", meta.ge), ("above", meta.gt), ("at most", meta.le), ("below", meta.lt))
        words += " and".join(f" {word} {limit:g}" for word, limit in limits if limit is not None)
    return words


def _class_of(kind: Any) -> type | None:
    origin = get_origin(kind) or kind
    is_ours = isinstance(origin, type) and origin.__module__ not in ("builtins", "collections.abc", "types", "typing")
    return origin if is_ours else None


@cache
def _kinds(record: type) -> tuple[type[msgspec.Struct], dict[str, Any], dict[str, Callable[[object], bool]]]:
    hints = get_type_hints(record, include_extras=True)
    fields = getattr(record, "__struct_fields__", getattr(record, "__dataclass_fields__", ()))
    kinds = {name: hints[name] for name in fields}
    simple = [(name, kind) for name, kind in kinds.items() if not _needs_isinstance(kind)]
    apart = {name: _test_of(kind) for name, kind in kinds.items() if _needs_isinstance(kind)}
    return msgspec.defstruct(record.__name__, simple), kinds, apart


def _needs_isinstance(kind: Any) -> bool:
    if get_origin(kind) in _NESTED:
        return any(_needs_isinstance(each) for each in get_args(kind))
    return _class_of(kind) is not None


def fits(value: object, protocol: type) -> bool:
    # Members of base classes and annotated attributes are not tested. `isinstance` would be the slowest step at the
    # start of a run: CPython 3.11 collects the members of a protocol at each call.
    return all(hasattr(value, name) for name in _members(protocol))


@cache
def _members(protocol: type) -> tuple[str, ...]:
    return tuple(name for name in vars(protocol) if not name.startswith("_"))
