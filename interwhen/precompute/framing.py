"""How an entry of a store lies on a medium: a magic, a schema number, a checksum over all of it, and the payload.

::

    entry = b"IWPC" | schema: u16 | sha256(magic, schema, name, payload): 32 bytes | payload

With a key, the magic is ``IWSK`` and the sum is an HMAC-SHA-256 of the same: whoever can write to a shared medium, and
has not the key, cannot make an entry that is believed.

The name is part of the sum, so an entry that turns up under another name is as damaged as one with a flipped bit. The
layout of these 38 bytes is the same in every schema: an entry of another version is told from a damaged one.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

MAGIC = b"IWPC"
KEYED = b"IWSK"
"""The magic of an entry whose sum is keyed: only who has the key can write one."""
SCHEMA = 1
"""Raise it when what a payload means changes. Entries of other schemas are misses, and are left alone."""
_HEAD = struct.Struct(">4sH32s")


class Damaged(Exception):
    """The bytes are not what was written under this name."""


class Foreign(Exception):
    """The bytes are whole, and of another version's schema."""

    def __init__(self, schema: int) -> None:
        self.schema = schema
        super().__init__(f"schema {schema}, and this version reads {SCHEMA}")


class Locked(Exception):
    """The bytes are sealed with a key, and there is none here to tell whether they are whole."""


def seal(name: str, payload: bytes, key: bytes | None = None) -> bytes:
    """Return the entry for *payload* under *name*, sealed with *key* if there is one."""
    magic = MAGIC if key is None else KEYED
    return _HEAD.pack(magic, SCHEMA, _sum(name, SCHEMA, payload, key)) + payload


def unseal(name: str, entry: bytes, key: bytes | None = None) -> bytes:
    """Return the payload of *entry*, found under *name*.

    Raises :class:`Damaged` (also where there is a *key* and the entry is not sealed with it), :class:`Foreign`, or
    :class:`Locked`.
    """
    if len(entry) < _HEAD.size:
        raise Damaged(f"{len(entry)} bytes are too few for an entry")
    magic, schema, found = _HEAD.unpack_from(entry)
    payload = entry[_HEAD.size :]
    if magic not in (MAGIC, KEYED):
        raise Damaged("it does not begin like an entry")
    if key is None and magic == KEYED:
        raise Locked("it is sealed with a key: open the store with it")
    if key is not None and magic == MAGIC:
        raise Damaged("it is not sealed with the key of this store")
    if not hmac.compare_digest(found, _sum(name, schema, payload, key)):
        raise Damaged("its checksum does not match" if key is None else "it is not sealed with the key of this store")
    if schema != SCHEMA:
        raise Foreign(schema)
    return payload


def _sum(name: str, schema: int, payload: bytes, key: bytes | None) -> bytes:
    head = (MAGIC if key is None else KEYED) + schema.to_bytes(2, "big") + name.encode() + b"\0"
    if key is not None:
        return hmac.digest(key, head + payload, "sha256")
    return hashlib.sha256(head + payload).digest()
