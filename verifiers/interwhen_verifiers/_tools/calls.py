"""Reads the calls in a segment, structured or written as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interwhen import Segment, ToolCall, UsageError
from interwhen.policy import name_fits

INTERPRETER = "python_interpreter"
"""The name of the call that stands for the whole code of a code agent. The calls in the code follow it."""
_LARGEST = 200_000
"""Longer calls are ``Unknown``."""


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call in the trace. Its ``name`` and ``text`` are empty if it is too long to be read."""

    name: str
    arguments: Mapping[str, Any]
    text: str
    problem: str = ""
    """Why it cannot be read, so that ``arguments`` is empty. Empty: it was read."""


def read_calls(segment: Segment) -> tuple[ReadCall, ...]:
    if len(segment.text) > _LARGEST:
        return (ReadCall("", {}, "", f"a call of more than {_LARGEST:,} characters is not read"),)
    return tuple(map(_read, segment.calls))


def _read(call: ToolCall) -> ReadCall:
    try:
        return ReadCall(call.name, call.values(), call.text)
    except (ValueError, RecursionError) as error:
        return ReadCall(call.name, {}, call.text, str(error))


def matcher(verifier: str, option: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is one of *patterns*, in which ``*`` stands for any text.

    Case is ignored. Raises :class:`UsageError` if *patterns* is neither a name nor a list of names.
    """
    listed = list(patterns) if isinstance(patterns, Iterable) and not isinstance(patterns, str) else [patterns]
    if not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise UsageError(f"{verifier}: {option} must be a list of names that are not empty, got {patterns!r:.200}")
    lowered = [pattern.lower() for pattern in listed]
    return lambda name: any(name_fits(name.lower(), pattern) for pattern in lowered)
