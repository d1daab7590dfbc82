"""``interwhen verify``: compare a text with its certificate, on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from interwhen import UsageError, Verified
from interwhen._types.errors import DECODE_ERRORS, JournalError
from interwhen._types.results import Certificate, Result
from interwhen.cli import _exits
from interwhen.cli._text import STYLES, as_json, one_line, stdout_console
from interwhen.journal._files import MAGIC
from interwhen.journal._rebuilt_run import read_journal
from interwhen.journal._signatures import Verification, verify

_EXITS = {"signed": _exits.OK, "unsigned": _exits.OK, "mismatch": _exits.BROKEN, "undecided": 3}


def verify_text(
    certificate: Path,
    text: Path,
    /,
    *,
    key: str = "",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare the file TEXT with CERTIFICATE. No verifier runs, and nothing is asked.

    Exit codes: 0 the text is the certified one, 1 it is not or the certificate was changed, 3 this cannot be decided, 2
    wrong usage. Without a signature, 0 only means "unchanged as far as hashes tell", because anyone can make hashes.

    Parameters
    ----------
    certificate
        A certificate or a result as JSON, the output of "interwhen run --json", or a journal.
    text
        A file with the whole text of the result, in UTF-8.
    key
        The public Ed25519 key in hex (64 digits) that must have signed. Without it, the key is shown: compare it with
        that of the one whom you trust.
    json
        Write one line of JSON.
    """
    verification = _compared(_bytes(certificate), str(certificate), _bytes(text), key)
    console = stdout_console()
    if json:
        console.file.write(as_json(verification) + "\n")
    else:
        style = STYLES["passed" if _EXITS[verification.answer] == _exits.OK else "violated"]
        console.print(Text(f" {verification.answer}: {one_line(verification.why, 400)}", style=style))
    return _EXITS[verification.answer]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"a readable file must be given, got {str(path)!r} ({error.strerror or error}): name another file"
        ) from error


def _compared(data: bytes, name: str, text: bytes, key: str) -> Verification:
    try:
        record = read_journal(name).result if data.startswith(MAGIC) else _from_json(data)
        words = text.decode()
    except (JournalError, UnicodeDecodeError) as error:
        return Verification("mismatch", str(error))
    if record is None:
        return Verification("undecided", "CERTIFICATE is no certificate, no result, and no journal of a run that ended")
    if isinstance(record, Certificate):
        return verify(record, words, key=key)
    if isinstance(record, Verified):
        return verify(record.certificate, words, key=key, original=record.text)
    return Verification("undecided", f"the result is {record.label}, so it has no certificate")


class _Finished(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()


def _from_json(data: bytes) -> Certificate | Result | None:
    lines = data.strip().splitlines()
    for part in (data, *lines[-1:]):
        try:
            inner = bytes(msgspec.json.decode(part, type=_Finished).result) or part
        except DECODE_ERRORS:
            continue
        for kind in (Result, Certificate):
            try:
                record: Certificate | Result = msgspec.json.decode(inner, type=kind)
            except DECODE_ERRORS:
                continue
            return record
    return None
