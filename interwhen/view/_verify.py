"""Checks one recorded claim again, with the installed verifier and without a model."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

from interwhen._run.recheck import ClaimVerdict, check_claim_again
from interwhen._types.errors import UsageError
from interwhen._types.segments import Span
from interwhen.journal import timeline


async def verify_claim(path: Path, number: int) -> ClaimVerdict:
    # Raises `JournalError` if the journal cannot be read or is redacted, and `UsageError` if there is no such claim, if
    # it cannot be found again (for example: a fork found it), or if supervision is switched off.
    checks = timeline(path).checks
    if not 0 <= number < len(checks):
        raise UsageError(f"the check must be one of the {len(checks)} of the run, got number {number}: correct it")
    check = checks[number]
    return await check_claim_again(path, check.monitor, check.key, check.span)


class Units:
    """Converts offsets of a text from code points to UTF-16 code units."""

    def __init__(self, text: str) -> None:
        self._wide = [at for at, character in enumerate(text) if ord(character) > 0xFFFF]

    def of(self, offset: int) -> int:
        return offset + bisect_left(self._wide, offset)

    def span(self, span: Span | None) -> Span | None:
        return None if span is None else Span(self.of(span.start), self.of(span.end))
