"""What in a text was not the model's: spans by which a loss can leave it out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

SpanKind = Literal["repair", "feedback", "refuted"]
"""A value that we wrote in the place of a wrong one; what we said to the model; or what the model wrote, was refuted,
and stands only because the feedback behind it answers it."""


class OursSpan(msgspec.Struct, frozen=True):
    """A stretch of a text, in characters, that should not be learned as the model's own."""

    start: int
    end: int
    origin: SpanKind

    def within(self, start: int, end: int, shift: int = 0) -> OursSpan | None:
        """Return the part of this span in ``[start, end)``, moved by *shift*; ``None``: there is none."""
        low, high = max(self.start, start), min(self.end, end)
        return OursSpan(low + shift, high + shift, self.origin) if low < high else None


def within(spans: Iterable[OursSpan], start: int, end: int, shift: int = 0) -> tuple[OursSpan, ...]:
    """Return the parts of *spans* in ``[start, end)``, moved by *shift*."""
    return tuple(part for span in spans if (part := span.within(start, end, shift)) is not None)
