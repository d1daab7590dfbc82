"""The types of the timeline of a run: its events, each with its times. For the units, see :class:`Timeline`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from interwhen._types.models import Origin, ResumeMode, Usage
from interwhen._types.results import RemedyName, Result, ViolationRecord
from interwhen._types.segments import Phase, Span
from interwhen._types.verdicts import Outcome
from interwhen.journal._records import Header


class _Numbered(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    number: int
    """The place of the event in the order of the run.

    Each fact of the run has the next number, and a cut has one of its own after that of the fact that led to it. Times
    do not give the order: a clock may stand still between two facts, or be set back.
    """


class TextWritten(_Numbered, frozen=True, gc=False):
    """Text was added to the trace: text of the model, or text that a remedy inserted."""

    at: float
    start: int
    """The offset at which the text was added."""
    text: str
    """The text; empty if the journal is redacted."""
    length: int
    """The number of characters of the text; of UTF-16 code units if the journal is redacted."""
    phase: Phase
    origin: Origin
    tokens: int
    """The tokens of the model that are counted with this text; 0 for text that a remedy inserted. The last of several
    texts from one chunk has its tokens."""


class TextCut(_Numbered, frozen=True, gc=False):
    """The trace was cut back to offset ``to``."""

    at: float
    to: int
    length: int
    """How many characters were taken back; 0 if the journal is redacted."""
    remedy: int | None
    """The index of the remedy that cut; ``None`` if none did, for example after a reconnect or a resume."""


class TextShown(_Numbered, frozen=True, gc=False):
    """The reader may now have the trace up to offset ``to``. If ``to`` is smaller than before, text was retracted.

    These events exist only while text is held back. After one whose ``to`` is ``None``, each text is released when it
    is added.
    """

    at: float
    to: int | None


class FrontierStep(_Numbered, frozen=True, gc=False):
    """The frontier moved forward to offset ``to``. A cut moves it back without an event."""

    at: float
    to: int


class RequestTimes(_Numbered, frozen=True, gc=False):
    """One request of the main stream.

    A time is ``None`` if the step did not happen.
    """

    sent: float | None
    """When it was sent to the server."""
    accepted: float | None
    """When the server accepted it."""
    first: float | None
    """When its first text arrived."""
    ended: float | None
    """When its stream ended or was closed, or when it failed."""
    how: Literal["ended", "closed", "broken", "refused", "open"]
    """``ended``: the server ended it. ``closed``: the run closed it. ``broken``: it failed after it was accepted.
    ``refused``: it failed before. ``open``: it has not ended."""
    error: str
    """Why it was refused or broke; empty if neither happened, or if the journal is redacted."""
    resume: ResumeMode | None
    """How it continues kept text; ``None`` if there was no text to continue, or if it was refused."""
    reason: str
    """Why it continues the text in this way; empty if ``resume`` is ``None``."""
    start: int
    """The length of the trace when it began."""
    usage: Usage | None
    """The server's token counts; ``None`` if it sent none."""
    remedy: int | None
    """The index of the remedy after which it was the first accepted request; ``None`` if there is no such remedy."""

    @property
    def at(self) -> float:
        """The time at which the request was sent; if that is not known, when it was accepted, or else when it ended."""
        return next((time for time in (self.sent, self.accepted, self.ended) if time is not None), 0.0)


class CheckTimes(_Numbered, frozen=True, gc=False):
    """One check of one claim: when it was ordered, began and ended, and its outcome.

    A failed extraction and text that could not be read have entries, too, without the key of a claim.
    """

    monitor: str
    verifier: str
    version: str
    key: str
    """The key of the claim; if the journal is redacted, the hash of the text at ``span``, if that is known."""
    span: Span | None
    """The span of the claim; ``None`` if its position is not known."""
    segment: Span | None
    """The span of the segment in which it was found; ``None`` if the check has not ended."""
    ordered: float
    """When the core ordered the check."""
    began: float | None
    """When it began in its worker; ``None`` if it never began, or if this is not known."""
    ended: float | None
    worker: str
    """Where it ran: ``inline``, ``loop``, ``thread 4711``, ``process 4711``, or what another worker pool calls its
    worker; ``cache`` if an earlier verdict was used. Empty: it never began, or this is not known."""
    outcome: Outcome | None
    """``None`` if the check has not ended. It has no reason if the journal is redacted."""
    tries: int
    """How often the verifier was tried; 1 if the check has not ended."""
    lag: int
    """How many tokens of the model arrived between ``ordered`` and ``ended``; 0 if the check has not ended."""
    cut: int | None
    """The index of the cut that removed its span or the end of it; ``None`` if the span was not cut."""
    remedy: int | None
    """The index of the remedy that its violation led to; ``None`` if it led to none."""
    interrupted: bool
    """Whether its violation could interrupt the run."""
    fork: int | None
    """The index of the fork that found the claim; ``None`` if a parser found it, or if it is not known."""

    @property
    def at(self) -> float:
        """The time at which the core ordered the check."""
        return self.ordered


