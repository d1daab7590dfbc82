"""What is installed: entry points, found without importing anything, and loaded by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interwhen.errors import PluginError

if TYPE_CHECKING:
    from importlib import metadata

VERIFIERS = "interwhen.verifiers"
"""Entry points of this group are factories: keyword-only annotated options in, a ``Monitor`` out."""
MODELS = "interwhen.models"
"""Entry points of this group take the text after the colon of ``name:text`` and return a ``Model``."""
STRATEGIES = "interwhen.strategies"
"""Entry points of this group are factories: annotated options in, an ``interwhen.strategies.Strategy`` out."""
TASKS = "interwhen.tasks"
"""Entry points of this group are factories: ``count``, ``seed`` and annotated options in, an iterable of
``interwhen.strategies.Exercise`` out."""
TRACES = "interwhen.traces"
"""Entry points of this group take a ``Path`` and return an iterable of ``interwhen.testing.traces.LabelledTrace``."""

PRODUCERS = "interwhen.producers"
"""Entry points of this group are factories: nothing in, an ``interwhen.precompute.Producer`` out."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plug-in, as its distribution's metadata describes it."""

    name: str
    distribution: str
    """The distribution that offers it, as pip knows it; empty where the metadata does not say."""
    version: str
    target: str
    """Where it is, as ``module:attribute``."""
    loaded: bool | None = None
    """Whether it loads; ``None``: nobody asked."""
    error: str = ""
    """Why it does not load, in one line."""


def verifiers(*, load: bool = False) -> list[Plugin]:
    """List the installed verifiers by name. Imports nothing, unless *load* asks whether each one loads."""
    return _listed(VERIFIERS, load=load)


def models(*, load: bool = False) -> list[Plugin]:
    """List the installed models by name. Imports nothing, unless *load* asks whether each one loads."""
    return _listed(MODELS, load=load)


def trace_formats(*, load: bool = False) -> list[Plugin]:
    """List the installed readers of labelled traces by name. Imports nothing, unless *load* asks for it."""
    return _listed(TRACES, load=load)


def producers(*, load: bool = False) -> list[Plugin]:
    """List the installed producers of precomputed things by name. Imports nothing, unless *load* asks for it."""
    return _listed(PRODUCERS, load=load)


def load_trace_format(name: str) -> Callable[..., Any]:
    """Import the reader of labelled traces *name* (or ``distribution/name``) and return it.

    Raises :class:`PluginError` where it is not installed, is offered twice, or does not import.
    """
    return load(TRACES, name)


def load_verifier(name: str) -> Callable[..., Any]:
    """Import the verifier *name* (or ``distribution/name``) and return its factory.

    Raises :class:`PluginError` where it is not installed, is offered twice, or does not import.
    """
    return load(VERIFIERS, name)


def load(group: str, name: str) -> Callable[..., Any]:
    """Import the plug-in *name* of *group* and return the callable it names."""
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
            f"{plugin.target} of {plugin.distribution} {plugin.version} is {target!r}, which cannot be called",
            "an entry point must name a factory",
        )
    return target  # type: ignore[no-any-return]


def _entry_points(group: str) -> metadata.EntryPoints:
    from importlib import metadata  # 20 ms that importing interwhen need not cost

    return metadata.entry_points(group=group)


def find(group: str, name: str) -> metadata.EntryPoint:
    """Return the entry point *name* of *group*; *name* may say its distribution: ``distribution/name``."""
    entries = list(_entry_points(group))
    distribution, slash, bare = name.rpartition("/")
    found = [e for e in entries if e.name == bare and (not slash or described(e).distribution == distribution)]
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(sorted(f"{described(e).distribution}/{e.name}" for e in found))
        raise PluginError(name, "several installed distributions offer it", f"say which one: {choices}")
    raise PluginError(name, "not installed", _missing_hint(bare, sorted({e.name for e in entries})))


def described(entry: metadata.EntryPoint) -> Plugin:
    """Return what the metadata says about *entry*."""
    dist = entry.dist
    return Plugin(
        name=entry.name,
        distribution="" if dist is None else dist.name,
        version="" if dist is None else dist.version,
        target=entry.value,
    )


def _listed(group: str, *, load: bool) -> list[Plugin]:
    plugins = sorted(map(described, _entry_points(group)), key=lambda p: (p.name, p.distribution))
    return [_tried(group, plugin) for plugin in plugins] if load else plugins


def _tried(group: str, plugin: Plugin) -> Plugin:
    try:
        _load_described(group, plugin)
    except PluginError as error:
        return replace(plugin, loaded=False, error=error.reason)
    return replace(plugin, loaded=True)


def _load_described(group: str, plugin: Plugin) -> None:
    load(group, f"{plugin.distribution}/{plugin.name}" if plugin.distribution else plugin.name)


def _missing_hint(name: str, installed: list[str]) -> str:
    close = difflib.get_close_matches(name, installed, n=3)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}installed: {', '.join(installed) or 'none'}"


def _why_hint(group: str, name: str) -> str:
    return f"see: interwhen verifiers why-failed {name}" if group == VERIFIERS else ""
