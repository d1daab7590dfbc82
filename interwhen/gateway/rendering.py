"""From the parts of a supervised answer to bytes: event streams and whole bodies, with what interwhen says beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from interwhen.events import Event, Remedied, Retracted, StreamBroken, ViolationFound
from interwhen.gateway.choosing import FIELD
from interwhen.gateway.config import Telling
from interwhen.gateway.problems import Problem
from interwhen.results import Result
from interwhen.wrapping import Facts, Part
from interwhen.wrapping.calls import Api
from interwhen.wrapping.whole import whole

Render = Callable[[Sequence[Part]], bytes]

_encode = msgspec.json.Encoder(enc_hook=str).encode
_NOTABLE = (Retracted, ViolationFound, Remedied, StreamBroken)
_LONG = frozenset(("text", "reasoning", "answer", "checks", "certificate", "journal"))
"""What a brief result leaves out: the client has the text, the checks may be many, and there is no journal."""


class _Typed(msgspec.Struct):
    type: str = ""


_typed = msgspec.json.Decoder(_Typed)


def renderer(api: Api, tell: Telling) -> Render:
    """Return what makes events of parts."""
    if api == "responses":
        return lambda parts: b"".join(_named(_data(part, tell)) for part in parts)
    if tell == "off":
        return lambda parts: b"".join([b"data: %b\n\n" % _bare(part) for part in parts])

    def render(parts: Sequence[Part]) -> bytes:
        if len(parts) == 1:  # the hot path: one chunk of the upstream as it came
            part = parts[0]
            facts = part.facts
            if (
                tell == "brief"
                and part.raw is not None
                and not facts.events
                and not facts.lead
                and facts.result is None
            ):
                return b"data: %b\n\n" % _one_line(part.raw)
        return b"".join([b"data: %b\n\n" % _data(part, tell) for part in parts])

    return render


def error_event(api: Api, problem: Problem) -> bytes:
    """Return *problem* as the last event of a stream."""
    if api == "responses":
        said = {"type": "error", "code": problem.code, "message": str(problem), "param": None, "sequence_number": 0}
        return _named(_encode(said))
    return b"data: %b\n\n" % _one_line(problem.body)


def whole_body(api: Api, parts: Sequence[Part], tell: Telling) -> bytes:
    """Return the body of an answer that is not streamed."""
    body = whole(api, parts)
    if tell != "off":
        events = tuple(event for part in parts for event in part.facts.events)
        told = _told(Facts(events=events, result=parts[-1].facts.result if parts else None), tell)
        if told is not None:
            body[FIELD] = told
    return _encode(body)


def _data(part: Part, tell: Telling) -> bytes:
    told = None if tell == "off" else _told(part.facts, tell)
    data = _bare(part)
    if told is None:
        return data
    return b'%b,"%b":%b}' % (data.rstrip()[:-1].rstrip(), FIELD.encode(), _encode(told))


def _bare(part: Part) -> bytes:
    return _one_line(part.raw) if part.raw is not None else _encode(part.body)


def _one_line(raw: bytes) -> bytes:
    """Return *raw* as one line: an upstream may have spread its JSON over several lines of data."""
    return raw.replace(b"\n", b" ") if b"\n" in raw else raw


def _named(data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (_typed.decode(data).type.encode(), data)


def _told(facts: Facts, tell: Telling) -> Any:
    """Return what is told of *facts*; ``None``: nothing."""
    if tell == "full":
        return facts
    events = [event for event in facts.events if isinstance(event, _NOTABLE)]
    if not events and not facts.lead and facts.result is None:
        return None
    return _brief(facts, events)


def _brief(facts: Facts, events: Sequence[Event]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if facts.start is not None:
        told["start"] = facts.start
    if facts.lead:
        told["lead"] = facts.lead
    if events:
        told["events"] = events
    if facts.result is not None:
        told["result"] = _summary(facts.result)
    return told


def _summary(result: Result) -> dict[str, Any]:
    fields = {name: getattr(result, name) for name in result.__struct_fields__ if name not in _LONG}
    return {"type": result.status, "label": result.label, **fields, "checks": len(result.checks)}
