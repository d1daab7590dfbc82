"""What a scripted server can do, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Head:
    """Send a response head. Without a length or ``chunked``, the body ends where the connection does.

    Where no script says it, the head of a chunked event stream is sent before the first bytes.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    chunked: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes of the body; framed as one chunk where the body is chunked."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send bytes as they are, past the framing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Sleep:
    """Send nothing for *seconds* of the running clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing until the client closes the connection."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a TCP reset."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection without ending the body."""


@dataclass(frozen=True, slots=True)
class Forever:
    """Do *steps* again and again, until the client closes the connection."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Deaf:
    """From here on, go on generating although the client has closed the connection, until an abort call or the end."""


Step: TypeAlias = Head | Send | SendRaw | Sleep | Stall | Reset | Close | Forever | Deaf
"""A script is a sequence of these; after the last one the body is ended as it should be."""


def reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """Script a whole answer with a length; JSON unless *headers* say otherwise."""
    head = {"content-type": "application/json", **(headers or {}), "content-length": str(len(body))}
    return (Head(status, head, chunked=False), Send(body))


def in_turn(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield *steps* with each :class:`Forever` unrolled."""
    for step in steps:
        if isinstance(step, Forever):
            while True:
                yield from in_turn(step.steps)
        else:
            yield step
