"""The recorded text of a run with the checks of another monitor, as a timeline for the page."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from interwhen._consent import Chosen
from interwhen._recheck import observe_recorded, recorded_chunks, vet_in_time, watch_until
from interwhen._types.errors import UsageError
from interwhen._types.models import Chunk
from interwhen._types.monitors import Monitor
from interwhen._types.results import CheckRecord
from interwhen._types.segments import Phase
from interwhen.journal import Journaled, read_journal, timeline
from interwhen.journal._compact_form import to_json
from interwhen.view._runs import RunRow
from interwhen.view._verify import Units, check_fields


async def recheck_form(path: Path, chosen: Chosen, title: str) -> bytes:
    """Return the compact form of the run at *path*, with the checks of the monitors *chosen* in place of its own.

    *title* is what the page calls these monitors. Text, cuts, requests and their times are those of the record. The
    monitors only observe, and no model runs: an extraction by a fork ends as an error, unless its local parser answers.
    Raises :class:`~interwhen.JournalError` if the journal cannot be read, and :class:`~interwhen.UsageError` if it is
    redacted, if the time of the monitors is spent, or if supervision is switched off.
    """
    found = read_journal(path)
    watchers, until = watch_until(chosen, found.size)
    if found.header.redacted:
        raise UsageError(
            f"a journal must have its text to be checked again, got {str(path)!r}, which is redacted: use another one"
        )
    form: dict[str, Any] = json.loads(timeline(path).compact)
    rows = [row async for row in _rows(found, form, watchers, until)]
    rows.sort(key=lambda placed: placed[0])
    for name in ("remedies", "forks", "frontier", "certificate", "incidents"):
        form.pop(name, None)
    result = form.get("result") or {}
    form |= {
        "rechecked": title,
        "status": "rechecked",
        "label": "rechecked",
        "monitors": [
            {"name": one.name, "verifier": one.verifier.name, "version": one.verifier.version, "delivery": "observe"}
            for one in watchers
        ],
        "checks": [row for _, row in rows],
        # The costs are those of the recorded run; its reasons are not those of this monitor.
        "result": {name: result[name] for name in ("ledger", "timing", "finish_reason") if name in result},
    }
    return to_json(form)


def rechecked_id(run: str, spec: str) -> str:
    """Return the id under which the page shows the run with the id *run* as rechecked with *spec*."""
    return f"{run}@{spec}"


class _Outcome(msgspec.Struct):
    outcome: str = ""


class _Checks(msgspec.Struct):
    checks: tuple[_Outcome, ...] = ()


def rechecked_row(row: RunRow, name: str, spec: str, form: bytes) -> RunRow:
    """Return the row of a rechecked run in the page's list of runs. The id of the row is *name*.

    *form* is what :func:`recheck_form` made with the monitor *spec*. *row* is the row of the recorded run.
    """
    checks = msgspec.json.decode(form, type=_Checks).checks
    return msgspec.structs.replace(
        row,
        id=name,
        path=f"{row.path} with {spec}",
        monitors=(spec,),
        status="rechecked",
        label="rechecked",
        scope=None,
        remedies=0,
        violations=sum(check.outcome == "violation" for check in checks),
        found=(),
    )


# From the offsets of a trace to the tape, which holds all text that was ever written.


class _Piece(NamedTuple):
    """A part of the tape that is in the trace of a snapshot. The tape is all text that was ever written in the run.

    The offsets are those on the tape, in UTF-16 code units.
    """

    start: int
    end: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The trace just before a cut, or at the end of the run (``is_last``), as parts of the tape.

    ``cuts`` is the number of cuts before it.
    """

    pieces: tuple[_Piece, ...]
    cuts: int
    is_last: bool

    def on_tape(self, offset: int) -> int:
        """Return the offset on the tape of the character at *offset* of the trace.

        If the trace has no such character, return where the trace ends on the tape.
        """
        at = 0
        for piece in self.pieces:
            if offset < at + piece.end - piece.start:
                return piece.start + offset - at
            at += piece.end - piece.start
        return self.pieces[-1].end if self.pieces else 0


