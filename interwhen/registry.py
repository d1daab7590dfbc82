"""Finds installed plug-ins by their entry points, without importing them, and loads them by name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import sys
import time
import types
import typing
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from interwhen._types.errors import DECODE_ERRORS, InterwhenError, PluginError, UsageError, without_user
from interwhen._types.extensions import WorkerPool
from interwhen._types.models import Model
from interwhen._types.monitors import Delivery, Monitor
from interwhen._types.prompts import PromptMonitor
from interwhen._types.remedies import Abstain, Auto, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen._types.triggers import PhaseFilter
from interwhen._types.verdicts import Level, OnError, Retry, Scope, read_on_error
from interwhen._types.verifiers import Verifier, Worker
from interwhen._types.vetting import Seconds, Text, is_of, require, require_distinct

if TYPE_CHECKING:
    import traceback
    from importlib import metadata

__all__ = ["PluginError", "load_model", "load_monitors", "load_prompt_monitors"]


VERIFIERS = "interwhen.verifiers"
"""The entry-point group of verifiers. A factory takes annotated options, and returns a ``Monitor``, or a list or tuple
of several."""
PROMPT_MONITORS = "interwhen.prompt_monitors"
"""A factory takes annotated options and returns a ``PromptMonitor``."""
MODELS = "interwhen.models"
"""A factory takes the text after the colon of ``name:text`` (empty without a colon), and returns a ``Model``."""
STRATEGIES = "interwhen.strategies"
"""A factory takes annotated options and returns an ``interwhen.strategies.Strategy``."""
STRATEGY_CATALOGS = "interwhen.strategy_catalogs"
"""A factory returns an ``interwhen._types.strategies.StrategyCatalog``."""
PAGES = "interwhen.pages"
"""``ui`` takes the folders with journals, a key, and a function that returns whether the gateway is stopping, and
returns an ASGI application. ``notebook`` takes a result, a run or a replay, and returns its HTML, or ``None``."""
TASKS = "interwhen.tasks"
"""A factory takes ``count``, ``seed`` and annotated options, and returns an iterable of
``interwhen.strategies.Exercise``."""
TRACES = "interwhen.traces"
"""A reader takes a ``Path`` and returns an iterable of ``interwhen.testing._traces.LabelledTrace``."""

CONTEXTS = "interwhen.contexts"
"""``store`` is an ``interwhen._types.extensions.ContextOpener``, and ``source`` is a factory of a ``ContextSource``."""
WORKERS = "interwhen.workers"
"""A factory takes annotated options and returns an ``interwhen._types.extensions.WorkerPool``."""
PRODUCERS = "interwhen.producers"
"""A factory takes no argument and returns an ``interwhen.precompute.Producer``."""


class Plugin(msgspec.Struct, frozen=True):
    """An installed plug-in, as the metadata of its distribution describes it."""

    name: str
    """The name of its entry point."""
    distribution: str
    """The name of the installed distribution; empty if the metadata does not name one."""
    version: str
    """The version of the distribution; empty without one."""
    target: str
    """The object that it names, ``module:attribute``."""
    loaded: bool | None = None
    """Whether it can be imported; ``None`` if this was not tested."""
    error: str = ""
    """Why it cannot be imported; empty if it can, or if this was not tested."""


def verifiers(*, load: bool = False) -> list[Plugin]:
    """Return the installed verifiers, sorted by name. With *load*, import each, and set ``loaded`` and ``error``."""
    return _listed(VERIFIERS, load=load)


def models(*, load: bool = False) -> list[Plugin]:
    return _listed(MODELS, load=load)


def trace_formats(*, load: bool = False) -> list[Plugin]:
    """Return the installed readers of labelled traces; see :func:`verifiers`."""
    return _listed(TRACES, load=load)


def producers(*, load: bool = False) -> list[Plugin]:
    return _listed(PRODUCERS, load=load)


def load_trace_format(name: str) -> Callable[..., Any]:
    return load(TRACES, name)


def load_verifier(name: str) -> Callable[..., Any]:
    return load(VERIFIERS, name)


def load(group: str, name: str) -> Callable[..., Any]:
    """Import the plug-in *name* (or ``distribution/name``) of the entry-point *group*, and return its factory."""
    entry = find(group, name)
    try:
        target = entry.load()
    except (Exception, SystemExit) as error:
        # A plug-in's module may raise anything while it is imported.
        plugin = described(entry)
        raise PluginError(
            name,
            f"{plugin.target} of {plugin.distribution} {plugin.version} does not load: {type(error).__name__}: {error}",
            _why_hint(group, name),
        ) from error
    if not callable(target):
        plugin = described(entry)
        raise PluginError(
            name,
            f"its entry point must name a factory, got {plugin.target} of {plugin.distribution} "
            f"{plugin.version}, which is {target!r:.80} and cannot be called",
            "correct the entry point and install it again",
        )
    return target  # type: ignore[no-any-return]


def _entry_points(group: str) -> metadata.EntryPoints:
    from importlib import metadata  # 20 ms: not imported with interwhen

    return metadata.entry_points(group=group)


def find(group: str, name: str) -> metadata.EntryPoint:
    entries = list(_entry_points(group))
    distribution, slash, bare = name.rpartition("/")
    matches = [e for e in entries if e.name == bare and (not slash or described(e).distribution == distribution)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(sorted(f"{described(e).distribution}/{e.name}" for e in matches))
        raise PluginError(
            name,
            f"its name must belong to one installed distribution, got {len(matches)} that offer it",
            f"write one of: {choices}",
        )
    raise PluginError(name, "not installed", _missing_hint(bare, sorted({e.name for e in entries})))


def described(entry: metadata.EntryPoint) -> Plugin:
    dist = entry.dist
    return Plugin(
        name=entry.name,
        distribution="" if dist is None else dist.name,
        version="" if dist is None else dist.version,
        target=entry.value,
    )


def names_of(group: str) -> tuple[str, ...]:
    return tuple(entry.name for entry in _entry_points(group))


def _listed(group: str, *, load: bool) -> list[Plugin]:
    plugins = sorted(map(described, _entry_points(group)), key=lambda p: (p.name, p.distribution))
    return [_tried(group, plugin) for plugin in plugins] if load else plugins


def _tried(group: str, plugin: Plugin) -> Plugin:
    try:
        load(group, f"{plugin.distribution}/{plugin.name}" if plugin.distribution else plugin.name)
    except PluginError as error:
        return msgspec.structs.replace(plugin, loaded=False, error=error.reason)
    return msgspec.structs.replace(plugin, loaded=True)


def _missing_hint(name: str, installed: list[str]) -> str:
    close = _close_matches(name, installed, 3)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}install its package, or use one of: {', '.join(installed) or 'none'}"


def _why_hint(group: str, name: str) -> str:
    return f"see: interwhen verifiers why-failed {name}" if group == VERIFIERS else "correct or uninstall its package"


# Options of a monitor: parsing them from text, and dividing them between the factory and the monitor it returns.

_SEPARATOR = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
"""A comma before the next ``name=``. Any other comma is part of the value, so that a value can be JSON."""

Place = Literal["rewind", "append"]
_REMEDIES: Mapping[str, Remedy] = {
    "auto": Auto(),
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
    "label": Text,
    "deadline": Seconds,
    "remedy": Literal["auto", "repair", "feedback", "resample", "conclude", "stop", "abstain"],
    "place": Place,
    "end": Literal["abstain", "unverified"],
}
"""The generic options and their types. A factory needs no parameter for them. Some need a certain remedy or a verifier
with a deadline (see :func:`apply_generic`)."""


def parse_options(name: str, text: str) -> dict[str, str]:
    # `name` is the plug-in's name for error messages.
    options: dict[str, str] = {}
    for part in _SEPARATOR.split(text) if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals):
            raise PluginError(
                name,
                f"each option must have a name and a value, got {part.strip()!r:.80}",
                "write options as name=value,name=value",
            )
        if key in options:
            raise PluginError(
                name,
                f"each option must be given once, got {key!r:.80} twice, as "
                f"{_show_option(key, options[key])} and {_show_option(key, value)}",
                "remove one, or write a list as JSON",
            )
        options[key] = value
    return options


_SECRET = re.compile(r"(?:^|_)(?:key|token|secret|password)$", re.IGNORECASE)


def _show_option(key: str, value: object) -> str:
    return "a secret that is not shown" if _SECRET.search(key) else f"{value!r:.80}"


def own_options(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    # `"**"` is the key of a `**kwargs` parameter. Empty if `factory` has no readable signature, as for some built-ins.
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
    # An option that `factory` has itself goes to `factory`, also if its name is that of a generic option.
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
    # Options from `name:option=value` are texts: a value may be JSON, and a list of one element the element alone.
    try:
        return msgspec.convert(value, annotation, strict=False)
    except TypeError:
        return value  # msgspec does not know the annotation, such as a callable.
    except DECODE_ERRORS as error:
        if isinstance(value, str):
            with suppress(*DECODE_ERRORS):
                return msgspec.json.decode(value, type=annotation, strict=False)
            if _is_list(annotation) and not value.lstrip().startswith("["):
                with suppress(*DECODE_ERRORS):
                    return msgspec.convert([value], annotation, strict=False)
        raise PluginError(
            name,
            f"its option {key} must have a value that fits, got {_show_option(key, value)}: {error}",
            _choices(key, annotation),
        ) from error


_APART = ("label", "deadline", "remedy", "place", "end")
"""The generic options that are not fields of a monitor."""


def apply_generic(name: str, monitor: Monitor, options: Mapping[str, object]) -> Monitor:
    # `name` is the plug-in's name for error messages.
    fields: dict[str, Any] = {k: v for k, v in options.items() if k not in _APART}
    if "label" in options:
        fields["name"] = options["label"]
    if "on_error" in options:
        fields["on_error"] = _on_error(name, options["on_error"])
    if "deadline" in options:
        fields["verifier"] = _with_deadline(name, monitor.verifier, options["deadline"])
    if "remedy" in options or "place" in options:
        own, wanted = monitor.remedy, options.get("remedy", monitor.remedy)
        if (wanted, type(own)) in (("repair", Repair), ("auto", Auto)):
            wanted = own  # keeps its options
        fields["remedy"] = _remedy(name, wanted, options.get("place"))
    if "end" in options:
        fields["remedy"] = _ending(name, fields.get("remedy", monitor.remedy), options["end"])
    try:
        return dataclasses.replace(monitor, **fields)
    except UsageError as error:
        raise PluginError(name, str(error)) from error


def _on_error(name: str, wanted: object) -> OnError:
    if isinstance(wanted, Mapping):
        for key in wanted.keys() - {*Retry.__struct_fields__, "type"}:
            raise _unknown(name, f"on_error.{key}", [f"on_error.{each}" for each in Retry.__struct_fields__])
    try:
        if isinstance(wanted, Mapping):
            return msgspec.convert(wanted, Retry)
        return read_on_error(wanted) if isinstance(wanted, str) else wanted  # type: ignore[return-value]
    except (UsageError, msgspec.ValidationError) as error:
        raise PluginError(name, str(error)) from error


def _remedy(name: str, wanted: object, place: Any) -> Remedy:
    remedy = _REMEDIES[wanted] if isinstance(wanted, str) else wanted
    match remedy, place:
        case _, None:
            return cast("Remedy", remedy)  # split_options has checked it
        case Auto(), "rewind" | "append":
            return msgspec.structs.replace(remedy, place=place)
        case Feedback(), "rewind" | "append":
            return Feedback(place)
        case Repair(), "rewind" | "append":
            return Repair(otherwise=Feedback(place))
        case _:
            raise PluginError(
                name,
                f"place must be used with the remedy auto, repair or feedback only, got place={place!r:.80} with "
                f"{remedy!r:.80}",
                "remove place",
            )


def _ending(name: str, remedy: Remedy, end: object) -> Remedy:
    if not isinstance(remedy, Auto):
        what = f"end must be used with the remedy auto only, got end={end!r:.80} with {remedy!r:.80}"
        raise PluginError(name, what, "remove end")
    return msgspec.structs.replace(remedy, end=end)


def _with_deadline(name: str, verifier: Any, seconds: object) -> Any:
    fields = {f.name for f in dataclasses.fields(verifier)} if dataclasses.is_dataclass(verifier) else set()
    if "deadline" not in fields:
        raise PluginError(
            name, f"deadline must be used with a verifier that has a deadline, got {verifier!r:.80}", "leave it out"
        )
    return dataclasses.replace(verifier, deadline=seconds)


_UNRESOLVED = (NameError, TypeError, AttributeError, SyntaxError)
"""What an annotation raises that cannot be resolved."""


def annotation_of(factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    # Raises an exception of `_UNRESOLVED` if the annotation cannot be resolved.
    if parameter.annotation is parameter.empty:
        return Any
    described = factory.__init__ if inspect.isclass(factory) else factory
    return typing.get_type_hints(described, include_extras=True).get(parameter.name, Any)


def _annotation(name: str, factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    try:
        return annotation_of(factory, parameter)
    except _UNRESOLVED as error:
        raise PluginError(
            name,
            f"the annotation of its option {parameter.name!r} must be resolvable, got "
            f"{parameter.annotation!r:.80} ({error})",
            "import the types of a factory at run time",
        ) from error


def _unknown(name: str, key: object, known: list[str]) -> PluginError:
    close = _close_matches(str(key), known, 1)
    meant = f"did you mean {close[0]!r}?" if close else ""
    return PluginError(
        name,
        f"its options must be among {', '.join(known) or 'none'}, got {key!r:.80}",
        meant or "correct or remove it",
    )


def _choices(key: str, annotation: Any) -> str:
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    if not choices and _is_list(annotation):
        return f'write a list as JSON, {key}=["a","b"]; a single value may stand alone, {key}=a'
    return f"choose one of {', '.join(map(str, choices))}" if choices else "correct the value"


def _is_list(annotation: Any) -> bool:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return any(_is_list(each) for each in typing.get_args(annotation))
    kind = typing.get_origin(annotation) or annotation
    return inspect.isclass(kind) and issubclass(kind, Collection) and not issubclass(kind, str | bytes | Mapping)


def _is_record(key: str, value: object) -> bool:
    return isinstance(value, Retry | Mapping) if key == "on_error" else key == "remedy" and is_of(value, Remedy)


# Monitors from a name with options, a mapping, a factory, or a monitor.

MonitorSpec: TypeAlias = str | Mapping[str, Any] | Callable[..., Monitor | Sequence[Monitor]] | Monitor
"""``"arithmetic:level=explain"``, ``{"name": "arithmetic", "level": "explain"}``, a factory, or a monitor. A factory
may make several monitors, as a list or a tuple."""


def load_monitor(spec: MonitorSpec) -> Monitor:
    """Return the monitor that *spec* describes. If *spec* is a monitor, return it unchanged.

    Raises :class:`PluginError` if the plug-in is unknown, fails, or makes several monitors, or if an option is unknown
    or has an invalid value, and :class:`UsageError` if *spec* is not a :data:`MonitorSpec`.
    """
    if isinstance(spec, Monitor):
        return spec
    name, factory, options = _taken_apart(spec)
    return _with_spec(make_monitor(name, factory, options), spec, MonitorSource(name, options))


def make_monitor(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> Monitor:
    monitors = _make(name, factory, options)
    if len(monitors) > 1:
        names = ", ".join(monitor.name for monitor in monitors)
        raise PluginError(
            name, f"it must make one monitor here, got {len(monitors)} ({names})", "choose another, or set its options"
        )
    return monitors[0]


def load_monitors(specs: MonitorSpec | Iterable[MonitorSpec]) -> tuple[Monitor, ...]:
    """Return the monitors that *specs* (one specification or several) describe, in order.

    One factory may make several monitors. Raises :class:`UsageError` if two monitors have the same name, or if a
    verifier has an invalid ``worker`` or ``deadline``, and the other errors of :func:`load_monitor`.
    """
    monitors = tuple(monitor for spec in _several(specs) for monitor in _loaded(spec))
    names = [monitor.name for monitor in monitors]
    require_distinct("the names of monitors", names, "give one another name with label=... in its options")
    for who in (monitor.verifier for monitor in monitors):
        require(f"the worker of verifier {who.name!r:.80}", who.worker, Worker)
        require(f"the deadline of verifier {who.name!r:.80}", who.deadline, Seconds)
    return monitors


def _loaded(spec: MonitorSpec) -> tuple[Monitor, ...]:
    if isinstance(spec, Monitor):
        return (spec,)
    name, factory, options = _taken_apart(spec)
    made = _make(name, factory, options)
    return tuple(_with_spec(each, spec, MonitorSource(name, options, index)) for index, each in enumerate(made))


def _with_spec(monitor: Monitor, spec: MonitorSpec, source: MonitorSource) -> Monitor:
    if not isinstance(spec, str | Mapping):
        return monitor
    _note_source(monitor, source)
    return dataclasses.replace(monitor, spec=spec)


# Where a verifier came from, so that another machine can make it again by its name.


class MonitorSource(msgspec.Struct, frozen=True):
    """The plug-in and the options from which a monitor was made."""

    name: str
    options: Mapping[str, object]
    """The options as the specification has them."""
    index: int = 0
    """The index of the monitor among those that the factory made."""


_sources: dict[tuple[int, int], tuple[tuple[weakref.ref[Any], ...], MonitorSource]] = {}
"""By the ids of a verifier and of its monitor's ``prepare``. Weak references remove the entry before an id is
reused."""


def source_of(verifier: Verifier, prepare: object = None) -> MonitorSource | None:
    # Only monitors that were loaded by a name or a mapping have a source.
    entry = _sources.get((id(verifier), id(prepare)))
    return None if entry is None else entry[1]


def _note_source(monitor: Monitor, source: MonitorSource) -> None:
    key = id(monitor.verifier), id(monitor.prepare)
    parts = [monitor.verifier] if monitor.prepare is None else [monitor.verifier, monitor.prepare]
    with suppress(TypeError):  # an object without weak references: its checks stay on this machine
        _sources[key] = tuple(weakref.ref(each, lambda _: _sources.pop(key, None)) for each in parts), source


def _make(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> tuple[Monitor, ...]:
    return _make_with(name, factory, *split_options(name, factory, options))


def _make_with(
    name: str, factory: Callable[..., Any], for_factory: Mapping[str, object], generic: Mapping[str, object]
) -> tuple[Monitor, ...]:
    made = _made(name, factory, for_factory)
    if len(made) > 1 and "label" in generic:
        raise PluginError(
            name,
            f"label must be used with a plug-in that makes one monitor, got {generic['label']!r:.80} for "
            f"{len(made)} monitors",
            "remove label",
        )
    return tuple(apply_generic(name, monitor, generic) for monitor in made)


def _several(specs: MonitorSpec | Iterable[MonitorSpec]) -> Iterable[MonitorSpec]:
    if isinstance(specs, Iterable) and not isinstance(specs, str | Mapping):
        return specs
    return (specs,)


def read_spec(spec: str | Mapping[str, object], what: str) -> tuple[str, dict[str, object]]:
    if isinstance(spec, str):
        name, _, text = spec.strip().partition(":")
        return name, dict(parse_options(name, text))
    options = dict(spec)
    given = options.pop("name", None)
    if not isinstance(given, str) or not given:
        raise UsageError(
            f"{what} must be described with its name, got the keys {list(spec)!r:.200}: add the name of its plug-in "
            "as 'name'"
        )
    return given, options


def _taken_apart(spec: object) -> tuple[str, Callable[..., Any], Mapping[str, object]]:
    if isinstance(spec, str | Mapping):
        name, options = read_spec(spec, "a monitor")
        return name, load_verifier(name), options
    if isinstance(spec, Verifier) and not isinstance(spec, type):
        raise UsageError(
            f"a monitor must have an extractor, got the verifier {spec.name!r:.80} alone: write "
            "Monitor(name=..., verifier=..., extractor=...)"
        )
    if callable(spec):
        return getattr(spec, "__name__", repr(spec)), spec, {}
    raise UsageError(
        f"a monitor must be a name, a mapping with a name, a factory, or a Monitor, got {spec!r:.200}: give one of them"
    )


def call_factory(
    name: str,
    factory: Callable[..., Any],
    *given: object,
    options: Mapping[str, object] = MappingProxyType({}),
    passes: type[InterwhenError] = InterwhenError,
) -> Any:
    # The factory is code of a plug-in, and may raise anything.
    try:
        return factory(*given, **options)
    except passes:
        raise
    except (Exception, SystemExit) as error:
        values = (
            *(f"{value!r:.80}" for value in given),
            *(f"{key}={_show_option(key, value)}" for key, value in options.items()),
        )
        arguments = ", ".join(values) or "no options"
        raise PluginError(
            name,
            f"its factory must accept its options, and raised {type(error).__name__}: {error} (with {arguments})",
            "correct the options, or the factory",
        ) from error


def _made(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> tuple[Monitor, ...]:
    made = call_factory(name, factory, options=options, passes=PluginError)
    monitors = tuple(made) if isinstance(made, list | tuple) and made else (made,)
    for monitor in monitors:
        if not isinstance(monitor, Monitor):
            raise PluginError(name, f"its factory must return a Monitor, got {monitor!r:.80}", "correct the factory")
    return monitors


# Monitors that a file or a web page names: only those that are declared safe are made.

F = TypeVar("F", bound=Callable[..., Any])
_SAFE = "_interwhen_safe_from_data"
_LARGEST_FROM_DATA = 20_000
"""The most characters of the name and the options of one monitor: a large schema takes seconds to be read."""
_MAKING_SECONDS = 1.0
"""How long all monitors that a file names may take to be made; the last one may take longer."""


class _Declared(NamedTuple):
    factory: Callable[..., Any]
    """The factory that was declared. A wrapper may copy the attributes of a factory, and is not declared by that."""
    allowed: Mapping[str, Callable[[Any], bool]]


def safe_from_data(**allowed: Callable[[Any], bool]) -> Callable[[F], F]:
    """Declare that a factory, and the monitors that it makes, are safe to call with options and text from anybody.

    A file, such as a journal, may then name the verifier without the consent of the user who opens it. Declare it only
    if, with any options and on any text, nothing runs a command or code, opens a file or a connection, or imports what
    an option names, and if time and memory are bounded by the deadline and by the size of the text. *allowed*: for an
    option with which only some values are safe, a function that returns whether a value is.
    """

    def declare(factory: F) -> F:
        setattr(factory, _SAFE, _Declared(factory, allowed))
        return factory

    return declare


def is_safe_from_data(factory: Callable[..., Any]) -> bool:
    declared = getattr(factory, _SAFE, None)
    return declared is not None and declared.factory is factory


class LoadedFromData(NamedTuple):
    """The monitors for each specification, or the reason why they may not be made."""

    monitors: list[tuple[Monitor, ...] | UsageError]
    seconds: float
    """How long it took to make them, without the import of their plug-ins."""


def load_from_data(specs: Iterable[str | Mapping[str, Any]]) -> LoadedFromData:
    # Somebody else may have written `specs`. So a plug-in must be declared `safe_from_data`, a deadline can only become
    # shorter than that of the verifier, and the monitors must be made quickly.
    outcomes: list[tuple[Monitor, ...] | UsageError] = []
    seconds = 0.0
    for spec in specs:
        try:
            name, factory, options = _taken_apart_safely(spec)
            if seconds > _MAKING_SECONDS:
                raise _needs_consent(name, f"the monitors before it took more than {_MAKING_SECONDS:g} s to be made")
            # Only now: to import a large plug-in takes longer than to make a monitor.
            begun = time.monotonic()
            try:
                made = _made_safely(name, factory, options)
            finally:
                seconds += time.monotonic() - begun
            source = (MonitorSource(name, options, at) for at in range(len(made)))
            outcomes.append(tuple(map(_with_spec, made, repeat(spec), source)))
        except UsageError as error:
            outcomes.append(error)
    return LoadedFromData(outcomes, seconds)


def _taken_apart_safely(spec: str | Mapping[str, Any]) -> tuple[str, Callable[..., Any], Mapping[str, object]]:
    try:
        is_large = len(repr(spec)) > _LARGEST_FROM_DATA
    except RecursionError:
        is_large = True
    if is_large:
        raise UsageError(
            f"its name and options must have at most {_LARGEST_FROM_DATA:,} characters, and have more: {CONSENT}"
        )
    name, factory, options = _taken_apart(spec)
    if not is_safe_from_data(factory):
        raise _needs_consent(name, "it is not declared safe for a file of somebody else")
    return name, factory, options


def _made_safely(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> tuple[Monitor, ...]:
    for_factory, generic = split_options(name, factory, options)
    for key, is_allowed in getattr(factory, _SAFE).allowed.items():
        if key in for_factory and not is_allowed(for_factory[key]):
            raise _needs_consent(name, f"with {key}={_show_option(key, for_factory[key])} it is not safe")
    longest = generic.pop("deadline", None)
    made = _make_with(name, factory, for_factory, generic)
    if isinstance(longest, float):
        made = tuple(apply_generic(name, one, {"deadline": min(longest, one.verifier.deadline)}) for one in made)
    return made


CONSENT = "it needs your consent: write -m ... or --trust FILE (in Python monitors=[...] or trust=True)"


def _needs_consent(name: str, why: str) -> PluginError:
    return PluginError(name, f"{CONSENT}; {why}")


PromptMonitorSpec: TypeAlias = str | Mapping[str, Any] | PromptMonitor
"""``"secrets:action=rewrite"``, ``{"name": "secrets", "action": "rewrite"}``, or a monitor."""


def load_prompt_monitors(specs: Iterable[PromptMonitorSpec]) -> tuple[PromptMonitor, ...]:
    """Return the prompt monitors that *specs* describe, in order.

    Raises :class:`PluginError` if one cannot be made, and :class:`UsageError` for a wrong specification or a name that
    occurs twice. An :class:`InterwhenError` of a factory is passed on.
    """
    if isinstance(specs, str | Mapping) or not isinstance(specs, Iterable):
        raise UsageError(f"prompt_monitors must be a list of monitors, got {specs!r:.200}: put a single one in a list")
    monitors = tuple(map(_load_prompt_monitor, specs))
    require_distinct("the names of prompt monitors", [monitor.name for monitor in monitors], "remove one")
    return monitors


def _load_prompt_monitor(spec: object) -> PromptMonitor:
    if isinstance(spec, PromptMonitor):
        return spec
    if not isinstance(spec, str | Mapping):
        raise UsageError(
            f"a prompt monitor must be a name, a mapping with a name, or a PromptMonitor, got {spec!r:.200}: give one "
            "of them"
        )
    name, options = read_spec(spec, "a prompt monitor")
    made = call_with_own(name, load(PROMPT_MONITORS, name), options)
    if not isinstance(made, PromptMonitor):
        raise PluginError(name, f"its factory must return a PromptMonitor, got {made!r:.80}", "correct the factory")
    return made


# Models from the name of a plug-in, a base URL, or a model.

Api: TypeAlias = Literal["completions", "chat"]


def load_model(
    spec: str | Model, *, name: str | None = None, api: Api = "completions", api_key: str | None = None
) -> Model:
    """Return the model that *spec* describes. If *spec* is not a text, return it unchanged.

    *spec* is a model, the name of a plug-in with an argument for its factory or without (``"local"``,
    ``"local:tiny"``), or the base URL of an OpenAI-compatible server. For a URL, *name* is the model on that server
    (required), *api* the API to use and *api_key* the key. Raises :class:`PluginError` if the plug-in is unknown or
    fails, and :class:`UsageError` for an invalid URL and for one without *name*. An :class:`InterwhenError` of the
    factory is passed on.
    """
    if not isinstance(spec, str):
        return spec
    if spec.lstrip()[:8].lower().startswith(("http://", "https://")):
        return _served(spec.strip(), name=name, api=api, api_key=api_key)
    plugin, _, text = spec.strip().partition(":")
    model = call_factory(plugin, load(MODELS, plugin), text)
    if not isinstance(model, Model):
        raise PluginError(plugin, f"its factory must return a Model, got {model!r:.80}", "correct the factory")
    return model


def _served(base_url: str, *, name: str | None, api: Api, api_key: str | None) -> Model:
    if not name:
        raise UsageError(
            f"the name of a model must be given for {without_user(base_url)!r:.200}, which may serve "
            "several, got none: name one of them"
        )
    require("api", api, Api)
    if api == "chat":
        from interwhen.models._openai_api import ChatModel

        return ChatModel(base_url, name, api_key=api_key)
    from interwhen.models._openai_api import CompletionsModel

    return CompletionsModel(base_url, name, api_key=api_key)


def load_workers(spec: str | WorkerPool | None) -> WorkerPool | None:
    # Raises `PluginError` if the plug-in is unknown or fails. An `InterwhenError` of its factory is passed on.
    pool: WorkerPool | None = make(WORKERS, spec, {}) if isinstance(spec, str) else spec
    require("workers", pool, WorkerPool | None, "write workers=Workers(...) or 'ray'")
    return pool


# A monitor that is not installed: ``module:factory``, found from the working directory.

PATH = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<factory>[^\W\d]\w*)(?::(?P<options>.*))?", re.DOTALL)
"""``module:factory`` or ``module:factory:options``."""


def load_monitor_or_path(spec: str) -> Monitor:
    """Return the monitor for *spec*: a text that :func:`load_monitor` accepts, or ``module:factory:option=value``.

    The second form imports the module, also from the working directory, which runs its code. So do not use it for a
    *spec* that came over a network.
    """
    path = PATH.fullmatch(spec.strip())
    if path is None:
        return load_monitor(spec)
    name = f"{path['module']}:{path['factory']}"
    return make_monitor(
        name, find_factory(name, path["module"], path["factory"]), parse_options(name, path["options"] or "")
    )


def find_factory(name: str, module: str, factory: str) -> Callable[..., Any]:
    # The working directory stays in `sys.path` afterwards. `name` is used in error messages.
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109  # sys.path has strings
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        candidate = getattr(importlib.import_module(module), factory, None)
    except (Exception, SystemExit) as error:
        # A module may raise anything while it is imported.
        raise PluginError(
            name,
            f"the module {module} must load, and raised {type(error).__name__}: {error}",
            f"correct the module or its name; it is looked for in {here} and in the installed packages",
        ) from error
    if not callable(candidate):
        raise PluginError(
            name,
            f"{module}.{factory} must be a factory, got {candidate!r:.80}, which cannot be called",
            "name a factory in it",
        )
    return candidate  # type: ignore[no-any-return]


# Objects from a text: ``name``, ``name:option=value`` or ``module:factory:option=value``.


def make(group: str, spec: str, shipped: Mapping[str, Callable[..., Any]], **given: object) -> Any:
    """Call the factory that *spec* names, with the options in *spec* and the arguments *given*; return the object.

    The factory is a value of *shipped*, a plug-in of the entry-point *group*, or ``module:factory``. The last form
    imports the module, also from the working directory, which runs its code. So do not use it for a *spec* that came
    over a network.
    """
    name, factory, options = _split_factory(group, spec.strip(), shipped)
    return call_with_own(name, factory, parse_options(name, options), **given)


def call_with_own(name: str, factory: Callable[..., Any], options: Mapping[str, object], /, **given: object) -> Any:
    # `options` come from the user. They must be parameters of `factory` that the caller has not `given` itself.
    own = own_options(factory)
    values = dict(given)
    for key, value in options.items():
        if key not in own or key in given:
            raise _unknown(name, key, sorted(own.keys() - given.keys() - {"**"}))
        values[key] = converted(name, key, value, _annotation(name, factory, own[key]))
    return call_factory(name, factory, options=values)


def _split_factory(
    group: str, spec: str, shipped: Mapping[str, Callable[..., Any]]
) -> tuple[str, Callable[..., Any], str]:
    name, _, options = spec.partition(":")
    if name in shipped:
        return name, shipped[name], options
    path = PATH.fullmatch(spec)
    if path is not None and "=" not in path["factory"]:
        name = f"{path['module']}:{path['factory']}"
        return name, find_factory(name, path["module"], path["factory"]), path["options"] or ""
    try:
        return name, load(group, name), options
    except PluginError as error:
        hint = f"{error.hint}; also shipped: {', '.join(sorted(shipped))}" if shipped else error.hint
        raise PluginError(name, error.reason, hint) from error


# The description of a verifier plug-in: its options, or the reason why it does not work.

_FRAMES = 6
"""How many of the innermost frames of a traceback :func:`why_failed` shows."""


class VerifierReport(msgspec.Struct, frozen=True):
    """The description of one verifier plug-in."""

    plugin: Plugin
    summary: str
    """The docstring of its factory, as plain text."""
    options: tuple[str, ...]
    """The options of its factory, as ``name: type = default``; a ``Literal`` type as ``a | b``."""
    generic: tuple[str, ...]
    """The generic options (:data:`GENERIC`) that its factory does not have itself."""
    monitors: tuple[Monitor, ...]
    """The monitors that it makes without options; empty if it cannot make any."""
    scope: Scope
    """The largest scope that its passes are declared to have: ``answer``, or only ``steps``."""
    safe_from_data: bool = False
    """Whether a file may name it without the consent of the user."""


def describe(name: str) -> VerifierReport:
    """Import the verifier *name*, and describe it."""
    plugin = described(find(VERIFIERS, name))
    factory = load_verifier(name)
    own = own_options(factory)
    monitors = _monitors_without_options(name)
    return VerifierReport(
        plugin=plugin,
        summary=_plain(inspect.getdoc(factory) or ""),
        options=tuple(_option(factory, parameter) for parameter in own.values()),
        generic=tuple(key for key in GENERIC if key not in own),
        monitors=monitors,
        scope=_scope(factory, monitors),
        safe_from_data=is_safe_from_data(factory),
    )


def _plain(text: str) -> str:
    text = re.sub(r":[a-z]+(?::[a-z]+)?:`~(?:[^`]*\.)?([^`.]+)`", r"\1", text)
    text = re.sub(r":[a-z]+(?::[a-z]+)?:`([^`]*)`", r"\1", text)
    return text.replace("``", "`")


def scope_of(name: str) -> Scope:
    """Return the largest scope that passes of the verifier *name* are declared to have.

    The constant ``SCOPE`` of its module declares it, or one of its monitors.
    """
    return _scope(load_verifier(name), _monitors_without_options(name))


def _monitors_without_options(name: str) -> tuple[Monitor, ...]:
    try:
        return load_monitors(name)
    except UsageError:
        return ()


def _scope(factory: Callable[..., Any], monitors: tuple[Monitor, ...]) -> Scope:
    declared = getattr(sys.modules.get(factory.__module__), "SCOPE", "steps")
    reached = declared == "answer" or any(monitor.scope == "answer" for monitor in monitors)
    return "answer" if reached else "steps"


def why_failed(name: str) -> str:
    """Make the monitors of the verifier *name*, and return a text for its author: it works, or why not."""
    try:
        made = load_monitors(name)
    except UsageError as error:
        return _explained(error)
    plugin = described(find(VERIFIERS, name.partition(":")[0].strip()))
    source = f"{plugin.target} of {plugin.distribution} {plugin.version}"
    return f"plug-in {name!r} works: {source} makes {_named(made)}"


def _named(monitors: tuple[Monitor, ...]) -> str:
    names = ", ".join(repr(monitor.name) for monitor in monitors)
    return f"the monitor{'s' if len(monitors) > 1 else ''} {names}"


def _option(factory: Callable[..., Any], parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return "any others"
    try:
        annotation = annotation_of(factory, parameter)
    except _UNRESOLVED:
        annotation = parameter.annotation
    if typing.get_origin(annotation) is typing.Literal:
        kind = " | ".join(map(str, typing.get_args(annotation)))
    else:
        kind = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else annotation
    return f"{parameter.name}: {kind}" + ("" if parameter.default is parameter.empty else f" = {parameter.default}")


def _close_matches(word: str, known: Iterable[str], most: int) -> list[str]:
    import difflib  # only for the message of an error

    return difflib.get_close_matches(word, list(known), n=most)


def _explained(error: UsageError) -> str:
    import traceback

    lines = [str(error)]
    cause = error.__cause__
    while cause is not None:
        lines.append("".join(traceback.format_exception_only(cause)).rstrip())
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}" + (f": {frame.line}" if frame.line else "")
            for frame in _own_frames(cause)
        ]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(lines)


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    import traceback
    from pathlib import Path

    here = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and Path(f.filename).parent != here]
    return own[-_FRAMES:]
