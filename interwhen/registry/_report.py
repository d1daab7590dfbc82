"""A verifier plug-in, described for a person: its options, or why it does not work."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interwhen.errors import PluginError, UsageError
from interwhen.monitors import Monitor
from interwhen.registry._monitors import load_monitors
from interwhen.registry._options import GENERIC, annotation_of, own_options
from interwhen.registry._plugins import VERIFIERS, Plugin, described, find, load_verifier
from interwhen.verdicts import Scope

_HERE = Path(__file__).parent
_FRAMES = 6
"""How many of the innermost frames a summary shows."""


@dataclass(frozen=True, slots=True)
class VerifierReport:
    """What there is to know about one verifier plug-in. Making it imports the plug-in."""

    plugin: Plugin
    summary: str
    """The docstring of its factory."""
    options: tuple[str, ...]
    """The options of its own, as ``name: type = default``; fixed words as ``a | b``."""
    generic: tuple[str, ...]
    """The further options, which every monitor takes."""
    monitors: tuple[Monitor, ...]
    """What it makes without options; empty where it needs some."""
    scope: Scope
    """The most that a pass of it may cover."""


def describe(name: str) -> VerifierReport:
    """Return what there is to know about the verifier *name*. Raises :class:`PluginError` if it does not load."""
    plugin = described(find(VERIFIERS, name))
    factory = load_verifier(name)
    own = own_options(factory)
    try:
        monitors = load_monitors(name)
    except UsageError:
        monitors = ()
    return VerifierReport(
        plugin=plugin,
        summary=_plain(inspect.getdoc(factory) or ""),
        options=tuple(_option(factory, parameter) for parameter in own.values()),
        generic=tuple(key for key in GENERIC if key not in own),
        monitors=monitors,
        scope=_scope(factory, monitors),
    )


def _plain(text: str) -> str:
    """Return *text* without the markup of Sphinx: ``:class:`~a.b.C``` is ``C``."""
    text = re.sub(r":[a-z]+(?::[a-z]+)?:`~(?:[^`]*\.)?([^`.]+)`", r"\1", text)
    text = re.sub(r":[a-z]+(?::[a-z]+)?:`([^`]*)`", r"\1", text)
    return text.replace("``", "`")


def scope_of(name: str) -> Scope:
    """Return the most that a pass of the verifier *name* may cover. Raises :class:`PluginError` if it does not load.

    Of one that needs options, the constant ``SCOPE`` of its module says it; without one, it is ``steps``.
    """
    factory = load_verifier(name)
    try:
        monitors = load_monitors(name)
    except UsageError:
        monitors = ()
    return _scope(factory, monitors)


def _scope(factory: Callable[..., Any], monitors: tuple[Monitor, ...]) -> Scope:
    declared = getattr(sys.modules.get(factory.__module__), "SCOPE", "steps")
    reached = declared == "answer" or any(monitor.scope == "answer" for monitor in monitors)
    return "answer" if reached else "steps"


def why_failed(name: str) -> str:
    """Return why the verifier *name* does not work, with the innermost frames, or that it does."""
    try:
        made = load_monitors(name)
    except PluginError as error:
        return _explained(error)
    plugin = described(find(VERIFIERS, name))
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
    except (NameError, TypeError, AttributeError):
        annotation = parameter.annotation
    if typing.get_origin(annotation) is typing.Literal:
        kind = " | ".join(map(str, typing.get_args(annotation)))
    else:
        kind = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else annotation
    return f"{parameter.name}: {kind}" + ("" if parameter.default is parameter.empty else f" = {parameter.default}")


def _explained(error: PluginError) -> str:
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
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and Path(f.filename).parent != _HERE]
    return own[-_FRAMES:]
