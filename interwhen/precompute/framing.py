"""How an entry of a store lies on a medium: a magic, a schema number, a checksum over all of it, and the payload.

::

    entry = b"IWPC" | schema: u16 | sha256(magic, schema, name, payload): 32 bytes | payload

The name is part of the sum, so an entry that turns up under another name is as damaged as one with a flipped bit. The
layout of these 38 bytes is the same in every schema: an entry of another version is told from a damaged one.
"""

from __future__ import annotations

import hashlib
import struct

MAGIC = b"IWPC"
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


def seal(name: str, payload: bytes) -> bytes:
    """Return the entry for *payload* under *name*."""
    return _HEAD.pack(MAGIC, SCHEMA, _sum(name, SCHEMA, payload)) + payload


def unseal(name: str, entry: bytes) -> bytes:
    """Return the payload of *entry*, found under *name*. Raises :class:`Damaged` or :class:`Foreign`."""
    if len(entry) < _HEAD.size:
        raise Damaged(f"{len(entry)} bytes are too few for an entry")
    magic, schema, found = _HEAD.unpack_from(entry)
    payload = entry[_HEAD.size :]
    if magic != MAGIC:
        raise Damaged("it does not begin like an entry")
    if found != _sum(name, schema, payload):
        raise Damaged("its checksum does not match")
    if schema != SCHEMA:
        raise Foreign(schema)
    return payload


def _sum(name: str, schema: int, payload: bytes) -> bytes:
    head = MAGIC + schema.to_bytes(2, "big") + name.encode() + b"\0"
    return hashlib.sha256(head + payload).digest()
