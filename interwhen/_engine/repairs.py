"""A repair is read again before it is written: what our own hand adds must say what the verifier meant, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from interwhen.claims import Claim
from interwhen.segments import Segment
from interwhen.spans import Span
from interwhen.verdicts import Errored, Judged, Outcome, Pass, Violation

Read = Callable[[Segment], tuple[Claim, ...] | Errored]
"""The extractor of a monitor, in the state that it had before the segment."""


def repairs(outcome: Outcome) -> Violation | None:
    """Return the violation with a repair that *outcome* is, if it is one."""
    if isinstance(outcome, Judged) and isinstance(outcome.verdict, Violation) and outcome.verdict.repair is not None:
        return outcome.verdict
    return None


def without_repair(outcome: Outcome) -> Outcome:
    """Return *outcome* with nothing to be written."""
    violation = repairs(outcome)
    if violation is None or not isinstance(outcome, Judged):
        return outcome
    return msgspec.structs.replace(outcome, verdict=msgspec.structs.replace(violation, repair=None))


def repaired_claims(segment: Segment, claim: Claim, violation: Violation, read: Read) -> Iterator[tuple[Claim, ...]]:
    """Yield what *segment* claims at the place of the repair: as it will stand first, then with the rest of its text.

    Each must pass its verifier for the repair to be sound. Nothing is yielded for a repair that changes what is claimed
    before it, or after which nothing is claimed at all.
    """
    where, repair = _place(segment, claim, violation), violation.repair
    if where is None or not repair:
        return
    before = _until(read(segment), segment.span.start + where.start)
    for rest in dict.fromkeys(("", segment.text[where.end :])):
        text = segment.text[: where.start] + repair + rest
        start = segment.span.start
        found = read(Segment(text, Span(start, start + len(text)), segment.phase))
        if before is None or isinstance(found, Errored) or _until(found, start + where.start) != before:
            continue
        place = Span(start + where.start, start + where.start + len(repair))
        covering = tuple(one for one in found if one.span is not None and one.span.covers(place))
        if covering:
            yield covering


def are_right(outcomes: Iterable[Outcome]) -> bool:
    """Tell whether all *outcomes* are passes."""
    return all(isinstance(outcome, Judged) and isinstance(outcome.verdict, Pass) for outcome in outcomes)


def _place(segment: Segment, claim: Claim, violation: Violation) -> Span | None:
    """Return the wrong part, relative to the start of the segment."""
    if claim.span is None:
        return None
    where = claim.span if violation.where is None else violation.where.shifted(claim.span.start)
    base = segment.span.start
    return Span(where.start - base, where.end - base)


def _until(claims: tuple[Claim, ...] | Errored, end: int) -> list[tuple[str, Span]] | None:
    if isinstance(claims, Errored):
        return None
    return [(claim.key, claim.span) for claim in claims if claim.span is not None and claim.span.end <= end]
