"""Producers by name: what any installed distribution offers in the entry-point group ``interwhen.producers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from interwhen.errors import InterwhenError, PluginError, UsageError
from interwhen.precompute.items import Kind
from interwhen.precompute.producer import SEPARATOR, Producer
from interwhen.registry import PRODUCERS, Plugin, load, producers

__all__ = ["Plugin", "installed_producers", "load_producers"]


def installed_producers() -> list[Plugin]:
    """List the installed producers by name. Imports nothing."""
    return producers()


def load_producers(given: Sequence[Producer | str] | None) -> tuple[Producer, ...]:
    """Return *given* with names made into producers; ``None``: all that are installed.

    Raises :class:`~interwhen.errors.PluginError` by name for one that does not load, or is no producer.
    """
    if isinstance(given, str):
        raise UsageError(f"producers={given!r} is no list of producers: if it is one, put it in a list")
    wanted: Sequence[Producer | str] = [each.name for each in producers()] if given is None else given
    found = tuple(_loaded(each) if isinstance(each, str) else _vetted(each) for each in wanted)
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"several producers are called {twice[0]!r}: each needs a name of its own")
    return found


def _loaded(name: str) -> Producer:
    factory = load(PRODUCERS, name)
    try:
        return _vetted(factory())
    except InterwhenError:
        raise
    except Exception as error:
        # A plug-in's factory may raise anything; it is named, and the original stays attached.
        raise PluginError(name, f"its factory raised {type(error).__name__}: {error}") from error


def _vetted(given: object) -> Producer:
    if not isinstance(given, Producer):
        raise PluginError(
            type(given).__name__, "it is no producer", "one has name, version, kind, plan(context), make(step, desk)"
        )
    if given.kind not in get_args(Kind):
        raise PluginError(given.name, f"kind={given.kind!r}", f"choose one of {', '.join(get_args(Kind))}")
    if not given.name or SEPARATOR in given.name:
        raise PluginError(given.name, f"a producer's name is not empty and has no {SEPARATOR!r} in it")
    return given
