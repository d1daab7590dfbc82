"""Claims from regular expressions: what was matched, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from interwhen._types.segments import Segment
from interwhen._types.spans import Span

__all__ = ["Quote", "quotes"]


@dataclass(frozen=True, slots=True)
class Quote:
    """A match in a segment, as the text of one claim."""

    match: re.Match[str]
    span: Span
    """Where the match stands in the trace: the claim's ``span``."""

    @property
    def text(self) -> str:
        """The matched text."""
        return self.match[0]

    def __getitem__(self, group: str | int) -> str:
        """Return the text of a group; empty where the group took no part."""
        return self.match[group] or ""

    def where(self, group: str | int) -> Span | None:
        """Return where a group stands in the claim: the ``where`` of a violation; ``None`` if it took no part."""
        start, end = self.match.span(group)
        return None if start < 0 else Span(start - self.match.start(), end - self.match.start())


def quotes(segment: Segment, pattern: re.Pattern[str]) -> Iterator[Quote]:
    """Yield the matches of *pattern* in *segment*, with their places.

    It runs on the event loop: :func:`interwhen.testing.complexity.suspicious` says whether the pattern may backtrack.
    """
    for match in pattern.finditer(segment.text):
        if match.end() > match.start():
            yield Quote(match, segment.at(*match.span()))
