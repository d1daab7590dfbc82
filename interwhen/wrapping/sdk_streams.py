"""Streams of the `openai` package that are fed by a supervised call."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar, cast

import httpx2
import msgspec
from openai import AsyncStream, Stream

from interwhen._engine.loop_thread import Running
from interwhen.errors import ModelError
from interwhen.events import Event
from interwhen.models.sse import END_MARK
from interwhen.results import Result
from interwhen.wrapping.facts import Part
from interwhen.wrapping.sdk_errors import raise_sdk_error
from interwhen.wrapping.sdk_feed import Feed
from interwhen.wrapping.sdk_objects import builder
from interwhen.wrapping.supervised import Supervised

_T = TypeVar("_T")

KEY = "interwhen"
"""Under which a response's extensions carry the supervised call."""


def as_event(part: Part) -> bytes:
    """Return *part* as the bytes of an event stream."""
    return b"data: " + (part.raw if part.raw is not None else msgspec.json.encode(part.body)) + b"\n\n"


class AsyncBody(httpx2.AsyncByteStream):
    """The body of a supervised response, for who reads it raw."""

    def __init__(self, supervised: Supervised, request: httpx2.Request) -> None:
        self._supervised = supervised
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while parts := await self._supervised.parts():
                for part in parts:
                    yield as_event(part)
            if not self._supervised.is_cut:
                yield END_MARK
        except ModelError as error:
            raise_sdk_error(error, self._request)

    async def aclose(self) -> None:
        """End the call."""
        await self._supervised.aclose()


class SyncBody(httpx2.SyncByteStream):
    """The same for a sync client."""

    def __init__(self, supervised: Supervised, request: httpx2.Request, loop: Running) -> None:
        self._supervised = supervised
        self.feed = Feed(supervised, loop)
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self.feed:
                yield as_event(part)
            if not self._supervised.is_cut:
                yield END_MARK
        except ModelError as error:
            raise_sdk_error(error, self._request)

    def close(self) -> None:
        """End the call."""
        self.feed.close()


class SupervisedAsyncStream(AsyncStream[_T], Generic[_T]):
    """An :class:`openai.AsyncStream` of chunks that carry :class:`~interwhen.wrapping.facts.Facts`."""

    def __init__(self, *, cast_to: Any, response: httpx2.Response, client: Any, options: Any = None) -> None:
        self._supervised: Supervised = response.extensions[KEY]
        # A stream that is forgotten before it is read has no generator whose end would close it.
        weakref.finalize(self, self._supervised.leave)
        super().__init__(cast_to=cast_to, response=response, client=client, options=options)

    noted: list[Event] | None = None
    """Where the events of all chunks are kept, for who wants them at the end."""

    @property
    def result(self) -> Result | None:
        """How the run ended, once the stream is over."""
        return self._supervised.result

    async def __stream__(self) -> AsyncIterator[_T]:
        supervised, response = self._supervised, self.response
        make = _maker(self._client, self._cast_to, response, self.noted)
        try:
            while parts := await supervised.parts():
                for part in parts:
                    yield make(part)
        except ModelError as error:
            raise_sdk_error(error, response.request)
        finally:
            await response.aclose()


class SupervisedStream(Stream[_T], Generic[_T]):
    """An :class:`openai.Stream` of chunks that carry :class:`~interwhen.wrapping.facts.Facts`."""

    def __init__(self, *, cast_to: Any, response: httpx2.Response, client: Any, options: Any = None) -> None:
        self._supervised: Supervised = response.extensions[KEY]
        weakref.finalize(self, self._supervised.leave)
        super().__init__(cast_to=cast_to, response=response, client=client, options=options)

    noted: list[Event] | None = None
    """Where the events of all chunks are kept, for who wants them at the end."""

    @property
    def result(self) -> Result | None:
        """How the run ended, once the stream is over."""
        return self._supervised.result

    def __stream__(self) -> Iterator[_T]:
        response = self.response
        make = _maker(self._client, self._cast_to, response, self.noted)
        try:
            for part in cast("SyncBody", response.stream).feed:
                yield make(part)
        except ModelError as error:
            raise_sdk_error(error, response.request)
        finally:
            response.close()


def _maker(client: Any, cast_to: Any, response: httpx2.Response, noted: list[Event] | None) -> Callable[[Part], Any]:
    make = _plain_maker(client, cast_to, response)
    if noted is None:
        return make

    def noting(part: Part) -> Any:
        noted.extend(part.facts.events)
        return make(part)

    return noting


def _plain_maker(client: Any, cast_to: Any, response: httpx2.Response) -> Callable[[Part], Any]:
    process = client._process_response_data  # noqa: SLF001  what the SDK's own streams call

    def slow(data: dict[str, Any]) -> Any:
        return process(data=data, cast_to=cast_to, response=response)

    if client._strict_response_validation:  # noqa: SLF001
        from interwhen.wrapping.sdk_objects import attach

        return lambda part: attach(slow(part.chunk()), part.facts)
    return builder(cast_to, slow)
