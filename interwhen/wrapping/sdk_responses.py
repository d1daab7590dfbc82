"""HTTP responses for the SDK's own parsing: the head of the server's, the body of a supervised call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec
from openai._constants import RAW_RESPONSE_HEADER
from openai._models import FinalRequestOptions
from openai._utils import is_given

from interwhen.events import Event
from interwhen.wrapping.calls import Call
from interwhen.wrapping.facts import Facts, Part
from interwhen.wrapping.sdk_objects import attach
from interwhen.wrapping.sdk_streams import KEY
from interwhen.wrapping.supervised import Supervised
from interwhen.wrapping.whole import whole

_OF_THE_BODY = frozenset(("content-length", "content-encoding", "transfer-encoding", "content-type"))


def streamed(first: httpx2.Response, supervised: Supervised, body: Any, options: Any) -> httpx2.Response:
    """Return the response that streams *body*."""
    return _response(first, options, "text/event-stream; charset=utf-8", {KEY: supervised}, stream=body)


def whole_response(first: httpx2.Response, call: Call, parts: Sequence[Part], options: Any) -> httpx2.Response:
    """Return the response that holds the whole answer which *parts* spell."""
    content = msgspec.json.encode(whole(call.api, parts))
    return _response(first, options, "application/json", {}, content=content)


def facts_of_all(parts: Sequence[Part]) -> Facts:
    """Return the facts of a whole answer."""
    events: tuple[Event, ...] = tuple(event for part in parts for event in part.facts.events)
    return Facts(events=events, result=parts[-1].facts.result if parts else None)


def noting(options: FinalRequestOptions, facts: Facts) -> FinalRequestOptions:
    """Return *options* that put *facts* on whatever is parsed of the answer, whenever a raw response is parsed."""
    parse = options.post_parser

    def parsed(made: Any) -> Any:
        return attach(parse(made) if is_given(parse) else made, facts)

    options = options.model_copy()
    options.post_parser = parsed
    return options


def _response(
    first: httpx2.Response, options: Any, kind: str, extensions: dict[str, Any], **body: Any
) -> httpx2.Response:
    headers = [(name, value) for name, value in first.headers.multi_items() if name.lower() not in _OF_THE_BODY]
    request = first.request
    raw = options.headers.get(RAW_RESPONSE_HEADER) if is_given(options.headers) else None
    if raw:
        # The SDK looks at the request to see whether its caller wants the response as it is.
        request = httpx2.Request(
            request.method, str(request.url), headers=[*request.headers.multi_items(), (RAW_RESPONSE_HEADER, raw)]
        )
    response = httpx2.Response(
        first.status_code,
        headers=[*headers, ("content-type", kind)],
        request=request,
        extensions={**first.extensions, **extensions},
        **body,
    )
    response.elapsed = dt.timedelta(0)
    return response
