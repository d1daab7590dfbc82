"""The compact form of a timeline: JSON for browsers, whole or in parts.

docs/journal.md describes it. The trace page reads it; the types of its model are generated from the structs here and in
``_timeline.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import msgspec

from interwhen._types.models import Origin, Usage
from interwhen._types.results import Result, Verified
from interwhen._types.segments import Phase, Span
from interwhen._types.verdicts import (
    Cancelled,
    Errored,
    Judged,
    Outcome,
    Pass,
    Scope,
    Skipped,
    TimedOut,
    Unknown,
    Violation,
)
from interwhen.journal._files import SCHEMA
from interwhen.journal._records import Header
from interwhen.journal._timeline import KEYED, GrowingNotes, PartMark

VERSION = 3

OutcomeName = Literal["pass", "violation", "unknown", "error", "timed_out", "cancelled", "skipped"]


class OutcomeWords(msgspec.Struct, frozen=True, omit_defaults=True):
    outcome: OutcomeName
    why: str = ""
    """The reason for the outcome; for a pass its evidence."""
    witness: str = ""
    repair: str | None = None
    scope: Scope = "steps"


class MonitorData(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    verifier: str = ""
    version: str = ""
    delivery: str | None = None
    worker: str = ""
    deadline: float = 0.0
    remedy: str | None = None
    required: bool = False
    scope: str | None = None
    forks: bool = False


Row = dict[str, Any]
"""One of the structs in the compact form."""


class RunData(msgspec.Struct, omit_defaults=True):
    """The compact form of a run, or a part of it, in which the rows of lists that change have their indexes."""

    version: int = 0
    path: str = ""
    interwhen: str = ""
    schema: int = 0
    written: float = 0.0
    """When the run began, in seconds since 1970."""
    model: str = ""
    prompt: Any = None
    prompt_sha256: str = ""
    redacted: bool = False
    monitors: list[MonitorData] = []
    call: Row | None = None
    size: int = 0
    left_out: int = 0
    end: int = 0
    text: str = ""
    chars: list[int] = []
    gaps: list[int] = []
    numbers: list[tuple[int, int]] = []
    weights: list[tuple[int, int]] = []
    styles: list[tuple[int, Phase, Origin]] = []
    cuts: list[Row] = []
    shown: list[Row] = []
    frontier: list[Row] = []
    incidents: list[Row] = []
    requests: list[Row] | dict[int, Row] = []
    checks: list[Row] | dict[int, Row] = []
    forks: list[Row] | dict[int, Row] = []
    remedies: list[Row] | dict[int, Row] = []
    status: str | None = None
    label: str | None = None
    result: Row | None = None
    certificate: Row | None = None
    text_sha256: str = ""
    rechecked: str | None = None
    """The monitor that checked the recorded text again; its checks replace those of the run."""
    begin: int | None = msgspec.field(default=None, name="from")
    """Of a part: where it begins in the journal, in bytes."""
    offset: int | None = None
    """Of a part: where it ends."""


class CompactForm:
    """Makes the compact form of *recording*, the notes of the run with this *header*."""

    def __init__(self, recording: GrowingNotes, header: Header) -> None:
        self._recording = recording
        self._header = header
        self._index = {one.name: number for number, one in enumerate(header.monitors)}

    def whole(self, path: str, size: int, left_out: int = 0) -> RunData:
        """Return the compact form of the timeline up to now.

        *left_out* is how many bytes at the end of the journal could not be read.
        """
        form = self.part(path, PartMark())
        for name in KEYED:
            if rows := getattr(form, name):
                setattr(form, name, [rows[index] for index in sorted(rows)])
        form.size, form.left_out = size, left_out
        return form

    def part(self, path: str, mark: PartMark) -> RunData:
        # Only the first part after a new mark has the settings of the run. The call moves `mark` to now.
        form = RunData() if mark.begun else self._head(path)
        mark.begun = True
        notes = self._recording.notes
        first = mark.counts[0]
        part = self._recording.since(mark)
        before = _micros(notes.times[first - 1]) if first else 0
        times = [before, *map(_micros, part.times)]
        form.end = _micros(part.end)
        form.text = "".join(part.text)
        form.gaps = [after - at for at, after in pairwise(times)]
        form.chars, form.numbers, form.weights, form.styles = part.chars, part.numbers, part.weights, part.styles
        for name in ("cuts", "shown", "frontier", "incidents"):
            setattr(form, name, [row_of(one, self._index) for one in getattr(part, name)])
        for name in KEYED:
            if changed := getattr(part, name):
                setattr(form, name, {index: row_of(one, self._index) for index, one in changed.items()})
        if self._recording.called is not None:
            form.call = called_fields(self._header, self._recording.called)
        if part.result is not None:
            add_result(form, part.result, part.certified)
            form.text_sha256 = part.text_sha256
        return form

    def _head(self, path: str) -> RunData:
        header, redacted = self._header, self._header.redacted
        monitors = []
        for one in header.monitors:
            who, fields = header.verifiers[one.verifier], one.fields
            remedy = fields.get("remedy")
            monitors.append(
                MonitorData(
                    name=one.title,
                    verifier=who.name,
                    version=who.version,
                    delivery=fields.get("delivery"),
                    worker=who.worker,
                    deadline=who.deadline,
                    remedy=remedy.get("type", "").lower() if isinstance(remedy, dict) else remedy,
                    required=fields.get("required", False),
                    scope=fields.get("scope"),
                    forks=one.forks,
                )
            )
        return RunData(
            version=VERSION,
            path=path,
            interwhen=header.interwhen,
            schema=SCHEMA,
            call=None if header.call is None else msgspec.to_builtins(header.call),
            written=header.written,
            model=header.model,
            prompt=None if redacted else header.prompt,
            prompt_sha256=header.prompt_sha256 if redacted else "",
            redacted=redacted,
            monitors=monitors,
        )


def add_result(form: RunData, result: Result, certified: Sequence[int]) -> None:
    # `certified` are the indexes of the certified checks.
    form.status, form.label = result.status, result.label
    form.result = {name: value for name, value in row_of(result).items() if name in RESULT}
    if isinstance(result, Verified):
        row = row_of(result.certificate)
        form.certificate = {**row, "checks": certified}


RESULT = (
    "finish_reason",
    "reason",
    "error",
    "unverified_reasons",
    "insertions",
    "hidden_reasoning",
    "resume",
    "ledger",
    "timing",
    "wire",
)
"""The fields of a result that the page shows."""


def called_fields(header: Header, record: Mapping[str, Any]) -> Row:
    known = {} if header.call is None else msgspec.to_builtins(header.call)
    apart = ("checks", "violations", "monitors", "content", "ledger", "timing")
    return {**known, **{name: value for name, value in record.items() if name not in apart}}


def to_json(value: object) -> bytes:
    # Lone surrogates, which UTF-8 cannot encode, are escaped.
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":")).encode()


# The encode table: how each type of a field is written.

LEFT_OUT = ("verifier", "version")
"""The fields of an event that those of its monitor repeat."""


def row_of(one: msgspec.Struct, monitors: Mapping[str, int] | None = None) -> Row:
    # `monitors` are the indexes of the monitors if `one` is an event. Its floats are times, and become microseconds.
    row: Row = {}
    for name, default in _fields(type(one)):
        value = getattr(one, name)
        if value is None or value == default or (monitors is not None and name in LEFT_OUT):
            continue
        if monitors is not None and name == "monitor":
            row[name] = monitors[value]
        elif monitors is not None and isinstance(value, float):
            row[name] = _micros(value)
        elif isinstance(value, Usage):
            row |= row_of(value)
        elif isinstance(value, Outcome):
            row |= msgspec.to_builtins(outcome_words(value))
        else:
            row[name] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, Span):
        return [value.start, value.end]
    if isinstance(value, msgspec.Struct):
        return row_of(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    omits = kind.__struct_config__.omit_defaults
    return tuple((one.encode_name, one.default if omits else msgspec.NODEFAULT) for one in msgspec.structs.fields(kind))


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def outcome_words(outcome: Outcome) -> OutcomeWords:
    match outcome:
        case Judged(verdict=Pass(evidence=why, scope=scope)):
            return OutcomeWords("pass", why, scope=scope)
        case Judged(verdict=Violation(why=why, witness=witness, repair=repair)):
            return OutcomeWords("violation", why, witness, repair)
        case Judged(verdict=Unknown(why=why)):
            return OutcomeWords("unknown", why)
        case Errored(error=why):
            return OutcomeWords("error", why)
        case TimedOut(deadline=deadline):
            return OutcomeWords("timed_out", f"no verdict within {deadline:g} s")
        case Cancelled(why=why):
            return OutcomeWords("cancelled", why)
        case Skipped(why=why):
            return OutcomeWords("skipped", why)
    raise AssertionError(outcome)
