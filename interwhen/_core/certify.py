"""From the records of checks to what may be claimed about the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interwhen._core.transcript import Transcript
from interwhen._core.work import describe, passed
from interwhen.models.base import FinishReason
from interwhen.monitors import Monitor
from interwhen.results import Certificate, CheckRecord, Doubt, sha256
from interwhen.spans import Span
from interwhen.verdicts import Judged, Pass

ENDED_WELL: frozenset[FinishReason] = frozenset(("stop", "tool_calls"))


def doubts(
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    disavowed: Sequence[Span],
    finish_reason: FinishReason | None,
) -> tuple[Doubt, ...]:
    """Return everything that keeps the text from being verified."""
    found = []
    if finish_reason not in ENDED_WELL:
        why = "the run was ended before the model was" if finish_reason is None else f"finish reason {finish_reason!r}"
        found.append(Doubt("", None, f"the text did not end by itself: {why}"))
    if not any(monitor.required for monitor in monitors):
        found.append(Doubt("", None, "no required monitor watched this run"))
    for monitor in monitors:
        if not monitor.required:
            continue
        mine = [record for record in records if record.monitor == monitor.name]
        found.extend(
            Doubt(monitor.name, _ground(record), describe(record.outcome, record.tries), record.verifier)
            for record in mine
            if not passed(record.outcome) and not _inside(_ground(record), disavowed)
        )
        if not any(_shows(record, disavowed) for record in mine):
            found.append(Doubt(monitor.name, None, "found nothing that it could show to be right"))
    return tuple(found)


def certificate(
    transcript: Transcript,
    records: Sequence[CheckRecord],
    monitors: Sequence[Monitor],
    disavowed: Sequence[Span],
    prompt_sha256: str,
) -> Certificate:
    """Return the certificate of a text without doubts."""
    good = _good(records, disavowed)
    covered = _covered(good)
    total = transcript.length
    return Certificate(
        text_sha256=sha256(transcript.slice(0, total)),
        prompt_sha256=prompt_sha256,
        model="",
        checks=good,
        covered=covered,
        coverage=_share(covered, total),
        disavowed=merge(disavowed),
        scope="answer" if any(_answers(record, transcript, monitors) for record in good) else "steps",
    )


def coverage_doubt(
    transcript: Transcript, records: Sequence[CheckRecord], disavowed: Sequence[Span], least: float
) -> tuple[Doubt, ...]:
    """Return the doubt that the claims which passed cover less of the text than *least*, if they do."""
    share = _share(_covered(_good(records, disavowed)), transcript.length)
    if share >= least:
        return ()
    return (Doubt("", None, f"checked claims cover {share:.1%} of the text, and {least:.1%} is required"),)


def _good(records: Sequence[CheckRecord], disavowed: Sequence[Span]) -> tuple[CheckRecord, ...]:
    return tuple(record for record in records if passed(record.outcome) and not _inside(_ground(record), disavowed))


def _covered(good: Sequence[CheckRecord]) -> tuple[Span, ...]:
    return merge(record.span for record in good if record.span is not None)


def _share(covered: Sequence[Span], total: int) -> float:
    return sum(map(len, covered)) / total if total else 0.0


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the union of *spans* as disjoint spans in order."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(merged)


def _answers(record: CheckRecord, transcript: Transcript, monitors: Sequence[Monitor]) -> bool:
    """Tell whether *record*, a pass, shows that the answer itself is right.

    The claim must stand in the answer: a right value in the reasoning says nothing on what the answer says. The monitor
    must be a required one, since other answers that an optional monitor refuted leave no doubt.
    """
    verdict = record.outcome.verdict if isinstance(record.outcome, Judged) else None
    if not isinstance(verdict, Pass) or verdict.scope != "answer" or not record.span:
        return False
    if transcript.phase_at(record.span.start) != "answer":
        return False
    return any(who.name == record.monitor and who.required and who.scope == "answer" for who in monitors)


def _ground(record: CheckRecord) -> Span:
    return record.segment if record.span is None else record.span


def _shows(record: CheckRecord, disavowed: Sequence[Span]) -> bool:
    """Tell whether *record* shows something of the text that counts to be right: a claim tied to no text does not."""
    span = record.span
    return passed(record.outcome) and span is not None and len(span) > 0 and not _inside(span, disavowed)


def _inside(span: Span, disavowed: Sequence[Span]) -> bool:
    return any(other.covers(span) for other in disavowed)
