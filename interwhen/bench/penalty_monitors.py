"""Monitors of a known cost, which pass everything: what a penalty is measured with unless it is others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import anyio

from interwhen.claims import Claim
from interwhen.errors import UsageError
from interwhen.monitors import Fork, Monitor
from interwhen.segments import Segment
from interwhen.triggers import EveryChars, Lines, Paragraphs, Sentences, Trigger
from interwhen.verdicts import Pass, Verdict
from interwhen.verifier import FunctionVerifier, verifier

Waiting = Literal["async", "thread"]
"""How a verifier of a known cost spends its time: as a task, as one does that asks another server, or in a thread."""

_KINDS: tuple[Trigger, ...] = (Sentences(), Lines(), EveryChars(400), Paragraphs(), Sentences())
_ASK = "\nState so far, in braces:"


def passing(
    count: int,
    *,
    verifier_seconds: float = 0.1,
    waiting: Waiting = "async",
    poll_chars: int | None = None,
    forks: bool = False,
    fork_tokens: int = 32,
) -> list[Monitor]:
    """Return *count* monitors that interrupt, whose verifiers pass each segment after *verifier_seconds*.

    They look at sentences, lines, stretches of 400 characters and paragraphs in turn, or all at stretches of
    *poll_chars* characters. With *forks* each of them asks the model for up to *fork_tokens* tokens at each segment.
    Raises :class:`UsageError` on numbers that cannot be.
    """
    if count < 0 or not verifier_seconds >= 0 or (poll_chars is not None and poll_chars < 1):
        raise UsageError(
            f"{count} monitors of {verifier_seconds} s, at every {poll_chars} characters: none of them may be negative"
        )
    # Even a monitor whose verifier takes no time must not be answered from the cache: claims differ by their place.
    return [
        Monitor(
            name=f"m{number + 1}",
            verifier=_waiting(f"m{number + 1}", verifier_seconds, waiting),
            extractor=Fork(prompt=_ASK, parse=_read_reply, max_tokens=fork_tokens, stop=("}",)) if forks else _read,
            trigger=_KINDS[number % len(_KINDS)] if poll_chars is None else EveryChars(poll_chars),
        )
        for number in range(count)
    ]


def _waiting(name: str, seconds: float, waiting: Waiting) -> FunctionVerifier:
    deadline = max(10 * seconds, 5.0)
    if waiting == "thread":

        @verifier(name=name, deadline=deadline, worker="thread")
        def block(_claim: Claim) -> Verdict:
            time.sleep(seconds)
            return Pass("accepted by the benchmark")

        return block

    @verifier(name=name, deadline=deadline, worker="async")
    async def wait(_claim: Claim) -> Verdict:
        await anyio.sleep(seconds)
        return Pass("accepted by the benchmark")

    return wait


def _read(segment: Segment) -> Iterator[Claim]:
    if segment.text.strip():
        yield Claim(key=f"{segment.span.start} {segment.text}", span=segment.span)


def _read_reply(_reply: str, segment: Segment) -> Iterator[Claim]:
    yield from _read(segment)
