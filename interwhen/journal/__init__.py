"""The journal: the append-only record of a run, from which the run can be replayed or resumed unless it is redacted.

`_scribe.py` notes what happens in a run as the structs in `_timeline.py`, and `_rebuilt_run.py` rebuilds the core of a
run from its journal. Start with `read_journal`. Why: docs/decisions/journal.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen._types.errors import JournalError
from interwhen.journal._files import JournalStore
from interwhen.journal._rebuilt_run import read_journal
from interwhen.journal._settings import Journal, ModelReference

if TYPE_CHECKING:
    from interwhen.journal._signatures import verify
    from interwhen.journal._timeline import (
        CheckTimes,
        ForkTimes,
        FrontierStep,
        Incident,
        RemedyTimes,
        RequestTimes,
        TextCut,
        TextShown,
        TextWritten,
    )
    from interwhen.journal._timeline_reader import TimelineReader, timeline

__all__ = [
    "CheckTimes",
    "ForkTimes",
    "FrontierStep",
    "Incident",
    "Journal",
    "JournalError",
    "JournalStore",
    "ModelReference",
    "RemedyTimes",
    "RequestTimes",
    "TextCut",
    "TextShown",
    "TextWritten",
    "TimelineReader",
    "read_journal",
    "timeline",
    "verify",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    # A run that writes a journal does not pay for the code that reads timelines.
    __getattr__ = lazy_names(
        __name__,
        {
            "interwhen.journal._signatures": ("verify",),
            "interwhen.journal._timeline": (
                "CheckTimes",
                "ForkTimes",
                "FrontierStep",
                "Incident",
                "RemedyTimes",
                "RequestTimes",
                "TextCut",
                "TextShown",
                "TextWritten",
            ),
            "interwhen.journal._timeline_reader": ("TimelineReader", "timeline"),
        },
    )
