"""Streams of the `openai` package with the chunks of a supervised call."""

from __future__ import annotations

import asyncio
import datetime as dt
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

import httpx2
import msgspec
from openai import AsyncStream, Stream
from openai._constants import RAW_RESPONSE_HEADER
from openai._models import FinalRequestOptions
from openai._utils import is_given

from interwhen._engine.loop_thread import Running
from interwhen._types.errors import ModelError, StreamClosed
from interwhen._types.events import Event
from interwhen._types.results import Result
from interwhen.clients._calls import ApiCall
from interwhen.clients._chat_codec import Part, SupervisionInfo
from interwhen.clients._openai_wire import raise_sdk_error
from interwhen.clients._supervision import Supervised, whole
from interwhen.models._sse import END_MARK

# A queue passes parts from an event loop to a reader in another thread, because a round trip for each part is slow.

_AHEAD = 64
"""The most batches in the queue. When it is full, reading pauses, and TCP flow control slows the server."""


class Feed:
    """Iterates over the chunks of a supervised call in a sync thread. Meanwhile the event loop *loop* reads ahead."""

    # An error that ended the call is raised after the chunks before it; it is `StreamClosed` if the event loop ends
    # first.

    def __init__(self, supervised: Supervised, loop: Running) -> None:
        self._supervised = supervised
        self._loop = loop
        self._queue: SimpleQueue[list[Part] | BaseException | None] = SimpleQueue()
        self._room: asyncio.Event | None = None

    def __iter__(self) -> Iterator[Part]:
        self._loop.start(self._read)
        get = self._queue.get
        while batch := get():
            if isinstance(batch, BaseException):
                raise batch
            if self._room is not None and self._queue.qsize() < _AHEAD // 2:
                room, self._room = self._room, None
                self._loop.soon(room.set)
            yield from batch

    def close(self) -> None:
        # If its event loop has already ended, so has the call, and this does nothing.
        with suppress(RuntimeError):
            self._loop.call(self._supervised.aclose)

    async def _read(self) -> None:
        queue, parts = self._queue, self._supervised.parts
        try:
            while batch := await parts():
                queue.put(batch)
                if queue.qsize() >= _AHEAD:
                    self._room = room = asyncio.Event()
                    if (
                        queue.qsize() >= _AHEAD // 2
                    ):  # else the reader has emptied the queue already and would never set the event
                        await room.wait()
            queue.put(None)
        except Exception as error:  # noqa: BLE001  raised where the reader reads
            queue.put(error)
        except BaseException:
            queue.put(StreamClosed())
            raise


# Builds chunks as objects of the `openai` package, equal to the package's own. Plain ones are built faster.

Build = Callable[[dict[str, Any]], Any]

_PLAIN = (str, int, float, bool, type(None))
_set = object.__setattr__


def attach(made: Any, info: SupervisionInfo) -> Any:
    # The info is no field of the model, so it is put into `__dict__`. An object without one, such as a string, stays.
    if made is not None and hasattr(made, "__dict__"):
        made.__dict__["interwhen"] = info
    return made


def builder(cast_to: Any, slow: Build) -> Callable[[Part], Any]:
    """Return a function that converts a chunk to an object of *cast_to*. *slow* is the SDK's own conversion."""
    from openai.types.chat import ChatCompletionChunk

    build = _chat_builder(slow) if cast_to is ChatCompletionChunk else slow

    def make(part: Part) -> Any:
        return attach(build(part.chunk()), part.info)

    return make


def _chat_builder(slow: Build) -> Build:
    from openai.types.chat import ChatCompletionChunk
    from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

    chunks, choices, deltas = _Kind(ChatCompletionChunk), _Kind(Choice), _Kind(ChoiceDelta)
    if not (chunks.usable and choices.usable and deltas.usable):
        return slow

    def build(data: dict[str, Any]) -> Any:
        raw_choices = data.get("choices")
        if type(raw_choices) is not list or len(raw_choices) != 1 or type(raw_choices[0]) is not dict:
            return slow(data)
        choice = raw_choices[0]
        delta = choice.get("delta")
        if type(delta) is not dict or not (deltas.fits(delta) and choices.fits(choice, "delta")):
            return slow(data)
        if not chunks.fits(data, "choices"):
            return slow(data)
        return chunks.make(data, "choices", [choices.make(choice, "delta", deltas.make(delta))])

    return build


