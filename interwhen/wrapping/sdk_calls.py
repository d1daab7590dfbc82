"""Supervised calls over an SDK client, with the SDK's errors; the same for plain and for async code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from interwhen.errors import ModelError
from interwhen.wrapping.calls import Call
from interwhen.wrapping.facts import Part
from interwhen.wrapping.sdk_errors import Carried, raise_sdk_error
from interwhen.wrapping.sdk_wire import SdkWire, Send
from interwhen.wrapping.settings import Settings
from interwhen.wrapping.supervised import Supervised, supervise
from interwhen.wrapping.upstream import Endpoint

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions


@dataclass(frozen=True, slots=True)
class SdkCall:
    """One call and everything it takes to make it."""

    client: Any
    call: Call
    settings: Settings
    options: FinalRequestOptions
    endpoint: Endpoint
    send: Send
    list_models: Callable[[], Awaitable[bytes]]

    async def begin(self) -> tuple[Supervised, httpx2.Response]:
        """Send the request; return the supervised call and the head of the server's response."""
        wire = SdkWire(self.options, self.send, self.list_models)
        try:
            supervised = await supervise(self.call, self.settings, wire, self.endpoint)
        except ModelError as error:
            raise_sdk_error(error, wire.response.request if wire.response is not None else None)
        assert wire.response is not None
        return supervised, wire.response

    async def whole(self) -> tuple[list[Part], httpx2.Response]:
        """Return all parts, and the head of the server's response.

        A connection that breaks meanwhile is what a broken connection is to a call that does not stream: the SDK
        makes such a call again, as often as its client says, so this does.
        """
        tries = self.options.get_max_retries(self.client.max_retries)
        for left in range(tries, -1, -1):
            supervised, response = await self.begin()
            parts: list[Part] = []
            try:
                while more := await supervised.parts():
                    parts += more
            except ModelError as error:
                if not (isinstance(error, Carried) and error.retryable and left):
                    raise_sdk_error(error, response.request)
            else:
                return parts, response
            finally:
                await supervised.aclose()
            await anyio.sleep(self.client._calculate_retry_timeout(left, self.options))  # noqa: SLF001
        raise AssertionError
