"""Running a journal again: the same core over the same facts."""

from __future__ import annotations

import os
from dataclasses import dataclass

from interwhen._engine.reviving import result_of
from interwhen.events import Event, Finished
from interwhen.journal._describing import recorded_monitors
from interwhen.journal.reading import Journaled, read_journal
from interwhen.journal.rebuilding import rebuild
from interwhen.journal.settings import Journal
from interwhen.results import Result

__all__ = ["Replay", "replay"]

_APART = ("timing", "journal")
"""What in a result tells of the machine, not of the run."""


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


def replay(journal: str | os.PathLike[str] | Journal) -> Replay:
    """Run the core again over the record in *journal*, or at that path.

    Raises :class:`~interwhen.errors.JournalError` on a file that is no journal this version can read.
    """
    found = read_journal(journal)
    past = rebuild(found, recorded_monitors(found.header))
    result = result_of(past)
    events = tuple(past.core.events)
    transcript = past.core.transcript
    text = transcript.slice(0, transcript.length)
    differences: tuple[str, ...] = ()
    if result is not None:
        if found.result is not None:
            differences = _differences(result, found.result)
        events = (*events, Finished(result))
    return Replay(found, events, text, result, differences)


def _differences(ours: Result, theirs: Result) -> tuple[str, ...]:
    if type(ours) is not type(theirs):
        return ("status",)
    names = [name for name in ours.__struct_fields__ if name not in _APART]
    return tuple(name for name in names if getattr(ours, name) != getattr(theirs, name))
