"""HTTP requests of models: transports, responses, errors and retries."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import anyio
import msgspec

from interwhen._types.errors import (
    DECODE_ERRORS,
    ConnectError,
    ContextOverflow,
    ModelError,
    RateLimited,
    StreamProtocolError,
    StreamTimeout,
    UnexpectedForm,
    UpstreamError,
    UsageError,
    without_user,
)
from interwhen._types.log import log_info
from interwhen._types.models import Retries, Timeouts

if TYPE_CHECKING:
    import asyncio
    import ssl

T = TypeVar("T")

_OF_TRANSPORT = frozenset(("content-length", "host", "transfer-encoding"))
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[^\x01-\x09\x0b\x0c\x0e-\xff]")
"""What a header must not contain: line ends, which would begin another header, NUL, and text beyond Latin-1."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The ``headers`` may contain an API key, so the repr does not show them.

    If ``alias`` is not empty, error messages show it instead of the URL.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    alias: str = ""

    @property
    def name(self) -> str:
        return self.alias or self.url

    def header_fields(self) -> list[tuple[bytes, bytes]]:
        fields = []
        for name, value in self.headers.items():
            if name.lower() in _OF_TRANSPORT or not _HEADER_NAME.fullmatch(name):
                raise UsageError(
                    f"headers={{...}} must not have {name!r:.100}: the transport sets this header, or the name "
                    "is invalid; remove it"
                )
            if not isinstance(value, str):
                raise UsageError(f"the header {name!r:.100} must be a text, got {value!r:.60}: correct or remove it")
            if (match := _NOT_IN_A_VALUE.search(value)) is not None:
                raise UsageError(
                    f"the header {name!r:.100} must be one line of Latin-1 text without NUL, got {match[0]!r} in it: "
                    "remove it from the API key or headers={...}"
                )
            fields.append((name.encode("ascii"), value.encode("latin-1")))
        return fields


class HttpResponse(Protocol):
    """An HTTP response whose head has arrived. Its body is read while it arrives.

    A response may have a synchronous method ``settle()``. If the response is complete and was read, the method closes
    it and returns true, else false.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The names are in lower case."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes of the body and return them; empty at the end of the body.

        Raises :class:`~interwhen.models.ModelError` if the connection breaks or the body is not valid HTTP, and
        :class:`~interwhen.models.StreamClosed` as soon as another task calls :meth:`aclose`. There is no timeout. If
        the waiting task is cancelled, the connection closes.
        """
        ...

    async def aclose(self) -> None:
        """Close the response. The connection can stay open for other requests if the body was read to its end.

        Any task may call this at any time, also more than once. It does not wait for the server.
        """
        ...


class Transport(Protocol):
    """Sends HTTP requests, and keeps connections open for later requests."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request*, and return the response when its head has arrived. Redirects are not followed.

        Raises :class:`~interwhen.models.StreamTimeout` if there is no connection within *connect_timeout* seconds,
        :class:`~interwhen.models.ConnectError` if the connection fails,
        :class:`~interwhen.models.StreamProtocolError` if the response is not valid HTTP, and
        :class:`~interwhen.UsageError` for an invalid URL or header. The attribute ``stale`` of a ``ConnectError`` is
        true if probably only a reused connection had broken, so that the request can be sent again.
        """
        ...

    async def aclose(self) -> None: ...


KEPT_CONNECTIONS = 64
"""How many idle connections a pool keeps. The number of connections in use is not limited."""
KEEPALIVE_SECONDS = 4.0
"""For how many seconds an idle connection may be used again. Uvicorn closes it after 5 s, so this is less."""


def scheme_and_host(url: str) -> tuple[str, str]:
    # The host includes a port, but no user name and password.
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def environment_proxy(scheme: str, host: str) -> str | None:
    # On macOS and Windows, the settings of the system may be used.
    import urllib.request  # with http.client and email, a tenth of the time that `import interwhen` may take

    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy


