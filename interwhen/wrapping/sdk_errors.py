"""Errors of the `openai` package, carried through the engine, and ours as what that package would raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from interwhen.errors import ConnectError, ModelError, StreamTimeout, UpstreamError

if TYPE_CHECKING:
    import httpx2


class Carried(UpstreamError):
    """Whatever the SDK raised on the way to the server; ``original`` is raised again at the caller."""

    def __init__(self, original: Exception, *, retryable: bool = False) -> None:
        response = getattr(original, "response", None)
        status = getattr(original, "status_code", None)
        body = ""
        if response is not None and status is not None:
            body = getattr(response, "text", "")
        super().__init__(f"{type(original).__name__}: {original}", status=status, body=body)
        self.original = original
        self._again = retryable

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether the stream may be taken up again; a request that was refused has been retried by the SDK."""
        return self._again


def raise_sdk_error(error: ModelError, request: httpx2.Request | None) -> NoReturn:
    """Raise what the SDK raises for *error*; what it did raise keeps the cause that it had."""
    if isinstance(error, Carried):
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
        message = "An error occurred during streaming"
    return openai.APIError(message or str(error), request, body=body)  # type: ignore[arg-type]


def _error_body(text: str) -> Any:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text or None
    return found.get("error", found) if isinstance(found, dict) else found
