"""Monitors by what a caller has at hand: a name with options, a mapping, a factory, or the monitor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from interwhen.errors import PluginError, UsageError
from interwhen.monitors import Monitor
from interwhen.registry._options import apply_generic, parse_options, split_options
from interwhen.registry._plugins import load_verifier
from interwhen.verifier import Verifier

MonitorSpec: TypeAlias = str | Mapping[str, Any] | Callable[..., Monitor | Sequence[Monitor]] | Monitor
"""``"arithmetic:level=explain"``, ``{"name": "arithmetic", "level": "explain"}``, a factory, or a monitor. A factory
may make several monitors, as a list or a tuple."""


def load_monitor(spec: MonitorSpec) -> Monitor:
    """Return the monitor that *spec* describes; a monitor is returned as it is.

    Raises :class:`PluginError` on an unknown or broken plug-in, on one that makes several monitors, on an unknown
    option or a value that does not fit, and :class:`UsageError` where *spec* is nothing of the kind.
    """
    if isinstance(spec, Monitor):
        return spec
    return make_monitor(*_taken_apart(spec))


def make_monitor(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> Monitor:
    """Return what *factory* makes with its share of *options*, and with the generic ones set. Blames *name*."""
    monitors = _make(name, factory, options)
    if len(monitors) > 1:
        names = ", ".join(monitor.name for monitor in monitors)
        raise PluginError(name, f"it makes {len(monitors)} monitors ({names}), and one is wanted here")
    return monitors[0]


def load_monitors(specs: MonitorSpec | Iterable[MonitorSpec]) -> tuple[Monitor, ...]:
    """Return the monitors that *specs* describe, in order; a single spec will do, and a factory may make several.

    Raises as :func:`load_monitor`, and :class:`UsageError` where two monitors have one name.
    """
    monitors = tuple(monitor for spec in _several(specs) for monitor in _loaded(spec))
    names = [monitor.name for monitor in monitors]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two monitors are named {name!r}; give one another name (label=... in its options)")
    return monitors


def _loaded(spec: MonitorSpec) -> tuple[Monitor, ...]:
    return (spec,) if isinstance(spec, Monitor) else _make(*_taken_apart(spec))


def _make(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> tuple[Monitor, ...]:
    for_factory, generic = split_options(name, factory, options)
    made = _made(name, factory, for_factory)
    if len(made) > 1 and "label" in generic:
        raise PluginError(name, f"label={generic['label']!r} names one monitor, and it makes {len(made)}")
    return tuple(apply_generic(name, monitor, generic) for monitor in made)


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


def _made(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> tuple[Monitor, ...]:
    try:
        made = factory(**options)
    except PluginError:
        raise
    except Exception as error:
        # A plug-in's factory may raise anything; it is named, and the original stays attached.
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise PluginError(name, f"its factory raised {type(error).__name__}: {error} (with {given})") from error
    monitors = tuple(made) if isinstance(made, list | tuple) and made else (made,)
    for monitor in monitors:
        if not isinstance(monitor, Monitor):
            raise PluginError(name, f"its factory returned {monitor!r}, which is no Monitor")
    return monitors
