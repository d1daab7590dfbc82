"""Verdicts, which a verifier returns, and outcomes, which say how a check ended.

Why: docs/decisions/verdicts.md.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.segments import Span
from interwhen._types.vetting import vet

Level = Literal["flag", "locate", "explain", "witness"]
"""How much feedback may say. ``flag``: that something is wrong. ``locate``: also where. ``explain``: also why.
``witness``: also the counterexample or the right value."""

LEVELS: tuple[Level, ...] = ("flag", "locate", "explain", "witness")
"""Lowest first."""

Scope = Literal["answer", "steps"]
"""What a pass covers: the answer to the task, or only steps on the way to it."""


class Pass(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The claim is right. ``evidence`` explains to a person how the verifier established this."""

    evidence: str = ""
    scope: Scope = "steps"
    """``answer``: the verifier knows the task, and this claim is the answer to the task. It counts only for a claim in
    the answer phase, in a required monitor with the scope ``answer``; elsewhere it counts as ``steps``."""
    values: tuple[str, ...] = ()
    """The values that were checked: a :class:`Mention` of one of them needs no other check."""


class Violation(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The claim is wrong.

    Positions are relative to the start of the claim's span, so that equal claims at other positions share the verdict.
    """

    why: str
    """Why the claim is wrong, without giving the right value (level ``explain``)."""
    witness: str = ""
    """The counterexample or the right value, as a statement (level ``witness``). Empty: there is none."""
    where: Span | None = None
    """The wrong part, relative to the start of the claim's span. ``None``: the whole claim. If it ends after that
    span, the outcome of the check is :class:`Errored`."""
    repair: str | None = None
    """The right text to write in place of ``where``; :class:`~interwhen.Repair` lists the conditions. ``None``: this
    violation cannot be repaired."""
    sure: bool = True
    """False: the text may mean something else. If a new sample at the same place says the same again, the claim counts
    as :class:`Unknown`."""


class Unknown(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    """The verifier cannot decide; ``why`` gives the reason."""

    why: str
    excused: bool = False
    """The claim is wrong as it is written, and only the words around it may take it back. A delivery that holds text
    back holds such a claim, whatever ``unproven`` says."""


Verdict: TypeAlias = Pass | Violation | Unknown


class Judged(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check ended with a verdict; text that could not be read has the verdict ``Unknown``.

    ``cached``: the verdict was reused from an earlier check of an equal claim.
    """

    verdict: Verdict
    cached: bool = False


class Errored(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check raised, returned something that is not a valid verdict, or lost its worker.

    It is also the outcome of an extraction whose extractor, recognizer or ``prepare`` failed.
    """

    error: str


class TimedOut(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check, or the fork or ``prepare`` that it needs, did not end within ``deadline`` seconds."""

    deadline: float


class Cancelled(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check was cancelled, for example because its text was cut, or because the run ended first."""

    why: str


class Skipped(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check was due but was not run, for example because the budget of forks was spent."""

    why: str


Outcome: TypeAlias = Judged | Errored | TimedOut | Cancelled | Skipped


Ending = Literal["open", "closed"]
"""What follows a check that proved nothing. ``open``: the text may be shown, and if the monitor is required, the result
is unverified. ``closed``: the text is held back or retracted, and usually the run ends as ``abstained``. A monitor that
only observes is always open."""

LONGEST_PAUSE = 2.0
"""In seconds, between two tries."""


class Retry(msgspec.Struct, frozen=True, tag=True):
    """Run a check again after it raised, timed out, lost its worker or returned no verdict.

    A suspended verifier is not tried again, and a failed extraction neither. Each try has the full deadline of the
    verifier. Raises :class:`UsageError` on wrong values.
    """

    times: Annotated[int, Meta(ge=0, le=100)] = 2
    """The largest number of further tries: ``times=2`` allows three tries in all."""
    then: Ending | None = None
    """What follows if all tries fail. ``None``: the same as in a monitor without ``on_error``."""
    pause: Annotated[float, Meta(ge=0, le=LONGEST_PAUSE)] = 0.1
    """Seconds before the second try; each further pause is twice as long, up to 2 s."""

    def __post_init__(self) -> None:
        vet(self)

    def before(self, tries: int) -> float:
        """Return the pause before the next try, in seconds, after the check has failed *tries* times."""
        return min(self.pause * 2.0 ** (tries - 1), LONGEST_PAUSE)


OnError: TypeAlias = Ending | Retry | None
"""``None``: ``closed`` for a delivery that holds text back and for a monitor with ``unproven="closed"``, otherwise
``open``."""


def read_on_error(text: str) -> OnError:
    match text.strip().split(":"):
        case ["open"]:
            return "open"
        case ["closed"]:
            return "closed"
        case ["retry"]:
            return Retry()
        case ["retry", times] if _is_count(times):
            return Retry(int(times))
        case ["retry", times, ("open" | "closed") as then] if _is_count(times):
            return Retry(int(times), then)
        case _:
            raise UsageError(
                f"on_error must be open, closed, retry, retry:2 or retry:2:closed, got {text!r:.200}: write one of them"
            )


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10  # int() raises on thousands of digits
