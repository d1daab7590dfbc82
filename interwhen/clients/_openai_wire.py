"""Sends requests through a client of the `openai` package, with the client's keys, retries and connections."""

from __future__ import annotations

import functools
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx2
import msgspec
from openai._base_client import AsyncHttpxClientWrapper, SyncHttpxClientWrapper
from openai._models import FinalRequestOptions

from interwhen._engine.loop_thread import Running
from interwhen._types.errors import DECODE_ERRORS, ConnectError, ModelError, StreamClosed, StreamTimeout, UpstreamError
from interwhen.clients._upstream import Facts
from interwhen.models._token_servers import Place
from interwhen.models._transport import retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


# `SdkError` carries errors of the `openai` package through the engine. Other errors are converted to the package's.


class SdkError(UpstreamError):
    """Carries an exception of the SDK through the engine. The caller gets the ``original``.

    *in_body*: the connection broke or timed out while a body was read.
    """

    def __init__(self, original: Exception, *, retryable: bool = False, in_body: bool = False) -> None:
        response = getattr(original, "response", None)
        status = getattr(original, "status_code", None)
        body = ""
        if response is not None and status is not None:
            body = getattr(response, "text", "")
        wait = None if response is None else retry_after(response.headers)
        super().__init__(f"{type(original).__name__}: {original}", status=status, body=body, retry_after=wait)
        self.original = original
        self.in_body = in_body
        self._is_retryable = retryable or in_body

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self._is_retryable


def raise_sdk_error(error: ModelError, request: httpx2.Request | None) -> NoReturn:
    if isinstance(error, SdkError):
        raise error.original
    raise _as_sdk_error(error, request) from error


def _as_sdk_error(error: ModelError, request: httpx2.Request | None) -> Exception:
    import openai

    if isinstance(error, StreamTimeout):
        return openai.APITimeoutError(request=request)  # type: ignore[arg-type]
    if isinstance(error, ConnectError):
        return openai.APIConnectionError(message=str(error), request=request)  # type: ignore[arg-type]
    body = _error_body(error.body) if isinstance(error, UpstreamError) else None
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(error, UpstreamError) and not isinstance(message, str):
        message = "An error occurred during streaming"  # the words of the SDK
    return openai.APIError(message or str(error), request, body=body)  # type: ignore[arg-type]


def _error_body(text: str) -> Any:
    try:
        body = msgspec.json.decode(text)
    except DECODE_ERRORS:
        return text or None
    return body.get("error", body) if isinstance(body, dict) else body


_CLOSE_SECONDS = 1.0

Send = Callable[["FinalRequestOptions"], Awaitable[httpx2.Response]]
"""Sends a request as the SDK does, and returns an open, successful response."""


