"""Shared parts of the tests of ``logic``: functions that judge lines."""

from __future__ import annotations

from interwhen import Segment, Span, Task, Violation

from interwhen_verifiers.puzzles.logic import logic


def judged(prompt, lines, phase="answer"):
    watching = logic()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None, prompt
    state, line_verdicts, at = watching.extractor.start(prepared), [], 0
    for line in lines:
        segment = Segment(line, Span(at, at + len(line)), phase)
        state, claims = watching.extractor.step(state, segment)
        line_verdicts.append(
            [
                (line[claim.span.start - at : claim.span.end - at], watching.verifier.check(claim, prepared))
                for claim in claims
            ]
        )
        at += len(line) + 1
    return line_verdicts


def kinds(prompt, line):
    return [type(verdict).__name__ for _, verdict in judged(prompt, [line])[0]]


def refuted(prompt, lines):
    return [
        number
        for number, line_verdicts in enumerate(judged(prompt, lines))
        if any(isinstance(verdict, Violation) for _, verdict in line_verdicts)
    ]
