"""How records lie in a file: each with its length, and a checksum that chains it to all before it.

::

    magic (8 bytes) | schema (u32) | CRC-32 of both (u32)
    length (u32) | CRC-32 (u32) | payload            for each record, all little-endian

The checksum goes on from that of the record before, so a record that is whole but out of its place (left by an older
file, or behind one that was lost) is as bad as a torn one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from interwhen.errors import JournalError

MAGIC = b"\x89IWJ\r\n\x1a\n"
"""Not text, and changed by whatever takes it for text: the idea is PNG's."""
SCHEMA = 1

_HEAD = struct.Struct("<8sI")
_U32 = struct.Struct("<I")
START = _HEAD.size + _U32.size
"""Where the first record lies."""


class Frame(NamedTuple):
    """One record that is whole."""

    payload: bytes
    end: int
    """The offset behind it."""
    chain: int
    """The checksum that the next record goes on from."""


def preamble() -> tuple[bytes, int]:
    """Return the beginning of a file, and the checksum that its first record goes on from."""
    head = _HEAD.pack(MAGIC, SCHEMA)
    chain = crc32(head)
    return head + _U32.pack(chain), chain


def frame(payload: bytes, chain: int) -> tuple[bytes, int]:
    """Return *payload* as it is written behind a record whose checksum is *chain*, and its own checksum."""
    size = _U32.pack(len(payload))
    chain = crc32(payload, crc32(size, chain))
    return size + _U32.pack(chain) + payload, chain


def frames(data: bytes, path: str) -> Iterator[Frame]:
    """Yield the records of a whole file up to the first that is torn or damaged.

    Raises :class:`~interwhen.errors.JournalError` where *data* is no journal, or one of another schema.
    """
    if len(data) < START or not data.startswith(MAGIC):
        raise JournalError(path, "this is no journal, or one that was cut before its first record")
    (chain,) = _U32.unpack_from(data, _HEAD.size)
    if crc32(data[: _HEAD.size]) != chain:
        raise JournalError(path, "its first bytes are damaged")
    _, schema = _HEAD.unpack_from(data)
    if schema != SCHEMA:
        raise JournalError(
            path,
            f"it has schema {schema}, and this version of interwhen reads schema {SCHEMA}"
            + (": a newer one wrote it, so update interwhen" if schema > SCHEMA else ""),
        )
    at = START
    while at + 2 * _U32.size <= len(data):
        (size,) = _U32.unpack_from(data, at)
        (said,) = _U32.unpack_from(data, at + _U32.size)
        begin = at + 2 * _U32.size
        end = begin + size
        if end > len(data):
            return
        payload = data[begin:end]
        found = crc32(payload, crc32(data[at : at + _U32.size], chain))
        if found != said:
            return
        yield Frame(payload, end, found)
        at, chain = end, found
