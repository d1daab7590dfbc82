"""Counts what a token costs: the bytecode instructions that a run executes for each further token.

``python -m tests.engine.token_cost`` prints them. The counts are the same on every machine, also on a busy one, for one
version of Python. Decoding is not part of them: the model gives chunks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence

from interwhen import Claim, Lines, Model, Monitor, Pass, Segment, Span, run, verifier
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


def _words(count: int, *, lines: bool) -> list[str]:
    words = [LINE[number % len(LINE)] for number in range(count)]
    return words if lines else [word.replace("\n", "") for word in words]


def _read(model: Model, monitors: Sequence[Monitor]) -> None:
    async def main() -> None:
        async with run(model, "q", monitors=monitors) as running:
            async for _ in running:
                pass

    asyncio.run(main())


def per_token(monitors: int, *, lines: bool) -> float:
    """Return the instructions for each further token of a text with or without *lines*, with so many *monitors*."""
    counts = []
    for count in (SHORT, SHORT, LONG):  # the first run imports and fills caches
        model = _Writer(_words(count, lines=lines))
        counts.append(count_steps(_read, model, on_lines(monitors)))
    return (counts[2] - counts[1]) / (LONG - SHORT)


CASES: dict[str, tuple[int, bool]] = {
    "no monitor, no line ends": (0, False),
    "3 monitors on lines, no line ends": (3, False),
    "no monitor, a line of 12 tokens": (0, True),
    "3 monitors on lines of 12 tokens": (3, True),
}


if __name__ == "__main__":
    for name, (many, with_lines) in CASES.items():
        sys.stdout.write(f"{per_token(many, lines=with_lines):8.2f}  {name}\n")
