"""What a stream keeps of the oddities that did not end it."""

from __future__ import annotations

from dataclasses import dataclass, field

from interwhen.errors import MalformedEvent
from interwhen.models.chunks import Decode, Decoded
from interwhen.models.ghosts import Ghost
from interwhen.wire_report import SkippedEvent

KEPT_SAMPLES = 16
"""How many skipped events of a stream are kept; all are counted."""


@dataclass(slots=True)
class StreamNotes:
    """Counters of one stream, for the result of its run."""

    skipped_events: int = 0
    skipped: list[SkippedEvent] = field(default_factory=list)
    replaced_events: int = 0
    bytes_after_end: int = 0
    ghost: Ghost | None = None
    """What the server may still be generating after we closed the stream."""

    @property
    def is_odd(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.skipped_events or self.replaced_events or self.bytes_after_end)

    def skip(self, error: MalformedEvent) -> None:
        """Count the event that *error* is about, and keep the first ones."""
        self.skipped_events += 1
        if len(self.skipped) < KEPT_SAMPLES:
            sample = ascii(error.sample)[2:-1]
            self.skipped.append(SkippedEvent(error.offset, sample, str(error).partition(" at byte ")[0]))


def lenient(decode: Decode, notes: StreamNotes) -> Decode:
    """Return *decode* with a way around single events that cannot be read: they are left out, and counted.

    Invalid UTF-8 becomes U+FFFD where the rest of the event can be read then. Errors that the server announces,
    unknown shapes and a second choice still raise: there is more wrong than one event.
    """

    def decoded(data: bytes, offset: int, first: bool) -> Decoded:  # noqa: FBT001  see Decode
        try:
            return decode(data, offset, first)
        except MalformedEvent as error:
            mended = data.decode(errors="replace").encode()
            if mended != data:
                try:
                    found = decode(mended, offset, first)
                except MalformedEvent:
                    pass
                else:
                    notes.replaced_events += 1
                    return found
            notes.skip(error)
            return None

    return decoded
