"""Finds the text of claims by regular expressions: the matches, with their spans in the trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from interwhen._types.segments import Segment, Span

__all__ = ["quotes"]


@dataclass(frozen=True, slots=True)
class Quote:
    """A match of a pattern in a segment, from which a claim can be made."""

    match: re.Match[str]
    span: Span
    """The span of the match in the trace, for the ``span`` of the claim."""

    @property
    def text(self) -> str:
        """The text that the whole pattern matched."""
        return self.match[0]

    def __getitem__(self, group: str | int) -> str:
        return self.match[group] or ""

    def where(self, group: str | int) -> Span | None:
        """Return the span of *group*, counted from the start of the match, for the ``where`` of a violation.

        ``None`` if the group did not match.
        """
        start, end = self.match.span(group)
        return None if start < 0 else Span(start - self.match.start(), end - self.match.start())


def quotes(segment: Segment, pattern: re.Pattern[str]) -> Iterator[Quote]:
    """Yield the matches of *pattern* in *segment* that are not empty, with their spans in the trace.

    The search must be fast: :func:`interwhen.testing.complexity.suspicious` tells why *pattern* may need more than
    linear time.
    """
    for match in pattern.finditer(segment.text):
        if match.end() > match.start():
            yield Quote(match, segment.at(*match.span()))