class SdkBody:
    """Makes *response*, which the SDK opened, usable as an `HttpResponse`."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        coded = response.headers.get("content-encoding", "identity") != "identity"
        source = response.aiter_bytes() if coded else cast("AsyncIterator[bytes]", response.stream)
        self._parts = cast("AsyncGenerator[bytes, None]", source.__aiter__())
        self._scope: anyio.CancelScope | None = None
        self._reading = False
        self._closed = False

    async def receive(self) -> bytes:
        if self._closed:
            raise StreamClosed
        self._reading = True
        with anyio.CancelScope() as self._scope:
            try:
                data = await self._parts.__anext__()
            except StopAsyncIteration:
                return b""
            except Exception as error:
                raise read_error(error, self._response.request) from error
            except BaseException:
                self._closed = True  # a cancelled read closes the connection
                raise
            finally:
                self._reading = False
            if not self._closed:
                return data
            # The bytes arrived before `aclose` was called, so the generators do not know that the body is closed.
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._response.aclose()
                await self._run_out()
        raise StreamClosed

    async def aclose(self) -> None:
        # A pending `receive` ends.
        idle, self._closed = not (self._closed or self._reading), True
        if self._scope is not None:
            self._scope.cancel()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._response.aclose()
            if idle:
                await self._run_out()

    async def _run_out(self) -> None:
        # Run the nested generators of the body to their end, which comes soon on a closed connection. `aclose()` would
        # end only the outermost, and leave the others to the garbage collector.
        with suppress(Exception):
            while True:
                await self._parts.__anext__()


class SdkTransport:
    """Sends the requests of one call through an SDK client; see :class:`~interwhen.clients._upstream.CallTransport`.

    *options* are those of the caller's request. The SDK repeats a request up to *retries* times.
    """

    def __init__(
        self,
        options: FinalRequestOptions,
        send: Send,
        list_models: Callable[[], Awaitable[bytes]],
        *,
        is_cancellable: bool = False,
        retries: int = 0,
    ) -> None:
        self._retries = retries
        self.is_cancellable = is_cancellable
        """Whether a request ends at once if its task is cancelled; a request in a worker thread does not."""
        self._options = options
        self._send = send
        self._list_models = list_models
        self.response: httpx2.Response | None = None
        """The response to the last accepted request of :meth:`open`."""
        self._first: httpx2.Response | None = None
        self.host = ""
        """Empty before :meth:`open` has succeeded once."""

    async def open(self, body: dict[str, Any], place: Place = "call") -> SdkBody:
        self.response = response = await self._accepted(body, place)
        self._first = self._first or response  # only its path is sure to be below the version
        self.host = response.request.url.netloc.decode("ascii", "replace")
        return SdkBody(response)

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        return await self._read(await self._accepted(body, place))

    async def get(self, facts: Facts) -> bytes:
        # Other paths are known only after `open` has succeeded once. Before, the answer is that for `models`.
        if facts == "models" or self._first is None:
            try:
                return await self._list_models()
            except Exception as error:
                raise SdkError(error) from error
        options = self._options.model_copy()
        options.method, options.url, options.json_data = "get", self._beside(facts, self._first), None
        options.max_retries = 0  # llama.cpp answers 501 without the option --slots
        return await self._read(await self._sent(options))

    async def _accepted(self, body: dict[str, Any], place: Place) -> httpx2.Response:
        options = self._options.model_copy()
        if place == "completions":
            options.url = "/completions"
        elif place.startswith("/") and self._first is not None:
            options.url = self._beside(place.removeprefix("/"), self._first)
            if place == "/apply-template":
                options.max_retries = 0  # a server without this path is asked in vain
        options.json_data = body
        return await self._sent(options)

    def _beside(self, path: str, response: httpx2.Response) -> str:
        url = response.request.url
        return str(url.copy_with(path=f"{url.path.partition('/v1/')[0]}/{path}", query=None))

    async def _read(self, response: httpx2.Response) -> bytes:
        try:
            return await response.aread()
        except Exception as error:
            raise read_error(error, response.request) from error

    async def _sent(self, options: FinalRequestOptions) -> httpx2.Response:
        options.extra_json = None
        options._strip_raw_response_header()  # noqa: SLF001  as the SDK itself does
        try:
            return await self._send(options)
        except Exception as error:
            # If the SDK has retried the request, another try would only make the caller wait.
            raise SdkError(error, retryable=not self._retries and _is_passing(error)) from error


def _is_passing(error: Exception) -> bool:
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code == 429 or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)


def read_error(error: Exception, request: httpx2.Request) -> Exception:
    import openai

    if isinstance(error, _kinds("TimeoutException")):
        sdk_error: Exception = openai.APITimeoutError(request=request)
    elif isinstance(error, (*_kinds("RequestError"), ssl.SSLError, anyio.EndOfStream)):
        sdk_error = openai.APIConnectionError(request=request)
    else:
        return SdkError(error)
    sdk_error.__cause__ = error
    return SdkError(sdk_error, in_body=True)


def _kinds(name: str) -> tuple[type[Exception], ...]:
    modules = (httpx2, sys.modules.get("httpx"))
    return tuple(getattr(module, name) for module in modules if module is not None)


# Requests of a sync SDK client, whose bodies are read on an event loop.
#
# The SDK prepares, sends and retries a request in a worker thread. `_Relay` replaces its HTTP client, and passes each
# request to an async HTTP client on the event loop, which then reads the body. If the user gave the SDK an HTTP client,
# it is not replaced, and worker threads read the body.


def sync_sender(bare: Any, loop: Running) -> tuple[Send, Callable[[], Awaitable[bytes]]]:
    is_default = type(bare._client) is SyncHttpxClientWrapper  # noqa: SLF001
    sender = _on_loop(bare, loop) if is_default else bare

    async def send(options: FinalRequestOptions) -> httpx2.Response:
        ask = functools.partial(sender.request, httpx2.Response, options, stream=True)
        response = await anyio.to_thread.run_sync(ask)
        return response if is_default else _read_by_threads(response)

    async def list_models() -> bytes:
        asked = FinalRequestOptions.construct(method="get", url="/models")
        response = await anyio.to_thread.run_sync(functools.partial(bare.request, httpx2.Response, asked))
        return cast("bytes", response.content)

    return send, list_models


def _on_loop(bare: Any, loop: Running) -> Any:
    sender = object.__new__(type(bare))
    sender.__dict__.update(bare.__dict__)
    relay = object.__new__(_Relay)
    relay.__dict__.update(bare._client.__dict__)  # noqa: SLF001
    relay.interwhen_loop = loop
    sender._client = relay
    return sender


class _Relay(httpx2.Client):
    """A sync HTTP client that passes its requests to an async client on the event loop ``interwhen_loop``."""

    interwhen_loop: Running

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        # The SDK reads the body of an error response in its own thread, so this body must already be read.
        return anyio.from_thread.run(functools.partial(self._send, request, options))

    async def _send(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        clients = self.interwhen_loop.clients
        client = clients.get("async")
        if client is None:
            client = clients["async"] = AsyncHttpxClientWrapper(base_url=self.base_url, timeout=self.timeout)
        response = await client.send(request, **{**options, "stream": True})
        if response.status_code < 400:
            return cast("httpx2.Response", response)
        content = await response.aread()
        headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
        return httpx2.Response(
            response.status_code, headers=headers, content=content, request=request, extensions=response.extensions
        )


class _ThreadStream(httpx2.AsyncByteStream):
    """Makes the body of a sync *response* readable on an event loop. Worker threads do the blocking reads."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._parts: Iterator[bytes] = response.iter_bytes()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await anyio.to_thread.run_sync(next, self._parts, None, abandon_on_cancel=True)) is not None:
            yield data

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._response.close)


def _read_by_threads(response: httpx2.Response) -> httpx2.Response:
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
    return httpx2.Response(
        response.status_code,
        headers=headers,
        stream=_ThreadStream(response),
        request=response.request,
        extensions=response.extensions,
    )
