"""Options of a monitor: as text, for its factory, and for the monitor that the factory returned."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import msgspec

from interwhen.errors import PluginError, UsageError
from interwhen.failing import OnError, Retry, read_on_error
from interwhen.monitors import Delivery, Monitor
from interwhen.remedies import Abstain, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen.triggers import PhaseFilter
from interwhen.verdicts import Level

_SEPARATOR = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
"""A comma that starts the next ``name=``; any other comma belongs to the value, so JSON can be one."""

Place = Literal["rewind", "append"]
_REMEDIES: Mapping[str, Remedy] = {
    "repair": Repair(),
    "feedback": Feedback(),
    "resample": Resample(),
    "conclude": Conclude(),
    "stop": Stop(),
    "abstain": Abstain(),
}

GENERIC: Mapping[str, Any] = {
    "delivery": Delivery,
    "level": Level,
    "phase": PhaseFilter,
    "unproven": Literal["open", "closed"],
    "on_error": str,
    "required": bool,
    "label": str,
    "deadline": float,
    "remedy": Literal["repair", "feedback", "resample", "conclude", "stop", "abstain"],
    "place": Place,
}
"""Options that every monitor takes, whether its factory knows them or not, with their types."""


def parse_options(name: str, text: str) -> dict[str, str]:
    """Return the options in ``a=1,b=two``. Raises :class:`PluginError`, in the name of plug-in *name*."""
    options: dict[str, str] = {}
    for part in _SEPARATOR.split(text) if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals):
            raise PluginError(
                name, f"the option {part.strip()!r} has no value", "write options as name=value,name=value"
            )
        if key in options:
            raise PluginError(name, f"the option {key!r} is given twice")
        options[key] = value
    return options


def own_options(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of *factory* that can be given by name; ``**kwargs`` is listed as ``"**"``."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    named = {p.name: p for p in parameters if p.kind in {p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD}}
    rest = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    return named | ({"**": rest[0]} if rest else {})


def split_options(
    name: str, factory: Callable[..., Any], options: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the options that *factory* takes itself and the generic ones, each with its value converted.

    Raises :class:`PluginError` on an option that is neither, and on a value that does not fit.
    """
    own = own_options(factory)
    for_factory: dict[str, object] = {}
    generic: dict[str, object] = {}
    for key, value in options.items():
        if key in own:
            for_factory[key] = converted(name, key, value, _annotation(name, factory, own[key]))
        elif key in GENERIC:
            generic[key] = value if _is_record(key, value) else converted(name, key, value, GENERIC[key])
        elif "**" in own:
            for_factory[key] = value
        else:
            raise _unknown(name, key, sorted({*own, *GENERIC}))
    return for_factory, generic


def converted(name: str, key: str, value: object, annotation: Any) -> object:
    """Return *value* as *annotation* wants it: text is read leniently, or as JSON where that does not do."""
    try:
        return msgspec.convert(value, annotation, strict=False)
    except TypeError:
        return value  # The annotation is one that msgspec does not know, such as a callable.
    except msgspec.ValidationError as error:
        if isinstance(value, str):
            try:
                return msgspec.json.decode(value, type=annotation, strict=False)
            except msgspec.MsgspecError:
                pass
            if _is_list(annotation) and not value.lstrip().startswith("["):
                try:
                    return msgspec.convert([value], annotation, strict=False)  # a list of one
                except msgspec.ValidationError:
                    pass
        raise PluginError(
            name, f"the option {key}={value!r} does not fit: {error}", _choices(key, annotation)
        ) from error


