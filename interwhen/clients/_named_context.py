"""Prepared contexts by name, from stores that all clients of the process share."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio.to_thread

from interwhen._types.errors import UsageError
from interwhen._types.extensions import ContextSource, Ready
from interwhen._types.vetting import fits
from interwhen.registry import CONTEXTS, load

_sources: weakref.WeakValueDictionary[tuple[str, str, int], ContextSource] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_source(store: str | None, key_file: Path | None, passages: int = 0) -> ContextSource:
    # A call whose prompt does not contain the text of its context gets at most `passages` characters of this text.
    key = (store or "", "" if key_file is None else str(key_file), passages)
    with _lock:
        source = _sources.get(key)
        if source is None:
            source = _sources[key] = cast("ContextSource", load(CONTEXTS, "source")(store, key_file, passages))
        return source


@dataclass(frozen=True, slots=True)
class NamedContext:
    """A prepared context that *source* reads when it is first needed."""

    name: str
    source: ContextSource

    async def ready(self) -> Ready:
        # Opening a context reads files, so a thread does it.
        context = self.source.find(self.name)
        return await anyio.to_thread.run_sync(self.source.open, self.name) if context is None else context


def read_context(wanted: object, source: ContextSource | None = None) -> Ready | NamedContext | None:
    # A name is looked up in `source`, by default in the default store.
    if wanted is None or wanted is False or isinstance(wanted, NamedContext):
        return wanted or None
    if isinstance(wanted, str) and wanted:
        return NamedContext(wanted, source or open_source(None, None))
    if isinstance(wanted, Mapping):
        return _named(wanted)
    if wanted and fits(wanted, Ready):
        return cast("Ready", wanted)
    raise UsageError(
        "context must be the name of a prepared context, a mapping with its name and store, or what "
        f"Precomputer.add() returns, got {wanted!r:.200}: give one of them"
    )


def _named(fields: Mapping[Any, Any]) -> NamedContext:
    name, store, key_file = (fields.get(each) for each in ("name", "store", "key_file"))
    passages = fields.get("passages", 0)
    known = {"name", "store", "key_file", "passages"}.issuperset(fields)
    is_valid = isinstance(name, str) and name and isinstance(store, str | Path | None)
    if not (known and is_valid and type(passages) is int and passages >= 0):
        raise UsageError(
            f"context must be a mapping of name, store, key_file and passages, got {dict(fields)!r:.200}: "
            "write {'name': ..., 'store': ...}"
        )
    place = None if store is None else str(store)
    return NamedContext(str(name), open_source(place, None if key_file is None else Path(key_file), passages))


def vet_context(context: Ready | NamedContext | None) -> None:
    # A missing context is reported here, and not only at the first call. This reads files, so it can block.
    if isinstance(context, NamedContext):
        context.source.open(context.name)
