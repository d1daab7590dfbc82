"""Imports the installed verifiers in a process of its own, for ``interwhen verifiers list``.

This module imports little, because that process imports it, too.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

import msgspec

from interwhen import registry
from interwhen._types.errors import PluginError

# In a process of its own, because a module may wait for ever, or end its process.

_IMPORT_SECONDS = 5.0
"""For the import of one plug-in."""
_START_SECONDS = 60.0
"""For the start of the process, on a busy machine."""


def scopes_of(plugins: list[registry.Plugin]) -> list[tuple[registry.Plugin, str]]:
    # One process imports all of them, until an import hangs or ends it. A new process then imports those that follow.
    scoped: list[tuple[registry.Plugin, str]] = []
    while rest := plugins[len(scoped) :]:
        names = [f"{each.distribution}/{each.name}" if each.distribution else each.name for each in rest]
        for plugin, (scope, error) in zip(rest, _imported(names), strict=False):
            scoped.append((msgspec.structs.replace(plugin, loaded=not error, error=error), scope or "?"))
    return scoped


def _imported(names: list[str]) -> Iterator[tuple[str, str]]:
    # If an import stops or ends the process, it is the last one.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_import_each, args=(names, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if ours.poll(_START_SECONDS):
            ours.recv()
        while ours.poll(_IMPORT_SECONDS):
            yield ours.recv()
        yield "", f"its import took more than {_IMPORT_SECONDS:g} s"
    except EOFError:
        process.join()
        yield "", f"its import ended the process (exit code {process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()


def _import_each(names: list[str], results: Connection) -> None:
    results.send("ready")
    for name in names:
        try:
            results.send((registry.scope_of(name), ""))
        except PluginError as error:
            results.send(("", error.reason))
