"""Reads the attempts of the model from a journal. A remedy ends each attempt but the last, the final trace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import Settled
from interwhen._engine.resumed_runs import result_of
from interwhen._types.events import CheckSettled, Remedied, ViolationFound
from interwhen._types.models import Message, Piece, Prompt
from interwhen._types.results import CheckRecord, Result, Verified, ViolationRecord
from interwhen._types.segments import Span
from interwhen.journal._rebuilt_run import (
    Journaled,
    RebuiltRun,
    facts_of,
    read_journal,
    refusing_contradictions,
    standing,
    traced,
)

# Spans of text that the model did not write, so that a loss can leave them out.

SpanKind = Literal["repair", "feedback", "refuted"]
"""``repair``: a value that interwhen wrote in place of a wrong one; ``feedback``: text of interwhen to the model;
``refuted``: text of the model that was refuted and kept."""


class OursSpan(msgspec.Struct, frozen=True):
    """A span of a text (character offsets) that a training loss should leave out. *origin* gives the reason."""

    start: int
    end: int
    origin: SpanKind

    def within(self, start: int, end: int, shift: int = 0) -> OursSpan | None:
        low, high = max(self.start, start), min(self.end, end)
        return OursSpan(low + shift, high + shift, self.origin) if low < high else None


def within(spans: Iterable[OursSpan], start: int, end: int, shift: int = 0) -> tuple[OursSpan, ...]:
    return tuple(part for span in spans if (part := span.within(start, end, shift)) is not None)


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt of the model, up to a remedy or to the end of the journal."""

    # `pieces` is the whole trace just before the remedy, or at the end of the journal.

    pieces: tuple[Piece, ...]
    start: int
    """The offset at which the new text of this attempt starts."""
    checks: tuple[CheckRecord, ...]
    """The checks of this trace that had ended."""
    violations: tuple[ViolationRecord, ...]
    """The violations found in this trace. An unproven claim is none."""
    ended_by: ViolationRecord | None = None
    """The violation that a remedy followed, or the unproven claim at which the run abstained; ``None``: the attempt
    is the last.
    """
    open: tuple[Span, ...] = ()
    """Checks and extractions that had not ended; empty for the last attempt of a run that has ended."""

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def ours(self) -> tuple[OursSpan, ...]:
        spans, at = [], 0
        for piece in self.pieces:
            if piece.origin != "model" and piece.text:
                spans.append(OursSpan(at, at + len(piece.text), piece.origin))
            at += len(piece.text)
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class AttemptHistory:
    journaled: Journaled
    attempts: tuple[RecordedAttempt, ...]
    """The last one has the final trace."""
    tags: tuple[Span, ...]
    """The tags around the reasoning in the final trace."""
    result: Result | None
    """``None`` if the run had not ended."""

    @property
    def prompt(self) -> Prompt:
        return self.journaled.header.prompt

    @property
    def name(self) -> str:
        return self.journaled.header.prompt_sha256[:12]

    @property
    def last(self) -> RecordedAttempt:
        return self.attempts[-1]

    @property
    def is_answer_verified(self) -> bool:
        return self.result is not None and self.result.answer_verified

    @property
    def refuted(self) -> tuple[Span, ...]:
        return self.result.certificate.refuted if isinstance(self.result, Verified) else ()

    @property
    def observed(self) -> tuple[Span, ...]:
        text, marked = self.last.text, self.refuted
        spans = [violation.span for violation in self.last.violations]
        left = [span for span in spans if not any(one.start < span.end and span.start < one.end for one in marked)]
        return tuple(
            Span(text.rfind("\n", 0, span.start) + 1, text.find("\n", max(span.end - 1, 0)) + 1 or len(text))
            for span in left
        )

    @property
    def problem(self) -> str:
        if isinstance(self.prompt, str):
            return self.prompt
        return "".join(f"{turn.content}\n\n" for turn in self.prompt)

    @property
    def turns(self) -> tuple[Message, ...]:
        return (Message("user", self.prompt),) if isinstance(self.prompt, str) else self.prompt


@dataclass(slots=True)
class _AttemptReader:
    """Collects the attempts of a run while its journal is read."""

    past: RebuiltRun
    attempts: list[RecordedAttempt] = field(default_factory=list)
    """The attempts that a remedy has ended."""
    start: int = 0
    checks: list[CheckRecord] = field(default_factory=list)
    """The checks so far of the text that is still in the trace; ``violations`` likewise."""
    violations: list[ViolationRecord] = field(default_factory=list)

    def read_events(self, before: tuple[Piece, ...], unsettled: tuple[Span, ...]) -> None:
        """Collect the checks and violations of the last fact. At a remedy, store the attempt it ends.

        *before* has the pieces of the trace before its first cut, and *unsettled* the spans of open checks and
        extractions.
        """
        for event in self.past.core.events:
            match event:
                case CheckSettled(check=check):
                    self.checks.append(check)
                case ViolationFound(violation=violation):
                    self.violations.append(violation)
                case Remedied(violation=violation):
                    self._end(before, violation, unsettled)
                case _:
                    pass
        self.past.core.events.clear()

    def _end(self, before: tuple[Piece, ...], violation: ViolationRecord, unsettled: tuple[Span, ...]) -> None:
        # The event of a violation came before; *violation* may also be an unproven claim, which is not wrong.
        violations = tuple(self.violations)
        self.attempts.append(RecordedAttempt(before, self.start, tuple(self.checks), violations, violation, unsettled))
        cut = violation.cut or 0
        self.start = cut + len(violation.inserted)
        self.checks = [check for check in self.checks if place_of(check).end <= cut]
        self.violations = [each for each in violations if each.span.end <= cut]


def place_of(check: CheckRecord) -> Span:
    return check.segment if check.span is None else check.span


def read_attempts(path: str | os.PathLike[str]) -> AttemptHistory:
    # No model or verifier runs. Raises `JournalError` if this version cannot read it as a journal, or if it is
    # redacted.
    journal = read_journal(path)
    with refusing_contradictions(journal.path):
        return _attempts_in(journal)


def _attempts_in(journal: Journaled) -> AttemptHistory:
    core, past = traced(journal)
    reader = _AttemptReader(past)
    for record in standing(journal.records):
        for at, fact in facts_of(record):
            unsettled = _open(core, fact.job if isinstance(fact, Settled) else None)
            past.tell(at, fact)
            reader.read_events(core.uncut, unsettled)
        if not tuple(facts_of(record)):
            past.read(record)
    result = result_of(past)
    checks = reader.checks if result is None else result.checks
    unsettled = _open(core) if result is None else ()
    last = RecordedAttempt(
        core.transcript.pieces(), reader.start, tuple(checks), tuple(reader.violations), open=unsettled
    )
    return AttemptHistory(journal, (*reader.attempts, last), tuple(core.transcript.tags), result)


def _open(core: Core, settled: int | None = None) -> tuple[Span, ...]:
    jobs = [job for number, job in core.checks.jobs.items() if number != settled]
    claims = [ref.span for job in jobs for ref in job.refs or ()]
    return (*claims, *(job.segment.span for job in jobs if job.refs is None))
