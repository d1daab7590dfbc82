"""Requests of an SDK client for plain code, read on an event loop.

The SDK prepares, sends and retries in a worker thread, as it always does, but its HTTP client hands each request to
an async one on the loop, where the body is then read. A client with an HTTP client of the user's own keeps it: then
the body is read by worker threads.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import anyio.from_thread
import anyio.to_thread
import httpx2
from openai._base_client import AsyncHttpxClientWrapper, SyncHttpxClientWrapper
from openai._models import FinalRequestOptions

from interwhen._engine.loop_thread import Running
from interwhen.wrapping.sdk_wire import Send


def sync_sender(bare: Any, loop: Running) -> tuple[Send, Callable[[], Awaitable[bytes]]]:
    """Return what sends requests as *bare* does, and what asks it for the list of models."""
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
    """Return a client like *bare* whose requests are sent on *loop*."""
    sender = object.__new__(type(bare))
    sender.__dict__.update(bare.__dict__)
    relay = object.__new__(_Relay)
    relay.__dict__.update(bare._client.__dict__)  # noqa: SLF001
    relay.interwhen_loop = loop
    sender._client = relay
    return sender


class _Relay(httpx2.Client):
    """An HTTP client that hands requests to an async one; it is used in worker threads of that one's loop."""

    interwhen_loop: Running

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send *request*; an answer that is an error comes whole."""
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
    """The body of a response for plain code, read by worker threads."""

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
