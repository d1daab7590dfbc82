"""Runs one check or one extraction, and turns whatever happens into an outcome."""

from __future__ import annotations

import dataclasses
import inspect
from bisect import bisect_right
from collections.abc import Callable
from itertools import islice
from types import CoroutineType
from typing import Any, cast

import anyio

from interwhen._core.certify import merge
from interwhen._engine.cancelled import is_called_off
from interwhen._engine.naming import name_error, name_value
from interwhen.claims import Claim
from interwhen.segments import Segment
from interwhen.spans import Span
from interwhen.verdicts import Errored, Judged, Outcome, Pass, Unknown, Verdict, Violation
from interwhen.verifier import Verifier
from interwhen.worker_pool import WorkerPool

LONGEST = 65_536
"""The most characters of a text in a verdict."""
MOST_CLAIMS = 10_000
"""The most claims of one segment, and the most spans that a recognizer may find in one."""
_MISSING = object()


def as_outcome(verifier: Verifier, claim: Claim, value: object) -> Outcome:
    """Return the outcome for what a verifier returned: anything but a sound verdict is an error.

    The type is looked at, not what ``isinstance`` is told: a mock of a pass is no pass.
    """
    flaw: str | None
    if type(value) is Pass:
        flaw = _text_flaw("evidence", value.evidence)
        if flaw is None and value.scope not in ("answer", "steps"):
            flaw = "whose scope is neither 'answer' nor 'steps'"
    elif type(value) is Unknown:
        flaw = _text_flaw("why", value.why)
    elif type(value) is Violation:
        flaw = _flaw(value, claim)
    else:
        if type(value) is CoroutineType:
            value.close()
        flaw = "which is no Pass, Violation or Unknown"
    if flaw is None:
        return Judged(cast("Verdict", value))
    return Errored(f"verifier {verifier.name!r} returned {name_value(value)}, {flaw}"[:500])


def _text_flaw(label: str, value: object) -> str | None:
    # A subclass of str may do anything when it is sliced, compared or written.
    if type(value) is not str:
        return f"whose {label} is no str"
    if len(value) > LONGEST:
        return f"whose {label} is longer than {LONGEST} characters"
    return None


def _flaw(violation: Violation, claim: Claim) -> str | None:
    texts = [("why", violation.why), ("witness", violation.witness)]
    if violation.repair is not None:
        texts.append(("repair", violation.repair))
    for label, value in texts:
        if (flaw := _text_flaw(label, value)) is not None:
            return flaw
    where = violation.where
    if where is None:
        return None
    if not _is_span(where):
        return "whose where is no Span"
    if claim.span is not None and where.end > len(claim.span):
        return f"whose where lies outside the claim, which is {len(claim.span)} characters long"
    return None


def _is_span(value: object) -> bool:
    return type(value) is Span and type(value.start) is int and type(value.end) is int


def check_inline(verifier: Verifier, claim: Claim) -> Outcome:
    """Run a check on the event loop, which only pure checks of microseconds may ask for."""
    try:
        return as_outcome(verifier, claim, verifier.check(claim))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the verifier)
        return Errored(name_error(error))


async def check_aside(verifier: Verifier, claim: Claim, *, workers: WorkerPool, scope: anyio.CancelScope) -> Outcome:
    """Run a check beside the event loop, in the place the verifier asks for. *scope* bounds and cancels it."""
    try:
        match verifier.worker:
            case "process" | "thread":
                value, failure = await workers.check(verifier, claim, scope)
                if failure is not None:
                    return Errored(failure[:500])
            case _:
                value = verifier.check(claim)
        if inspect.isawaitable(value):
            value = await value
        return as_outcome(verifier, claim, value)
    except KeyboardInterrupt:
        raise
    except anyio.get_cancelled_exc_class():
        if is_called_off():
            raise
        return Errored(f"verifier {verifier.name!r} was cancelled from within")
    except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the verifier)
        return Errored(name_error(error))


