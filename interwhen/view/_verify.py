"""Checks one recorded claim again, with the installed verifier and without a model, and makes rows of checks."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from typing import Any

import msgspec

from interwhen._recheck import check_claim_again
from interwhen._types.errors import UsageError
from interwhen._types.results import CheckRecord
from interwhen._types.verdicts import Judged, Outcome, Violation
from interwhen.journal import timeline
from interwhen.journal._compact_form import outcome_words


class ClaimVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of checking a claim again."""

    outcome: str
    """In the words of the compact form: ``pass``, ``violation``, ``unknown``, ``error``, ``timed_out``, …"""
    why: str = ""
    """The reason for the outcome; for a pass its evidence, and for a violation its witness, if it has one."""
    changed: str = ""
    """How the version or the code of the verifier differs from that of the recorded check; empty if no difference is
    known."""


async def verify_claim(path: Path, number: int) -> ClaimVerdict:
    """Check again the claim with the index *number* (from 0) in the timeline of the journal at *path*.

    Raises :class:`~interwhen.JournalError` if the journal cannot be read or is redacted, and
    :class:`~interwhen.UsageError` if there is no such claim, if it cannot be found again (for example: a fork found
    it), or if supervision is switched off.
    """
    checks = timeline(path).checks
    if not 0 <= number < len(checks):
        raise UsageError(f"the check must be one of the {len(checks)} of the run, got number {number}: correct it")
    check = checks[number]
    again = await check_claim_again(path, check.monitor, check.key, check.span)
    return ClaimVerdict(*words_of(again.outcome), again.changed)


def words_of(outcome: Outcome) -> tuple[str, str]:
    """Return the name of *outcome* in the compact form, such as ``violation``, and the reason for it.

    For a pass, the reason is the evidence, and for a violation its witness, if it has one.
    """
    name, why = outcome_words(outcome)
    if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation):
        why = outcome.verdict.witness or why
    return name, why


def check_fields(check: CheckRecord, monitor: int, units: Units) -> dict[str, Any]:
    """Return *check* as a row of the compact form, with 0 for its times and 1 for its numbers.

    *monitor* is the index of its monitor. *units* converts the offsets of the checked text.
    """
    outcome, why = words_of(check.outcome)
    row: dict[str, Any] = {
        "monitor": monitor,
        "key": check.key,
        "ordered": 0,
        "ended": 0,
        "numbers": [1, 1],
        "outcome": outcome,
        "why": why,
    }
    if check.span is not None:
        row["span"] = [units.of(check.span.start), units.of(check.span.end)]
    if isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Violation):
        verdict = check.outcome.verdict
        row |= {"why": verdict.why, "witness": verdict.witness}
    return row


class Units:
    """Converts offsets of a text from code points to UTF-16 code units."""

    def __init__(self, text: str) -> None:
        self._wide = [at for at, character in enumerate(text) if ord(character) > 0xFFFF]

    def of(self, offset: int) -> int:
        """Convert *offset* from code points to UTF-16 code units."""
        return offset + bisect_left(self._wide, offset)
