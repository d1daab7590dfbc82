"""Sends one request: follows redirects, checks the head before the body, converts errors to exceptions, retries."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import anyio
import msgspec

from interwhen._log import log_info
from interwhen._types.errors import (
    ConnectError,
    ContextOverflow,
    ModelError,
    RateLimited,
    StreamProtocolError,
    StreamTimeout,
    UnexpectedForm,
    UpstreamError,
)
from interwhen.models._transport import HttpRequest, HttpResponse, Timeouts, Transport

# From the error body of a server to an exception.

EXCERPT = 2000
"""How many bytes of an error body an exception keeps."""

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


def refusal(body: bytes, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """Return the exception for an error *body* of a server; *status* is ``None`` for an error inside a stream.

    Status 429 becomes :class:`~interwhen.models.RateLimited`, a prompt that is too long for the context
    :class:`~interwhen.models.ContextOverflow`, and every other error :class:`~interwhen.models.UpstreamError`.
    """
    message, code = _describe(body)
    if status is None and code is not None and re.fullmatch(r"[45]\d\d", code):
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
    """Return the message and the code in an error body. If its form is unknown, the body is the message."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody)
        if isinstance(error.error, str):
            error = _ErrorBody(message=error.error)
        elif error.error is not None:
            error = msgspec.convert(error.error, _ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:EXCERPT].decode(errors="replace").strip(), None
    code = error.code if error.code is not None else error.type
    if isinstance(code, int) and error.type in _OVERFLOW_CODES:
        code = error.type
    return error.message or error.detail or "", None if code is None else str(code)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Return how many seconds the ``Retry-After`` header asks to wait; ``None`` if there is no valid one.

    *now* is the current Unix time; it is used if the header contains a date.
    """
    if (text := headers.get("retry-after-ms")) and re.fullmatch(r"\d{1,9}(\.\d*)?", text):
        return float(text) / 1000
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", text):
        return float(text)
    try:
        from email.utils import parsedate_to_datetime

        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


_MAX_REDIRECTS = 3
_MAX_BODY = 16 << 20
"""The largest size in bytes of a response that is not streamed."""
_STREAMS = ("text/event-stream", "application/octet-stream", "text/plain")
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def open_stream(
    transport: Transport, request: HttpRequest, timeouts: Timeouts, *, whole_too: bool = False
) -> HttpResponse:
    """Send *request* and return the response, whose content type must be that of an event stream.

    With *whole_too*, JSON is accepted too, for servers that do not stream. Raises the errors of :func:`exchange`, and
    :class:`~interwhen.models.UnexpectedForm` for another content type.
    """
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
    """Send *request* and return the whole body of its response.

    Raises :class:`~interwhen.models.UpstreamError` for a status other than 2xx,
    :class:`~interwhen.models.ConnectError`, and :class:`~interwhen.models.StreamTimeout` after ``timeouts.total``
    seconds (if that is ``None``: after ``first_token`` for the head, and the same time again for the body).
    """
    response = await _send(transport, request, timeouts)
    limit = timeouts.first_token if timeouts.total is None else timeouts.total
    try:
        with anyio.fail_after(limit):
            body = await _read(response, _MAX_BODY)
    except TimeoutError as exc:
        timer = "first_token" if timeouts.total is None else "total"
        raise StreamTimeout(timer, limit or 0.0) from exc
    finally:
        await response.aclose()
    if len(body) > _MAX_BODY:
        raise StreamProtocolError(
            f"the response of {request.name!r} must have at most {_MAX_BODY} bytes, got more",
            offset=_MAX_BODY,
            sample=body,
            hint="ask for fewer tokens or check base_url",
        )
    return body


async def _send(transport: Transport, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
    """Send *request*, follow redirects on the same server, and return a response with status 2xx."""
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
    """Send *request*, and send it once more if the server had just closed the kept connection.

    Any other error is raised, because the server may have worked on the request.
    """
    try:
        return await transport.send(request, connect_timeout=timeouts.connect)
    except ConnectError as error:
        if not error.stale:
            raise
        # llama.cpp closes idle connections without notice, so this is common there.
        return await transport.send(request, connect_timeout=timeouts.connect)


async def _refuse_encoded(request: HttpRequest, response: HttpResponse) -> None:
    """Raise :class:`UnexpectedForm` for a compressed body. The request asked for none: compression delays tokens."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        await response.aclose()
        raise UnexpectedForm(
            f"{request.name!r} must send its answer uncompressed, got content-encoding {coding!r:.100}: "
            "switch compression off on the server",
            offset=0,
        )


def _redirected(request: HttpRequest, response: HttpResponse) -> HttpRequest:
    """Return *request* with the URL to which *response* redirects.

    Raises :class:`UpstreamError` if it is on another server, which must not get the prompt and the key.
    """
    location = response.headers.get("location", "")
    url = urljoin(request.url, location)
    if not location or not _same_server(request.url, url):
        raise UpstreamError(
            f"{request.name!r} redirects to {_redacted(request, location)}, and the key must not go there: "
            "if it is the right one, give it as base_url",
            status=response.status,
        )
    return replace(request, url=url)


def _redacted(request: HttpRequest, location: str) -> str:
    """Describe the target of a redirect for an error. If an alias hides the URL of the server, hide *location* too."""
    return "another server" if request.alias else f"another server, {location!r:.200}"


def _same_server(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    if before.hostname != after.hostname or after.scheme not in _DEFAULT_PORTS:
        return False
    ports = tuple(parts.port or _DEFAULT_PORTS[parts.scheme] for parts in (before, after))
    upgraded = (before.scheme, after.scheme, *ports) == ("http", "https", 80, 443)
    return upgraded or (before.scheme == after.scheme and ports[0] == ports[1])


async def _excerpt(response: HttpResponse) -> bytes:
    """Read the start of an error body. Return empty bytes if this fails, because the status is reported anyway."""
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


# Retries before the first token.

T = TypeVar("T")
_RNG = random.Random()  # noqa: S311  (shared: seeding one takes longer than the rest of the start of a run)


@dataclass(frozen=True, slots=True)
class Retries:
    """Retries a request up to *attempts* times, with exponential backoff and full jitter.

    The upper limit of the random wait doubles from *base* to *cap* seconds. If the server sends ``Retry-After``, that
    time is used instead. When all waits of a request would exceed *budget* seconds in total, its error is raised.
    Method: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts: int = 2
    base: float = 0.5
    cap: float = 8.0
    budget: float = 30.0
    rng: random.Random = field(default=_RNG, repr=False, compare=False)

    def wait(self, attempt: int, error: ModelError, waited: float) -> float | None:
        """Return the seconds to wait after failure number *attempt* (from 0); ``None`` to give up.

        *waited* is the sum of the earlier waits in seconds.
        """
        if attempt >= self.attempts or not _worth_retrying(error):
            return None
        seconds = self.pause(attempt, error)
        return seconds if waited + seconds <= self.budget else None

    def pause(self, attempt: int, error: ModelError) -> float:
        """Return the seconds to wait after failure number *attempt* (from 0), whatever the limits."""
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        return self.rng.uniform(0, min(self.cap, self.base * 2 ** min(attempt, 32))) if asked is None else asked


async def retrying(call: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Await *call* until it succeeds, or raise its last error when *retries* gives up."""
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


def _worth_retrying(error: ModelError) -> bool:
    """Return true for connection errors, 429 and 5xx; false if the server accepted the request and sent nothing."""
    if isinstance(error, StreamTimeout):
        return error.timer == "connect"
    return isinstance(error, ConnectError) or (isinstance(error, UpstreamError) and error.retryable)