class ForkTimes(_Numbered, frozen=True, gc=False):
    """One fork (a short inference that extracts claims): when it was ordered, began and ended."""

    monitor: str
    segment: Span
    """The segment whose claims the fork extracts."""
    ordered: float
    """When the core ordered the fork."""
    began: float | None
    """When the model was asked, or the local parser; ``None`` if this never happened or is not known."""
    ended: float | None
    worker: str
    """``model`` or ``local`` (a local parser); empty if the fork never began, or if this is not known."""
    claims: int
    outcome: Outcome | None
    """Why there are no claims, if it failed or was cancelled; else ``None``."""
    tokens: int
    """The tokens that it generated. This and the next two counts may include forks that ran at the same time."""
    prompt_tokens: int
    cached_tokens: int

    @property
    def at(self) -> float:
        """The time at which the core ordered the fork."""
        return self.ordered


class RemedyTimes(_Numbered, frozen=True, gc=False):
    """One remedy, from the verdict to the first text after it. ``None``: the step did not happen or is not known."""

    violation: ViolationRecord
    """The violation that it answers; without texts and key if the journal is redacted."""
    remedy: RemedyName | None
    check: int | None
    """The index of the check that found the violation; ``None`` if it is not known."""
    found: float
    """When the check ended that found the violation; if that is not known, when the remedy was chosen."""
    closed: float | None
    """When the stream was closed."""
    cut: float | None
    """When the trace was cut."""
    written: float | None
    """When text was inserted."""
    sent: float | None
    """When the request after it was sent."""
    accepted: float | None
    """When the server accepted that request."""
    first: float | None
    """When the first text of that request arrived."""
    request: int | None
    """The index of the first accepted request between it and the next remedy; ``None`` if there was none."""
    removed: int
    """How many characters were cut."""
    removed_tokens: int
    """How many tokens of the model were cut. A chunk that is cut in its middle does not count."""

    @property
    def at(self) -> float:
        """The time at which the violation was found."""
        return self.found


class Incident(_Numbered, frozen=True, gc=False):
    """A rare event, such as a broken stream, a silence, a spent time budget, or a resume."""

    at: float
    what: Literal["broken", "idle", "out_of_time", "abandoned", "resumed", "switched_off", "suspended", "restored"]
    """``abandoned``: the reader left. ``switched_off``: supervision was turned off. ``suspended`` and ``restored``: a
    verifier."""
    text: str
    """The error, the seconds of silence or of the budget, or the name of the verifier; empty for others, and if the
    journal is redacted."""


TimelineEvent: TypeAlias = (
    TextWritten | TextCut | TextShown | FrontierStep | RequestTimes | CheckTimes | ForkTimes | RemedyTimes | Incident
)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The events of a run with their times, as far as its journal has them.

    Times are in seconds since the run began. Offsets are in characters of the trace at that time; if the journal is
    redacted, they are in UTF-16 code units.
    """

    path: str
    header: Header
    result: Result | None
    """The recorded result; ``None`` if the journal has none, or is redacted."""
    texts: tuple[TextWritten, ...]
    cuts: tuple[TextCut, ...]
    shown: tuple[TextShown, ...]
    frontier: tuple[FrontierStep, ...]
    requests: tuple[RequestTimes, ...]
    checks: tuple[CheckTimes, ...]
    """The checks, also of text that was cut, in the order in which the core ordered them."""
    forks: tuple[ForkTimes, ...]
    remedies: tuple[RemedyTimes, ...]
    incidents: tuple[Incident, ...]
    end: float
    """The time of the last fact, or of the end of the run."""
    size: int
    """The bytes of the journal that were read."""
    left_out: int
    """The bytes after them, which cannot be read."""
    compact: bytes = field(repr=False)
    """The compact form, as JSON; see docs/journal.md."""

    @property
    def events(self) -> tuple[TimelineEvent, ...]:
        """All events, in the order of the run: that of their numbers, which is not always that of their times."""
        parts: tuple[Sequence[TimelineEvent], ...] = (
            self.requests,
            self.texts,
            self.forks,
            self.checks,
            self.remedies,
            self.cuts,
            self.shown,
            self.frontier,
            self.incidents,
        )
        return tuple(sorted((event for part in parts for event in part), key=lambda event: event.number))
