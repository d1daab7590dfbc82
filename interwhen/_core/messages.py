"""Facts, which are the input of the core, and orders, which are its output.

A journal stores the facts with their tags: renaming a fact changes the schema of the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from interwhen._types.models import Chunk, FinishReason, Piece, Reply, ResumeMode, ResumeWay
from interwhen._types.results import (
    Certificate,
    CheckRecord,
    Insertion,
    NumberCount,
    Status,
    UnverifiedReason,
    ViolationRecord,
)
from interwhen._types.segments import Claim, Mention, Segment, Span
from interwhen._types.verdicts import Outcome

# What the request says, which the core is given at its start.


class ToolOffer(msgspec.Struct, frozen=True):
    """The tools of one request, and the unmarked formats in which its prompt shows calls."""

    # An unmarked format has no special tags.

    tools: Mapping[str, Mapping[str, str]] = {}
    """The offered tools by name; for each tool the types of its parameters by name (an empty type: not known)."""
    in_field: bool = False
    """Whether the tools were offered in a field of the request."""
    react: bool = False
    """Whether the prompt asks for ``Action:`` lines."""
    code: tuple[tuple[str, str], ...] = ()
    """The pairs of tags around code, if the prompt is that of an agent that writes code."""


NO_OFFER = ToolOffer()


class Opened(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    """The model accepted the last request. ``resume`` is ``None`` if there was no text to continue."""

    resume: ResumeMode | None
    reason: str = ""
    reasoning: Literal["field", "tags"] | None = None
    """``reason`` and ``reasoning`` are as in :class:`ResumeWay`."""
    seconds: float = 0.0
    """The time from the request to its acceptance. The core ignores it."""


class Ended(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The stream has ended. The finish reason, if there was one, came with an earlier chunk."""


