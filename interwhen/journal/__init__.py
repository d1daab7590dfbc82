"""The journal: the append-only record of a run, from which the run can be replayed or resumed unless it is redacted.

`_files.py` has the file and its format, `_records.py` the records, `_writer.py` and `_directory.py` the threads that
write them. `_rebuilt_run.py` reads a journal and rebuilds the core of the run. `_timeline.py` has the structs of what
happened in a run, `_scribe.py` makes them while a core works, `_timeline_reader.py` reads them from a journal, and
`_compact_form.py` writes them as JSON for browsers. `_settings.py` has the options.
Start with `read_journal`. Why: docs/decisions/journal.md.
"""

import importlib
import typing

from interwhen._types.ledger import BlockedLoop, ResumeCost, SkippedEvent, WireReport
from interwhen._types.results import Insertion, JournalState, Status
from interwhen.journal._evidence import flaws
from interwhen.journal._files import Clerk, JournalFile, JournalStore, Writing
from interwhen.journal._rebuilt_run import Journaled, read_journal
from interwhen.journal._settings import Journal, ModelReference

if typing.TYPE_CHECKING:
    from interwhen.journal._directory import JournalDirectory, JournalSettings
    from interwhen.journal._reports import Recheck, RecheckFinding, Replay
    from interwhen.journal._signatures import Verification, verify
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
        Timeline,
        TimelineEvent,
    )
    from interwhen.journal._timeline_reader import TimelineReader, timeline

__all__ = [
    "BlockedLoop",
    "CheckTimes",
    "Clerk",
    "ForkTimes",
    "FrontierStep",
    "Incident",
    "Insertion",
    "Journal",
    "JournalDirectory",
    "JournalFile",
    "JournalSettings",
    "JournalState",
    "JournalStore",
    "Journaled",
    "ModelReference",
    "Recheck",
    "RecheckFinding",
    "RemedyTimes",
    "Replay",
    "RequestTimes",
    "ResumeCost",
    "SkippedEvent",
    "Status",
    "TextCut",
    "TextShown",
    "TextWritten",
    "Timeline",
    "TimelineEvent",
    "TimelineReader",
    "Verification",
    "WireReport",
    "Writing",
    "flaws",
    "read_journal",
    "timeline",
    "verify",
]

# A run that writes a journal does not pay for the code that reads timelines, nor for that of directories.
_LATER = {
    **dict.fromkeys(("Recheck", "RecheckFinding", "Replay"), "interwhen.journal._reports"),
    **dict.fromkeys(
        (
            "CheckTimes",
            "ForkTimes",
            "FrontierStep",
            "Incident",
            "RemedyTimes",
            "RequestTimes",
            "TextCut",
            "TextShown",
            "TextWritten",
            "Timeline",
            "TimelineEvent",
        ),
        "interwhen.journal._timeline",
    ),
    **dict.fromkeys(("Verification", "verify"), "interwhen.journal._signatures"),
    **dict.fromkeys(("JournalDirectory", "JournalSettings"), "interwhen.journal._directory"),
    **dict.fromkeys(("TimelineReader", "timeline"), "interwhen.journal._timeline_reader"),
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value  # this function is not called again for it
    return value
