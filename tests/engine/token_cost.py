"""Counts what a token costs: the bytecode instructions that a run executes for each further token.

``python -m tests.engine.token_cost`` prints them beside those of the commit with the old layout. It exits with 1 if a
count is more than 2 % above that. The counts are the same on every machine, also on a busy one, for one version of
Python. Decoding is not part of them: the model gives chunks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from interwhen import Claim, Lines, Model, Monitor, Pass, Segment, Span, Workers, run, verifier
from interwhen.models import Capabilities, Chunk, Completion, Request
from interwhen.testing.complexity import count_steps

LINE = ("So", " the", " next", " value", " of", " the", " sum", " is", " a", " bit", " more", ".\n")
SHORT, LONG = 600, 1_800
"""The numbers of tokens of two runs. The cost of a token is their difference, so that beginning and end do not count."""


class _Words:
    """A stream that has one chunk ready at each read."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = iter(words)

    async def receive(self) -> Sequence[Chunk]:
        word = next(self._words, None)
        return () if word is None else (Chunk(word),)

    async def aclose(self) -> None: ...


class _Writer:
    """A model that writes *words*."""

    name = "writer"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix", forks=False)

    async def stream(self, request: Request) -> _Words:
        return _Words(self._words)

    async def complete(self, request: Request) -> Completion:
        raise NotImplementedError

    async def aclose(self) -> None: ...


@verifier(name="nothing", version="1", deadline=5.0, worker="inline")
def _nothing(_claim: Claim) -> Pass:
    return Pass()


def _claims(segment: Segment) -> list[Claim]:
    return [Claim(key="line", span=Span(segment.span.start, segment.span.end))]


def on_lines(count: int) -> list[Monitor]:
    """Return *count* monitors that check each line, with a verifier that does nothing."""
    return [Monitor(name=f"m{n}", trigger=Lines(), extractor=_claims, verifier=_nothing) for n in range(count)]


Text = Literal["no line ends", "equal lines", "different lines"]
"""The text of the model. Equal lines share one check. Each different line has a check that runs."""


def _words(count: int, text: Text) -> list[str]:
    words = [LINE[number % len(LINE)] for number in range(count)]
    if text == "different lines":
        words[3 :: len(LINE)] = [f" value {number}" for number in range(3, count, len(LINE))]
    return [word.replace("\n", "") for word in words] if text == "no line ends" else words


def _read(model: Model, monitors: Sequence[Monitor]) -> None:
    async def main() -> None:
        # The watch of the loop calls it back the more often, the busier the machine is.
        async with run(model, "q", monitors=monitors, workers=Workers(blocked_loop_after=None)) as running:
            async for _ in running:
                pass

    asyncio.run(main())


def per_token(monitors: int, text: Text) -> float:
    """Return the instructions for each further token of *text*, with so many *monitors*."""
    counts = []
    for count in (SHORT, SHORT, LONG):  # the first run imports and fills caches
        model = _Writer(_words(count, text))
        counts.append(count_steps(_read, model, on_lines(monitors)))
    return (counts[2] - counts[1]) / (LONG - SHORT)


class Case(NamedTuple):
    """A text and its monitors, with the instructions per token of commit 216986b in CPython 3.11."""

    name: str
    monitors: int
    text: Text
    before: float


CASES = (
    Case("no monitor, no line ends", 0, "no line ends", 344.1),
    Case("3 monitors on lines, no line ends", 3, "no line ends", 344.0),
    Case("no monitor, a line every 12 tokens", 0, "equal lines", 344.0),
    Case("3 monitors on lines, equal lines of 12 tokens", 3, "equal lines", 709.8),
    Case("3 monitors on lines, different lines of 12 tokens", 3, "different lines", 773.3),
)
BAR = 0.02
"""How much more than before a token may cost."""


IS_COMPARABLE = sys.version_info[:2] == (3, 11)
"""Other versions of Python have other instructions."""


def main() -> int:
    """Print the costs. Returns 1 if one of them is above the bar."""
    status = 0
    sys.stdout.write(f"{'before':>8} {'now':>8} {'change':>8}  instructions per token\n")
    for case in CASES:
        now = per_token(case.monitors, case.text)
        if not IS_COMPARABLE:
            sys.stdout.write(f"{'':8} {now:8.1f} {'':8}  {case.name}\n")
            continue
        change = now / case.before - 1
        status = status or int(change > BAR)
        sys.stdout.write(f"{case.before:8.1f} {now:8.1f} {change:+8.1%}  {case.name}\n")
    sys.stdout.write(f"The bar is {BAR:+.0%}.\n" if IS_COMPARABLE else "The counts of before are for CPython 3.11.\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
