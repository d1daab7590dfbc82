"""What results hold: certificates, records of checks and violations, outcomes, the ledger and the timing."""

from interwhen._types.ledger import Ledger, Timing
from interwhen._types.results import (
    Certificate,
    CheckRecord,
    Insertion,
    JournalState,
    UnverifiedReason,
    ViolationRecord,
)
from interwhen._types.verdicts import Cancelled, Errored, Judged, Skipped, TimedOut

__all__ = [
    "Cancelled",
    "Certificate",
    "CheckRecord",
    "Errored",
    "Insertion",
    "JournalState",
    "Judged",
    "Ledger",
    "Skipped",
    "TimedOut",
    "Timing",
    "UnverifiedReason",
    "ViolationRecord",
]
