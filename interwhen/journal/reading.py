"""Reading a journal back: the longest prefix that is whole, and how much had to be left out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from interwhen.errors import JournalError
from interwhen.evidence import flaws
from interwhen.journal._files import Files
from interwhen.journal._framing import START, frames
from interwhen.journal._records import Ending, Header, Record, decode
from interwhen.journal.settings import Journal
from interwhen.results import Result, Verified, prompt_sha256


@dataclass(frozen=True, slots=True)
class Journaled:
    """What a journal holds."""

    path: str
    header: Header
    """What the run was asked to do."""
    records: tuple[Record, ...]
    """All that was recorded after that, in order."""
    size: int
    """How many bytes of the file are whole."""
    left_out: int
    """How many bytes at its end are not: torn by a crash, or damaged."""
    chain: int
    """The checksum that the next record goes on from."""

    @property
    def result(self) -> Result | None:
        """How the run ended; ``None``: it had not yet."""
        last = self.records[-1] if self.records else None
        return last.result if isinstance(last, Ending) else None


def read_journal(journal: str | os.PathLike[str] | Journal) -> Journaled:
    """Return what *journal* (or the one at that path) holds, up to its first byte that is torn or damaged.

    Raises :class:`~interwhen.errors.JournalError` where it cannot be read, is no journal, was written by a newer
    version, holds not even its first record, or has a result that contradicts its own certificate.
    """
    settings = journal if isinstance(journal, Journal) else Journal(journal)
    name = settings.name
    try:
        data = (settings.store or Files()).read(name)
    except OSError as error:
        raise JournalError(name, f"it cannot be read ({error.strerror})") from error
    header: Header | None = None
    records: list[Record] = []
    end, chain = START, 0
    for found in frames(data, name):
        try:
            record = decode(found.payload)
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalError(name, f"record {len(records)} is whole, but not of this version: {error}") from error
        if header is not None:
            records.append(record)
        elif isinstance(record, Header):
            header = record
        else:
            raise JournalError(name, f"its first record is {type(record).__name__!r}, not what the run was asked")
        end, chain = found.end, found.chain
    if header is None:
        raise JournalError(name, "it was cut before its first record was whole: there is nothing to go on from")
    journaled = Journaled(name, header, tuple(records), end, len(data) - end, chain)
    _refuse_changed(journaled)
    return journaled


def _refuse_changed(found: Journaled) -> None:
    """Raise :class:`JournalError` where what was recorded of the end contradicts itself: somebody changed it."""
    result, header = found.result, found.header
    if result is None:
        return
    wrong = list(flaws(result))
    if prompt_sha256(header.prompt) != header.prompt_sha256:
        wrong.append("its prompt is not the one that its header names by its hash")
    if isinstance(result, Verified) and result.certificate.prompt_sha256 != header.prompt_sha256:
        wrong.append("its certificate is for another prompt")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise JournalError(found.path, f"its result contradicts itself, so it was changed: {wrong[0]}{more}")
