"""How the tests of the logic verifier ask it."""

from __future__ import annotations

from interwhen import Segment, Span, Task, Violation

from interwhen_verifiers.puzzles.logic import logic


def judged(prompt, lines, phase="answer"):
    """Return what is said of each line: the quoted text and the verdict."""
    watching = logic()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None, prompt
    state, found, at = watching.extractor.start(prepared), [], 0
    for line in lines:
        segment = Segment(line, Span(at, at + len(line)), phase)
        state, claims = watching.extractor.step(state, segment)
        found.append(
            [
                (line[claim.span.start - at : claim.span.end - at], watching.verifier.check(claim, prepared))
                for claim in claims
            ]
        )
        at += len(line) + 1
    return found


def kinds(prompt, line):
    """Return the kinds of verdicts on one line."""
    return [type(verdict).__name__ for _, verdict in judged(prompt, [line])[0]]


def refuted(prompt, lines):
    """Return the numbers of the lines with a violation."""
    return [
        number
        for number, found in enumerate(judged(prompt, lines))
        if any(isinstance(verdict, Violation) for _, verdict in found)
    ]
