"""Positions in a trace: character offsets and half-open spans."""

from __future__ import annotations

from typing import NewType

import msgspec

Offset = NewType("Offset", int)
"""A position in a trace, in characters (Unicode code points) from its start."""


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """The half-open range ``[start, end)`` of a text, in characters.

    Raises :class:`ValueError` unless ``0 <= start <= end``.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            msg = f"a span needs 0 <= start <= end, got start={self.start!r}, end={self.end!r}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.end - self.start

    def shifted(self, by: int) -> Span:
        """Return this span moved by *by* characters."""
        return Span(self.start + by, self.end + by)

    def covers(self, other: Span) -> bool:
        """Tell whether *other* lies inside this span."""
        return self.start <= other.start and other.end <= self.end
