"""What replaying a journal, or looking at it with other monitors, gives."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen._types.events import Event
from interwhen._types.results import CheckRecord, Result, ViolationRecord
from interwhen.journal._rebuilding import Journaled


@dataclass(frozen=True, slots=True)
class RecheckFinding:
    """What one monitor says of a recorded trace."""

    request: int
    """In the text of which request, counted from 1, it was seen first."""
    violation: ViolationRecord
    would_act: bool
    """Whether a run with this monitor would have interrupted or gated here, as far as can be told."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What other monitors say of the recorded text of a model.

    The text is that of the run as it was. A run with these monitors would have gone another way from the first finding
    on that they would have acted upon, so what comes after it in that text is a hint and no more.
    """

    journaled: Journaled
    traces: tuple[str, ...]
    """The trace at the end of each request."""
    findings: tuple[RecheckFinding, ...]
    """Violations, in the order of the requests and of the text; each is told once."""
    unproven: tuple[CheckRecord, ...]
    """Checks of the last trace that came to no verdict of pass or violation."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A run as its journal tells it, made anew: no model, verifier or extractor was asked."""

    journaled: Journaled
    events: tuple[Event, ...]
    """What its reader was told, in order."""
    text: str
    """The trace that stands."""
    result: Result | None
    """How it ended, worked out anew; ``None``: it had not."""
    differences: tuple[str, ...]
    """The fields of the result in which that is not what was recorded. Always empty, unless this version decides
    otherwise than the one that wrote the journal."""
