"""Opens stores, and prepared contexts for commands and servers that only read them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from interwhen._types.errors import UsageError
from interwhen._types.models import Model
from interwhen.precompute._contexts import last_worker
from interwhen.precompute._precomputer import ContextRef, Precomputer
from interwhen.precompute._store import Store, open_store

PLACE = "interwhen-precompute.db"
"""The default store: a file in the current folder."""
KEY_VARIABLE = "INTERWHEN_STORE_KEY"


def open_place(place: str | None = None, key_file: Path | None = None, *, creates: bool = False) -> Store:
    # Raises `UsageError` if `key_file` cannot be read or the key has fewer than 16 bytes, and `StoreError` if the store
    # cannot be opened.
    place = place or PLACE
    if not creates and is_missing(place):
        raise UsageError(
            f"the store of prepared contexts must exist, got no file {place!r}; name the right one, "
            f"or make it: interwhen precompute add NAME FILE --store {place}"
        )
    # Other users of the machine can read a command line, so the key itself is no option.
    key = os.environ.get(KEY_VARIABLE) or None
    return open_store(place, key=key if key_file is None else read_text(key_file).strip())


def is_missing(place: str) -> bool:
    return place != ":memory:" and "://" not in place and not Path(place).exists()


def read_text(path: Path) -> str:
    # The encoding `utf-8-sig` leaves out a byte order mark.
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{str(path)!r} must be a readable text file, got an error ({error}); name another file"
        ) from error


def is_same_model(prepared_for: str, asked: str) -> bool:
    return bare_model(prepared_for) == bare_model(asked)


def bare_model(name: str) -> str:
    model, at, _ = name.rpartition("@")
    return model if at else name


@asynccontextmanager
async def open_context(
    name: str, model: Model, *, store: str | None = None, key_file: Path | None = None, passages: int = 0
) -> AsyncIterator[ContextRef]:
    """Open the context *name* of the store at *store* for runs of *model*, and close the store at the end of the block.

    The settings of the last worker on the context decide which items are current. *passages* is a number of characters,
    as in :class:`~interwhen.precompute.Precomputer`. This is a :class:`~interwhen._types.extensions.ContextOpener`.
    """
    opened_store = await anyio.to_thread.run_sync(open_place, store, key_file)
    try:
        worker = await anyio.to_thread.run_sync(last_worker, opened_store, name)
        specs = None if worker is None else worker.specs
        precomputer = Precomputer(opened_store, model, producers=specs, debounce=0.0, passages=passages)
        if worker is not None:
            if not is_same_model(worker.model, model.name):
                raise UsageError(
                    f"context {name!r} must be used with the model that it was prepared for, {worker.model!r}, got "
                    f"{model.name!r}; use that model, or prepare it for this one: interwhen precompute run {name}"
                )
            precomputer.key_settings = worker.key_settings
        yield await precomputer.open(name)
    finally:
        await anyio.to_thread.run_sync(opened_store.close)
