"""One exchange with a server: send, follow, look at the head before the body, translate refusals."""

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

# From the error body of a server to the exception that says what to do about it.

EXCERPT = 2000
"""Characters of an error body that an exception keeps."""

_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# The wording of OpenAI, vLLM, SGLang, llama.cpp and TGI, which do not agree on a code.
_OVERFLOW_WORDS = re.compile(
    r"maximum context|context[ _-](length|size|window)|longer than the model|max_model_len|maximum (model|input) length"
    r"|`?inputs`? tokens \+ `?max_new_tokens",
    re.IGNORECASE,
)


class _ErrorBody(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    detail: str | None = None
    error: Any = None


def refusal(body: bytes, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """Build the exception for an error *body*; *status* is ``None`` where it came inside a stream.

    A 429 becomes :class:`~interwhen.models.RateLimited`, a context that is too long
    :class:`~interwhen.models.ContextOverflow`, everything else :class:`~interwhen.models.UpstreamError`.
    """
    message, code = _describe(body)
    if status is None and code is not None and re.fullmatch(r"[45]\d\d", code):
        status = int(code)
    kind: type[UpstreamError] = UpstreamError
    if status == 429:
        kind = RateLimited
    elif (status is None or status < 500) and (code in _OVERFLOW_CODES or _OVERFLOW_WORDS.search(message)):
        kind = ContextOverflow
    said = f"{message[:200]!r}" if message else "nothing more"
    answered = "an error inside the stream" if status is None else f"status {status}"
    hint = " (is its version, such as /v1, in the base URL, and is this the model's name?)" if status == 404 else ""
    return kind(
        f"the server answered with {answered} and said {said}{hint}",
        status=status,
        code=code,
        body=body[:EXCERPT].decode(errors="replace"),
        retry_after=retry_after(headers or {}),
    )


def _describe(body: bytes) -> tuple[str, str | None]:
    """Find the message and the code in the shapes that servers use; the body itself where it is none of them."""
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
    """Return the seconds that the server asks to wait; *now* (a Unix time) is for the form with a date."""
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
"""Bytes of a whole (not streamed) answer."""
_STREAMS = ("text/event-stream", "application/octet-stream", "text/plain")
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def open_stream(
    transport: Transport, request: HttpRequest, timeouts: Timeouts, *, whole_too: bool = False
) -> HttpResponse:
    """Send *request* and return its response, whose head says that an event stream follows.

    With *whole_too*, a body of JSON will do: of a server that does not stream.

    Raises what :func:`exchange` raises, and :class:`~interwhen.models.UnexpectedForm` for another content type.
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

    Raises :class:`~interwhen.models.UpstreamError` (or a kind of it) for a status that is no success,
    :class:`~interwhen.models.ConnectError`, and :class:`~interwhen.models.StreamTimeout` after ``timeouts.total``
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


# Trying again before the first token: how often, and how long to wait.

T = TypeVar("T")
_DICE = random.Random()  # noqa: S311  (shared: seeding one from the system takes longer than the rest of a run's start)


@dataclass(frozen=True, slots=True)
class Retries:
    """At most *attempts* further tries, after a wait with full jitter that doubles from *base* to *cap* seconds.

    A server that names a time (``Retry-After``) is obeyed up to *budget* seconds in all; where it asks for more, its
    refusal is raised at once. Method: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    attempts: int = 2
    base: float = 0.5
    cap: float = 8.0
    budget: float = 30.0
    rng: random.Random = field(default=_DICE, repr=False, compare=False)

    def wait(self, attempt: int, error: ModelError, waited: float) -> float | None:
        """Return how long to wait after failure number *attempt* (from 0), or ``None`` to give up."""
        if attempt >= self.attempts or not _worth_retrying(error):
            return None
        seconds = self.pause(attempt, error)
        return seconds if waited + seconds <= self.budget else None

    def pause(self, attempt: int, error: ModelError) -> float:
        """Return the seconds between failure number *attempt* (from 0) and the next try, if there is one."""
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        return self.rng.uniform(0, min(self.cap, self.base * 2 ** min(attempt, 32))) if asked is None else asked


async def retrying(call: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Await *call* until it succeeds or *retries* says that it is enough; then its last error is raised."""
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
    """Say yes to connection errors, 429 and 5xx; a server that took the request and is silent is not asked again."""
    if isinstance(error, StreamTimeout):
        return error.timer == "connect"
    return isinstance(error, ConnectError) or (isinstance(error, UpstreamError) and error.retryable)
