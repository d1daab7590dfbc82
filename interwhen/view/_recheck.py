"""The recorded text of a run with the checks of another monitor."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from interwhen._run.consent import Chosen
from interwhen._run.recheck import observe_recorded, recorded_chunks, vet_in_time, watch_until
from interwhen._types.errors import UsageError
from interwhen._types.models import Chunk
from interwhen._types.monitors import Monitor
from interwhen._types.results import CheckRecord
from interwhen.journal import read_journal
from interwhen.journal._compact_form import MonitorData, row_of, to_json
from interwhen.journal._rebuilt_run import Journaled, refusing_contradictions
from interwhen.journal._timeline import CheckTimes, TextCut, TextWritten, Timeline
from interwhen.journal._timeline_reader import retold
from interwhen.view._runs import RunRow
from interwhen.view._verify import Units


async def recheck_form(path: Path, chosen: Chosen, title: str) -> bytes:
    """Return the compact form of the run at *path*, with the checks of the monitors *chosen* in place of its own.

    *title* is what the page calls these monitors. Text, cuts, requests and their times are those of the record. The
    monitors only observe, and no model runs: an extraction by a fork ends as an error, unless its local parser answers.
    Raises :class:`~interwhen.journal.JournalError` if the journal cannot be read, and :class:`~interwhen.UsageError` if
    it is redacted, if the time of the monitors is spent, or if supervision is switched off.
    """
    journal = read_journal(path)
    watchers, until = watch_until(chosen, journal.size)
    if journal.header.redacted:
        raise UsageError(
            f"a journal must have its text to be checked again, got {str(path)!r}, which is redacted: use another one"
        )
    with refusing_contradictions(journal.path):
        telling = retold(journal)
        line = telling.timeline(journal.size, journal.left_out)
        form = telling.form.whole(journal.path, journal.size, journal.left_out)
    index = {one.name: number for number, one in enumerate(watchers)}
    checks = [check async for check in _checks(journal, line, watchers, until)]
    checks.sort(key=lambda placed: placed[0])
    form.rechecked, form.status, form.label = title, "rechecked", "rechecked"
    form.monitors = [
        MonitorData(one.name, one.verifier.name, one.verifier.version, delivery="observe") for one in watchers
    ]
    form.checks = [row_of(check, index) for _, check in checks]
    form.remedies, form.forks, form.frontier, form.incidents, form.certificate = [], [], [], [], None
    # The costs are those of the recorded run; its reasons are not those of this monitor.
    kept = ("ledger", "timing", "finish_reason")
    form.result = {name: value for name, value in (form.result or {}).items() if name in kept}
    return to_json(form)


def rechecked_id(run: str, spec: str) -> str:
    return f"{run}@{spec}"


def rechecked_row(row: RunRow, name: str, spec: str, form: bytes) -> RunRow:
    """Return the row *name* of a rechecked run in the page's list of runs.

    *form* is what :func:`recheck_form` made with the monitor *spec*. *row* is the row of the recorded run.
    """
    checks = json.loads(form).get("checks", ())
    return msgspec.structs.replace(
        row,
        id=name,
        path=f"{row.path} with {spec}",
        monitors=(spec,),
        status="rechecked",
        label="rechecked",
        scope=None,
        remedies=0,
        violations=sum(check.get("outcome") == "violation" for check in checks),
        found=(),
    )


# From the offsets of a trace to the tape, which holds all text that was ever written.


class _Snapshot(NamedTuple):
    """The trace just before a cut, or at the end of the run (``is_last``), as offsets on the tape."""

    # The tape is all text that was ever written in the run. `cuts` is the number of cuts before.

    places: list[int]
    """Where on the tape each character of the trace is."""
    cuts: int
    is_last: bool

    def on_tape(self, offset: int) -> int:
        if offset < len(self.places):
            return self.places[offset]
        return self.places[-1] + 1 if self.places else 0


def _snapshots(line: Timeline) -> Iterator[_Snapshot]:
    standing: list[int] = []
    tape, made, has_grown = 0, 0, False
    events: list[TextCut | TextWritten] = [*line.cuts, *line.texts]  # a cut comes before the text in its place
    for event in sorted(events, key=lambda event: event.number):
        if isinstance(event, TextWritten):
            standing.extend(range(tape, tape + event.length))
            tape += event.length
            has_grown |= event.origin == "model"
            continue
        if has_grown:
            yield _Snapshot(standing.copy(), made, is_last=False)
        made, has_grown = made + 1, False
        del standing[event.to :]
    yield _Snapshot(standing, made, is_last=True)


async def _checks(
    journal: Journaled, line: Timeline, watchers: Sequence[Monitor], until: float | None
) -> AsyncIterator[tuple[tuple[int, int], CheckTimes]]:
    ends = list(accumulate(one.length for one in line.texts))
    recorded = recorded_chunks(journal)
    tape = "".join(one.text for one in line.texts)
    cut_numbers = [one.number for one in line.cuts]
    judged = {
        (bisect_right(cut_numbers, check.number), check.segment.end)
        for check in line.checks
        if check.segment is not None
    }
    """Ends of the segments that the run judged, each after the number of cuts before."""
    seen: set[tuple[object, ...]] = set()
    for snapshot in _snapshots(line):
        text = "".join(tape[at] for at in snapshot.places)
        # The recorded chunks have the tool calls, too. Text that was cut without a remedy is only on the tape.
        chunks = recorded.get(text) or [
            Chunk("".join(tape[at] for at in places), line.texts[number].phase)
            for number, places in groupby(snapshot.places, key=lambda at: bisect_right(ends, at))
        ]
        units = Units(text)
        result = await observe_recorded(journal, chunks, watchers, until=until)
        vet_in_time(result)
        for check in result.checks:
            end = check.segment.end
            last = snapshot.on_tape(max(end - 1, 0))
            if not snapshot.is_last and not (_is_whole(check, text) or (snapshot.cuts, end) in judged):
                continue
            a, b = (check.span or check.segment).start, (check.span or check.segment).end
            place = (snapshot.on_tape(a), snapshot.on_tape(b - 1) + 1 if b > a else snapshot.on_tape(a))
            key = (check.monitor, check.key, check.span is None, place)
            if key in seen:
                continue
            seen.add(key)
            entry = line.texts[min(bisect_right(ends, last), len(ends) - 1)]
            yield (
                (last, place[0]),
                CheckTimes(
                    number=entry.number,
                    monitor=check.monitor,
                    verifier=check.verifier,
                    version=check.version,
                    key=check.key,
                    span=units.span(check.span),
                    segment=units.span(check.segment),
                    ordered=entry.at,
                    ended=entry.at,
                    outcome=check.outcome,
                    settled=entry.number,
                ),
            )


def _is_whole(check: CheckRecord, text: str) -> bool:
    return check.segment.end < len(text) or text.endswith("\n")
