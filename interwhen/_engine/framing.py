"""Messages on a socket: never more than is there is read, so a half-written message holds nobody up."""

from __future__ import annotations

import socket
import struct

import anyio

MOST = 64 * 1024 * 1024
"""The most bytes of one message."""
_HEAD = struct.Struct("!4sI")
_MAGIC = b"iw1\n"
_BLOCK = 1 << 16


class Garbled(Exception):
    """What came is no message of ours."""


def framed(payload: bytes) -> bytes:
    """Return *payload* as it is sent. Raises :class:`Garbled` on one that is too large."""
    if len(payload) > MOST:
        raise Garbled(f"a message of {len(payload)} bytes is larger than {MOST}")
    return _HEAD.pack(_MAGIC, len(payload)) + payload


def length_of(head: bytes) -> int:
    """Return the length of the message that *head* announces. Raises :class:`Garbled`."""
    magic, length = _HEAD.unpack(head)
    if magic != _MAGIC or length > MOST:
        raise Garbled(f"it sent what is no answer: {head!r}")
    return int(length)


async def send(sock: socket.socket, payload: bytes) -> None:
    """Send one message on a socket that does not block."""
    rest = memoryview(framed(payload))
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def receive(sock: socket.socket) -> bytes:
    """Wait for one message. Raises :class:`EOFError` where the other side is gone, and :class:`Garbled`."""
    length = length_of(bytes(await _exactly(sock, _HEAD.size)))
    return bytes(await _exactly(sock, length))


async def _exactly(sock: socket.socket, count: int) -> bytearray:
    found = bytearray()
    while len(found) < count:
        try:
            part = sock.recv(min(count - len(found), _BLOCK))
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if not part:
            raise EOFError
        found += part
    return found


def send_blocking(sock: socket.socket, payload: bytes) -> None:
    """Send one message, in the child."""
    sock.sendall(framed(payload))


def receive_blocking(sock: socket.socket) -> bytes:
    """Wait for one message, in the child. Raises :class:`EOFError` where the other side is gone."""
    return _exactly_blocking(sock, length_of(_exactly_blocking(sock, _HEAD.size)))


def _exactly_blocking(sock: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = sock.recv(min(count - len(found), _BLOCK))
        if not part:
            raise EOFError
        found += part
    return bytes(found)
