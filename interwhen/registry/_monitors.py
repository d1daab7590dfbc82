"""Monitors by what a caller has at hand: a name with options, a mapping, a factory, or the monitor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from interwhen.errors import PluginError, UsageError
from interwhen.monitors import Monitor
from interwhen.registry._options import apply_generic, parse_options, split_options
from interwhen.registry._plugins import load_verifier
from interwhen.verifier import Verifier

MonitorSpec: TypeAlias = str | Mapping[str, Any] | Callable[..., Monitor] | Monitor
"""``"arithmetic:level=explain"``, ``{"name": "arithmetic", "level": "explain"}``, a factory, or a monitor."""


def load_monitor(spec: MonitorSpec) -> Monitor:
    """Return the monitor that *spec* describes; a monitor is returned as it is.

    Raises :class:`PluginError` on an unknown or broken plug-in, an unknown option or a value that does not
    fit, and :class:`UsageError` where *spec* is nothing of the kind.
    """
    if isinstance(spec, Monitor):
        return spec
    return make_monitor(*_taken_apart(spec))


def make_monitor(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> Monitor:
    """Return what *factory* makes with its share of *options*, and with the generic ones set. Blames *name*."""
    for_factory, generic = split_options(name, factory, options)
    return apply_generic(name, _made(name, factory, for_factory), generic)


def load_monitors(specs: MonitorSpec | Iterable[MonitorSpec]) -> tuple[Monitor, ...]:
    """Return the monitors that *specs* describe, in order; a single spec will do.

    Raises as :func:`load_monitor`, and :class:`UsageError` where two monitors have one name.
    """
    monitors = tuple(load_monitor(spec) for spec in _several(specs))
    names = [monitor.name for monitor in monitors]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two monitors are named {name!r}; give one another name (label=... in its options)")
    return monitors


def _several(specs: MonitorSpec | Iterable[MonitorSpec]) -> Iterable[MonitorSpec]:
    if isinstance(specs, Iterable) and not isinstance(specs, str | Mapping):
        return specs
    return (specs,)


def _taken_apart(spec: object) -> tuple[str, Callable[..., Any], Mapping[str, object]]:
    """Return the name to blame, the factory and the options of *spec*."""
    if isinstance(spec, str):
        name, _, text = spec.strip().partition(":")
        return name, load_verifier(name), parse_options(name, text)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UsageError(f"a monitor given as a mapping needs its plug-in as 'name', got {spec!r}")
        return name, load_verifier(name), options
    if isinstance(spec, Verifier) and not isinstance(spec, type):
        raise UsageError(
            f"{spec.name!r} is a verifier, not a monitor; bind it: Monitor(name=..., verifier=..., extractor=...)"
        )
    if callable(spec):
        return getattr(spec, "__name__", repr(spec)), spec, {}
    raise UsageError(f"{spec!r} is no monitor; give a name, a mapping with a name, a factory, or a Monitor")


def _made(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> Monitor:
    try:
        monitor = factory(**options)
    except PluginError:
        raise
    except Exception as error:
        # A plug-in's factory may raise anything; it is named, and the original stays attached.
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise PluginError(name, f"its factory raised {type(error).__name__}: {error} (with {given})") from error
    if not isinstance(monitor, Monitor):
        raise PluginError(name, f"its factory returned {monitor!r}, which is no Monitor")
    return monitor
