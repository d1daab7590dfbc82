"""Whether a server takes an optional field of a request, as far as its own refusals have shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import anyio
import msgspec

from interwhen._log import log_info
from interwhen._types.errors import UpstreamError

REMEMBERED_SECONDS = 600.0
"""How long a refusal counts: a server may be updated, and one that was wrong once must not cost a feature for ever."""

_REFUSING = frozenset({400, 422})
_ERROR_FIELDS = frozenset({"error", "detail", "param"})
"""Where servers put their errors. A request that has such a field itself may come back from a server that echoes."""


class _ErrorParam(msgspec.Struct, frozen=True):
    param: str | None = None


class _RefusalDetail(msgspec.Struct, frozen=True):
    loc: tuple[str | int, ...] = ()


class _RefusalBody(msgspec.Struct, frozen=True):
    error: Any = None
    detail: Any = None
    param: str | None = None


_decode = msgspec.json.Decoder(_RefusalBody).decode


def refuses(error: UpstreamError, field: str) -> bool:
    """Tell whether *error* names the top-level *field* of the request in a field of its own that says what is wrong.

    ``error.param`` is OpenAI's and vLLM's way, ``detail[].loc`` that of FastAPI. What an error says in words is never
    looked at: it may repeat the request, which anybody may have written.
    """
    if error.status not in _REFUSING:
        return False
    try:
        body = _decode(error.body)
        inner = msgspec.convert(body.error, _ErrorParam) if isinstance(body.error, Mapping) else _ErrorParam()
        details = msgspec.convert(body.detail, list[_RefusalDetail]) if isinstance(body.detail, list) else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    params = {re.split(r"[.\[]", param, maxsplit=1)[0] for param in (inner.param, body.param) if param}
    params |= {str(detail.loc[1]) for detail in details if len(detail.loc) > 1 and detail.loc[0] == "body"}
    return field in params


def mentions(error: UpstreamError, field: str) -> bool:
    """Tell whether *error* may be about *field*: worth another try of this request, and nothing to learn from."""
    return (
        error.status in _REFUSING and re.search(rf"(?<![a-z_]){field}(?![a-z_])", error.body, re.IGNORECASE) is not None
    )


class FieldSupport:
    """Whether one model of one server takes *field*.

    It is taken for granted until a refusal names the field and the same request is accepted without it, and again after
    ``REMEMBERED_SECONDS``.
    """

    __slots__ = ("_until", "field", "place")

    def __init__(self, field: str, place: str = "") -> None:
        self.field = field
        self.place = place
        """The model and its server, for the log."""
        self._until = 0.0

    @property
    def is_likely(self) -> bool:
        """Whether to send the field."""
        return not self._until or anyio.current_time() >= self._until

    def learn(self, error: UpstreamError, request: Mapping[str, Any]) -> None:
        """Take note of *error*: the server refused *request* with the field, and accepted it without.

        What the error says in words, and what a server may have echoed of *request*, teaches nothing.
        """
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
