"""JSON bodies of requests: small ones are decoded at once, large ones in another process.

Decoding holds the GIL, so a thread would stop the event loop, too. The process returns the values in pieces, and the
event loop serves other calls between two pieces.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_process
import msgspec

INLINE = 1 << 20
"""The largest body that is decoded in place, which takes about 2 ms."""
SECONDS = 15.0
"""The time limit for counting and decoding a body in another process."""
_PIECE = 1000
"""How many items of a list the process returns in one piece."""
# A string that is never closed also matches, up to the end of the data: a search that failed would begin again at the
# next quote, and `\"` repeated would take quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_decode = msgspec.json.Decoder(dict[str, Any]).decode

# Two limiters, so that the time limit of a body does not include its wait for a free process.
_turns = anyio.CapacityLimiter(2)
_processes = anyio.CapacityLimiter(2)

Pieces = list[tuple[str, list[bytes], bool]]
"""The fields of an object: the name, the pickled pieces of the value, and whether they are parts of a list."""


class TooManyValues(Exception):
    """Raised if a body has more JSON values than allowed."""


async def decode_object(data: bytes, most: int) -> dict[str, Any]:
    # Another process decodes large data, and data that may have too many values. Raises `TooManyValues`, `TimeoutError`
    # if that process takes too long, and the errors of msgspec if `data` is not a JSON object.
    # A text has hardly more values than commas and brackets, and most texts have few of them.
    if len(data) <= INLINE and (len(data) < most or count(data) < most):
        return _decode(data)
    async with _turns:
        with anyio.fail_after(SECONDS):
            pieces = await anyio.to_process.run_sync(in_pieces, data, most, cancellable=True, limiter=_processes)
            return await _joined(pieces)


def in_pieces(data: bytes, most: int) -> Pieces:
    if values(data) > most:
        raise TooManyValues
    pieces: Pieces = []
    for name, value in _decode(data).items():
        is_list = isinstance(value, list)
        parts = [value[at : at + _PIECE] for at in range(0, len(value), _PIECE)] if is_list else [value]
        pieces.append((name, [pickle.dumps(part, pickle.HIGHEST_PROTOCOL) for part in parts], is_list))
    return pieces


async def _joined(pieces: Pieces) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, parts, is_list in pieces:
        whole: list[Any] = []
        for part in parts:
            value = pickle.loads(part)  # noqa: S301  made by our own process, of JSON values only
            await anyio.lowlevel.checkpoint()
            if is_list:
                whole += value
        body[name] = whole if is_list else value
    return body


def values(data: bytes) -> int:
    return count(_STRING.sub(b'"', data))


def count(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[")
