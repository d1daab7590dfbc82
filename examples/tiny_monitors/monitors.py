"""The monitors of a problem: one for the lines of the reasoning, one for the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interwhen import Auto, Lines, Monitor, Pass, ToolCalls, Verdict, verifier
from interwhen.remedies import Remedy
from interwhen.toolkit import Delivery, Level

from .countdown import read_countdown
from .maze import read_maze
from .ordering import read_ordering
from .stock import read_stock
from .totals import read_totals
from .trace import LineClaim, Puzzle, Trace

FAMILIES: dict[str, Callable[[str], Puzzle[Any]]] = {
    "totals": read_totals,
    "countdown": read_countdown,
    "maze": read_maze,
    "ordering": read_ordering,
    "stock": read_stock,
}
"""Reads a problem of each family. Raises :class:`ValueError` on a text that it does not understand."""


def monitors_for(
    family: str,
    prompt: str,
    *,
    remedy: Remedy = Auto(),  # noqa: B008  (a frozen value)
    level: Level = "witness",
    delivery: Delivery = "interrupt",
) -> tuple[Monitor, ...]:
    """Make the monitors for one run on *prompt*, the text of a problem of *family*.

    They keep a state of the lines so far. So make new ones for each run, and use no other monitor that rewinds the same
    reasoning. Raises :class:`ValueError` on a family or a text that is not understood.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r:.80}")
    trace = Trace(FAMILIES[family](prompt.strip()), acts=delivery != "observe")

    # Inline: the trace relies on a line being checked before the next chunk is read.
    @verifier(name=family, version="1", deadline=1.0, worker="inline")
    def check(claim: LineClaim) -> Verdict:
        return trace.check(claim)

    # It knows the problem, so a pass of it says that the answer is right, not only that its steps are.
    @verifier(name=f"{family}-answer", version="1", deadline=1.0, worker="inline")
    def check_answer(claim: LineClaim) -> Verdict:
        verdict = trace.check(claim)
        return Pass(verdict.evidence, scope="answer") if isinstance(verdict, Pass) else verdict

    return (
        Monitor(
            name=family,
            trigger=Lines(),
            extractor=trace.lines,
            verifier=check,
            delivery=delivery,
            remedy=remedy,
            level=level,
            phase="reasoning",
        ),
        Monitor(
            name=f"{family}-answer",
            trigger=ToolCalls() if family == "stock" else Lines(),
            extractor=trace.answers,
            verifier=check_answer,
            scope="answer",
            delivery=delivery,
            remedy=remedy,
            level=level,
            phase="answer",
        ),
    )
