"""The results of replaying a journal and of checking its text with other monitors."""

from __future__ import annotations

import msgspec

from interwhen._types.events import Event
from interwhen._types.results import CheckRecord, Result, ViolationRecord, notebook_page
from interwhen.journal._rebuilt_run import Journaled


class RecheckFinding(msgspec.Struct, frozen=True):
    """A violation that a monitor finds in a recorded trace."""

    request: int
    """The first request in whose text it occurs, counted from 1 among those that added text."""
    violation: ViolationRecord
    would_act: bool
    """Whether the monitor has another delivery than ``observe``, so that a run would probably have acted."""


class Recheck(msgspec.Struct, frozen=True):
    """The result of checking the recorded text of a run with other monitors.

    With these monitors, the run would probably have continued differently after the first violation that they act on,
    so later findings are only hints.
    """

    journaled: Journaled
    traces: tuple[str, ...]
    """The trace at the end of each request that added text, before a remedy cut it."""
    findings: tuple[RecheckFinding, ...]
    """The violations, in the order of the requests. A violation is listed once, even if several requests have it after
    the same text. Violations in inserted text are left out."""
    unproven: tuple[CheckRecord, ...]
    """Checks of the last trace whose outcome is neither a pass nor a violation."""


class Replay(msgspec.Struct, frozen=True):
    """A run rebuilt from its journal, without its model, verifiers and extractors."""

    journaled: Journaled
    events: tuple[Event, ...]
    """The recomputed events for its reader, in order."""
    text: str
    """The trace after the last record. If a gate held text back at the end, the result has less."""
    result: Result | None
    """The recomputed result; ``None`` if the journal does not have the end of the run."""
    differences: tuple[str, ...]
    """The names of the fields in which the recomputed result differs from the recorded one, without those that a replay
    cannot reproduce, such as ``timing``; ``status`` alone if the status differs. Usually there are none."""

    def __repr__(self) -> str:
        return f"<Replay of {self.journaled.path!r}: {self}>"

    def __str__(self) -> str:
        ending = f"not over, {len(self.text):,} characters" if self.result is None else str(self.result)
        changed = f", other than recorded: {', '.join(self.differences)}" if self.differences else ""
        return ending + changed

    def _repr_html_(self) -> str | None:
        return notebook_page(self)
