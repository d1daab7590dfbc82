"""Writes the rows of journals to a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.vetting import require
from interwhen.training._attempts import AttemptHistory, read_attempts
from interwhen.training._decontamination import SIZE, Decontaminator
from interwhen.training._rows import Row, chat, document, preferences, steps, why_unfit

Format = Literal["tpt", "messages", "prm", "preference"]
"""``tpt``: documents with their thinking; ``messages``: chats; ``prm``: steps with labels; ``preference``: pairs."""
FORMATS: tuple[Format, ...] = get_args(Format)

_WHOLE: dict[Format, Callable[[AttemptHistory], Row]] = {"tpt": document, "messages": chat}
"""The formats with whole traces, which can keep refuted lines."""
_PARTS: dict[Format, Callable[[AttemptHistory, Counter[str]], Iterator[Row]]] = {
    "prm": steps,
    "preference": preferences,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """How many journals an export read, how many rows it wrote, and how many it left out."""

    journals: int
    rows: int
    left_out: dict[str, int]
    """The number of rows, steps or runs that were left out, by reason."""


def export_journals(
    journals: Iterable[str | os.PathLike[str]],
    to: str | os.PathLike[str],
    *,
    format: Format,  # noqa: A002  the word of the command line
    keep_out: Iterable[str] = (),
    overlap: int = SIZE,
    keep_refuted: bool = False,
) -> Exported:
    """Write the rows of *journals* in *format* to the file *to*, as one JSON object a line; return the counts.

    The same journals in the same order, with the same options, give the same bytes. Duplicate rows, and rows that share
    *overlap* consecutive words with a text of *keep_out* (all words of a shorter text), are left out. So are whole
    traces with a line that was refuted and not corrected; with *keep_refuted*, such a line is kept and marked as
    ``refuted``. All rows are in memory before the file is written.

    Raises :class:`~interwhen.journal.JournalError` for a redacted journal or a file that this version cannot read, and
    :class:`UsageError` for an unknown format, *keep_refuted* with another format than ``tpt`` and ``messages``, an
    *overlap* below 1, if there are no journals, if *to* is one of them, or if the file cannot be written.
    """
    for name, value in (("journals", journals), ("keep_out", keep_out)):
        if isinstance(value, str | os.PathLike):
            raise UsageError(f"{name} must be a list, got {value!r:.80}; write [{value!r:.80}]")
    _check(format, keep_refuted=keep_refuted)
    left_out: Counter[str] = Counter()
    paths: list[str] = []
    target = Path(to)

    def read() -> Iterator[str]:
        for path in journals:
            paths.append(os.fspath(path))
            if target.exists() and Path(path).exists() and target.samefile(path):
                raise UsageError(
                    f"the output must not be one of the journals that are read, got {str(target)!r}; name another file"
                )
            yield paths[-1]

    decontaminator = Decontaminator(keep_out, overlap)
    rows = (row for path in read() for row in _rows(read_attempts(path), format, left_out, keep_refuted=keep_refuted))
    lines = list(_lines(rows, decontaminator, left_out))
    if not paths:
        raise UsageError("an export needs at least one journal, got none; name some")
    data = b"".join(line + b"\n" for line in lines)
    try:
        if target.exists() and not target.is_file():  # a device or a pipe, such as /dev/stdout, must not be replaced
            target.write_bytes(data)
        else:
            part = target.with_name(f"{target.name}.part")
            part.write_bytes(data)
            part.replace(target)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{str(target)!r} must be a file that can be written, got {getattr(error, 'strerror', error)}; name "
            "another file"
        ) from error
    return Exported(len(paths), len(lines), dict(sorted(left_out.items())))


def _check(form: Format, *, keep_refuted: bool) -> None:
    require("format", form, Format, "choose one of these")
    if keep_refuted and form not in _WHOLE:
        raise UsageError(f"keep_refuted must be used with {' or '.join(_WHOLE)}, got {form!r}; leave it out")


def _rows(history: AttemptHistory, form: Format, left_out: Counter[str], *, keep_refuted: bool) -> Iterator[Row]:
    if form in _PARTS:
        yield from _PARTS[form](history, left_out)
    elif why := why_unfit(history, keep_refuted=keep_refuted):
        left_out[why] += 1
    else:
        yield _WHOLE[form](history)


def _lines(rows: Iterable[Row], decontaminator: Decontaminator, left_out: Counter[str]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for row in rows:
        line = _encoded(row)
        if decontaminator.is_contaminated(row.searched):
            left_out["rows that overlap with test data"] += 1
        elif line in seen:
            left_out["duplicate rows"] += 1
        else:
            seen.add(line)
            yield line


def _encoded(row: Row) -> bytes:
    try:
        return msgspec.json.encode(row)
    except UnicodeEncodeError:  # lone surrogates, which trainers do not accept
        plain = msgspec.to_builtins(row)
        return msgspec.json.encode(_replaced(plain))


def _replaced(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _replaced(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(each) for each in value]
    return value
