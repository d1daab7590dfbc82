"""Judges texts by the arithmetic monitor, in the segments that the engine gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from interwhen import Pass, Span, Task, Tracker, Unknown, Violation
from interwhen._types.segments import Phase
from interwhen.testing._trials import segments
from interwhen.toolkit import Mention

from interwhen_verifiers.arithmetic import arithmetic, read_task

CORPUS = Path(__file__).parent / "arithmetic_corpus"
MONITOR = arithmetic()


class Found(NamedTuple):
    """A part of a text, the verdict on it, and its span."""

    text: str
    verdict: Pass | Violation | Unknown
    span: Span


UNREAD = Unknown("not read")
"""Stands for a statement that the recognizer finds and no claim covers."""


def judge(text: str, prompt: str = "", phase: Phase = "answer") -> list[Found]:
    assert MONITOR.recognizer is not None
    assert isinstance(MONITOR.extractor, Tracker)
    prepared = read_task(Task(prompt))
    state = MONITOR.extractor.start(prepared)
    statements: list[Found] = []
    for segment in segments(text, MONITOR.trigger, phase=phase):
        state, claims = MONITOR.extractor.step(state, segment)
        spans = [claim.span for claim in claims]
        for claim in claims:
            verdict = MONITOR.verifier.check(claim, prepared)
            assert isinstance(verdict, Pass | Violation | Unknown)
            assert claim.span is not None
            statements.append(Found(text[claim.span.start : claim.span.end], verdict, claim.span))
        unread = [
            span
            for span in MONITOR.recognizer(segment, prepared)
            if isinstance(span, Span) and not any(each is not None and each.covers(span) for each in spans)
        ]
        statements.extend(Found(text[span.start : span.end], UNREAD, span) for span in unread)
    return statements


def unchecked(text: str, prompt: str = "") -> list[str]:
    assert MONITOR.recognizer is not None
    prepared = read_task(Task(prompt))
    passes = (statement.verdict for statement in judge(text, prompt) if isinstance(statement.verdict, Pass))
    checked = {value for verdict in passes for value in verdict.values}
    return [
        text[mention.span.start : mention.span.end]
        for segment in segments(text, MONITOR.trigger, phase="answer")
        for mention in MONITOR.recognizer(segment, prepared)
        if isinstance(mention, Mention) and checked.isdisjoint(mention.values)
    ]


def lines(name: str) -> Iterator[str]:
    for line in (CORPUS / f"{name}.txt").read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("# "):
            yield line.replace("⏎", "\n").replace("␀", "\0")
