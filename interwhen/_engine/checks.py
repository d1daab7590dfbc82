"""Runs one check or one extraction, and turns whatever happens into an outcome."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import anyio
import anyio.to_thread

from interwhen._engine.processes import ProcessPool, WorkerDied
from interwhen.claims import Claim
from interwhen.monitors import Fork, Monitor
from interwhen.segments import Segment
from interwhen.verdicts import Errored, Judged, Outcome, Pass, Unknown, Violation
from interwhen.verifier import Verifier


def name_error(error: BaseException) -> str:
    """Return *error* in one bounded line."""
    return f"{type(error).__name__}: {error}"[:500]


def as_outcome(verifier: Verifier, value: object) -> Outcome:
    """Return the outcome for what a verifier returned: anything but a verdict is an error."""
    if isinstance(value, Pass | Violation | Unknown):
        return Judged(value)
    if inspect.iscoroutine(value):
        value.close()
    return Errored(f"verifier {verifier.name!r} returned {value!r:.200}, which is no Pass, Violation or Unknown")


def check_inline(verifier: Verifier, claim: Claim) -> Outcome:
    """Run a check on the event loop, which only pure checks of microseconds may ask for."""
    try:
        return as_outcome(verifier, verifier.check(claim))
    except Exception as error:  # noqa: BLE001  (a verifier that raises is an outcome, never a pass)
        return Errored(name_error(error))


async def check_aside(
    verifier: Verifier, claim: Claim, *, threads: anyio.CapacityLimiter, processes: ProcessPool
) -> Outcome:
    """Run a check beside the event loop, in the place the verifier asks for. Cancelling gives it up."""
    try:
        match verifier.worker:
            case "process":
                ok, value = await processes.check(verifier, claim)
                return as_outcome(verifier, value) if ok else Errored(str(value)[:500])
            case "thread":
                value = await anyio.to_thread.run_sync(verifier.check, claim, abandon_on_cancel=True, limiter=threads)
            case _:
                value = verifier.check(claim)
        if inspect.isawaitable(value):
            value = await value
        return as_outcome(verifier, value)
    except WorkerDied as error:
        return Errored(str(error))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        hint = " (worker='process' needs a verifier and claims that can be pickled)"
        return Errored(name_error(error) + (hint if verifier.worker == "process" else ""))
    except Exception as error:  # noqa: BLE001  (the same)
        return Errored(name_error(error))


def parse(monitor: Monitor, segment: Segment, reply: str | None = None) -> tuple[Claim, ...] | Errored:
    """Run a monitor's parser on a segment (and on a fork's reply)."""
    extractor = monitor.extractor
    try:
        found: Any
        if isinstance(extractor, Fork):
            found = extractor.parse(reply or "", segment)
        else:
            found = extractor(segment)
        claims = () if found is None else tuple(found)
    except Exception as error:  # noqa: BLE001  (a parser that raises is an outcome, too)
        return Errored(f"extractor of {monitor.name!r}: {name_error(error)}")
    for claim in claims:
        if not isinstance(claim, Claim):
            return Errored(f"extractor of {monitor.name!r} returned {claim!r:.200}, which is no Claim")
    return claims
