"""What was odd about the way to the model: nothing that went wrong on it is silent."""

from __future__ import annotations

import msgspec


class SkippedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the stream that could not be read and was left out, because the model was opened to do so."""

    offset: int
    """Where it began, in bytes of the body of its response."""
    sample: str
    """Its first 200 bytes, escaped to ASCII."""
    why: str


class WireReport(msgspec.Struct, frozen=True):
    """What came over the wire and did not stop the run; all zero where nothing was odd."""

    skipped_events: int = 0
    """Events that were left out (``malformed="skip"``): text may be missing where they stood."""
    skipped: tuple[SkippedEvent, ...] = ()
    """The first of them."""
    replaced_events: int = 0
    """Events with invalid UTF-8, whose bad bytes were replaced by U+FFFD (``malformed="skip"``)."""
    bytes_after_end: int = 0
    """Bytes behind the end mark of a stream that had come by the end of the run; their content is not looked at."""
    slow_seconds: float = 0.0
    """For how long the model was waited for while it was slower than ``Timeouts.min_rate``."""
    slowest_rate: float | None = None
    """The lowest rate of those times, in tokens a second."""
