"""Learns from the errors of a server whether it accepts an optional field of a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import anyio
import msgspec

from interwhen._log import log_info
from interwhen._types.errors import UpstreamError

REMEMBERED_SECONDS = 600.0
"""How long a refused field is not sent, in seconds. It is then tried again: the server may have been updated, and one
misleading error must not switch a feature off forever."""

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


def refuses(error: UpstreamError, field: str) -> bool:
    """Return whether a structured field of *error* names *field*, a top-level field of the request, as the cause.

    OpenAI and vLLM use ``error.param``, FastAPI uses ``detail[].loc``. The message is ignored, because it may quote the
    request, which is untrusted.
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
    """Return whether the body of *error* contains the name *field*.

    This is enough for a retry without the field, but not to conclude that the server never accepts it.
    """
    return (
        error.status in _REFUSING and re.search(rf"(?<![a-z_]){field}(?![a-z_])", error.body, re.IGNORECASE) is not None
    )


class FieldSupport:
    """Remembers whether one model of one server accepts *field*.

    It assumes that the field is accepted, until an error names the field and the same request succeeds without it.
    After ``REMEMBERED_SECONDS`` it assumes so again.
    """

    __slots__ = ("_until", "field", "place")

    def __init__(self, field: str, place: str = "") -> None:
        self.field = field
        self.place = place
        """The name of the model and its server, for the log."""
        self._until = 0.0

    @property
    def is_likely(self) -> bool:
        """Whether the server probably accepts the field, so that it should be sent."""
        return not self._until or anyio.current_time() >= self._until

    def learn(self, error: UpstreamError, request: Mapping[str, Any]) -> None:
        """Record that the server answered *request* with *error* and then accepted it without the field.

        Nothing is recorded if the structured fields of *error* do not name the field, or if they may only repeat
        fields of *request*.
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


T = TypeVar("T")

FORK_OPTIONS = ("temperature", "stop", "logprobs", "top_logprobs", "seed")
"""The sampling options that a fork can do without."""
_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Options for which some models want another name: OpenAI's reasoning models refuse ``max_tokens``."""


class SamplingSupport:
    """Remembers which sampling options one model of one server refuses, and sends requests without them.

    Hosted reasoning models refuse options that others accept: a temperature, stop sequences, log-probabilities.
    """

    def __init__(self, place: str = "") -> None:
        self._options = {name: FieldSupport(name, place) for name in (*_RENAMED, *FORK_OPTIONS)}

    async def send(
        self, body: dict[str, Any], optional: Iterable[str], call: Callable[[dict[str, Any]], Awaitable[T]]
    ) -> T:
        """Return the result of *call* with *body*. If the server refuses one of the *optional* fields, leave it out.

        A refused ``max_tokens`` is sent as ``max_completion_tokens``. Other refusals raise
        :class:`~interwhen.models.UpstreamError`.
        """
        names = [name for name in (*_RENAMED, *optional) if name in body]
        sent = _without(body, [name for name in names if not self._options[name].is_likely])
        refused: dict[str, UpstreamError] = {}
        while True:
            try:
                found = await call(sent)
                break
            except UpstreamError as error:
                unknown = [name for name in names if name in sent and refuses(error, name)]
                if not unknown:
                    raise
                refused |= dict.fromkeys(unknown, error)
            sent = _without(sent, unknown)
        for name, refusal in refused.items():
            self._options[name].learn(refusal, sent)
        return found


def _without(body: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return *body* without the options *names*; an option with another name gets this name."""
    found = dict(body)
    for name in names:
        value = found.pop(name, None)
        if name in _RENAMED:
            found.setdefault(_RENAMED[name], value)
        if name == "logprobs":
            found.pop("top_logprobs", None)
    return found


def until_stop(text: str, stop: Iterable[str]) -> str:
    """Return *text* up to the first of the *stop* sequences, for a server that does not stop there itself."""
    return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]


def asks_to_reason(body: Mapping[str, Any]) -> bool:
    """Return whether the request *body* switches on reasoning by the field ``thinking`` (Anthropic, and others)."""
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")
