"""The store keeps immutable items, and documents that change by compare-and-swap.

A damaged entry is treated as missing, and a warning is logged. A damaged item is moved into quarantine; a damaged
document stays, and is copied there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec

from interwhen._types.errors import DECODE_ERRORS, StoreConflict, StoreError, UsageError
from interwhen._types.log import log_warning
from interwhen.precompute._items import Digest, Item, ItemId, SlotId, digest
from interwhen.precompute._shelves import MemoryShelf, Shelf, latest_of, number_of, numbered

T = TypeVar("T")

# The format of an entry: a magic, a schema number, a checksum over everything, and the payload.
#
# ::
#
#     entry = b"IWPC" | schema: u16 | sha256(magic, schema, name, payload): 32 bytes | payload
#
# With a key, the magic is ``IWSK`` and the checksum is an HMAC-SHA-256 of the same bytes. A process that can write to a
# shared medium, but lacks the key, cannot make a valid entry.
#
# The checksum covers the name, so an entry under another name counts as damaged. The layout of these 38 bytes is the
# same in every schema, so an entry of another version can be told from a damaged one.

MAGIC = b"IWPC"
KEYED = b"IWSK"
"""The magic of an entry with a keyed checksum."""
SCHEMA = 2
"""Increase it when the meaning of a payload changes. A store with entries of another schema is refused."""
_HEAD = struct.Struct(">4sH32s")


class Damaged(Exception):
    """Raised if an entry has no valid header, or no valid checksum for its name and the key of the store."""


class Inaccessible(Exception):
    """Raised for undamaged bytes that this store cannot read: of another schema, or sealed with a key that it lacks."""


def seal(name: str, payload: bytes, key: bytes | None = None) -> bytes:
    magic = MAGIC if key is None else KEYED
    return _HEAD.pack(magic, SCHEMA, _sum(name, SCHEMA, payload, key)) + payload


def unseal(name: str, entry: bytes, key: bytes | None = None) -> bytes:
    if len(entry) < _HEAD.size:
        raise Damaged(f"an entry must have at least {_HEAD.size} bytes, got {len(entry)}")
    magic, schema, checksum = _HEAD.unpack_from(entry)
    payload = entry[_HEAD.size :]
    if magic not in (MAGIC, KEYED):
        raise Damaged(f"an entry must begin with the mark of a store, got {magic!r}")
    if key is None and magic == KEYED:
        raise Inaccessible("it is sealed with a key: open the store with it (key=, --key-file or INTERWHEN_STORE_KEY)")
    if key is not None and magic == MAGIC:
        raise Damaged("it is not sealed with the key of this store")
    if not hmac.compare_digest(checksum, _sum(name, schema, payload, key)):
        raise Damaged("its checksum does not match" if key is None else "it is not sealed with the key of this store")
    if schema != SCHEMA:
        made_by = (
            "a newer version of interwhen; update interwhen, or use another store"
            if schema > SCHEMA
            else "an older version of interwhen; delete this store, or use another one, and prepare the contexts again "
            "(interwhen precompute add, then run)"
        )
        raise Inaccessible(f"its entries must have schema {SCHEMA}, got {schema} of {made_by}")
    return payload


def _sum(name: str, schema: int, payload: bytes, key: bytes | None) -> bytes:
    head = (MAGIC if key is None else KEYED) + schema.to_bytes(2, "big") + name.encode() + b"\0"
    if key is not None:
        return hmac.digest(key, head + payload, "sha256")
    return hashlib.sha256(head + payload).digest()


LEAST_KEY = 16
"""The fewest bytes of a key."""
_ITEMS, _DOCUMENTS, _QUARANTINE = "items", "documents", "quarantine"
_NONE: Mapping[ItemId, Item] = MappingProxyType({})
_TRIES = 32
"""How often a change of a document is tried while other processes change it."""
KEPT = 8
"""The number of items that are kept for each slot and context when a new one is stored."""


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """A damaged entry in quarantine."""

    name: str
    """The name under which it was stored."""
    why: str
    at: float
    """When it was put into quarantine, in seconds since 1970 (UTC)."""
    entry: bytes = b""


@dataclass(frozen=True, slots=True)
class Document:
    """A document at one generation. Each write adds one to the generation."""

    generation: int
    """0 if it was never written."""
    data: bytes | None
    """``None`` if it was never written or is damaged."""


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    name: str
    data: bytes


class Store:
    """Keeps what a :class:`Precomputer` prepares: items, and documents (named values with generations).

    *shelf* says where: a path or URL as for :func:`open_store`, or a storage of keys and values such as
    :class:`MemoryShelf` (default). :func:`open_store` is the usual way to make a store.

    Its methods may be called in any thread, and several processes may use one file or URL at once. With a *key* of at
    least 16 bytes, each entry has a keyed hash (HMAC), and entries that were not sealed with the key count as damaged:
    give a key if others can write to the medium. Without a key, an item with other content than this object has read
    or written before counts as damaged. *clock* gives the time of entries in quarantine.

    Raises :class:`UsageError` for a shorter key, and :class:`~interwhen.precompute.StoreError` for a file that other
    users can write to, if there is no key. Most methods raise :class:`~interwhen.precompute.StoreError` if the
    shelf fails, if an entry is sealed with a key and the store has none, or if another version of interwhen wrote it.
    """

    def __init__(
        self,
        shelf: Shelf | str | os.PathLike[str] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        key: str | bytes | None = None,
    ) -> None:
        if isinstance(shelf, str | os.PathLike):
            shelf = _shelf_at(shelf, {})
        self.shelf: Shelf = shelf if shelf is not None else MemoryShelf()
        self._clock = clock
        self._key = key.encode() if isinstance(key, str) else key
        if self._key is not None and len(self._key) < LEAST_KEY:
            raise UsageError(
                f"the key of a store must have at least {LEAST_KEY} bytes, got {len(self._key)}; give a longer key"
            )
        self._warned: set[str] = set()
        self._known: dict[SlotId, dict[ItemId, Digest]] = {}
        """What the entries of items held when they were read or written last. Empty if there is a key."""
        if self._key is None:
            self._require_trusted()

    def _require_trusted(self) -> None:
        # Anybody can make a checksum right, so without a key an item is as trustworthy as those who can write it.
        exposed = getattr(self.shelf, "is_exposed", False)
        if exposed is None:
            why = "everybody who can write there can change what is served: give the store a key"
            log_warning("store.unsealed", place=self.place, why=why)
        elif exposed:
            self.close()
            raise StoreError(
                self.place,
                "a store without a key must be writable by its owner alone, got one that other users can write to, so "
                "they could change what is served: chmod it, or give it a key (key=, --key-file or "
                "INTERWHEN_STORE_KEY)",
            )

    @property
    def place(self) -> str:
        """The path or URL of the store, for messages."""
        return self.shelf.place

    @property
    def blocks(self) -> bool:
        """Whether methods may take so long, as over a network, that an event loop must call them in a thread.

        False for a file of SQLite, although a method may wait up to five seconds for the lock of another process.
        """
        return self.shelf.blocks

    def close(self) -> None:
        """Close the shelf of the store. The store cannot be used afterwards."""
        self.shelf.close()

    def get(self, id_: ItemId) -> Item | None:
        """Return the item *id_*; ``None`` if it is missing or damaged."""
        name = f"{_ITEMS}/{id_}"
        payload = self._payload(name, self.shelf.read(name))
        if payload is None:
            self._forget(id_)
            return None
        if self._noted(id_, payload) != digest(payload):
            self._isolate(name, "another writer replaced it: it is not what this process read or wrote before")
            return None
        try:
            item = msgspec.msgpack.decode(payload, type=Item)
        except DECODE_ERRORS as error:
            self._isolate(name, f"it cannot be decoded as an item: {error}")
            return None
        if item.id != id_:
            self._isolate(name, "it has the item of another key")
            return None
        return item

    def put(self, item: Item) -> Item:
        """Store *item* and return it. If this item is stored already, return the stored one.

        Of the other items of its slot and context, the newest are kept (:data:`KEPT`). Raises
        :class:`~interwhen.precompute.StoreError` if the item cannot be written.
        """
        name = f"{_ITEMS}/{item.id}"
        payload = msgspec.msgpack.encode(item)
        entry = seal(name, payload, self._key)
        for _ in range(3):
            if self.shelf.create(name, entry):
                self._forget(item.id)
                self._noted(item.id, payload)
                self._thin(item)
                return item
            if (stored_item := self.get(item.id)) is not None:
                return stored_item
            # The name was taken by a damaged entry, which is in quarantine now.
        raise StoreError(
            self.place,
            (
                f"{name!r} could be neither written nor read in 3 tries; check the file system of the "
                "store, and try again"
            ),
        )

    def candidates(self, slot: SlotId, known: Mapping[ItemId, Item] = _NONE) -> tuple[Item, ...]:
        """Return the stored items of the *slot* (one step with the same settings), whatever their inputs, oldest first.

        Items in *known* are not read again. Damaged items are left out.
        """
        ids = [_id_of(name) for name in self.shelf.names(f"{_ITEMS}/{slot}")]
        for gone in {*self._known.get(slot, ())}.difference(ids):
            self._forget(gone)
        items = (known[each] if each in known else self.get(each) for each in ids)
        return tuple(sorted((item for item in items if item is not None), key=lambda item: item.created))

    def items(self) -> Iterator[Item]:
        """Yield the items. Damaged ones are left out."""
        for name in self.shelf.names(_ITEMS):
            item = self.get(_id_of(name))
            if item is not None:
                yield item

    def evict(self, id_: ItemId) -> None:
        """Delete the item *id_*, if it is in the store. Items that were made from it are kept.

        A process that has the item in memory may use it until the generation of the context changes.
        """
        self.shelf.delete(f"{_ITEMS}/{id_}")
        self._forget(id_)

    def _noted(self, id_: ItemId, payload: bytes) -> Digest:
        known = {} if self._key is not None else self._known.setdefault(_slot_of(id_), {})
        return known.setdefault(id_, digest(payload))

    def _forget(self, id_: ItemId) -> None:
        # Accept any content of the item `id_`, which is not in the store any more, so that it may be made again.
        self._known.get(_slot_of(id_), {}).pop(id_, None)

    def quarantine(self, id_: ItemId, why: str) -> None:
        """Move the item *id_* into quarantine with the reason *why*, if it is stored. A failure is only logged."""
        self._isolate(f"{_ITEMS}/{id_}", why)

    def quarantined(self) -> tuple[Quarantined, ...]:
        """Return the entries in quarantine that can be read, oldest first."""
        entries = []
        for name in self.shelf.names(_QUARANTINE):
            entry = self.shelf.read(name)
            try:
                payload = unseal(name, entry or b"", self._key)
                entries.append(msgspec.msgpack.decode(payload, type=Quarantined))
            except (Damaged, Inaccessible, *DECODE_ERRORS):
                continue
        return tuple(sorted(entries, key=lambda each: each.at))

    def _thin(self, newest: Item) -> None:
        names = self.shelf.names(f"{_ITEMS}/{newest.key.slot}")
        if len(names) > KEPT:
            made = [item for item in self.candidates(newest.key.slot) if item.context == newest.context]
            for old in made[:-KEPT]:
                if old.id != newest.id:
                    self.evict(old.id)

    def generation(self, name: str, *, waits: bool = True) -> int:
        """Return the generation of document *name*; 0 if it was never written.

        Without *waits*, :class:`~interwhen.precompute.StoreError` is raised at once for a locked shelf, if the shelf
        supports that.
        """
        # Optional: a shelf that never locks needs no such method.
        names = self.shelf.names if waits else getattr(self.shelf, "names_now", self.shelf.names)
        return latest_of(names(_folder(name)))

    def document(self, name: str) -> Document:
        """Return the latest generation of document *name*; number 0 without data if it was never written.

        Raises :class:`~interwhen.precompute.StoreError` if it cannot be read. Damage is no error: the data is ``None``.
        """
        for _ in range(16):
            number = self.generation(name)
            if number == 0:
                return Document(0, None)
            last = numbered(_folder(name), number)
            entry = self.shelf.read(last)
            if entry is None:
                continue  # a newer generation has replaced it
            # A damaged entry is not deleted, because its generation number must not be used again.
            payload = self._payload(last, entry, stays=True)
            return Document(number, None if payload is None else self._data(last, name, payload))
        raise StoreError(
            self.place, f"document {name!r} could not be read, because other processes kept changing it; try again"
        )

    def commit(self, name: str, data: bytes, *, expect: int) -> int:
        """Write *data* as the next generation of document *name*, and return its number.

        Raises `StoreConflict` unless the latest generation is *expect*.
        """
        entry = seal(numbered(_folder(name), expect + 1), msgspec.msgpack.encode(_Entry(name, data)), self._key)
        if not self.shelf.follow(_folder(name), expect + 1, entry):
            raise StoreConflict(self.place, name, expect)
        return expect + 1

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> Document:
        """Replace the data of document *name* by what *change* returns for it, and return the new document.

        *change* gets ``None`` if there is no readable data. It may be called up to 32 times, while other processes
        write the document. If it returns ``None``, nothing is written, and the present document is returned. Raises
        :class:`~interwhen.precompute.StoreError` after the last try.
        """
        for _ in range(_TRIES):
            there = self.document(name)
            data = change(there.data)
            if data is None:
                return there
            with suppress(StoreConflict):
                return Document(self.commit(name, data, expect=there.generation), data)
        raise StoreError(
            self.place,
            f"document {name!r} could not be written, because other processes changed it {_TRIES} times in a row; "
            "try again",
        )

    def decoded(self, name: str, kind: type[T]) -> T | None:
        """Return the latest data of document *name*, decoded as *kind*.

        ``None`` if it is missing or damaged. Raises :class:`msgspec.DecodeError` if the data has another form.
        """
        data = self.document(name).data
        return None if data is None else msgspec.msgpack.decode(data, type=kind)

    def documents(self, start: str) -> tuple[str, ...]:
        """Return the names of the readable documents whose names begin with *start*, sorted."""
        latest = {name.rpartition("/")[0]: name for name in self.shelf.names(_DOCUMENTS) if number_of(name)}
        names = set()
        for name in latest.values():
            payload = self._payload(name, self.shelf.read(name), stays=True)
            entry = None if payload is None else self._decoded(name, payload)
            if entry is not None and entry.name.startswith(start):
                names.add(entry.name)
        return tuple(sorted(names))

    def _data(self, entry: str, name: str, payload: bytes) -> bytes | None:
        document = self._decoded(entry, payload)
        return document.data if document is not None and document.name == name else None

    def _decoded(self, entry: str, payload: bytes) -> _Entry | None:
        try:
            return msgspec.msgpack.decode(payload, type=_Entry)
        except DECODE_ERRORS as error:
            self._isolate(entry, f"it cannot be decoded as a document: {error}", stays=True)
            return None

    def _payload(self, name: str, entry: bytes | None, *, stays: bool = False) -> bytes | None:
        if entry is None:
            return None
        try:
            return unseal(name, entry, self._key)
        except Damaged as error:
            self._isolate(name, str(error), stays=stays)
        except Inaccessible as error:
            raise StoreError(self.place, str(error)) from error
        return None

    def _isolate(self, name: str, why: str, *, stays: bool = False) -> None:
        if stays and name in self._warned:
            return
        self._warned.add(name)
        log_warning("store.quarantined", place=self.place, entry=name, why=why)
        try:
            entry = self.shelf.read(name)
            if entry is None:
                return
            at = f"{_QUARANTINE}/{uuid.uuid4().hex}"
            note = Quarantined(name, why, self._clock(), entry)
            self.shelf.create(at, seal(at, msgspec.msgpack.encode(note), self._key))
            if not stays:
                self.shelf.delete(name)
        except StoreError as error:
            log_warning("store.quarantine_failed", place=self.place, entry=name, why=error.reason)


def open_store(place: str | os.PathLike[str], *, key: str | bytes | None = None, **options: object) -> Store:
    """Open the store at *place*: a path (one SQLite file), a URL of a file system of fsspec, or ``:memory:``.

    *key* is as for :class:`Store`; *options* go to :class:`~interwhen.precompute._fsspec_shelf.FsspecShelf`, only with
    a URL. Raises :class:`~interwhen.precompute.StoreError` if it cannot be opened, :class:`UsageError` for a wrong key
    or option, and :class:`~interwhen.toolkit.MissingExtraError` if a package for the URL is missing.
    """
    shelf = _shelf_at(place, options)
    try:
        return Store(shelf, key=key)
    except BaseException:
        shelf.close()  # a key that is refused must not leave the file open
        raise


def _shelf_at(place: str | os.PathLike[str], options: Mapping[str, object]) -> Shelf:
    where = os.fspath(place)
    if "://" in where:
        from interwhen.precompute._fsspec_shelf import FsspecShelf

        return FsspecShelf(where, **options)  # type: ignore[arg-type]
    if options:
        raise UsageError(
            f"store options go only with a URL, got {sorted(options)} and the path {where!r}; leave "
            "them out, or give a URL"
        )
    if where == ":memory:":
        return MemoryShelf()
    from interwhen.precompute._sqlite_shelf import SqliteShelf

    return SqliteShelf(where)


def _folder(name: str) -> str:
    return f"{_DOCUMENTS}/{digest(name)}"


def _slot_of(id_: ItemId) -> SlotId:
    return SlotId(id_.partition("/")[0])


def _id_of(name: str) -> ItemId:
    return ItemId(name.removeprefix(f"{_ITEMS}/"))
