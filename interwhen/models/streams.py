"""Help for writing a model adapter: a stream that may be closed while it is being read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio

from interwhen.errors import ConnectError, StreamClosed
from interwhen.models.base import Chunk


class GuardedStream:
    """A :class:`~interwhen.models.base.Stream` by way of one method, :meth:`fetch`.

    :meth:`aclose` cancels a pending :meth:`fetch`. That costs a cancel scope per read (about 3 µs); adapters
    whose source can be closed under a reader do better by implementing the protocol themselves.
    """

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._is_closed = False

    async def fetch(self) -> Sequence[Chunk]:
        """Wait for text; empty at the end."""
        raise NotImplementedError

    async def release(self) -> None:
        """Give back what the stream holds; called once."""

    async def receive(self) -> Sequence[Chunk]:
        """Return what :meth:`fetch` brings. Raises :class:`StreamClosed` when closed meanwhile."""
        if not self._is_closed:
            with anyio.CancelScope() as self._scope:
                return await self.fetch()
        raise StreamClosed("the stream is closed")

    async def aclose(self) -> None:
        """Stop: a pending read ends at once."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._scope is not None:
            self._scope.cancel()
        await self.release()


class IteratorStream(GuardedStream):
    """Makes a stream of an async iterator of text, for models that come with one.

    The last chunk gets the finish reason ``stop``. An iterator that was interrupted, by an exception of its own or
    by the cancellation of a read, has not come to its end: what follows is a
    :class:`~interwhen.errors.ConnectError`.
    """

    def __init__(self, texts: AsyncIterator[str]) -> None:
        super().__init__()
        self._texts = texts
        self._over = False
        self._is_whole = True

    async def fetch(self) -> Sequence[Chunk]:
        """Return the next text as one chunk."""
        if self._over:
            return ()
        if not self._is_whole:
            raise ConnectError("the iterator was interrupted before its end")
        try:
            return (Chunk(await anext(self._texts)),)
        except StopAsyncIteration:
            self._over = True
            return (Chunk("", tokens=0, finish_reason="stop"),)
        except BaseException:
            # A generator that has let an exception through says next that it is at its end, which it is not.
            self._is_whole = False
            raise

    async def release(self) -> None:
        """Close the iterator if it can be closed."""
        close = getattr(self._texts, "aclose", None)
        if close is not None and not self._over:
            try:
                await close()
            except RuntimeError:
                # An async generator that is being read ends by the cancellation of that read.
                return
