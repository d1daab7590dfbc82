"""From an event loop to a reader in another thread: parts by way of a queue, so that none waits for a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue

from interwhen._engine.loop_thread import Running
from interwhen.errors import StreamClosed
from interwhen.wrapping.facts import Part
from interwhen.wrapping.supervised import Supervised

_AHEAD = 64
"""How many batches may wait for the reader; then reading stops, and the server with it."""


class Feed:
    """Reads a supervised call on its loop, a little ahead of the thread that iterates over this."""

    def __init__(self, supervised: Supervised, loop: Running) -> None:
        self._supervised = supervised
        self._loop = loop
        self._queue: SimpleQueue[list[Part] | BaseException | None] = SimpleQueue()
        self._room: asyncio.Event | None = None

    def __iter__(self) -> Iterator[Part]:
        self._loop.start(self._read)
        get = self._queue.get
        while found := get():
            if isinstance(found, BaseException):
                raise found
            if self._room is not None and self._queue.qsize() < _AHEAD // 2:
                room, self._room = self._room, None
                self._loop.soon(room.set)
            yield from found

    def close(self) -> None:
        """End the call; where its loop has ended, it has ended, too."""
        with suppress(RuntimeError):
            self._loop.call(self._supervised.aclose)

    async def _read(self) -> None:
        queue, parts = self._queue, self._supervised.parts
        try:
            while found := await parts():
                queue.put(found)
                if queue.qsize() >= _AHEAD:
                    self._room = room = asyncio.Event()
                    if queue.qsize() >= _AHEAD // 2:  # else the reader came first, and will set nothing
                        await room.wait()
            queue.put(None)
        except Exception as error:  # noqa: BLE001  raised where the reader reads
            queue.put(error)
        except BaseException:
            queue.put(StreamClosed("the client was closed"))
            raise
