"""litellm: adds the facts of a supervised call to its response."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from interwhen._engine.callbacks import WatchedCalls, watching
from interwhen.integrations._facts import with_facts

__all__ = ["attach_facts"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def attach_facts(function: FunctionT) -> FunctionT:
    """Wrap *function* (``litellm.completion`` or ``acompletion``) so that its responses have the facts of the call.

    Pass a client from :func:`interwhen.wrap` to the returned function as ``client``. The facts are in
    ``response._hidden_params["interwhen"]``; a stream has them once it was read to its end, and so have its last chunk
    and what ``litellm.stream_chunk_builder`` makes of its chunks. Without a supervised call, nothing is added.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def attached_async(*args: Any, **options: Any) -> Any:
            with watching() as seen:
                response = await function(*args, **options)
            return _AsyncStreamWithFacts(response, seen) if options.get("stream") else _attached(response, seen)

        return attached_async  # type: ignore[return-value]

    @functools.wraps(function)
    def attached(*args: Any, **options: Any) -> Any:
        with watching() as seen:
            response = function(*args, **options)
        return _StreamWithFacts(response, seen) if options.get("stream") else _attached(response, seen)

    return attached  # type: ignore[return-value]


def _attached(response: Any, seen: WatchedCalls) -> Any:
    response._hidden_params = with_facts(response._hidden_params, seen)  # noqa: SLF001  litellm documents this name
    return response


class _FactsAtEnd:
    """Base class: attaches the facts of the last call in *seen* to the litellm stream *stream* when the call ends."""

    def __init__(self, stream: Any, seen: WatchedCalls) -> None:
        self._stream = stream
        self._seen = seen
        self._first: Any = None

    def _passed(self, chunk: Any) -> Any:
        self._first = self._first or chunk
        if self._seen:  # the call has ended, so this may be the last chunk
            _attached(chunk, self._seen)
            self._end()
        return chunk

    def _end(self) -> None:
        if self._seen:
            _attached(self._stream, self._seen)
            # litellm takes the hidden parameters of a whole answer from the first chunk.
            if self._first is not None:
                _attached(self._first, self._seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _StreamWithFacts(_FactsAtEnd):
    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._passed(next(self._stream))
        except StopIteration:
            self._end()
            raise


class _AsyncStreamWithFacts(_FactsAtEnd):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return self._passed(await anext(self._stream))
        except StopAsyncIteration:
            self._end()
            raise