# Opening a connection on the running asyncio loop. A host may have several addresses; the first that answers is used.

P = TypeVar("P", bound="asyncio.Protocol")

_TRY_SECONDS = 1.0
"""How many seconds to wait for one address of a host before the next address is tried."""


async def connect(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    local: tuple[str, int] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[asyncio.Transport, P]:
    # `local` is the IP address and the port of this machine to connect from. Raises `OSError` if no address answers or
    # TLS fails, and `UnicodeError` if `host` is no valid name.
    import asyncio

    # Not in parallel (RFC 8305): happy_eyeballs_delay of asyncio leaks a socket if it is cancelled in the wrong
    # iteration of the loop, and uvloop does not have it.
    loop = asyncio.get_running_loop()
    name = host if context is not None else None
    addresses = await _addresses(loop, host, port)
    for family, address in addresses[:-1]:
        with anyio.move_on_after(_TRY_SECONDS), contextlib.suppress(OSError):
            return await loop.create_connection(
                factory, address, port, family=family, local_addr=local, ssl=context, server_hostname=name
            )
    family, address = addresses[-1]
    return await loop.create_connection(
        factory, address, port, family=family, local_addr=local, ssl=context, server_hostname=name
    )


def not_a_url(url: str) -> str:
    return (
        f"the URL of a server must begin with http:// or https:// and name a host, got {without_user(url)!r:.200}: "
        "correct base_url"
    )


def describe_error(exc: OSError | UnicodeError) -> str:
    import ssl

    if isinstance(exc, OSError) and not isinstance(exc, (socket.gaierror, ssl.SSLError)) and exc.errno:
        return os.strerror(exc.errno)
    return str(exc)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[tuple[int, str]]:
    with contextlib.suppress(ValueError):
        return [(socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6, host)]
    resolved = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, *_, address in resolved]


EXCERPT = 2000
"""How many bytes of an error body an exception keeps, at most."""

_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# The wording of OpenAI, vLLM, SGLang, llama.cpp and TGI, which use different codes.
_OVERFLOW_WORDS = re.compile(
    r"maximum context|context[ _-](length|size|window)|longer than the model|max_model_len|maximum (model|input) length"
    r"|`?inputs`? tokens \+ `?max_new_tokens",
    re.IGNORECASE,
)


_HINTS = {
    401: "check the API key",
    403: "check the rights of the API key",
    404: "check the model's name, and that base_url includes the version, such as /v1",
    429: "wait, or send fewer requests",
}


