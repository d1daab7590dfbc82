"""A monitor that nobody has installed: ``module:factory``, found from the working directory."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from interwhen.errors import PluginError
from interwhen.monitors import Monitor
from interwhen.registry._monitors import load_monitor, make_monitor
from interwhen.registry._options import parse_options

PATH = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<factory>[^\W\d]\w*)(?::(?P<options>.*))?", re.DOTALL)
"""``module:factory`` or ``module:factory:options``."""


def load_monitor_or_path(spec: str) -> Monitor:
    """Return the monitor that *spec* describes: as :func:`load_monitor`, or ``module:factory:option=value``.

    The module is looked for in the working directory, too, and its code runs: this is for commands of a developer,
    never for a name that came over a network. Raises :class:`~interwhen.errors.PluginError`.
    """
    path = PATH.fullmatch(spec.strip())
    if path is None:
        return load_monitor(spec)
    name = f"{path['module']}:{path['factory']}"
    return make_monitor(
        name, find_factory(name, path["module"], path["factory"]), parse_options(name, path["options"] or "")
    )


def find_factory(name: str, module: str, factory: str) -> Callable[..., Any]:
    """Import *factory* of *module*, which may lie in the working directory. Raises :class:`PluginError`."""
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109  # sys.path holds texts
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        found = getattr(importlib.import_module(module), factory, None)
    except (Exception, SystemExit) as error:
        # A module may raise anything while it is imported.
        raise PluginError(
            name,
            f"{module} does not load: {type(error).__name__}: {error}",
            f"looked in {here} and in what is installed",
        ) from error
    if not callable(found):
        raise PluginError(name, f"{module}.{factory} is {found!r:.80}, which cannot be called", "name a factory in it")
    return found  # type: ignore[no-any-return]
