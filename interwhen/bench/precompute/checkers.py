"""The monitor of this benchmark: it reads the prompt by its own lights, and judges each statement by what stands there.

It shares no code with the generators of the families, nor with the grader.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from interwhen.claims import Claim
from interwhen.monitors import Monitor
from interwhen.quotes import quotes
from interwhen.segments import Segment
from interwhen.tasks import Task
from interwhen.triggers import Lines
from interwhen.verdicts import Pass, Unknown, Verdict, Violation
from interwhen.verifier import FunctionVerifier, verifier

_STEP = re.compile(r"^Step (\d{1,6}): (start with|add|subtract|multiply by) (\d{1,9})\.$", re.MULTILINE)
_REPORTS = re.compile(r"^([A-Z][a-z]{1,20}) reports to ([A-Z][a-z]{1,20})\.$", re.MULTILINE)
_SUM = re.compile(r"^Problem (\d{1,6}): (\d{1,9}(?: [+-] \d{1,9}){0,60})$", re.MULTILINE)
_STATEMENT = re.compile(
    r"After step (?P<step>\d{1,6}) the value is (?P<value>-?\d{1,18})\.|"
    r"(?P<up>\d{1,6}) steps? above (?P<low>[A-Z][a-z]{1,20}) is (?P<high>[A-Z][a-z]{1,20})\.|"
    r"The first (?P<terms>\d{1,6}) terms of problem (?P<problem>\d{1,6}) come to (?P<total>-?\d{1,18})\."
)
_QUESTION = re.compile(
    r"What is the value after step (?P<step>\d{1,6})\?|Who is (?P<up>\d{1,6}) steps? above (?P<low>[A-Z][a-z]{1,20})\?|"
    r"What do the (?P<terms>\d{1,6}) terms of problem (?P<problem>\d{1,6}) come to\?"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What the prompt says, known facts included."""

    steps: dict[int, tuple[str, int]]
    above: dict[str, str]
    sums: dict[str, tuple[str, ...]]
    given: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """The facts that stand there: on a kind of thing, of whom, after how many steps."""
    asked: tuple[str, str, int] | None = None
    """What the question at the end is about; ``None``: there is none that is understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated(Claim):
    """That a thing has a value."""

    about: tuple[str, str, int]
    value: str


def prepare(task: Task) -> Source:
    """Read the prompt. The facts in it are believed only where the text itself does not reach."""
    text = task.text
    steps = {int(number): (kind, int(amount)) for number, kind, amount in _STEP.findall(text)}
    sums = {who: tuple(terms.split()) for who, terms in _SUM.findall(text)}
    given = dict(map(_stated, _STATEMENT.finditer(text)))
    question = _QUESTION.fullmatch(text.rstrip().rpartition("\n")[2])
    return Source(steps, dict(_REPORTS.findall(text)), sums, given, _about(question) if question else None)


def extract(segment: Segment, _source: Source) -> Iterator[Stated]:
    """Yield the statements of a line."""
    for found in quotes(segment, _STATEMENT):
        about, value = _stated(found.match)
        yield Stated(key=found.text, span=found.span, about=about, value=value)


@verifier(name="bench-sources", version="1", worker="inline")
def check(claim: Stated, source: Source) -> Verdict:
    """Work the value out from the text."""
    right = value_of(claim.about, source)
    if right is None:
        return Unknown("the text does not say enough to work it out")
    if right == claim.value:
        return Pass("it was worked out from the text", scope="answer" if claim.about == source.asked else "steps")
    said = _say(claim.about, right)
    return Violation("it does not follow from the text", witness=f"{said[:-1]}, not {claim.value}", repair=said)


def sources(*, misses: float = 0.0) -> Monitor:
    """Make the monitor. One that *misses* passes this part of the wrong statements: always the same ones."""
    if not misses:
        return _monitor("bench-sources", check)

    @verifier(name="bench-sources-leaky", version=f"1 misses {misses:g}", worker="inline")
    def leaky(claim: Stated, source: Source) -> Verdict:
        found = check.check(claim, source)
        chance = int.from_bytes(hashlib.sha256(claim.key.encode()).digest()[:4], "big") / (1 << 32)
        if isinstance(found, Violation) and chance < misses:
            return Pass("missed", scope="answer" if claim.about == source.asked else "steps")
        return _verdict(found)

    return _monitor("bench-sources-leaky", leaky)


def _monitor(name: str, judge: FunctionVerifier) -> Monitor:
    return Monitor(name=name, trigger=Lines(), extractor=extract, verifier=judge, prepare=prepare, scope="answer")


def _verdict(found: object) -> Verdict:
    assert isinstance(found, Verdict)
    return found


def value_of(about: tuple[str, str, int], source: Source) -> str | None:
    """Return the value of *about*; ``None`` where *source* leaves it open."""
    kind, who, number = about
    here = _start(kind, who, source)
    if here is not None:
        found = _walk(kind, who, source, here, number)
        if found is not None:
            return found
    # The text does not reach from the start to there: the nearest fact may.
    earlier = [at for what, name, at in source.given if (what, name) == (kind, who) and at <= number]
    if not earlier:
        return None
    at = max(earlier)
    return _walk(kind, who, source, (at, source.given[kind, who, at]), number)


def _start(kind: str, who: str, source: Source) -> tuple[int, str] | None:
    if kind == "above":
        return 0, who
    if kind == "sum":
        return (1, source.sums[who][0]) if who in source.sums else None
    first = source.steps.get(1)
    return (1, str(first[1])) if first is not None and first[0] == "start with" else None


def _walk(kind: str, who: str, source: Source, start: tuple[int, str], number: int) -> str | None:
    at, value = start
    if at > number:
        return None
    for step in range(at + 1, number + 1):
        following = _next(kind, who, source, step, value)
        if following is None:
            return None
        value = following
    return value


def _next(kind: str, who: str, source: Source, step: int, value: str) -> str | None:
    if kind == "above":
        return source.above.get(value)
    if kind == "sum":
        terms = source.sums.get(who, ())[2 * step - 3 : 2 * step - 1]
        sign, amount = ("add" if terms[0] == "+" else "subtract", int(terms[1])) if len(terms) == 2 else ("", 0)
    else:
        sign, amount = source.steps.get(step, ("", 0))
    match sign:
        case "add":
            return str(int(value) + amount)
        case "subtract":
            return str(int(value) - amount)
        case "multiply by":
            return str(int(value) * amount)
        case _:
            return None


def _stated(match: re.Match[str]) -> tuple[tuple[str, str, int], str]:
    return _about(match), match["value"] or match["high"] or match["total"]


def _about(match: re.Match[str]) -> tuple[str, str, int]:
    if match["step"]:
        return "state", "", int(match["step"])
    if match["up"]:
        return "above", match["low"], int(match["up"])
    return "sum", match["problem"], int(match["terms"])


def _say(about: tuple[str, str, int], value: str) -> str:
    kind, who, number = about
    match kind:
        case "state":
            return f"After step {number} the value is {value}."
        case "above":
            return f"{number} step{'' if number == 1 else 's'} above {who} is {value}."
        case _:
            return f"The first {number} terms of problem {who} come to {value}."
