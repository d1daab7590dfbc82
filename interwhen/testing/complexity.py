"""How the cost of reading hostile text grows: a measure for verifier authors that does not flake.

::

    from interwhen.testing.complexity import assert_linear

    def test_a_long_line_costs_no_more_than_its_length():
        assert_linear(my_monitor())

An extractor runs on the event loop and a verifier has a deadline, so text that makes either of them slow stops a
stream or leaves it unproven. :data:`BAITS` are texts that do that to careless code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from interwhen.claims import Claim
from interwhen.models.base import Prompt, Reply
from interwhen.monitors import Fork, Monitor
from interwhen.segments import Segment
from interwhen.spans import Span
from interwhen.testing._preparing import prepared_for
from interwhen.testing.steps import count_steps, cpu_seconds
from interwhen.trackers import Tracker
from interwhen.verdicts import Verdict

__all__ = [
    "BAITS",
    "Bait",
    "Growth",
    "assert_linear",
    "assert_quick",
    "count_steps",
    "cpu_seconds",
    "measure",
    "read_and_check",
]


@dataclass(frozen=True, slots=True)
class Bait:
    """A text of any length that careless code reads in more than linear time."""

    unit: str
    """What is repeated."""
    start: str = ""
    end: str = ""

    def of(self, size: int) -> str:
        """Return the text with about *size* characters."""
        return f"{self.start}{(self.unit * (size // len(self.unit) + 1))[:size]}{self.end}"

    def __str__(self) -> str:
        return f"{self.start!r}+{self.unit!r}*n+{self.end!r}"


_UNITS = (
    *(" ", "\n", "\t", "a", "1", "1 ", "1 1 1 1 ", "(", ")", "((1", "[", "{", "<", '"', "'", "\\", "-", "=", "."),
    *("a ", "ab. ", "A. ", "e.g. ", "1. ", "1.1", "1,", "> Step ", "Step 1: ", "Wait, ", "\n\n", " \n", ".) ", "?! "),
    *("1+", "1 + 1 = 2 ", "1 + 1 = 3\n", "3 + 4 = 8 ", "1/3 + 1/7 + ", "2^", "9**9**", "+-", "$", "%", "1%+", "x "),
    *("\\frac{1}{", "\\text{", "\\text{a} ", "{{", "<think>", "</think>", "<tool_call>", "<tool_call", "</tool_call>"),
    *('{"a":', "[[", "a=b&", "a: b, ", "key = ", "```", "**", "http://a/", "a@", "\u0301", "e\u0301", "\u200b"),
    *("\u202e", "!", ",", "\u0663 ", "\uff11\uff0b", "\u2212", "\x00", "\x1b[", "\ud800"),
)

BAITS: tuple[Bait, ...] = (
    *map(Bait, _UNITS),
    Bait("a", end="!"),
    Bait("1", end=" = 2"),
    Bait("1+", end="1 = 5"),
    Bait("(", end="1+1=3"),
    Bait("1 ", end="= 3"),
    Bait("9", start="1 + ", end=" = 2"),
    Bait(" ", start="1 + 1", end="= 3"),
    Bait(" ", start="x", end="y"),
    Bait("1/3 + ", end="1 = 5"),
    Bait("^2", start="2", end=" = 5"),
    Bait(" = 1 + 2", start="4"),
)
"""White space, brackets, digits, quotes, tags and equations by the thousand, some with an end that spoils them."""

Reader: TypeAlias = Callable[[str], object]
"""Anything that reads a text."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How much work texts of doubling sizes took."""

    bait: Bait
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def ratio(self, slack: int = 0) -> float:
        """Return the growth for one doubling: 2 is linear, 4 quadratic. *slack* steps more are no growth.

        It is the mean of all doublings, so that a limit which is passed on the way does not look like growth.
        """
        grown = max(self.steps[-1] - slack, 0) / max(self.steps[0], 1)
        return float(grown ** (1 / (len(self.steps) - 1)))


def read_and_check(monitor: Monitor, prompt: Prompt = "") -> Reader:
    """Return what *monitor* does with a segment, as a function of its text: it extracts, and checks each claim.

    Its recognizer is called, too. A monitor with ``prepare`` is prepared for *prompt* first; one that stands aside then
    does nothing. The text is the reply, too, where a fork extracts. Of asynchronous verifiers, only the extraction is
    measured.
    """
    bound = prepared_for(monitor, prompt)
    if bound is None:
        return lambda _text: []
    monitor = bound

    def read(text: str) -> list[Verdict]:
        segment = Segment(text, Span(0, len(text)), "answer")
        extractor = monitor.extractor
        found: Iterable[Claim] | None
        match extractor:
            case Fork(parse=Tracker(start=start, step=step)):
                found = step(start(None), Reply(text), segment)[1]
            case Fork(parse=parse):
                assert not isinstance(parse, Tracker)
                found = parse(text, segment)
            case Tracker(start=start, step=step):
                found = step(start(None), segment)[1]
            case _:
                found = extractor(segment)
        if monitor.recognizer is not None:
            list(monitor.recognizer(segment))
        verdicts: list[Verdict] = []
        for claim in found or ():
            verdict = monitor.verifier.check(claim)
            if inspect.iscoroutine(verdict):
                verdict.close()
            elif not inspect.isawaitable(verdict):
                verdicts.append(verdict)
        return verdicts

    return read


def measure(target: Monitor | Reader, bait: Bait, *, size: int = 500, doublings: int = 2) -> Growth:
    """Count the steps that *target* takes for *bait* with *size* characters and after each of the *doublings*."""
    read = read_and_check(target) if isinstance(target, Monitor) else target
    read(bait.of(8))  # what is computed once and kept is not counted
    sizes = tuple(size << doubling for doubling in range(doublings + 1))
    return Growth(bait, sizes, tuple(count_steps(read, bait.of(size)) for size in sizes))


def assert_linear(
    target: Monitor | Reader,
    *,
    baits: Iterable[Bait] = BAITS,
    size: int = 500,
    limit: float = 2.5,
    slack: int = 2000,
) -> None:
    """Raise :class:`AssertionError` where the steps of *target* grow by *limit* or more, each time that a bait doubles.

    Differences of up to *slack* steps are allowed: a limit that is reached, a table that is filled.
    """
    grown = [measure(target, bait, size=size) for bait in baits]
    bad = [f"{each.bait}: {each.sizes} characters: {each.steps} steps" for each in grown if each.ratio(slack) >= limit]
    assert not bad, "more than linear:\n" + "\n".join(bad)


def assert_quick(
    target: Monitor | Reader, *, baits: Iterable[Bait] = BAITS, size: int = 20_000, seconds: float = 2.0
) -> None:
    """Raise :class:`AssertionError` where *target* takes more than *seconds* of CPU time for a bait of *size*.

    This sees what :func:`assert_linear` cannot: regexes, slices and arithmetic. Choose a size for which linear work
    takes a tenth of the ceiling at most.
    """
    read = read_and_check(target) if isinstance(target, Monitor) else target
    bad = []
    for bait in baits:
        took = _least(read, bait.of(size), seconds)
        if took > seconds:
            bad.append(f"{bait}: {size} characters took {took:.2f} s")
    assert not bad, f"slower than {seconds:g} s:\n" + "\n".join(bad)


def _least(read: Reader, text: str, seconds: float) -> float:
    """Return the least time of up to three tries; one that is good enough will do."""
    took = cpu_seconds(read, text, tries=1)
    return took if took <= seconds else min(took, cpu_seconds(read, text, tries=2))
