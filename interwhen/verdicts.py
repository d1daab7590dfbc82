"""What a verifier says (a verdict), and how a check can end (an outcome)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from interwhen.spans import Span

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
