"""Runs one check or one extraction, and turns whatever happens into an outcome."""

from __future__ import annotations

import inspect
from types import CoroutineType
from typing import Any, cast

import anyio

from interwhen._engine.cancelled import is_called_off
from interwhen.claims import Claim
from interwhen.monitors import Fork, Monitor
from interwhen.segments import Segment
from interwhen.spans import Span
from interwhen.verdicts import Errored, Judged, Outcome, Pass, Unknown, Verdict, Violation
from interwhen.verifier import Verifier
from interwhen.workers import Workers

RAISED = (Exception, SystemExit)
"""What a verifier or parser may raise without ending more than itself."""


def name_error(error: BaseException) -> str:
    """Return *error* in one bounded line."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001  (an exception of user code may not even be printable)
        text = f"(its text raised {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:500]


def as_outcome(verifier: Verifier, claim: Claim, value: object) -> Outcome:
    """Return the outcome for what a verifier returned: anything but a sound verdict is an error.

    The type is looked at, not what ``isinstance`` is told: a mock of a pass is no pass.
    """
    flaw: str | None
    if type(value) is Pass:
        flaw = None if isinstance(value.evidence, str) else "whose evidence is no str"
    elif type(value) is Unknown:
        flaw = None if isinstance(value.why, str) else "whose why is no str"
    elif type(value) is Violation:
        flaw = _flaw(value, claim)
    else:
        if inspect.iscoroutine(value):
            value.close()
        flaw = "which is no Pass, Violation or Unknown"
    if flaw is None:
        return Judged(cast("Verdict", value))
    return Errored(f"verifier {verifier.name!r} returned {value!r:.200}, {flaw}")


def _flaw(violation: Violation, claim: Claim) -> str | None:
    if not isinstance(violation.why, str) or not isinstance(violation.witness, str):
        return "whose why or witness is no str"
    if not isinstance(violation.repair, str | None):
        return "whose repair is no str"
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
    except RAISED as error:
        return Errored(name_error(error))


async def check_aside(verifier: Verifier, claim: Claim, workers: Workers, scope: anyio.CancelScope) -> Outcome:
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
    except RAISED as error:
        return Errored(name_error(error))
    except anyio.get_cancelled_exc_class():
        if is_called_off():
            raise
        return Errored(f"verifier {verifier.name!r} was cancelled from within")


def parse(monitor: Monitor, segment: Segment, reply: str | None = None) -> tuple[Claim, ...] | Errored:
    """Run a monitor's parser on a segment (and on a fork's reply)."""
    extractor = monitor.extractor
    try:
        found: Any = extractor.parse(reply or "", segment) if isinstance(extractor, Fork) else extractor(segment)
        if type(found) is CoroutineType:
            found.close()
            return Errored(f"extractor of {monitor.name!r} is asynchronous; make it a plain function")
        claims: tuple[Claim, ...] = () if found is None else tuple(found)
        for claim in claims:
            if not _is_claim(claim):
                return Errored(f"extractor of {monitor.name!r} returned {claim!r:.200}, which is no sound Claim")
    except RAISED as error:
        return Errored(f"extractor of {monitor.name!r}: {name_error(error)}")
    return claims


def _is_claim(claim: object) -> bool:
    return isinstance(claim, Claim) and isinstance(claim.key, str) and (claim.span is None or _is_span(claim.span))
