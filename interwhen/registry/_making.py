"""What a factory makes that is named in a text: ``name``, ``name:option=value`` or ``module:factory:option=value``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interwhen.errors import InterwhenError, PluginError
from interwhen.registry._options import annotation_of, converted, own_options, parse_options
from interwhen.registry._paths import PATH, find_factory
from interwhen.registry._plugins import load


def make(group: str, spec: str, shipped: Mapping[str, Callable[..., Any]], **given: object) -> Any:
    """Return what *spec* describes, made with its options and what is *given* besides.

    Its factory is one of those *shipped*, or a plug-in of *group*, or is found by its path, whose module is looked for
    in the working directory, too, and whose code runs: this is for commands of a developer, never for a name that came
    over a network. Raises :class:`~interwhen.errors.PluginError`.
    """
    name, factory, options = _taken_apart(group, spec.strip(), shipped)
    known = own_options(factory)
    values: dict[str, object] = dict(given)
    for key, value in parse_options(name, options).items():
        if key not in known or key in given:
            choices = ", ".join(sorted(known.keys() - given.keys() - {"**"})) or "none"
            raise PluginError(name, f"it has no option {key!r}", f"options: {choices}")
        values[key] = converted(name, key, value, annotation_of(factory, known[key]))
    try:
        return factory(**values)
    except InterwhenError:
        raise
    except Exception as error:
        # A factory may raise anything; it is named, and the original stays attached.
        raise PluginError(name, f"its factory raised {type(error).__name__}: {error} (with {values})") from error


def _taken_apart(
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
        hint = f"{error.hint}; shipped: {', '.join(sorted(shipped))}" if shipped else error.hint
        raise PluginError(name, error.reason, hint) from error