class Broken(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    """The stream broke, or its request failed. ``retryable``: whether a new request may help."""

    error: str
    retryable: bool
    seconds: float = 0.0
    """For a request that failed: the time from the request to the failure. The core ignores it."""
    again: bool = False
    """Whether the request, which continues the run after a remedy or a break, has a second try beyond the budget."""
    keeps_text: bool = False
    """Whether such a request failed before it brought text, and the reader has seen text of the run. Without another
    try, the run then ends as ``abstained``."""
    status: int | None = None
    """The HTTP status of the server's error."""


class Extracted(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    job: int
    claims: tuple[Claim, ...]
    seconds: float = 0.0
    """The time that a fork took; 0 for a parser."""
    reply: str | Reply | None = None
    """The reply of the fork that the claims were read from; ``None``: a parser read the segment."""
    unread: tuple[Span, ...] = ()
    """Spans that the monitor's recognizer found and that no claim covers."""
    mentions: tuple[Mention, ...] = ()
    queued: float = 0.0
    """As in :class:`Settled`; all of ``seconds`` if the local parser answered."""
    worker: str = ""
    """Who found the claims of a fork: ``model`` or ``local``. Empty: it is no fork, or neither was asked."""


class Settled(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    """Job number ``job`` ended: a check with any outcome, or an extraction that failed or timed out."""

    job: int
    outcome: Outcome
    seconds: float = 0.0
    queued: float = 0.0
    """The part of ``seconds`` before the check began in its worker, or before the model of a fork was asked. The core
    ignores it."""
    worker: str = ""
    """Where the check ran: ``loop``, or the thread or process, such as ``thread 4711``; for a failed fork, ``model`` or
    ``local``. Empty: inline, or it never began. The core ignores it."""


class OutOfTime(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The budget of *seconds* of wall time is spent."""

    seconds: float


class Idle(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The stream is open, but the model has sent nothing for *seconds*."""

    seconds: float
    dead: bool = False
    """Whether the silence is so long that the stream is probably dead. Then the last word counts as complete."""


class Abandoned(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The reader stopped reading the events before the end of the run."""


class Resumed(msgspec.Struct, frozen=True, tag=True, gc=False, omit_defaults=True):
    """A new process continues the run from its journal. The stream of the old process is lost."""

    void: bool = False
    """Whether the previous fact is ignored. It had ended the run, because the reader left or the model failed."""
    codes: tuple[str, ...] = ()
    """The hash of the source file of each monitor's verifier from now on; empty if all are as before."""


class SwitchedOff(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Supervision was switched off: the rest of the run passes through unchecked."""


Rare: TypeAlias = Opened | Ended | Broken | Extracted | Settled | OutOfTime | Idle | Abandoned | Resumed | SwitchedOff
Fact: TypeAlias = Chunk | Rare


class Open(msgspec.Struct, frozen=True, gc=False):
    """Ask the model to continue *pieces*, the trace so far. *spent* tokens of ``max_tokens`` stand in it."""

    pieces: tuple[Piece, ...]
    spent: int
    attempt: int
    """The number of remedies so far. It is added to the seed, so that a resampled stream differs."""
    after: float = 0.0
    """Seconds to wait before the request."""
    room: int | None = None
    """The number of tokens that still fit into the context window, at least 1; ``None``: not known, or not needed for
    the first request."""
    resamples: int = 0
    """How many of the last remedies, without a break, were resamples, or the ``heat`` of the plan of a new sample of
    ``Auto``. If it is not 0, the temperature of a greedy model is raised."""


class Splice(msgspec.Struct, frozen=True, gc=False):
    """Take the text of the open stream apart from offset *start* of the trace on, because it repeats kept text."""

    # Its first `dropped` characters are left out, and the rest begins at offset `to`.

    start: int
    dropped: int
    to: int


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the stream at once."""


class Extract(msgspec.Struct, frozen=True, gc=False):
    # For a fork, `pieces` is the trace after which the question of the fork is asked.

    job: int
    monitor: int
    segment: Segment
    pieces: tuple[Piece, ...] | None = None


class Check(msgspec.Struct, frozen=True, gc=False):
    job: int
    monitor: int
    claim: Claim
    after: float = 0.0
    """Seconds to wait before the check, if an earlier try failed."""
    segment: Segment | None = None
    """The engine needs it to read a repaired text again."""


class Suspend(msgspec.Struct, frozen=True, gc=False):
    """Report that *verifier* is suspended after *failures* failures in a row. 0: the suspension ended."""

    verifier: str
    failures: int


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Cancel job number *job*: its result is not needed any more."""

    job: int


class Invalidate(msgspec.Struct, frozen=True, gc=False):
    """Remove the tracker states of the text from ``start`` on, because that text was cut or refuted."""

    # A tracker then continues from its state at `start`.

    start: int
    end: int = 0
    """Where the refuted text ends, if it stays in the trace with feedback after it; 0 if the text was cut."""


class RunSummary(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The part of the result that the core knows. The engine adds the tokens of forks, the times and the model name.

    Fields without a docstring are those of the result and of its :class:`~interwhen._types.ledger.Ledger`.
    """

    status: Status
    text: str
    reasoning: str
    answer: str
    finish_reason: FinishReason | None
    checks: tuple[CheckRecord, ...]
    violations: tuple[ViolationRecord, ...]
    insertions: tuple[Insertion, ...]
    resume: ResumeWay | None
    unverified_reasons: tuple[UnverifiedReason, ...]
    certificate: Certificate | None
    reason: str
    """Why the run ended; empty if the model ended its text and no check ended the run."""
    hidden_reasoning: bool
    kept: int
    discarded: int
    late: int
    estimated_prompt_tokens: int
    remedies: int
    reconnects: int
    forks: int
    numbers: tuple[NumberCount, ...] = ()
    upstream_status: int | None = None


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The run has ended."""

    summary: RunSummary


Order: TypeAlias = Open | Splice | Close | Extract | Check | Suspend | Drop | Invalidate | Finish
