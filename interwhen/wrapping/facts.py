"""What interwhen says beside the chunks of a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from interwhen.events import CheckSettled, Event, Retracted, ViolationFound
from interwhen.results import CheckRecord, Result, ViolationRecord


class Facts(msgspec.Struct, frozen=True):
    """What happened up to one chunk, and where its text stands in the trace.

    The trace is what the chunks spell: for each with a ``start``, ``trace = trace[:start] + text[lead:]``, where
    *text* is all text of the chunk, whatever its field. At the end, that is ``result.text`` but for tool calls and
    what was said to the model about these.
    """

    start: int | None = None
    """The offset of this chunk's text in the trace; where it is less than what came before ends, that is retracted."""
    lead: int = 0
    """How many characters at the beginning of the text are no part of the trace: they lead over to a correction."""
    events: tuple[Event, ...] = ()
    """What the engine told since the chunk before, but for the text itself."""
    result: Result | None = None
    """How the run ended; on the last chunk only."""

    @property
    def verdicts(self) -> tuple[CheckRecord, ...]:
        """The checks that ended."""
        return tuple(event.check for event in self.events if isinstance(event, CheckSettled))

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        """The violations that were found."""
        return tuple(event.violation for event in self.events if isinstance(event, ViolationFound))

    @property
    def retracted(self) -> int | None:
        """The offset from which on text that was shown no longer stands, if there is any."""
        return min((event.to for event in self.events if isinstance(event, Retracted)), default=None)


NO_FACTS = Facts()


class Part(msgspec.Struct):
    """One chunk for the reader: the server's own, as it came, or one of ours."""

    raw: bytes | None
    """The server's chunk; ``None``: ``body`` is ours."""
    body: dict[str, Any] | None = None
    facts: Facts = NO_FACTS

    def chunk(self) -> dict[str, Any]:
        """Return the chunk as JSON values."""
        if self.raw is not None:
            found: dict[str, Any] = msgspec.json.decode(self.raw)
            return found
        assert self.body is not None
        return self.body


def facts_of(chunk: object) -> Facts | None:
    """Return the facts on a chunk or response; ``None`` on one that was not supervised."""
    found = getattr(chunk, "interwhen", None)
    return found if isinstance(found, Facts) else None
