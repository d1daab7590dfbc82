"""From the error body of a server to the exception that says what to do about it."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from interwhen.errors import ContextOverflow, RateLimited, UpstreamError

EXCERPT = 2000
"""Characters of an error body that an exception keeps."""

_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# The wording of OpenAI, vLLM, SGLang, llama.cpp and TGI, which do not agree on a code.
_OVERFLOW_WORDS = re.compile(
    r"maximum context|context[ _-](length|size|window)|longer than the model|max_model_len|maximum (model|input) length"
    r"|`?inputs`? tokens \+ `?max_new_tokens",
    re.IGNORECASE,
)


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    detail: str | None = None
    error: Any = None


def refusal(body: bytes, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """Build the exception for an error *body*; *status* is ``None`` where it came inside a stream.

    A 429 becomes :class:`~interwhen.errors.RateLimited`, a context that is too long
    :class:`~interwhen.errors.ContextOverflow`, everything else :class:`~interwhen.errors.UpstreamError`.
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
        error = msgspec.json.decode(body, type=_Error)
        if isinstance(error.error, str):
            error = _Error(message=error.error)
        elif error.error is not None:
            error = msgspec.convert(error.error, _Error)
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
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))
