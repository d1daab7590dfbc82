"""Runs one check or one extraction, and turns whatever happens into an outcome."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import islice
from types import CoroutineType
from typing import Any, cast

import anyio

from interwhen._engine.cancelled import is_called_off
from interwhen._engine.naming import name_error, name_value
from interwhen.claims import Claim
from interwhen.spans import Span
from interwhen.verdicts import Errored, Judged, Outcome, Pass, Unknown, Verdict, Violation
from interwhen.verifier import Verifier
from interwhen.worker_pool import WorkerPool

LONGEST = 65_536
"""The most characters of a text in a verdict."""
MOST_CLAIMS = 10_000
"""The most claims of one segment."""


def as_outcome(verifier: Verifier, claim: Claim, value: object) -> Outcome:
    """Return the outcome for what a verifier returned: anything but a sound verdict is an error.

    The type is looked at, not what ``isinstance`` is told: a mock of a pass is no pass.
    """
    flaw: str | None
    if type(value) is Pass:
        flaw = _text_flaw("evidence", value.evidence)
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the parser)
        return Errored(f"extractor of {name!r}: {name_error(error)}")
    return claims


def _is_claim(claim: object) -> bool:
    if not issubclass(type(claim), Claim):  # what isinstance is told may be a mock's
        return False
    known = cast("Claim", claim)
    return type(known.key) is str and (known.span is None or _is_span(known.span))