def apply_generic(name: str, monitor: Monitor, options: Mapping[str, object]) -> Monitor:
    """Return *monitor* with the generic *options* set. Raises :class:`PluginError` where they cannot be."""
    fields: dict[str, Any] = {k: v for k, v in options.items() if k not in {"label", "deadline", "remedy", "place"}}
    if "label" in options:
        fields["name"] = options["label"]
    if "on_error" in options:
        fields["on_error"] = _on_error(name, options["on_error"])
    if "deadline" in options:
        fields["verifier"] = _with_deadline(name, monitor.verifier, options["deadline"])
    if "remedy" in options or "place" in options:
        own, wanted = monitor.remedy, options.get("remedy", monitor.remedy)
        if wanted == "repair" and isinstance(own, Repair):
            wanted = own  # with what it falls back on
        fields["remedy"] = _remedy(name, wanted, options.get("place"))
    try:
        return dataclasses.replace(monitor, **fields)
    except UsageError as error:
        raise PluginError(name, str(error)) from error


def _on_error(name: str, wanted: object) -> OnError:
    try:
        if isinstance(wanted, Mapping):
            return msgspec.convert(wanted, Retry)
        return read_on_error(wanted) if isinstance(wanted, str) else wanted  # type: ignore[return-value]
    except (UsageError, msgspec.ValidationError) as error:
        raise PluginError(name, str(error)) from error


def _remedy(name: str, wanted: object, place: object) -> Remedy:
    remedy = _REMEDIES[wanted] if isinstance(wanted, str) else wanted
    match remedy, place:
        case ((Repair() | Feedback() | Resample() | Conclude() | Stop() | Abstain()), None):
            return remedy
        case Feedback(), "rewind" | "append":
            return Feedback(place)
        case Repair(), "rewind" | "append":
            return Repair(otherwise=Feedback(place))
        case _:
            raise PluginError(
                name, f"place={place!r} does not go with the remedy {remedy!r}", "it goes with repair and feedback"
            )


def _with_deadline(name: str, verifier: Any, seconds: object) -> Any:
    if not (isinstance(seconds, float) and seconds > 0):
        raise PluginError(name, f"deadline={seconds!r} is not a positive number of seconds")
    fields = {f.name for f in dataclasses.fields(verifier)} if dataclasses.is_dataclass(verifier) else set()
    if "deadline" not in fields:
        raise PluginError(name, f"the deadline of its verifier {verifier!r} cannot be changed")
    return dataclasses.replace(verifier, deadline=seconds)


def annotation_of(factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type that *parameter* of *factory* is annotated with; ``Any`` where it is not.

    Raises :class:`NameError`, :class:`TypeError` or :class:`AttributeError` where it cannot be resolved.
    """
    if parameter.annotation is parameter.empty:
        return Any
    described = factory.__init__ if inspect.isclass(factory) else factory
    return typing.get_type_hints(described, include_extras=True).get(parameter.name, Any)


def _annotation(name: str, factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    try:
        return annotation_of(factory, parameter)
    except (NameError, TypeError, AttributeError) as error:
        raise PluginError(
            name,
            f"the annotation {parameter.annotation!r} of its option {parameter.name!r} cannot be resolved: {error}",
            "a factory's annotations must be importable at run time",
        ) from error


def _unknown(name: str, key: str, known: list[str]) -> PluginError:
    close = difflib.get_close_matches(key, known, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return PluginError(name, f"it has no option {key!r}", f"{meant}options: {', '.join(known)}")


def _choices(key: str, annotation: Any) -> str:
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    if not choices and _is_list(annotation):
        return f'write a list as JSON, {key}=["a","b"]; a single value may stand alone, {key}=a'
    return f"{key} is one of {', '.join(map(str, choices))}" if choices else ""


def _is_list(annotation: Any) -> bool:
    """Tell whether *annotation* takes a list."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return any(_is_list(each) for each in typing.get_args(annotation))
    kind = typing.get_origin(annotation) or annotation
    return inspect.isclass(kind) and issubclass(kind, Collection) and not issubclass(kind, str | bytes | Mapping)


def _is_record(key: str, value: object) -> bool:
    if key == "on_error":
        return isinstance(value, Retry | Mapping)
    return key == "remedy" and isinstance(value, Repair | Feedback | Resample | Conclude | Stop | Abstain)
