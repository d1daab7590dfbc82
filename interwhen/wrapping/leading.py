"""How a reader who knows nothing of retractions is led from text that no longer stands to what replaces it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from interwhen.wrapping.arrivals import Field

_BACK = 200
"""How many characters of standing text are repeated at most, to give a correction its context."""


class Lead(NamedTuple):
    """What to write in front of text: ``lead`` is no part of the trace, ``again`` is, and begins at ``start``."""

    lead: str
    start: int
    again: str


class Leading:
    """Follows what each field of the stream has shown, and finds the words between an error and its correction.

    After a retraction, text begins on a line of its own. Feedback says by itself that something was wrong; any other
    text follows a word such as "Correction:" and the beginning of the line that it stands in.
    """

    def __init__(self, trace: Callable[[], str], correction: str) -> None:
        self._trace = trace
        self._correction = correction
        self._ends: dict[Field, int] = {}
        """Where the last text shown in each field ends."""
        self._on_new_line: dict[Field, bool] = {}
        self._owed: set[Field] = set()
        self._fields: list[tuple[int, Field]] = []
        """From where on which field was shown."""

    def due(self, field: Field) -> bool:
        """Tell whether text that no longer stands is the last that was shown in *field*."""
        return field in self._owed

    def showed(self, field: Field, start: int, text: str) -> None:
        """Note that *text* was shown."""
        if not text:
            return
        if not self._fields or self._fields[-1][1] != field:
            self._fields.append((start, field))
        self._ends[field] = start + len(text)
        self._on_new_line[field] = text[-1] == "\n"

    def retract(self, to: int) -> None:
        """Note that what was shown from *to* on no longer stands."""
        self._owed.update(field for field, end in self._ends.items() if end > to)
        self._ends = {field: min(end, to) for field, end in self._ends.items()}
        while len(self._fields) > 1 and self._fields[-1][0] >= to:
            self._fields.pop()

    def lead(self, field: Field, start: int, text: str, *, said: bool) -> Lead:
        """Return what leads over to *text*, which stands at *start*; *said*: it is feedback."""
        if field not in self._owed or not text:
            return Lead("", start, "")
        self._owed.discard(field)
        line = "" if self._on_new_line.get(field, True) else "\n"
        if said:
            return Lead("" if text.startswith("\n") else line, start, "")
        trace = self._trace()
        first = self._fields[-1][0] if self._fields and self._fields[-1][1] == field else start
        at = max(trace.rfind("\n", 0, start) + 1, first)
        if start - at > _BACK:
            at = trace.find(" ", start - _BACK, start) + 1 or start
        return Lead(f"{line}{self._correction}", at, trace[at:start])
