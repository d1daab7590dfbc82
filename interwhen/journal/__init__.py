"""The journal: the append-only record of a run, enough to replay or resume it."""

from interwhen.journal.places import Clerk, JournalFile, JournalStore, Writing
from interwhen.journal.reading import Journaled, read_journal
from interwhen.journal.settings import Journal, ModelReference

__all__ = ["Clerk", "Journal", "JournalFile", "JournalStore", "Journaled", "ModelReference", "Writing", "read_journal"]