class _Kind:
    """Makes objects of the SDK class *cls* quickly, from the default values of its fields."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._defaults: dict[str, Any] = {}
        self.usable = True
        """Whether objects can be made in this way: no field has an alias or a default factory."""
        try:
            for name, field in cls.model_fields.items():
                self.usable = self.usable and field.alias is None and field.default_factory is None
                self._defaults[name] = None if field.is_required() else field.default
            self.usable = self.usable and cls.__pydantic_private__ is not NotImplemented
        except (AttributeError, TypeError):
            self.usable = False

    @staticmethod
    def fits(data: dict[str, Any], nested: str = "") -> bool:
        for name, value in data.items():  # noqa: SIM110  a generator would cost as much as the rest
            if type(value) not in _PLAIN and name != nested:
                return False
        return True

    def make(self, data: dict[str, Any], nested: str = "", inner: Any = None) -> Any:
        # Make an object from `data` as the SDK's `construct` does. The value of its field `nested` is `inner`.
        defaults = self._defaults
        made = self._cls.__new__(self._cls)
        fields = {**defaults, **data}
        extra: dict[str, Any] = {}
        if len(fields) != len(defaults):
            extra = {name: fields.pop(name) for name in data if name not in defaults}
        if nested:
            fields[nested] = inner
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_private__", None)
        _set(made, "__pydantic_extra__", extra)
        _set(made, "__pydantic_fields_set__", {name for name in data if name in defaults})
        return made


_T = TypeVar("_T")

KEY = "interwhen"
"""The key of the supervised call in ``extensions`` of a response."""


class AsyncBody(httpx2.AsyncByteStream):
    """The body of a supervised response, as an event stream of raw bytes."""

    def __init__(self, supervised: Supervised, request: httpx2.Request) -> None:
        self._supervised = supervised
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while parts := await self._supervised.parts():
                for part in parts:
                    yield b"data: %b\n\n" % part.line()
            if not self._supervised.is_cut:
                yield END_MARK
        except ModelError as error:
            raise_sdk_error(error, self._request)

    async def aclose(self) -> None:
        await self._supervised.aclose()


class SyncBody(httpx2.SyncByteStream):
    def __init__(self, supervised: Supervised, request: httpx2.Request, loop: Running) -> None:
        self._supervised = supervised
        self.feed = Feed(supervised, loop)
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self.feed:
                yield b"data: %b\n\n" % part.line()
            if not self._supervised.is_cut:
                yield END_MARK
        except ModelError as error:
            raise_sdk_error(error, self._request)

    def close(self) -> None:
        self.feed.close()


OPENED: ContextVar[tuple[list[Any], ...]] = ContextVar("interwhen_opened_streams", default=())
"""The lists that get the supervised streams that begin in this context, so that adapters can close them."""


class _Supervised(Generic[_T]):
    """Base class of the streams, whose chunks have a :class:`~interwhen.clients.SupervisionInfo`."""

    response: httpx2.Response
    _client: Any
    _cast_to: Any
    collected: list[Event] | None = None
    """The events of all chunks so far; ``None`` if they are not collected."""

    def __init__(self, *, cast_to: Any, response: httpx2.Response, client: Any, options: Any = None) -> None:
        self._supervised: Supervised = response.extensions[KEY]
        # A stream that is dropped before it is read has no generator to close it.
        weakref.finalize(self, self._supervised.leave)
        for opened in OPENED.get():
            opened.append(self)
        super().__init__(cast_to=cast_to, response=response, client=client, options=options)  # type: ignore[call-arg]

    @property
    def call_id(self) -> str:
        return self._supervised.call_id

    @property
    def result(self) -> Result | None:
        return self._supervised.result

    def _maker(self) -> Callable[[Part], Any]:
        make, collected = _maker(self._client, self._cast_to, self.response), self.collected
        if collected is None:
            return make

        def collecting(part: Part) -> Any:
            collected.extend(part.info.events)
            return make(part)

        return collecting


class SupervisedAsyncStream(_Supervised[_T], AsyncStream[_T], Generic[_T]):
    async def __stream__(self) -> AsyncIterator[_T]:
        make, parts_of = self._maker(), self._supervised.parts
        try:
            while parts := await parts_of():
                for part in parts:
                    yield make(part)
        except ModelError as error:
            raise_sdk_error(error, self.response.request)
        finally:
            await self.response.aclose()


class SupervisedStream(_Supervised[_T], Stream[_T], Generic[_T]):
    def __stream__(self) -> Iterator[_T]:
        make = self._maker()
        try:
            for part in cast("SyncBody", self.response.stream).feed:
                yield make(part)
        except ModelError as error:
            raise_sdk_error(error, self.response.request)
        finally:
            self.response.close()


def _maker(client: Any, cast_to: Any, response: httpx2.Response) -> Callable[[Part], Any]:
    process = client._process_response_data  # noqa: SLF001  what the SDK's own streams call

    def slow(data: dict[str, Any]) -> Any:
        return process(data=data, cast_to=cast_to, response=response)

    if client._strict_response_validation:  # noqa: SLF001
        return lambda part: attach(slow(part.chunk()), part.info)
    return builder(cast_to, slow)


# HTTP responses that the SDK parses. They have the server's status and headers, and the body of a supervised call.

_OF_THE_BODY = frozenset(("content-length", "content-encoding", "transfer-encoding", "content-type"))


def streamed(first: httpx2.Response, supervised: Supervised, body: Any, options: Any) -> httpx2.Response:
    return _response(first, options, "text/event-stream; charset=utf-8", {KEY: supervised}, stream=body)


def whole_response(first: httpx2.Response, call: ApiCall, parts: Sequence[Part], options: Any) -> httpx2.Response:
    content = msgspec.json.encode(whole(call.api, parts))
    return _response(first, options, "application/json", {}, content=content)


def with_info(options: FinalRequestOptions, info: SupervisionInfo) -> FinalRequestOptions:
    parse = options.post_parser

    def parsed(made: Any) -> Any:
        return attach(parse(made) if is_given(parse) else made, info)

    options = options.model_copy()
    options.post_parser = parsed
    return options


def _response(
    first: httpx2.Response, options: Any, kind: str, extensions: dict[str, Any], **body: Any
) -> httpx2.Response:
    headers = [(name, value) for name, value in first.headers.multi_items() if name.lower() not in _OF_THE_BODY]
    request = first.request
    raw = options.headers.get(RAW_RESPONSE_HEADER) if is_given(options.headers) else None
    if raw:
        # The SDK reads this header of the request to see whether its caller wants the raw response.
        request = httpx2.Request(
            request.method, str(request.url), headers=[*request.headers.multi_items(), (RAW_RESPONSE_HEADER, raw)]
        )
    response = httpx2.Response(
        first.status_code,
        headers=[*headers, ("content-type", kind)],
        request=request,
        extensions={**first.extensions, **extensions},
        **body,
    )
    response.elapsed = dt.timedelta(0)
    return response
