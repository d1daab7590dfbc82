"""A run as its journal tells it: each attempt of the model up to the violation that ended it, and the trace at last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from interwhen._core.machine import Core
from interwhen._core.messages import Extracted, OutOfTime, Settled
from interwhen._engine.journaling import result_of
from interwhen._types.events import CheckSettled, Remedied, ViolationFound
from interwhen._types.models import Message, Piece, Prompt
from interwhen._types.results import CheckRecord, Result, Verified, ViolationRecord
from interwhen._types.spans import Span
from interwhen.journal._rebuilding import Journaled, RebuiltRun, core_of, facts_of, read_journal, standing
from interwhen.journal._records import recorded_monitors

# What in a text was not the model's: spans by which a loss can leave it out.

SpanKind = Literal["repair", "feedback", "refuted"]
"""A value that we wrote in the place of a wrong one; what we said to the model; or what the model wrote, was refuted,
and stands only because the feedback behind it answers it."""


class OursSpan(msgspec.Struct, frozen=True):
    """A stretch of a text, in characters, that should not be learned as the model's own."""

    start: int
    end: int
    origin: SpanKind

    def within(self, start: int, end: int, shift: int = 0) -> OursSpan | None:
        """Return the part of this span in ``[start, end)``, moved by *shift*; ``None``: there is none."""
        low, high = max(self.start, start), min(self.end, end)
        return OursSpan(low + shift, high + shift, self.origin) if low < high else None


def within(spans: Iterable[OursSpan], start: int, end: int, shift: int = 0) -> tuple[OursSpan, ...]:
    """Return the parts of *spans* in ``[start, end)``, moved by *shift*."""
    return tuple(part for span in spans if (part := span.within(start, end, shift)) is not None)


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """The trace as it stood before it was cut, or as it stands at last."""

    pieces: tuple[Piece, ...]
    start: int
    """Where it becomes new: what stands before that belongs to the attempts before."""
    checks: tuple[CheckRecord, ...]
    """The checks that had ended by then, on what stood then."""
    violations: tuple[ViolationRecord, ...]
    """The violations that were found in it."""
    ended_by: ViolationRecord | None = None
    """The violation that was acted upon; ``None``: this is the last attempt."""
    open: tuple[Span, ...] = ()
    """Where checks had begun by then and come to no end: whoever only observes is not waited for."""

    @property
    def text(self) -> str:
        """The whole trace."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def ours(self) -> tuple[OursSpan, ...]:
        """What in it we wrote, in order."""
        found, at = [], 0
        for piece in self.pieces:
            if piece.origin != "model" and piece.text:
                found.append(OursSpan(at, at + len(piece.text), piece.origin))
            at += len(piece.text)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class AttemptHistory:
    """What a journal tells."""

    journaled: Journaled
    attempts: tuple[RecordedAttempt, ...]
    """In order; the last one holds the trace that stands."""
    tags: tuple[Span, ...]
    """The tags around the reasoning, in that trace."""
    result: Result | None
    """How the run ended; ``None``: it had not."""

    @property
    def prompt(self) -> Prompt:
        """What the run was asked."""
        return self.journaled.header.prompt

    @property
    def name(self) -> str:
        """A short name of the run, the same wherever its journal lies."""
        return self.journaled.header.prompt_sha256[:12]

    @property
    def last(self) -> RecordedAttempt:
        """The trace that stands."""
        return self.attempts[-1]

    @property
    def is_answer_verified(self) -> bool:
        """Whether every required check passed on that trace, one of which judged the answer itself."""
        return self.result is not None and self.result.answer_verified

    @property
    def refuted(self) -> tuple[Span, ...]:
        """What in that trace was refuted, and then answered by feedback behind it."""
        return self.result.certificate.refuted if isinstance(self.result, Verified) else ()

    @property
    def problem(self) -> str:
        """The prompt as text: the turns of a chat one after the other, with an empty line behind each."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "".join(f"{turn.content}\n\n" for turn in self.prompt)

    @property
    def turns(self) -> tuple[Message, ...]:
        """The prompt as turns; a text is one of the user's."""
        return (Message("user", self.prompt),) if isinstance(self.prompt, str) else self.prompt


@dataclass(slots=True)
class _Teller:
    """Follows a run fact by fact."""

    past: RebuiltRun
    attempts: list[RecordedAttempt] = field(default_factory=list)
    start: int = 0
    checks: list[CheckRecord] = field(default_factory=list)
    violations: list[ViolationRecord] = field(default_factory=list)

    def hear(self, before: tuple[Piece, ...], unsettled: tuple[Span, ...]) -> None:
        """Take in what the core said of the last fact, which met the trace *before*, and checks *unsettled*."""
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
        found = (*self.violations, violation)
        self.attempts.append(RecordedAttempt(before, self.start, tuple(self.checks), found, violation, unsettled))
        cut = violation.cut or 0
        self.start = cut + len(violation.inserted)
        self.checks = [check for check in self.checks if place_of(check).end <= cut]
        self.violations = [each for each in found if each.span.end <= cut]


def place_of(check: CheckRecord) -> Span:
    """Return where the claim of *check* stands; its segment, where it stands nowhere."""
    return check.segment if check.span is None else check.span


def tell(path: str | os.PathLike[str]) -> AttemptHistory:
    """Return the story of the journal at *path*.

    Raises :class:`~interwhen.JournalError` on a file that is no journal this version can read.
    """
    found = read_journal(path)
    past = RebuiltRun(found, core_of(found.header, recorded_monitors(found.header)))
    past.take(past.core.begin())
    teller = _Teller(past)
    core = past.core
    for record in standing(found.records):
        # What may cut the trace: looked at before it does.
        for at, fact in facts_of(record):
            cuts = isinstance(fact, Extracted | Settled | OutOfTime)
            before = core.transcript.pieces() if cuts else ()
            unsettled = _open(core, fact.job if isinstance(fact, Settled) else None) if cuts else ()
            past.tell(at, fact)
            teller.hear(before, unsettled)
        if not tuple(facts_of(record)):
            past.read(record)
    result = result_of(past)
    checks = teller.checks if result is None else result.checks
    unsettled = _open(core) if result is None else ()
    last = RecordedAttempt(
        core.transcript.pieces(), teller.start, tuple(checks), tuple(teller.violations), open=unsettled
    )
    return AttemptHistory(found, (*teller.attempts, last), tuple(core.transcript.tags), result)


def _open(core: Core, settled: int | None = None) -> tuple[Span, ...]:
    """Return where the open work of *core* lies, but for the job that is *settled* now."""
    jobs = [job for number, job in core.work.jobs.items() if number != settled]
    claims = [ref.span for job in jobs for ref in job.refs or ()]
    return (*claims, *(job.segment.span for job in jobs if job.refs is None))


def tell_all(paths: Iterable[str | os.PathLike[str]]) -> Sequence[AttemptHistory]:
    """Return the stories of the journals at *paths*, in that order."""
    return [tell(path) for path in paths]
