"""The journal: the append-only record of a run, from which the run can be replayed or resumed.

`_files.py` defines the file and its format, `_records.py` the records, `_writer.py` the thread that writes them.
`_rebuilding.py` reads a journal and rebuilds the core of the run. `_evidence.py` compares a recorded result with its
hashes. Start with `read_journal`. Why: docs/decisions/0012-the-journal.md.
"""

from interwhen._types.ledger import BlockedLoop, ResumeCost, SkippedEvent, WireReport
from interwhen._types.results import Insertion, JournalState, Status
from interwhen.journal._evidence import flaws
from interwhen.journal._files import Clerk, JournalFile, JournalStore, Writing
from interwhen.journal._rebuilding import Journaled, read_journal
from interwhen.journal._reports import Recheck, RecheckFinding, Replay
from interwhen.journal._settings import Journal, ModelReference

__all__ = [
    "BlockedLoop",
    "Clerk",
    "Insertion",
    "Journal",
    "JournalFile",
    "JournalState",
    "JournalStore",
    "Journaled",
    "ModelReference",
    "Recheck",
    "RecheckFinding",
    "Replay",
    "ResumeCost",
    "SkippedEvent",
    "Status",
    "WireReport",
    "Writing",
    "flaws",
    "read_journal",
]
