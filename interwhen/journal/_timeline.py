"""The record of a run: its events, each with its times. For the units, see :class:`Timeline`.

A redacted journal stores these structs, and the types of the trace page are generated from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any, Literal, TypeAlias

import msgspec

from interwhen._types.models import Origin, ResumeMode, Usage
from interwhen._types.results import RemedyName, Result, ViolationRecord
from interwhen._types.segments import Phase, Span
from interwhen._types.verdicts import Outcome
from interwhen.journal._records import Header


class TimedEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An event of a run."""

    number: int
    """The place of the event in the order of the run.

    Each fact of the run has the next number, and a cut has one of its own after that of the fact that led to it. Times
    do not give the order: a clock may stand still between two facts, or be set back.
    """


class TextWritten(TimedEvent, frozen=True, gc=False, omit_defaults=True):
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


class TextCut(TimedEvent, frozen=True, gc=False, omit_defaults=True):
    """The trace was cut back to offset ``to``."""

    at: float
    to: int
    length: int
    """How many characters were taken back."""
    remedy: int | None
    """The index of the remedy that cut; ``None`` if none did, for example after a reconnect or a resume."""


class TextShown(TimedEvent, frozen=True, gc=False, omit_defaults=True):
    """The reader may now have the trace up to offset ``to``. If ``to`` is smaller than before, text was retracted.

    These events exist only while text is held back. After one whose ``to`` is ``None``, each text is released when it
    is added.
    """

    at: float
    to: int | None


class FrontierStep(TimedEvent, frozen=True, gc=False, omit_defaults=True):
    """The frontier moved forward to offset ``to``. A cut moves it back without an event."""

    at: float
    to: int


