"""Facts, which go into the core, and orders, which come out of it. Both are closed unions.

They are msgspec structs: making one costs a tenth of a frozen dataclass, and some are made for each line. Facts have
tags, because a journal keeps them: renaming a fact changes the schema of the journal.
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
    """The model accepted the last request."""

    resume: ResumeMode | None


class Ended(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The stream has ended. Its reason came with the last chunk, if at all."""


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
    """The reply of the fork from which the claims were read; needed to read them again."""
    unread: tuple[Span, ...] = ()
    """Places that the recognizer of the monitor found and no claim covers."""


class Settled(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A check ended, or an extraction ended without claims (error, timeout, skipped)."""

    job: int
    outcome: Outcome
    seconds: float = 0.0


class OutOfTime(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The budget of wall time is spent."""

    seconds: float


class Idle(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The model has been silent for a while inside its stream."""

    seconds: float
    dead: bool = False
    """Whether the silence is so long that the stream may be dead: then its last word counts as complete."""


class Abandoned(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The reader left before the end."""


class Resumed(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The process of the run ended with its stream; another process continues."""

    void: bool = False
    """Whether the fact before this one is void. It ended the run: the reader left, or the model failed."""


class SwitchedOff(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Supervision was switched off: the rest of the run passes through unchecked."""


Rare: TypeAlias = Opened | Ended | Broken | Extracted | Settled | OutOfTime | Idle | Abandoned | Resumed | SwitchedOff
"""Facts that do not come with every token."""
Fact: TypeAlias = Chunk | Rare


class Open(msgspec.Struct, frozen=True, gc=False):
    """Ask the model to continue *pieces*, which hold *spent* tokens of the main stream."""

    pieces: tuple[Piece, ...]
    spent: int
    attempt: int
    """The number of rewinds so far: a resampled stream needs another seed."""
    after: float = 0.0
    """Seconds to wait before the request: a storm of remedies must not become a storm of requests."""
    room: int | None = None
    """How many tokens fit into the context window, at least one; ``None``: not known."""
    resamples: int = 0
    """How many of the last remedies in a row resampled: a greedy model would write the same text each time."""


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the stream at once: a violation was found, or the run ends."""


class Extract(msgspec.Struct, frozen=True, gc=False):
    """Extract the claims of *segment* for monitor number *monitor*; *pieces*: the prefix of a fork."""

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
    """Seconds to wait first: an earlier try failed."""
    segment: Segment | None = None
    """The segment of the claim: a repair is read again there."""


class Suspend(msgspec.Struct, frozen=True, gc=False):
    """Report that *verifier* failed *failures* times in a row and is suspended; 0: the suspension ended."""

    verifier: str
    failures: int


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Cancel this job: its result is not needed any more."""

    job: int


class Invalidate(msgspec.Struct, frozen=True, gc=False):
    """The text from *start* on is invalid: trackers must not build on it."""

    start: int
    end: int = 0
    """The end of the refuted text, which stays and is answered by feedback; 0: the text is cut."""


class RunSummary(msgspec.Struct, frozen=True, gc=False):
    """The result of the run without what the core does not know: tokens of forks, times, the model's name."""

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
    """The run has ended."""

    summary: RunSummary


Order: TypeAlias = Open | Close | Extract | Check | Suspend | Drop | Invalidate | Finish
