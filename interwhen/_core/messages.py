"""What goes into the core (facts) and what comes out of it (orders). Both are closed unions.

They are msgspec structs because making one costs a tenth of a frozen dataclass, and some are made for each line.
Facts have tags because a journal keeps them: a rename there is a new schema of the journal.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from interwhen._types.claims import Claim
from interwhen._types.models import Chunk, FinishReason, Piece, Reply, ResumeMode
from interwhen._types.results import Certificate, CheckRecord, Insertion, Status, UnverifiedReason, ViolationRecord
from interwhen._types.segments import Segment
from interwhen._types.spans import Span
from interwhen._types.verdicts import Outcome


class Opened(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The model accepted the request that was ordered last."""

    resume: ResumeMode | None


class Ended(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The stream is at its end; the reason came with its last chunk, if at all."""


class Broken(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The stream, or the request for it, failed."""

    error: str
    retryable: bool


class Extracted(msgspec.Struct, frozen=True, tag=True, gc=False):
    """An extraction ended with these claims."""

    job: int
    claims: tuple[Claim, ...]
    seconds: float = 0.0
    reply: str | Reply | None = None
    """What a fork said, from which the claims were read: it is needed to read them again."""
    unread: tuple[Span, ...] = ()
    """Where the recognizer of the monitor found something that none of the claims covers."""


class Settled(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A check ended, or an extraction ended without claims to show (error, timeout, skipped)."""

    job: int
    outcome: Outcome
    seconds: float = 0.0


class OutOfTime(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The budget of wall time is spent."""

    seconds: float


class Idle(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The model has been silent for a while in the midst of its stream."""

    seconds: float
    dead: bool = False
    """Whether the silence is so long that the stream may well be dead: then its last word counts as written."""


class Abandoned(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The reader left before the end."""


class Resumed(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The process that ran this is gone, and so is the stream it was reading; another one goes on."""

    void: bool = False
    """Whether the fact before this one, which ended the run, holds no more: the reader left, or the model failed."""


class SwitchedOff(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Supervision was switched off: the rest of the run passes through unchecked."""


Rare: TypeAlias = Opened | Ended | Broken | Extracted | Settled | OutOfTime | Idle | Abandoned | Resumed | SwitchedOff
"""Facts of which there are few for a token."""
Fact: TypeAlias = Chunk | Rare


class Open(msgspec.Struct, frozen=True, gc=False):
    """Ask the model to go on from *pieces*; *spent* tokens of the main stream stand already."""

    pieces: tuple[Piece, ...]
    spent: int
    attempt: int
    """0 for the first request, counted up with each rewind: a resampled stream needs another seed."""
    after: float = 0.0
    """Seconds to wait before it is sent: a storm of remedies must not become one of requests."""
    room: int | None = None
    """Tokens that the context window still has, at least one; ``None``: not known."""
    resamples: int = 0
    """How often the text was just sampled again: a greedy model would write the same text each time."""


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the stream now: a violation was found, or the run ends."""


class Extract(msgspec.Struct, frozen=True, gc=False):
    """Extract the claims of *segment* for monitor number *monitor*; for a fork, *pieces* is its prefix."""

    job: int
    monitor: int
    segment: Segment
    pieces: tuple[Piece, ...] | None = None


class Check(msgspec.Struct, frozen=True, gc=False):
    """Check *claim* with the verifier of monitor number *monitor*."""

    job: int
    monitor: int
    claim: Claim
    after: float = 0.0
    """Seconds to wait first: it has failed before."""
    segment: Segment | None = None
    """Where the claim stands: a repair is read again there."""


class Suspend(msgspec.Struct, frozen=True, gc=False):
    """Take note that *verifier* failed *failures* times in a row and is asked no more; 0: it is asked again."""

    verifier: str
    failures: int


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for this job any more."""

    job: int


class Invalidate(msgspec.Struct, frozen=True, gc=False):
    """The text from *start* on was refuted: it is cut, or stays with feedback behind it, and nothing builds on it."""

    start: int
    end: int = 0
    """Up to where it stays; 0: it is cut."""


class RunSummary(msgspec.Struct, frozen=True, gc=False):
    """How the run ended, as far as the core knows: all but tokens of forks, times and the model's name."""

    status: Status
    text: str
    reasoning: str
    answer: str
    finish_reason: FinishReason | None
    checks: tuple[CheckRecord, ...]
    violations: tuple[ViolationRecord, ...]
    insertions: tuple[Insertion, ...]
    resume: ResumeMode | None
    unverified_reasons: tuple[UnverifiedReason, ...]
    certificate: Certificate | None
    reason: str
    kept: int
    discarded: int
    late: int
    remedies: int
    reconnects: int
    forks: int


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The run is over."""

    summary: RunSummary


Order: TypeAlias = Open | Close | Extract | Check | Suspend | Drop | Invalidate | Finish