class RequestTimes(TimedEvent, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One request of the main stream.

    A time is ``None`` if the step did not happen.
    """

    sent: float | None = None
    """When it was sent to the server."""
    accepted: float | None = None
    """When the server accepted it."""
    first: float | None = None
    """When its first text arrived."""
    ended: float | None = None
    """When its stream ended or was closed, or when it failed."""
    how: Literal["ended", "closed", "broken", "refused", "open"] = "open"
    """``ended``: the server ended it. ``closed``: the run closed it. ``broken``: it failed after it was accepted.
    ``refused``: it failed before. ``open``: it has not ended."""
    error: str = ""
    """Why it was refused or broke; empty if neither happened, or if the journal is redacted."""
    resume: ResumeMode | None = None
    """How it continues kept text; ``None`` if there was no text to continue, or if it was refused."""
    reason: str = ""
    """Why it continues the text in this way; empty if ``resume`` is ``None``."""
    start: int = 0
    """The length of the trace when it began."""
    usage: Usage | None = None
    """The server's token counts; ``None`` if it sent none."""
    remedy: int | None = None
    """The index of the remedy after which it was the first accepted request; ``None`` if there is no such remedy."""

    @property
    def at(self) -> float:
        """The time at which the request was sent; if that is not known, when it was accepted, or else when it ended."""
        return next((time for time in (self.sent, self.accepted, self.ended) if time is not None), 0.0)


class CheckTimes(TimedEvent, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One check of one claim: when it was ordered, began and ended, and its outcome.

    A failed extraction and text that could not be read have entries, too, without the key of a claim.
    """

    monitor: str
    verifier: str
    version: str
    key: str = ""
    """The key of the claim; if the journal is redacted, the hash of the text at ``span``, if that is known."""
    span: Span | None = None
    """The span of the claim; ``None`` if its position is not known."""
    segment: Span | None = None
    """The span of the segment in which it was found; ``None`` if the check has not ended."""
    ordered: float
    """When the core ordered the check."""
    began: float | None = None
    """When it began in its worker; ``None`` if it never began, or if this is not known."""
    ended: float | None = None
    worker: str = ""
    """Where it ran: ``inline``, ``loop``, ``thread 4711``, ``process 4711``, or what another worker pool calls its
    worker; ``cache`` if an earlier verdict was used. Empty: it never began, or this is not known."""
    outcome: Outcome | None = None
    """``None`` if the check has not ended. It has no reason if the journal is redacted."""
    tries: int = 1
    """How often the verifier was tried; 1 if the check has not ended."""
    lag: int = 0
    """How many tokens of the model arrived between ``ordered`` and ``ended``; 0 if the check has not ended."""
    cut: int | None = None
    """The index of the cut that removed its span or the end of it; ``None`` if the span was not cut."""
    remedy: int | None = None
    """The index of the remedy that its violation led to; ``None`` if it led to none."""
    interrupted: bool = False
    """Whether its violation could interrupt the run."""
    fork: int | None = None
    """The index of the fork that found the claim; ``None`` if a parser found it, or if it is not known."""
    settled: int | None = None
    """The number of the event at which it ended; ``None`` if it has not. ``number`` is that at which it was ordered."""

    @property
    def at(self) -> float:
        """The time at which the core ordered the check."""
        return self.ordered


class ForkTimes(TimedEvent, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One fork (a short inference that extracts claims): when it was ordered, began and ended."""

    monitor: str
    segment: Span
    """The segment whose claims the fork extracts."""
    ordered: float
    """When the core ordered the fork."""
    began: float | None = None
    """When the model was asked, or the local parser; ``None`` if this never happened or is not known."""
    ended: float | None = None
    worker: str = ""
    """``model`` or ``local`` (a local parser); empty if the fork never began, or if this is not known."""
    claims: int = 0
    outcome: Outcome | None = None
    """Why there are no claims, if it failed or was cancelled; else ``None``."""
    tokens: int = 0
    """The tokens that it generated. This and the next two counts may include forks that ran at the same time."""
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def at(self) -> float:
        """The time at which the core ordered the fork."""
        return self.ordered


class RemedyTimes(TimedEvent, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One remedy, from the verdict to the first text after it. ``None``: the step did not happen or is not known."""

    violation: ViolationRecord
    """The violation that it answers; without texts and key if the journal is redacted."""
    remedy: RemedyName | None = None
    check: int | None = None
    """The index of the check that found the violation; ``None`` if it is not known."""
    found: float
    """When the check ended that found the violation; if that is not known, when the remedy was chosen."""
    closed: float | None = None
    """When the stream was closed."""
    cut: float | None = None
    """When the trace was cut."""
    written: float | None = None
    """When text was inserted."""
    sent: float | None = None
    """When the request after it was sent."""
    accepted: float | None = None
    """When the server accepted that request."""
    first: float | None = None
    """When the first text of that request arrived."""
    request: int | None = None
    """The index of the first accepted request between it and the next remedy; ``None`` if there was none."""
    removed: int = 0
    """How many characters were cut."""
    removed_tokens: int = 0
    """How many tokens of the model were cut. A chunk that is cut in its middle does not count."""

    @property
    def at(self) -> float:
        """The time at which the violation was found."""
        return self.found


class Incident(TimedEvent, frozen=True, gc=False, omit_defaults=True):
    """A rare event, such as a broken stream, a silence, a spent time budget, or a resume."""

    at: float
    what: Literal["broken", "idle", "out_of_time", "abandoned", "resumed", "switched_off", "suspended", "restored"]
    """``abandoned``: the reader left. ``switched_off``: supervision was turned off. ``suspended`` and ``restored``: a
    verifier."""
    text: str = ""
    """The error, the seconds of silence or of the budget, or the name of the verifier; empty for others, and if the
    journal is redacted."""


TimelineEvent: TypeAlias = (
    TextWritten | TextCut | TextShown | FrontierStep | RequestTimes | CheckTimes | ForkTimes | RemedyTimes | Incident
)


class RunNotes(msgspec.Struct, omit_defaults=True):
    """What is known of a run, or what is new or changed in it, which :meth:`add` joins to what was known."""

    # A redacted journal stores what is new or changed. The texts are columns, because there are so many.

    end: float = 0.0
    """As :attr:`Timeline.end`."""
    text: list[str] = []
    """In the order in which they were added to the trace; empty if the journal is redacted."""
    times: list[float] = []
    chars: list[int] = []
    numbers: list[tuple[int, int]] = []
    """The index of each text whose number is not that of the text before plus one, with its number."""
    weights: list[tuple[int, int]] = []
    """The index of each text that does not have one token, with its tokens."""
    styles: list[tuple[int, Phase, Origin]] = []
    """The index of each text at which phase or origin change, with the new ones."""
    cuts: list[TextCut] = []
    shown: list[TextShown] = []
    frontier: list[FrontierStep] = []
    incidents: list[Incident] = []
    requests: dict[int, RequestTimes] = {}
    """By index, as the next three: most of these entries change after they were added."""
    checks: dict[int, CheckTimes] = {}
    forks: dict[int, ForkTimes] = {}
    remedies: dict[int, RemedyTimes] = {}
    result: Result | None = None
    """Without its text and what is noted elsewhere."""
    certified: tuple[int, ...] = ()
    """The indexes of the checks in the certificate."""
    text_sha256: str = ""
    """Empty unless the journal is redacted."""

    def written(self) -> Iterator[TextWritten]:
        starts = {index: (phase, origin) for index, phase, origin in self.styles}
        numbers, weights, cuts = dict(self.numbers), dict(self.weights), deque(self.cuts)
        number = length = 0
        style: tuple[Phase, Origin] = ("answer", "model")
        texts = self.text or [""] * len(self.chars)
        for index, (at, text, chars) in enumerate(zip(self.times, texts, self.chars, strict=True)):
            number = numbers.get(index, number + 1)
            while cuts and cuts[0].number <= number:
                length = min(length, cuts.popleft().to)
            style = starts.get(index, style)
            yield TextWritten(at, length, text, chars, *style, weights.get(index, 1), number=number)
            length += chars


APPENDED = (
    "text",
    "times",
    "chars",
    "numbers",
    "weights",
    "styles",
    "cuts",
    "shown",
    "frontier",
    "incidents",
)
"""The lists of :class:`RunNotes` that only grow."""
KEYED: dict[str, type[TimedEvent]] = {
    "requests": RequestTimes,
    "checks": CheckTimes,
    "forks": ForkTimes,
    "remedies": RemedyTimes,
}
"""The lists of :class:`RunNotes` whose entries may change, with the type of these entries."""
_ENDING = ("end", "result", "certified", "text_sha256")


@dataclass(slots=True)
class PartMark:
    """Which part of :class:`GrowingNotes` a consumer has got. Each consumer needs its own mark."""

    begun: bool = False
    """Whether the consumer has the settings of the run, which are in the first part."""
    offset: int = 0
    """The end of the last part in the journal, in bytes."""
    restarts: int = 0
    """The reader's ``restarts`` at the last part."""
    changes: int = 0
    """The number of the last change of an entry at the last part."""
    counts: tuple[int, ...] = (0,) * len(APPENDED)
    """The lengths of the lists in :data:`APPENDED` at the last part."""

    def begin_again(self, restarts: int) -> None:
        for name, value in asdict(PartMark(restarts=restarts)).items():
            setattr(self, name, value)


class GrowingNotes:
    """The notes of a run, which grow, with what changed since a part was returned."""

    def __init__(self) -> None:
        self.notes = RunNotes()
        self.called: Mapping[str, Any] | None = None
        """The record of the call, if the journal has one."""
        self._changes = 0
        self._changed: dict[tuple[str, int], int] = {}
        """For each entry the number of its last change, in the order of these changes."""

    def put(self, name: str, index: int, entry: TimedEvent) -> None:
        getattr(self.notes, name)[index] = entry
        self._changes += 1
        self._changed.pop((name, index), None)
        self._changed[name, index] = self._changes

    def add(self, part: RunNotes) -> None:
        for name in _ENDING:
            setattr(self.notes, name, getattr(part, name))
        for name in APPENDED:
            getattr(self.notes, name).extend(getattr(part, name))
        for name in KEYED:
            for index, entry in getattr(part, name).items():
                self.put(name, index, entry)

    def since(self, mark: PartMark) -> RunNotes:
        # Also moves `mark` to now.
        notes = self.notes
        lists = [getattr(notes, name) for name in APPENDED]
        part = RunNotes(
            **{name: getattr(notes, name) for name in _ENDING},
            **{name: known[count:] for name, known, count in zip(APPENDED, lists, mark.counts, strict=True)},
        )
        recent = takewhile(lambda key: self._changed[key] > mark.changes, reversed(self._changed))
        for name, index in sorted(recent):
            getattr(part, name)[index] = getattr(notes, name)[index]
        mark.counts, mark.changes = tuple(map(len, lists)), self._changes
        return part


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
