"""The way to the server through a client of the `openai` package: its own requests, keys, retries and connections.

Only the reading of the body is ours: straight from the connection's bytes, past the SDK's decoding.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx2

from interwhen.errors import StreamClosed
from interwhen.wrapping.sdk_errors import Carried

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai._models import FinalRequestOptions

_CLOSE_SECONDS = 1.0

Send = Callable[["FinalRequestOptions"], Awaitable[httpx2.Response]]
"""Sends a request as the SDK does, and returns the open response of a success."""


class SdkBody:
    """An open response of the SDK; see :class:`~interwhen.models.transport.HttpResponse`."""

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
        """Wait for bytes of the body; empty at its end."""
        if self._closed:
            raise StreamClosed("the stream is closed")
        self._reading = True
        with anyio.CancelScope() as self._scope:
            try:
                return await self._parts.__anext__()
            except StopAsyncIteration:
                return b""
            except Exception as error:
                raise read_error(error, self._response.request) from error
            except BaseException:
                self._closed = True  # a cancelled read has taken the connection with it
                raise
            finally:
                self._reading = False
        raise StreamClosed("the stream was closed while it was read")

    async def aclose(self) -> None:
        """Close now; a read that waits ends at once."""
        idle, self._closed = not (self._closed or self._reading), True
        if self._scope is not None:
            self._scope.cancel()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._response.aclose()
            if idle:
                await self._run_out()

    async def _run_out(self) -> None:
        """Let the generators of the body end, one in another: on a closed connection they do so at once."""
        with suppress(Exception):
            while True:
                await self._parts.__anext__()


class SdkWire:
    """Sends the requests of one call through an SDK client; see :class:`~interwhen.wrapping.upstream.Wire`."""

    def __init__(self, options: FinalRequestOptions, send: Send, list_models: Callable[[], Awaitable[bytes]]) -> None:
        self._options = options
        self._send = send
        self._list_models = list_models
        self.response: httpx2.Response | None = None
        """The response to the last request that was accepted."""
        self.host = ""

    async def open(self, body: dict[str, Any]) -> SdkBody:
        """Send *body* and return the open response."""
        self.response = response = await self._accepted(body)
        self.host = response.request.url.netloc.decode("ascii", "replace")
        return SdkBody(response)

    async def ask(self, body: dict[str, Any]) -> bytes:
        """Send *body* and return the answer's body."""
        response = await self._accepted(body)
        try:
            return await response.aread()
        except Exception as error:
            raise read_error(error, response.request) from error

    async def models(self) -> bytes:
        """Return the list of models."""
        try:
            return await self._list_models()
        except Exception as error:
            raise Carried(error) from error

    async def _accepted(self, body: dict[str, Any]) -> httpx2.Response:
        options = self._options.model_copy()
        options.json_data = body
        options.extra_json = None
        options._strip_raw_response_header()  # noqa: SLF001  the SDK's own way to ask without it
        try:
            return await self._send(options)
        except Exception as error:
            raise Carried(error) from error


def read_error(error: Exception, request: httpx2.Request) -> Exception:
    """Return what to raise for *error*, which reading a body brought: carried, as the SDK says it."""
    import openai

    if isinstance(error, _kinds("TimeoutException")):
        found: Exception = openai.APITimeoutError(request=request)
    elif isinstance(error, (*_kinds("RequestError"), ssl.SSLError, anyio.EndOfStream)):
        found = openai.APIConnectionError(request=request)
    else:
        return Carried(error)
    found.__cause__ = error
    return Carried(found, retryable=True)


def _kinds(name: str) -> tuple[type[Exception], ...]:
    """Return the exception *name* of httpx2, and of httpx where the user's client is one of it.

    The SDK has functions for this, but only from 3.13 on, and in a private module.
    """
    modules = (httpx2, sys.modules.get("httpx"))
    return tuple(getattr(module, name) for module in modules if module is not None)
