"""Errors as the bodies that clients of the OpenAI API understand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from interwhen._types.errors import (
    DECODE_ERRORS,
    ConnectError,
    InterwhenError,
    ModelError,
    StreamTimeout,
    UpstreamError,
    UsageError,
)
from interwhen._types.prompts import PromptRefused

Headers = list[tuple[bytes, bytes]]
_RETRY_SECONDS = 2.0
"""``Retry-After`` of an overloaded gateway."""

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class HttpError(InterwhenError):
    """An error that the gateway sends as the answer to a request.

    *code* is the name of the error for programs, and *param* the field of the request that it concerns. *retry_after*
    (seconds) and *allow* become headers. *close* closes the connection. *body* is the upstream's own error, and
    *of_upstream* says that the upstream caused the error.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        close: bool = False,
        allow: str = "",
        body: bytes | None = None,
        of_upstream: bool = False,
    ) -> None:
        super().__init__(message)
        self.of_upstream = of_upstream
        self.status = status
        self.code = code
        self._param = param
        self._retry_after = retry_after
        self._close = close
        self._allow = allow
        self._body = body

    @property
    def body(self) -> bytes:
        return self._body or msgspec.json.encode(self.error())

    def error(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self._param, "code": self.code}}

    @property
    def headers(self) -> Headers:
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        if self._retry_after is not None:
            fields.append((b"retry-after", str(math.ceil(self._retry_after)).encode()))
        if self._close:
            fields.append((b"connection", b"close"))
        if self._allow:
            fields.append((b"allow", self._allow.encode()))
        if self.status == 401:
            fields.append((b"www-authenticate", b"Bearer"))
        return fields


def shutting_down() -> HttpError:
    return HttpError(
        503,
        "shutting_down",
        "the gateway accepts no request while it shuts down: send the request to another gateway, or try again later",
        retry_after=5,
        close=True,
    )


def too_many(what: str, *, close: bool = False) -> HttpError:
    # `what` names the limit; with `close`, the connection is closed.
    return HttpError(429, "too_many_requests", f"{what}: try again later", retry_after=_RETRY_SECONDS, close=close)


def overloaded(seconds: float) -> HttpError:
    why = f"a slot must become free within {seconds:g} s, and none did: try again later"
    return HttpError(503, "overloaded", why, retry_after=_RETRY_SECONDS)


def head_too_large(limit: int) -> HttpError:
    return HttpError(
        431,
        "request_head_too_large",
        f"the request line and headers must have at most {limit:,} bytes, got more: send fewer or shorter headers",
        close=True,
    )


def wrong_method(method: str, allow: str) -> HttpError:
    # `allow` lists the allowed methods.
    return HttpError(
        405, "method_not_allowed", f"the method must be one of {allow} here, got {method!r:.50}", allow=allow
    )


def http_error_of(error: Exception) -> HttpError:
    # An unknown exception becomes status 500.
    if isinstance(error, HttpError):
        return error
    if isinstance(error, StreamTimeout):
        status, code = (502, "upstream_unreachable") if error.timer == "connect" else (504, "upstream_timeout")
        return HttpError(status, code, f"the upstream did not answer in time: {error}", of_upstream=True)
    if isinstance(error, UpstreamError):
        own = _upstream_body(error.body)
        return HttpError(
            error.status or 502,
            error.code or "upstream_error",
            str(error),
            retry_after=error.retry_after,
            body=own,
            of_upstream=True,
        )
    if isinstance(error, ConnectError):
        return HttpError(502, "upstream_unreachable", f"the upstream could not be reached: {error}", of_upstream=True)
    if isinstance(error, ModelError):
        return HttpError(
            502, "upstream_protocol", f"the answer of the upstream could not be read: {error}", of_upstream=True
        )
    if isinstance(error, PromptRefused):
        return HttpError(400, "prompt_refused", str(error))
    if isinstance(error, UsageError):
        return HttpError(400, "invalid_request", str(error))
    return HttpError(
        500,
        "internal_error",
        f"the gateway failed on this request with {type(error).__name__}: see the log of the gateway",
    )


def _upstream_body(body: str) -> bytes | None:
    try:
        decoded = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return None
    return body.encode() if isinstance(decoded, dict) and decoded.get("error") else None
