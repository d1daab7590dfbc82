"""One exchange with a server: send, follow, look at the head before the body, translate refusals."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import anyio

from interwhen.errors import ModelError, StreamProtocolError, StreamTimeout, UnexpectedForm, UpstreamError
from interwhen.models.refusals import EXCERPT, refusal
from interwhen.models.transport import HttpRequest, HttpResponse, Timeouts, Transport

_MAX_REDIRECTS = 3
_MAX_BODY = 16 << 20
"""Bytes of a whole (not streamed) answer."""
_STREAMS = ("text/event-stream", "application/octet-stream", "text/plain")
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def open_stream(
    transport: Transport, request: HttpRequest, timeouts: Timeouts, *, whole_too: bool = False
) -> HttpResponse:
    """Send *request* and return its response, whose head says that an event stream follows.

    With *whole_too*, a body of JSON will do: of a server that does not stream.

    Raises what :func:`exchange` raises, and :class:`~interwhen.errors.UnexpectedForm` for another content type.
    """
    response = await _send(transport, request, timeouts)
    kind = response.headers.get("content-type", "")
    # A server that names no type, or a vague one, is given the benefit of the doubt: its first line will tell.
    if kind and not kind.startswith((*_STREAMS, "application/json") if whole_too else _STREAMS):
        sample = await _excerpt(response)
        if kind.startswith("application/json") and b'"error"' in sample:
            raise refusal(sample)
        raise UnexpectedForm(f"expected an event stream, got {kind!r}", offset=0, sample=sample)
    return response


async def exchange(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> bytes:
    """Send *request* and return the whole body of its answer.

    Raises :class:`~interwhen.errors.UpstreamError` (or a kind of it) for a status that is no success,
    :class:`~interwhen.errors.ConnectError`, and :class:`~interwhen.errors.StreamTimeout` after ``timeouts.total``
    seconds (where that is ``None``: after ``first_token`` for the head, and as long again for the body).
    """
    response = await _send(transport, request, timeouts)
    limit = timeouts.first_token if timeouts.total is None else timeouts.total
    try:
        with anyio.fail_after(limit):
            body = await _read(response, _MAX_BODY)
    except TimeoutError as exc:
        raise StreamTimeout("total", limit or 0.0) from exc
    finally:
        await response.aclose()
    if len(body) > _MAX_BODY:
        raise StreamProtocolError(f"an answer larger than {_MAX_BODY} bytes", offset=_MAX_BODY, sample=body)
    return body


async def _send(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
    """Send *request*, follow redirects on the same host, and return the response of a success."""
    for _ in range(_MAX_REDIRECTS + 1):
        response = await _head(transport, request, timeouts)
        if 200 <= response.status < 300:
            await _refuse_encoded(request, response)
            return response
        if response.status not in {307, 308}:
            body = await _excerpt(response)
            raise refusal(body, status=response.status, headers=response.headers)
        await response.aclose()
        request = _redirected(request, response)
    raise UpstreamError(f"{request.name!r} redirects in a circle", status=response.status)


async def _head(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
    limit = timeouts.first_token
    try:
        with anyio.fail_after(limit):
            return await transport.send(request, connect_timeout=timeouts.connect)
    except TimeoutError as exc:
        raise StreamTimeout("first_token", limit or 0.0) from exc


async def _refuse_encoded(request: HttpRequest, response: HttpResponse) -> None:
    """Refuse a compressed body: none was asked for, and what decompresses a stream holds its tokens back."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        await response.aclose()
        raise UnexpectedForm(
            f"{request.name!r} sent a body in {coding!r}, which was not asked for; switch compression off there",
            offset=0,
        )


def _redirected(request: HttpRequest, response: HttpResponse) -> HttpRequest:
    """Point *request* to the new place, if that is the same server: the request carries the prompt and the key."""
    location = response.headers.get("location", "")
    url = urljoin(request.url, location)
    if not location or not _same_server(request.url, url):
        raise UpstreamError(
            f"{request.name!r} redirects to {_redacted(request, location)}; if that is right, use it as base_url",
            status=response.status,
        )
    return replace(request, url=url)


def _redacted(request: HttpRequest, location: str) -> str:
    """Return where it is redirected to, for an error: who is not to see the one URL is not to see the other."""
    return "another server" if request.alias else f"{location!r}, another server"


def _same_server(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    if before.hostname != after.hostname or after.scheme not in _DEFAULT_PORTS:
        return False
    ports = tuple(parts.port or _DEFAULT_PORTS[parts.scheme] for parts in (before, after))
    upgraded = (before.scheme, after.scheme, *ports) == ("http", "https", 80, 443)
    return upgraded or (before.scheme == after.scheme and ports[0] == ports[1])


async def _excerpt(response: HttpResponse) -> bytes:
    """Read the start of an error body; what cannot be read is left out, for the status matters more."""
    body = b""
    try:
        with anyio.move_on_after(5.0):
            body = await _read(response, 4 * EXCERPT)
    except ModelError:
        pass
    finally:
        await response.aclose()
    return body


async def _read(response: HttpResponse, limit: int) -> bytes:
    body = bytearray()
    while len(body) <= limit and (data := await response.receive()):
        body += data
    return bytes(body)
