"""Reads the calls in a segment: a structured call, or JSON between the tags that some models write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from interwhen import Segment, UsageError
from interwhen.policy import name_fits

_LARGEST = 200_000
"""Longer calls are ``Unknown``."""


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call in the trace."""

    name: str
    arguments: Mapping[str, Any]
    text: str
    """The call as it was written."""
    problem: str = ""
    """Why it cannot be read. Empty: it was read."""

    @property
    def raw(self) -> str:
        """The arguments as JSON."""
        return msgspec.json.encode(self.arguments).decode()


def read_calls(segment: Segment) -> tuple[ReadCall, ...]:
    """Return the calls of *segment*, which the trigger ``ToolCalls`` has made."""
    if len(segment.text) > _LARGEST:
        return (ReadCall("", {}, "", f"a call of more than {_LARGEST:,} characters is not read"),)
    call = segment.call
    if call is not None:
        try:
            return (ReadCall(call.name, call.values(), call.text),)
        except (ValueError, RecursionError) as error:
            return (ReadCall(call.name, {}, call.text, str(error)),)
    return (tagged_call(segment.text),)


def tagged_call(text: str) -> ReadCall:
    """Read a call such as ``<tool_call>{"name": "f", "arguments": {}}</tool_call>``."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found = msgspec.json.decode(text[start : end + 1])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ReadCall("", {}, text, "the call between the tags is not valid JSON")
    name, arguments = found.get("name"), found.get("arguments", found.get("parameters", {}))
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        return ReadCall("", {}, text, "the call between the tags has no name, or no arguments that can be read")
    return ReadCall(name, arguments, text)


# Names of tools and arguments, chosen by patterns.


def matcher(verifier: str, option: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is one of *patterns*, in which ``*`` stands for any text."""
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    if not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise UsageError(f"{verifier}: {option} must be a list of names that are not empty, got {patterns!r:.200}")
    lowered = [pattern.lower() for pattern in listed]
    return lambda name: any(name_fits(name.lower(), pattern) for pattern in lowered)