def parse(name: str, extract: Callable[..., Any], *given: object) -> tuple[Claim, ...] | Errored:
    """Run the extractor of monitor *name* on a segment (and on a fork's reply)."""
    try:
        found: Any = extract(*given)
        if type(found) is CoroutineType:
            found.close()
            return Errored(f"extractor of {name!r} is asynchronous; make it a plain function")
        claims: tuple[Claim, ...] = () if found is None else tuple(islice(found, MOST_CLAIMS + 1))
        if len(claims) > MOST_CLAIMS:
            return Errored(f"extractor of {name!r} found more than {MOST_CLAIMS} claims in one segment")
        for claim in claims:
            if not _is_claim(claim):
                return Errored(f"extractor of {name!r} returned {name_value(claim)}, which is no sound Claim")
        clash = _clash(claims)
        if clash is not None:
            return Errored(f"extractor of {name!r}: {clash}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the parser)
        return Errored(f"extractor of {name!r}: {name_error(error)}")
    return claims


def _clash(claims: tuple[Claim, ...]) -> str | None:
    """Return what is wrong if two claims have one key and one span, and still say different things.

    Claims with one key and one text share one verdict, so one of the two would pass unchecked.
    """
    if len(claims) < 2:
        return None
    known: dict[tuple[str, Span | None], Claim] = {}
    for claim in claims:
        other = known.setdefault((claim.key, claim.span), claim)
        if other is claim:
            continue
        differing = [each for each in _labels(claim, other) if not _equal(each, claim, other)]
        if differing:
            return (
                f"two claims with the key {claim.key!r:.80} at {claim.span!r} differ in {', '.join(differing[:5])}; "
                "a key must name everything that the verdict depends on"
            )
        if type(claim) is not type(other):
            return f"two claims with the key {claim.key!r:.80} at {claim.span!r} are of different types"
    return None


def _labels(*claims: Claim) -> list[str]:
    found = {entry.name for claim in claims for entry in dataclasses.fields(claim)}
    found.update(name for claim in claims for name in getattr(claim, "__dict__", ()))
    return sorted(found)


def _equal(label: str, *claims: Claim) -> bool:
    one, other = (getattr(claim, label, _MISSING) for claim in claims)
    return one is other or bool(one == other)


def recognize(
    name: str, find: Callable[..., Any], segment: Segment, claims: tuple[Claim, ...]
) -> tuple[Span, ...] | Errored:
    """Run the recognizer of monitor *name* on *segment*; return what it found and *claims* do not cover, in order."""
    try:
        found = tuple(islice(find(segment), MOST_CLAIMS + 1))
        if len(found) > MOST_CLAIMS:
            return Errored(f"recognizer of {name!r} found more than {MOST_CLAIMS} spans in one segment")
        for span in found:
            if not _is_span(span) or not segment.span.covers(span):
                return Errored(f"recognizer of {name!r} returned {name_value(span)}, which is no Span of its segment")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the recognizer)
        return Errored(f"recognizer of {name!r}: {name_error(error)}")
    return _uncovered(found, claims) if found else ()


def _uncovered(found: tuple[Span, ...], claims: tuple[Claim, ...]) -> tuple[Span, ...]:
    """Return those of *found* that lie, even in part, outside the spans of *claims*."""
    covered = merge(claim.span for claim in claims if claim.span is not None)
    starts = [span.start for span in covered]
    left = []
    for span in sorted(set(found)):
        at = bisect_right(starts, span.start) - 1
        if len(span) and (at < 0 or not covered[at].covers(span)):
            left.append(span)
    return tuple(left)


def _is_claim(claim: object) -> bool:
    if not issubclass(type(claim), Claim):  # what isinstance is told may be a mock's
        return False
    known = cast("Claim", claim)
    return type(known.key) is str and (known.span is None or _is_span(known.span))
