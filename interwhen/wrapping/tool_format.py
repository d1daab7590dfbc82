"""The first check of every tool call: whole, valid JSON, and to a tool that was offered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from interwhen.claims import Claim
from interwhen.monitors import Monitor
from interwhen.remedies import Feedback
from interwhen.segments import Segment
from interwhen.tool_calls import ToolCall
from interwhen.triggers import ToolCalls
from interwhen.verdicts import Pass, Verdict, Violation
from interwhen.verifier import FunctionVerifier

NAME = "tool-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatClaim(Claim):
    """That a call can be made at all."""

    call: ToolCall
    required: tuple[str, ...] | None
    """The arguments that the tool cannot do without; ``None``: there is no such tool."""
    offered: tuple[str, ...]


def check(claim: FormatClaim) -> Verdict:
    """Judge the form of a call: nothing is repaired, and nothing is taken for granted."""
    call, required = claim.call, claim.required
    if required is None:
        return Violation(why=f"there is no tool {call.name!r}; there are {', '.join(claim.offered)}")
    if call.kind == "custom":
        return Pass()
    if not call.arguments.strip() and not required:
        return Pass("a call without arguments")
    try:
        values = call.values()
    except ValueError as error:
        return Violation(why=str(error))
    missing = [name for name in required if name not in values]
    if missing:
        return Violation(why=f"the call of {call.name!r} lacks {', '.join(map(repr, missing))}")
    return Pass("valid JSON with all required arguments")


_VERIFIER = FunctionVerifier(NAME, "1", 1.0, "inline", check)


def tool_format(tools: Sequence[Mapping[str, Any]]) -> Monitor:
    """Return the monitor for calls of *tools*; where none are known, only the JSON is looked at."""
    required = {tool["name"]: _required(tool) for tool in tools}
    offered = tuple(required)

    def extract(segment: Segment) -> Iterator[FormatClaim]:
        call = segment.call
        if call is not None:
            needs = required.get(call.name) if required else ()
            key = msgspec.json.encode((call.kind, call.name, call.arguments, needs, offered)).decode()
            yield FormatClaim(key=key, span=segment.span, call=call, required=needs, offered=offered)

    return Monitor(
        name=NAME,
        trigger=ToolCalls(),
        extractor=extract,
        verifier=_VERIFIER,
        delivery="interrupt",  # calls are held back from the caller by the composer, whoever watches
        remedy=Feedback(),
        level="explain",
        unproven="closed",
        required=False,
    )


def _required(tool: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the schema of *tool* requires; nothing where that is no list: it is the server's to refuse."""
    schema = tool.get("parameters")
    names = schema.get("required") if isinstance(schema, Mapping) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else ()