def _snapshots(form: dict[str, Any]) -> Iterator[_Snapshot]:
    """Yield the trace before each cut that follows new text of the model, and the trace at the end."""
    styles = {number: (phase, origin == "model") for number, phase, origin in form.get("styles", ())}
    cuts: dict[int, list[tuple[int, int]]] = {}
    for made, (entry, to, *_) in enumerate(form.get("cuts", ())):
        cuts.setdefault(entry, []).append((made, to))
    chars = form.get("tokens", {}).get("chars", [])
    standing: list[_Piece] = []
    phase: Phase = "answer"
    is_model = True
    tape, has_grown = 0, False
    for number in range(len(chars) + 1):
        for made, to in cuts.get(number, ()):
            if has_grown:
                yield _Snapshot(tuple(standing), made, is_last=False)
            has_grown = False
            _cut(standing, to)
        if number == len(chars):
            break
        phase, is_model = styles.get(number, (phase, is_model))
        standing.append(_Piece(tape, tape + chars[number], phase))
        tape += chars[number]
        has_grown |= is_model
    yield _Snapshot(tuple(standing), len(form.get("cuts", ())), is_last=True)


def _cut(standing: list[_Piece], to: int) -> None:
    length = sum(piece.end - piece.start for piece in standing)
    while length > to:
        last = standing.pop()
        length -= last.end - last.start
        if length < to:
            standing.append(last._replace(end=last.start + to - length))
            return


# The checks.


async def _rows(
    found: Journaled, form: dict[str, Any], watchers: Sequence[Monitor], until: float | None
) -> AsyncIterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Yield the row of each check, with the offsets on the tape where its segment ends and where its claim begins."""
    tape = str(form.get("text", "")).encode("utf-16-le", "surrogatepass")
    tokens = form.get("tokens", {})
    ends = list(accumulate(tokens.get("chars", ())))
    times = list(accumulate(tokens.get("gaps", ())))
    numbers = list(_entry_numbers(form))
    recorded = recorded_chunks(found)
    cut_numbers = [number for *_, number in form.get("cuts", ())]
    judged = {
        (bisect_right(cut_numbers, check["numbers"][0]), check["segment"][1])
        for check in form.get("checks", ())
        if "segment" in check
    }
    """The ends of the segments that the run itself judged, each after the number of cuts before."""
    names = [one.name for one in watchers]
    seen: set[tuple[object, ...]] = set()
    for snapshot in _snapshots(form):
        pieces = [
            Chunk(tape[2 * piece.start : 2 * piece.end].decode("utf-16-le", "surrogatepass"), piece.phase)
            for piece in snapshot.pieces
        ]
        text = "".join(piece.text for piece in pieces)
        # The recorded chunks have the tool calls, too. Feedback that was appended is only on the tape.
        chunks = recorded.get(text, pieces)
        units = Units(text)
        result = await observe_recorded(found, chunks, watchers, until=until)
        vet_in_time(result)
        for check in result.checks:
            end = units.of(check.segment.end)
            last = snapshot.on_tape(max(end - 1, 0))
            if not snapshot.is_last and not (_is_whole(check, text) or (snapshot.cuts, end) in judged):
                continue
            span = check.span or check.segment
            a, b = units.of(span.start), units.of(span.end)
            place = (snapshot.on_tape(a), snapshot.on_tape(b - 1) + 1 if b > a else snapshot.on_tape(a))
            key = (check.monitor, check.key, check.span is None, place)
            if key in seen:
                continue
            seen.add(key)
            entry = min(bisect_right(ends, last), len(times) - 1)
            row = check_fields(check, names.index(check.monitor), units)
            row["segment"] = [units.of(check.segment.start), end]
            if times:
                row["ordered"] = row["ended"] = times[entry]
                row["numbers"] = [numbers[entry], numbers[entry]]
            yield (last, place[0]), row


def _entry_numbers(form: dict[str, Any]) -> Iterator[int]:
    known, number = dict(form.get("numbers", ())), 0
    for entry in range(len(form.get("tokens", {}).get("chars", ()))):
        number = known.get(entry, number + 1)
        yield number


def _is_whole(check: CheckRecord, text: str) -> bool:
    """Return whether the segment of *check* in the trace *text* is known to be complete."""
    return check.segment.end < len(text) or text.endswith("\n")
