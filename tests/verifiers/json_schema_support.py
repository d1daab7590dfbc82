"""Shared parts of the tests of ``json_schema``: a schema, and a function that judges a text."""

from __future__ import annotations

from interwhen import (
    Monitor,
    Segment,
    Span,
    Task,
    Tracker,
    Verdict,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "role": {"enum": ["admin", "guest"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": True},
        "boss": {"$ref": "#"},
        "contact": {"anyOf": [{"type": "null"}, {"type": "object", "required": ["mail"], "additionalProperties": False,
                                                 "properties": {"mail": {"type": "string", "pattern": "@"}}}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}  # fmt: skip


def verdicts(monitor: Monitor, text: str, size: int = 16) -> list[Verdict]:
    assert monitor.prepare is not None
    assert isinstance(monitor.extractor, Tracker)
    prepared = monitor.prepare(Task(""))
    state, all_verdicts = monitor.extractor.start(prepared), []
    for at in range(0, len(text), size):
        piece = text[at : at + size]
        state, claims = monitor.extractor.step(state, Segment(piece, Span(at, at + len(piece)), "answer"))
        all_verdicts += [monitor.verifier.check(claim, prepared) for claim in claims]  # type: ignore[call-arg]
    return all_verdicts  # type: ignore[return-value]
