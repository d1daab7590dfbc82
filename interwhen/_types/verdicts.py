"""What a verifier says (a verdict), and how a check can end (an outcome).

Why: docs/decisions/0004-verdicts-are-relative.md.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.spans import Span

Level = Literal["flag", "locate", "explain", "witness"]
"""How much feedback may give away: that something is wrong, where, why, or a counterexample."""


Scope = Literal["answer", "steps"]
"""What a pass covers: the answer to the task itself, or steps on the way to it."""


class Pass(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The claim is right. ``evidence`` says how that was established, for a person to read."""

    evidence: str = ""
    scope: Scope = "steps"
    """``answer``: the verifier knows the task, and this claim is the answer to it. It counts only for a claim in the
    answer phase, and in a monitor that declares the scope ``answer``."""


class Violation(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The claim is wrong.

    Positions are relative to the start of the claim's span, so that one verdict serves equal claims wherever
    they stand.
    """

    why: str
    """Why the claim is wrong, without giving the right value (level ``explain``)."""
    witness: str = ""
    """The counterexample or the right value, as a statement (level ``witness``). Empty: there is none."""
    where: Span | None = None
    """The wrong part, relative to the start of the claim's span. ``None``: the whole claim."""
    repair: str | None = None
    """The sound text to stand in place of ``where``. ``None``: this violation cannot be repaired in place."""


class Unknown(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The verifier cannot tell. ``why`` says what it did not understand or what was left open."""

    why: str


Verdict: TypeAlias = Pass | Violation | Unknown


class Judged(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check came to a verdict. ``cached``: an equal claim had been judged before."""

    verdict: Verdict
    cached: bool = False


class Errored(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check raised, returned something that is no verdict, or lost its worker."""

    error: str


class TimedOut(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check did not end within its deadline, in seconds."""

    deadline: float


class Cancelled(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check was called off: its text was cut, or the run ended first."""

    why: str


class Skipped(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The check was due and was not run, for example because the budget for forks was spent."""

    why: str


Outcome: TypeAlias = Judged | Errored | TimedOut | Cancelled | Skipped


# What becomes of a check that came to no verdict.

Ending = Literal["open", "closed"]
"""``open`` lets the text through, marked unverified in the result; ``closed`` holds it back, and ends the run as
abstained."""

LONGEST_PAUSE = 2.0
"""The most seconds between two tries."""


class Retry(msgspec.Struct, frozen=True, tag=True):
    """Try a check that raised, timed out or lost its worker again; ``then`` says what becomes of it at last.

    Each try has the verifier's whole deadline. Raises :class:`UsageError` on values that cannot work.
    """

    times: int = 2
    """How often it is tried again: two times are three tries."""
    then: Ending | None = None
    """``None``: as for a monitor without ``on_error``: its delivery decides."""
    pause: float = 0.1
    """Seconds before the second try; each further pause is twice as long, up to 2 s."""

    def __post_init__(self) -> None:
        if type(self.times) is not int or not 0 <= self.times <= 100:
            raise UsageError(f"Retry: times={self.times!r}, a number from 0 to 100 is needed")
        if self.then not in (None, "open", "closed"):
            raise UsageError(f"Retry: then={self.then!r}, choose one of open, closed")
        if not isinstance(self.pause, int | float) or not 0 <= self.pause <= LONGEST_PAUSE:
            raise UsageError(f"Retry: pause={self.pause!r}, seconds from 0 to {LONGEST_PAUSE:g} are needed")

    def before(self, tries: int) -> float:
        """Return how many seconds to wait once the check has failed *tries* times."""
        return min(self.pause * 2.0 ** (tries - 1), LONGEST_PAUSE)


OnError: TypeAlias = Ending | Retry | None
"""What a monitor does about checks without a verdict. ``None``: its delivery decides; a gate is closed."""


def read_on_error(text: str) -> OnError:
    """Return what *text* says: ``open``, ``closed``, ``retry``, ``retry:2`` or ``retry:2:closed``.

    Raises :class:`UsageError` on anything else.
    """
    match text.strip().split(":"):
        case ["open"]:
            return "open"
        case ["closed"]:
            return "closed"
        case ["retry"]:
            return Retry()
        case ["retry", times] if times.isdecimal():
            return Retry(int(times))
        case ["retry", times, ("open" | "closed") as then] if times.isdecimal():
            return Retry(int(times), then)
        case _:
            raise UsageError(f"on_error={text!r}, choose one of open, closed, retry, retry:2, retry:2:closed")
