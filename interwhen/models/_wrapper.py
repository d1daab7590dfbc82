"""Base classes for models and streams that wrap another one and change some of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interwhen._types.models import Capabilities, Chunk, Completion, Model, Request, Stream


class ModelWrapper:
    """Passes all calls on to *model*.

    Optional attributes, such as ``timeouts``, ``feedback`` and ``retries``, are those of *model*, too.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # it is not there yet, for example in a copy that is being made
            raise AttributeError(name)
        return getattr(self._model, name)

    @property
    def name(self) -> str:
        return self._model.name

    async def capabilities(self) -> Capabilities:
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        return await self._model.stream(request)

    async def complete(self, request: Request) -> Completion:
        return await self._model.complete(request)

    async def aclose(self) -> None:
        await self._model.aclose()


class StreamWrapper:
    """Passes the calls of a stream on to *stream*. A subclass changes :meth:`receive`, and learns of the end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._is_over = False

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)

    async def receive(self) -> Sequence[Chunk]:
        return await self._stream.receive()

    def finish(self) -> None:
        """Handle the end of the stream. It is called once, before the stream is closed."""

    def settle(self) -> bool:
        # Close the stream, if that needs no waiting. Return whether this call closed it.
        settle = getattr(self._stream, "settle", None)
        if settle is None or not settle():
            return False
        self.end()
        return True

    async def aclose(self) -> None:
        self.end()
        await self._stream.aclose()

    def end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.finish()
