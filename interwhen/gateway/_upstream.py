"""Requests to an upstream server: with the client's own headers, over connections that all calls share."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from interwhen._types.models import Timeouts
from interwhen.clients._upstream import Facts, ModelEndpoint
from interwhen.models._token_servers import Place
from interwhen.models._transport import HttpRequest, HttpResponse, Transport, exchange, open_stream, send_again

Method = Literal["GET", "POST", "DELETE"]
_KNOWN_MODELS = 256


class UpstreamServer:
    """One server, to which the gateway sends the requests for the models that match *patterns*.

    *url* includes the version (``/v1``). *authorization* is the header value for requests that have no key.
    """

    def __init__(
        self, url: str, patterns: tuple[str, ...], authorization: str, transport: Transport, timeouts: Timeouts
    ) -> None:
        self.url = url.rstrip("/")
        self.host = url.partition("://")[2].partition("/")[0]
        """Host and port, for errors, logs and metrics."""
        self.patterns = patterns
        for pattern in patterns:
            fnmatchcase("", pattern)  # compiles the pattern now, and not while streams are read
        self.endpoint = functools.lru_cache(maxsize=_KNOWN_MODELS)(
            lambda model: ModelEndpoint(timeouts, model=model, host=self.host)
        )
        self._authorization = authorization
        self._transport = transport
        self._timeouts = timeouts

    def request(
        self, method: Method, path: str, headers: dict[str, str], body: bytes = b"", *, below_version: bool = True
    ) -> HttpRequest:
        # If `headers` contain no key, the upstream's key is added. With `below_version`, `path` is relative to the
        # version (`/v1`) and not to the root of the server. Error messages name only the host, because clients see
        # them.
        if self._authorization and "authorization" not in headers and "api-key" not in headers:
            headers = {**headers, "authorization": self._authorization}
        root = self.url if below_version else self.url.removesuffix("/v1")
        return HttpRequest(method, f"{root}/{path}", headers, body, self.host)

    async def send(self, request: HttpRequest) -> HttpResponse:
        # Send `request`. Return the response, of any status, as soon as its status and headers have arrived. If the
        # server had probably closed the kept connection, the request is sent once more. Raises `ModelError` if the
        # server cannot be reached.
        return await send_again(self._transport, request, self._timeouts)

    async def stream(self, request: HttpRequest) -> HttpResponse:
        # Raises `ModelError` if the server cannot be reached or refuses the request.
        return await open_stream(self._transport, request, self._timeouts, whole_too=True)

    async def ask(self, request: HttpRequest, timeouts: Timeouts | None = None) -> bytes:
        # `timeouts` replace those of the server. Raises `ModelError` if the server cannot be reached or refuses the
        # request.
        return await exchange(self._transport, request, timeouts or self._timeouts)


class GatewayTransport:
    """Sends the requests of one call to *upstream*, with the client's *headers*. *path* is that of the call."""

    # It implements `CallTransport`.

    def __init__(self, upstream: UpstreamServer, path: str, headers: dict[str, str]) -> None:
        self._upstream = upstream
        self._path = path
        self._headers = {**headers, "content-type": "application/json"}
        self.response: HttpResponse | None = None
        """The first response that was accepted."""

    @property
    def host(self) -> str:
        return self._upstream.host

    is_cancellable = True

    async def open(self, body: dict[str, Any], place: Place = "call") -> HttpResponse:
        # `place` is `call`, for the path of the call, or another path. Raises `ModelError` if the server cannot be
        # reached or refuses the request.
        headers = {**self._headers, "accept": "text/event-stream"}
        response = await self._upstream.stream(self._post(headers, body, place))
        self.response = self.response or response
        return response

    async def ask(self, body: dict[str, Any], place: Place = "call") -> bytes:
        # `place` is that of `open`. Raises `ModelError` if the server cannot be reached or refuses the request.
        return await self._upstream.ask(self._post({**self._headers, "accept": "application/json"}, body, place))

    async def get(self, facts: Facts) -> bytes:
        # Raises `ModelError` if the server cannot be reached or refuses the request.
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        headers["accept"] = "application/json"
        request = self._upstream.request("GET", facts, headers, below_version=facts == "models")
        return await self._upstream.ask(request)

    def _post(self, headers: dict[str, str], body: dict[str, Any], place: Place) -> HttpRequest:
        path = self._path if place == "call" else place.removeprefix("/")
        return self._upstream.request(
            "POST", path, headers, msgspec.json.encode(body), below_version=not place.startswith("/")
        )
