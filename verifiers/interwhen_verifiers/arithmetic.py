r"""The shipped verifier ``arithmetic``: it checks the equations in the text.

It reads equations such as ``17 * 24 = 408``, ``$5*3=$15`` or ``\frac{1}{2} + \frac{1}{4} = 0.75``, computes both
sides exactly with its own parser, and speaks up only where nothing else can be meant. See
``docs/verifiers/arithmetic.md`` for what is read, what is left alone, and how it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from interwhen import (
    Claim,
    Delivery,
    FunctionVerifier,
    Level,
    Lines,
    Monitor,
    Pass,
    Repair,
    Resample,
    Segment,
    Span,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)

from interwhen_verifiers._arithmetic.chains import Chain, find_chains
from interwhen_verifiers._arithmetic.judge import Differs, Rounding, Unclear, compare
from interwhen_verifiers._arithmetic.nodes import Value, bare, exact
from interwhen_verifiers._arithmetic.parser import Side
from interwhen_verifiers._arithmetic.tokens import tokenize
from interwhen_verifiers._arithmetic.wording import locate, result, statement

MAX_SEGMENT = 20_000
"""A longer segment is not read. What it says is not known, and that is said: it does not hide an equation."""
_TOO_LONG = f"a text of more than {MAX_SEGMENT:,} characters is not read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation(Claim):
    """A chain of neighbouring sides, such as ``2 * (3 + 4) = 2 * 7 = 14``."""

    text: str
    """The chain as it stands in the trace."""
    base: int
    """Where ``text`` starts in the segment: the sides count from the start of the segment."""
    sides: tuple[Side, ...]
    links: tuple[str, ...]
    """Between each two sides: ``=``, ``~`` (approximately) or ``!`` (some other relation, which is not judged)."""
    doubt: str
    """Why the text around the chain may not assert it, or why there is none. Empty: it is taken at its word."""


def extract(segment: Segment) -> Iterator[Equation]:
    """Yield the equations of *segment* that hold an operation. Linear in the length of the text."""
    text = segment.text
    if "=" not in text and "≈" not in text and "\\approx" not in text:
        return
    if len(text) > MAX_SEGMENT:
        yield Equation(key=_TOO_LONG, span=segment.span, text="", base=0, sides=(), links=(), doubt=_TOO_LONG)
        return
    for chain in find_chains(tokenize(text)):
        yield _equation(segment, chain)


def _equation(segment: Segment, chain: Chain) -> Equation:
    base, end = chain.sides[0].start, chain.sides[-1].end
    text = segment.text[base:end]
    # The units and doubts come from around the text, and the verdict depends on them.
    marks = [f"{side.start - base},{side.end - base}{side.marks()}" for side in chain.sides]
    key = "\x1f".join((text, chain.doubt, "".join(chain.links), *marks))
    return Equation(
        key=key,
        span=segment.at(base, end),
        text=text,
        base=base,
        sides=chain.sides,
        links=chain.links,
        doubt=chain.doubt,
    )


def _judge(claim: Equation, rounding: Rounding) -> Verdict:
    unclear = "" if claim.links else claim.doubt
    for index, relation in enumerate(claim.links):
        left, right = claim.sides[index], claim.sides[index + 1]
        if relation == "!" or (bare(left.node) and bare(right.node) and (left.units or right.units)):
            continue
        match compare(left, right, relation=relation, doubt=claim.doubt, rounding=rounding):
            case Differs(value=value):
                return _violation(claim, index, value, rounding)
            case Unclear(why=why):
                unclear = unclear or why
            case None:
                pass
    return Unknown(unclear) if unclear else Pass("both sides were computed exactly")


def _violation(claim: Equation, index: int, value: Value, rounding: Rounding) -> Violation:
    left, right = claim.sides[index], claim.sides[index + 1]
    source = " " * claim.base + claim.text
    wrong = locate(left, right, value, source, leads=index == 0, exactly=rounding == "exact")
    computed, stated = left.node, right.node
    if bare(left.node) and not bare(right.node):
        computed, stated, value = right.node, left.node, exact(right.node)
    elif bare(left.node):
        # In 3 + 4 = 7 = 8, it is 3 + 4 that is not 8.
        computed = next((side.node for side in claim.sides[index::-1] if not bare(side.node)), computed)
    shown = result(computed, value, stated)
    return Violation(
        why=f"{statement(computed)} is not {statement(stated)}",
        witness=f"{statement(computed)} is {shown}, not {statement(stated)}" if shown else "",
        where=Span(wrong.start - claim.base, wrong.end - claim.base),
        repair=wrong.repair,
    )


@verifier(name="arithmetic", version="1", deadline=1.0, worker="inline")
def check(claim: Equation) -> Verdict:
    """Compare the neighbouring sides of *claim*; a value rounded to the digits shown is right."""
    return _judge(claim, "shown-digits")


@verifier(name="arithmetic", version="1-exact", deadline=1.0, worker="inline")
def check_exactly(claim: Equation) -> Verdict:
    """Compare the neighbouring sides of *claim*; after ``=``, a rounded value is wrong."""
    return _judge(claim, "exact")


_VERIFIERS: dict[Rounding, FunctionVerifier] = {"shown-digits": check, "exact": check_exactly}


def arithmetic(
    *,
    rounding: Rounding = "shown-digits",
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: Literal["reasoning", "answer", "both"] = "both",
) -> Monitor:
    """Make the monitor. Raises :class:`UsageError` on an option that it does not know.

    ``rounding``: with ``shown-digits``, ``10/3 = 3.33`` is right; with ``exact``, only ``10/3 ≈ 3.33`` is.
    """
    if rounding not in _VERIFIERS:
        raise UsageError(f"arithmetic: rounding={rounding!r}, choose one of {', '.join(_VERIFIERS)}")
    return Monitor(
        name="arithmetic",
        trigger=Lines(),
        extractor=extract,
        verifier=_VERIFIERS[rounding],
        delivery=delivery,
        remedy=Repair(otherwise=Resample()),
        level=level,
        phase=phase,
    )