class _ErrorBody(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    detail: str | None = None
    error: Any = None


# Made here, because msgspec evaluates the annotations of a struct when its first decoder is made, which takes too long
# for an event loop that reads streams. The same holds for the patterns.
_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_STATUS = re.compile(r"[45]\d\d")
_NUMBER = re.compile(r"\d{1,9}(\.\d*)?")


def refusal(body: bytes, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> UpstreamError:
    # Without `status`, it is the error of an event inside a stream, whose code may be an HTTP status.
    message, code = _describe(body)
    if status is None and code is not None and _STATUS.fullmatch(code):
        status = int(code)
    kind: type[UpstreamError] = UpstreamError
    if status == 429:
        kind = RateLimited
    elif (status is None or status < 500) and (code in _OVERFLOW_CODES or _OVERFLOW_WORDS.search(message)):
        kind = ContextOverflow
    what = "an error inside the stream" if status is None else f"status {status}"
    if kind is ContextOverflow:
        hint = "shorten the prompt, or ask for fewer tokens"
    elif status is not None and 400 <= status < 500:
        hint = _HINTS.get(status, "correct what it names")
    else:
        hint = "see the log of the server"
    return kind(
        f"the server answered with {what}: {message[:200]!r}; {hint}",
        status=status,
        code=code,
        body=body[:EXCERPT].decode(errors="replace"),
        retry_after=retry_after(headers or {}),
    )


def _describe(body: bytes) -> tuple[str, str | None]:
    try:
        error = _decode_error(body)
        if isinstance(error.error, str):
            error = _ErrorBody(message=error.error)
        elif error.error is not None:
            error = msgspec.convert(error.error, _ErrorBody)
    except DECODE_ERRORS:
        return body[:EXCERPT].decode(errors="replace").strip(), None
    code = error.code if error.code is not None else error.type
    if isinstance(code, int) and error.type in _OVERFLOW_CODES:
        code = error.type
    return error.message or error.detail or "", None if code is None else str(code)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    # `now` is the current Unix time.
    if (text := headers.get("retry-after-ms")) and _NUMBER.fullmatch(text):
        return float(text) / 1000
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        from email.utils import parsedate_to_datetime

        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # the old form of asctime, which is also in UTC (RFC 9110, section 5.6.7)
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


_MAX_REDIRECTS = 3
MAX_BODY = 16 << 20
"""The limit for a response that is not streamed, in bytes."""
_STREAMS = ("text/event-stream", "application/octet-stream", "text/plain")
DEFAULT_PORTS = {"http": 80, "https": 443}


async def open_stream(
    transport: Transport, request: HttpRequest, timeouts: Timeouts, *, whole_too: bool = False
) -> HttpResponse:
    # The caller closes the response. With `whole_too`, JSON is also accepted, for servers that do not stream.
    response = await _send(transport, request, timeouts)
    kind = response.headers.get("content-type", "")
    # A missing or vague content type is accepted: the decoder sees at the first line whether it is an event stream.
    if kind and not kind.startswith((*_STREAMS, "application/json") if whole_too else _STREAMS):
        sample = await _excerpt(response)
        if kind.startswith("application/json") and b'"error"' in sample:
            raise refusal(sample)
        raise UnexpectedForm(
            f"{request.name!r} must answer with an event stream, got content-type {kind!r:.100}",
            offset=0,
            sample=sample,
            hint="check base_url, and that the server can stream",
        )
    return response


async def exchange(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> bytes:
    total, begun = timeouts.total, anyio.current_time()
    try:
        with anyio.fail_after(total):
            response = await _send(transport, request, timeouts)
    except TimeoutError as exc:
        raise StreamTimeout("total", total or 0.0) from exc
    limit = timeouts.first_token if total is None else max(begun + total - anyio.current_time(), 0.0)
    try:
        with anyio.fail_after(limit):
            body = await read_body(response, MAX_BODY)
    except TimeoutError as exc:
        if total is None:
            raise StreamTimeout("first_token", limit or 0.0) from exc
        raise StreamTimeout("total", total) from exc
    finally:
        await response.aclose()
    if len(body) > MAX_BODY:
        raise StreamProtocolError(
            f"the response of {request.name!r} must have at most {MAX_BODY} bytes, got more",
            offset=MAX_BODY,
            sample=body,
            hint="ask for fewer tokens or check base_url",
        )
    return body


async def _send(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
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
    raise UpstreamError(
        f"{request.name!r} redirected the request more than {_MAX_REDIRECTS} times: "
        "give the address at the end of the redirects as base_url",
        status=response.status,
    )


async def _head(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
    limit = timeouts.first_token
    try:
        with anyio.fail_after(limit):
            return await send_again(transport, request, timeouts)
    except TimeoutError as exc:
        raise StreamTimeout("first_token", limit or 0.0) from exc


async def send_again(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
    try:
        return await transport.send(request, connect_timeout=timeouts.connect)
    except ConnectError as error:
        if not error.stale:
            raise
        # llama.cpp closes idle connections without notice, so this is common there.
        return await transport.send(request, connect_timeout=timeouts.connect)


async def _refuse_encoded(request: HttpRequest, response: HttpResponse) -> None:
    # A compressed body delays tokens.
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        await response.aclose()
        raise UnexpectedForm(
            f"{request.name!r} must send its answer uncompressed, got content-encoding {coding!r:.100}: "
            "switch compression off on the server",
            offset=0,
        )


def _redirected(request: HttpRequest, response: HttpResponse) -> HttpRequest:
    # Raises `UpstreamError` if `response` names no URL, or one on another server, which must not get the key.
    location = response.headers.get("location", "")
    try:
        url = urljoin(request.url, location)
        is_same = bool(location) and _same_server(request.url, url)
    except ValueError:  # an invalid host or port
        is_same = False
    if not is_same:
        raise UpstreamError(
            f"{request.name!r} redirects to {_redacted(request, location)}, and the key must not go there: "
            "if it is the right one, give it as base_url",
            status=response.status,
        )
    return replace(request, url=url)


def _redacted(request: HttpRequest, location: str) -> str:
    # An alias of `request` hides the URL in error messages, so the target of its redirect is hidden, too.
    return "another server" if request.alias else f"another server, {location!r:.200}"


def _same_server(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    if before.hostname != after.hostname or after.scheme not in DEFAULT_PORTS:
        return False
    ports = tuple(parts.port or DEFAULT_PORTS[parts.scheme] for parts in (before, after))
    upgraded = (before.scheme, after.scheme, *ports) == ("http", "https", 80, 443)
    return upgraded or (before.scheme == after.scheme and ports[0] == ports[1])


async def _excerpt(response: HttpResponse) -> bytes:
    body = b""
    try:
        with anyio.move_on_after(5.0):
            body = await read_body(response, 4 * EXCERPT)
    except ModelError:
        pass
    finally:
        await response.aclose()
    return body


async def read_body(response: HttpResponse, limit: int) -> bytes:
    body = bytearray()
    while len(body) <= limit and (data := await response.receive()):
        body += data
    return bytes(body)


async def retrying(call: Callable[[], Awaitable[T]], retries: Retries) -> T:
    waited = 0.0
    attempt = 0
    while True:
        try:
            return await call()
        except ModelError as exc:
            seconds = retries.wait(attempt, exc, waited)
            if seconds is None:
                raise
            log_info("model.request_retried", attempt=attempt + 1, wait=seconds, error=type(exc).__name__)
        await anyio.sleep(seconds)
        waited += seconds
        attempt += 1


# Learn from the errors of a server whether it accepts an optional field of a request.

REMEMBERED_SECONDS = 600.0
"""How long a refused field is not sent, in seconds. It is then tried again: the server may have been updated."""

_REFUSING = frozenset({400, 422})
_ERROR_FIELDS = frozenset({"error", "detail", "param"})
"""Fields of error bodies. If a request has one of them, an error body that echoes the request proves nothing."""


class _ErrorParam(msgspec.Struct, frozen=True):
    param: str | None = None


class _RefusalDetail(msgspec.Struct, frozen=True):
    loc: tuple[str | int, ...] = ()


class _RefusalBody(msgspec.Struct, frozen=True):
    error: Any = None
    detail: Any = None
    param: str | None = None


_decode = msgspec.json.Decoder(_RefusalBody).decode
_param = msgspec.json.Decoder(tuple[_ErrorParam, _RefusalDetail])  # for the annotations, as above
_PATH = re.compile(r"[.\[]")
_NAME = re.compile(r"[a-z_]+", re.IGNORECASE)


def refuses(error: UpstreamError, field: str) -> bool:
    # Only structured fields of an error with status 400 or 422 are read. The message is ignored, because it may quote
    # the request, which is untrusted.
    if error.status not in _REFUSING:
        return False
    try:
        body = _decode(error.body)
        inner = msgspec.convert(body.error, _ErrorParam) if isinstance(body.error, Mapping) else _ErrorParam()
        details = msgspec.convert(body.detail, list[_RefusalDetail]) if isinstance(body.detail, list) else []
    except DECODE_ERRORS:
        return False
    params = {_PATH.split(param, maxsplit=1)[0] for param in (inner.param, body.param) if param}
    params |= {str(detail.loc[1]) for detail in details if len(detail.loc) > 1 and detail.loc[0] == "body"}
    return field in params


def mentions(error: UpstreamError, *fields: str) -> bool:
    # A body that has the name is reason enough to retry without the field, but no proof that the server refuses it.
    return error.status in _REFUSING and any(name.lower() in fields for name in _NAME.findall(error.body))


class FieldSupport:
    """Remembers whether one model of one server accepts *field*."""

    # It assumes that the field is accepted, unless a request was refused within the last `REMEMBERED_SECONDS` that
    # succeeded without the field.

    __slots__ = ("_until", "field", "place")

    def __init__(self, field: str, place: str = "") -> None:
        self.field = field
        self.place = place
        """The name of the model and its server, for the log."""
        self._until = 0.0

    @property
    def is_likely(self) -> bool:
        return not self._until or anyio.current_time() >= self._until

    def learn(self, error: UpstreamError, request: Mapping[str, Any]) -> None:
        if not refuses(error, self.field) or _ERROR_FIELDS & request.keys():
            return
        self._until = anyio.current_time() + REMEMBERED_SECONDS
        log_info(
            "endpoint.field_refused",
            field=self.field,
            model=self.place,
            status=error.status,
            seconds=REMEMBERED_SECONDS,
        )


async def send_with(
    wanted: Mapping[FieldSupport, Any], body: dict[str, Any], call: Callable[[dict[str, Any]], Awaitable[T]]
) -> T:
    # Send `body` with the optional fields `wanted`. If the server refuses some of them, send it again without these.
    asked = {support: value for support, value in wanted.items() if support.is_likely}
    try:
        return await call({**body, **{support.field: value for support, value in asked.items()}})
    except UpstreamError as error:
        refused = error
        unknown = [one for one in asked if refuses(error, one.field) or mentions(error, one.field)]
        if not unknown:
            raise
    left = {support.field: value for support, value in asked.items() if support not in unknown}
    answer = await call({**body, **left})
    for support in unknown:
        support.learn(refused, body)
    return answer


FORK_OPTIONS = ("temperature", "stop", "logprobs", "top_logprobs", "seed")
"""The sampling options that a fork can do without."""
_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Options for which some models want another name: OpenAI's reasoning models refuse ``max_tokens``."""


class SamplingSupport:
    """Remembers which sampling options one model of one server refuses."""

    def __init__(self, place: str = "") -> None:
        self._options = {name: FieldSupport(name, place) for name in (*_RENAMED, *FORK_OPTIONS)}

    async def send(
        self, body: dict[str, Any], optional: Iterable[str], call: Callable[[dict[str, Any]], Awaitable[T]]
    ) -> T:
        # If the server refuses `optional` fields, or `max_tokens` by this name, send `body` again without them.
        names = [name for name in (*_RENAMED, *optional) if name in body]
        sent = _without(body, [name for name in names if not self._options[name].is_likely])
        refused: dict[str, UpstreamError] = {}
        while True:
            try:
                answer = await call(sent)
                break
            except UpstreamError as error:
                unknown = [name for name in names if name in sent and refuses(error, name)]
                if not unknown:
                    raise
                refused |= dict.fromkeys(unknown, error)
            sent = _without(sent, unknown)
        for name, refusal in refused.items():
            self._options[name].learn(refusal, sent)
        return answer


def _without(body: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    # `top_logprobs` is valid only with `logprobs`, so it is left out with it.
    changed = dict(body)
    for name in names:
        value = changed.pop(name, None)
        if name in _RENAMED:
            changed.setdefault(_RENAMED[name], value)
        if name == "logprobs":
            changed.pop("top_logprobs", None)
    return changed


def until_stop(text: str, stop: Iterable[str]) -> str:
    return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]
