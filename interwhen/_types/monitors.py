"""A monitor binds a trigger, an extractor, a verifier, a delivery and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from interwhen._types.claims import Claim
from interwhen._types.errors import UsageError
from interwhen._types.extensions import Task
from interwhen._types.remedies import Conclude, Remedy, Repair
from interwhen._types.spans import Span
from interwhen._types.triggers import Answer, Lines, PhaseFilter, ThinkEnd, ToolCalls, Trigger
from interwhen._types.verdicts import Ending, Level, OnError, Retry, Scope
from interwhen._types.verifiers import Verifier

# A tracker: an extractor that remembers what the standing text has come to, segment after segment.

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Tracker(Generic[StateT]):
    """Segments to claims, by a fold: each *step* gets the state behind the segment before, and returns the next.

    States are values: *step* never changes one, since a rewind goes back to an earlier one. A segment that was cut
    leaves no state, and neither does one that was refuted and stays in the trace with feedback behind it: the next
    step starts from the state before it. *start* gets what the monitor's ``prepare`` returned (``None`` without one).
    Like a parser, *step* runs on the event loop: it must be linear in the segment, and quick.
    """

    start: Callable[[Any], StateT]
    """What was prepared, to the state before the first segment."""
    step: Callable[..., tuple[StateT, Iterable[Claim]]]
    """State and segment, to the next state and the claims of the segment. (In a :class:`~interwhen.Fork`: state, reply
    and segment.)"""


Delivery = Literal["observe", "interrupt", "gate", "gate_tools", "final"]
"""How a monitor affects the reader: not at all; by cancelling and rewinding; by holding text back until its
checks passed; by holding back tool calls only (trigger ``ToolCalls``); by holding only the answer back."""
GATING: tuple[Delivery, ...] = ("gate", "gate_tools")
"""The deliveries that hold text back until the monitor's own checks are settled."""

MOST_SCORES = 20
"""The most likeliest tokens at a place that any of the APIs gives."""

Parser: TypeAlias = Callable[..., Iterable[Claim]]
"""Segment to claims, by code: no tokens. Runs on the event loop, so it must be linear and quick. In a monitor with
``prepare`` it is called with the segment and what was prepared."""

Recognizer: TypeAlias = Callable[..., Iterable[Span]]
"""Segment to the spans of the trace that look like this monitor's kind of claim, whether the extractor reads them or
not: cheap, and rather one too many than one too few. Like a parser it runs on the event loop and, in a monitor with
``prepare``, gets what was prepared as well."""

Prepare: TypeAlias = Callable[[Task], Any]
"""What a run was asked, to whatever the extractor and the verifier need of it; ``None``: not their kind of problem."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Segment to claims, by a short side inference on the same prefix.

    ``prompt`` follows the trace up to the end of the segment; ``parse`` reads the model's reply and the segment
    (and, in a monitor with ``prepare``, what was prepared).
    Ground what it returns with :meth:`Segment.ground`: a claim without a span is never used to interrupt.

    ``parse`` may be a :class:`Tracker`, whose ``step`` gets the state, the reply (a
    :class:`~interwhen.models.Reply`) and the segment. Replies are then read in the order of their segments,
    however they come in.
    """

    prompt: str
    parse: Callable[..., Iterable[Claim]] | Tracker[Any]
    max_tokens: int = 64
    """The most tokens of the reply."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply. (It is sampled with temperature 0.)"""
    deadline: float = 30.0
    """How long the inference may take, in seconds. One that is late leaves its segment unproven."""
    scores: int | None = None
    """Ask for the probabilities of the reply's tokens, and of so many likeliest tokens at each place. The reply is
    then a :class:`~interwhen.models.Reply` instead of a text. (Many endpoints give 5 at most, some 20.)"""

    local: Parser | None = None
    """A parser that is asked first and spends no token: where it returns ``None`` (or raises) it cannot tell, and the
    model is asked. Where it returns claims (or an empty list), these are taken for all that the segment says. It cannot
    go with a tracker."""
    summary: Callable[[str], str | None] | None = None
    """Gives a shorter text that may stand for the trace up to the end of the segment, or ``None``. Whoever gives it
    vouches for it: claims are read from what the model says to it. It is used only where a planner finds it cheaper
    (:class:`~interwhen.strategies.PlannedModel`)."""

    def __post_init__(self) -> None:
        if self.local is not None and isinstance(self.parse, Tracker):
            raise UsageError(
                "Fork: local= cannot go with a tracker, which must read every reply in the order of the text"
            )

    @property
    def wants_reply(self) -> bool:
        """Whether its reply is more than a text."""
        return self.scores is not None or isinstance(self.parse, Tracker)


Extractor: TypeAlias = Parser | Tracker[Any] | Fork


def tracks(extractor: Extractor) -> bool:
    """Tell whether *extractor* remembers what the text before has come to."""
    return isinstance(extractor.parse if isinstance(extractor, Fork) else extractor, Tracker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """One thing to watch, and what to do about it. Raises :class:`UsageError` on values that cannot work."""

    name: str
    verifier: Verifier
    extractor: Extractor
    trigger: Trigger = field(default_factory=Lines)
    """Which segments it looks at."""
    delivery: Delivery = "interrupt"
    remedy: Remedy = field(default_factory=Repair)
    """What follows a violation, unless the monitor only observes."""
    level: Level = "witness"
    """The most that feedback of this monitor may give away."""
    phase: PhaseFilter = "both"
    """Which text it looks at. ``ThinkEnd`` and ``Answer`` say so themselves."""
    unproven: Ending = "open"
    """What becomes of a claim that the verifier judged ``Unknown``: ``open`` lets the text through, marked unverified
    in the result; ``closed`` holds it back or takes it back, and ends the run as abstained."""
    on_error: OnError = None
    """The same for a check that came to no verdict at all (it raised, timed out, lost its worker or was skipped, or the
    extractor or ``prepare`` failed), or :class:`Retry`. ``None``: ``closed`` for a delivery that gates, and where
    ``unproven`` is; ``open`` for any other."""
    required: bool = True
    """Whether the result is ``verified`` only if the checks of this monitor passed."""
    prepare: Prepare | None = None
    """Reads the problem, once a run, in a worker thread while the model begins (or as a task, if it is async). The
    extractor and the verifier then get what it returns as one more argument: ``check(claim, prepared)``. Segments that
    end before it is ready wait for it, and the reader does not. ``None`` says that this is no problem of its kind: the
    monitor stands aside. If it raises or is late, no segment of this monitor is proven."""
    prepare_deadline: float = 30.0
    """How long ``prepare`` may take, in seconds."""
    recognizer: Recognizer | None = None
    """Finds what looks like a claim of this monitor. What it finds and the spans of the extractor's claims do not cover
    is ``Unknown``, at its place: text that cannot be read is not taken for text that says nothing. ``None``: the
    extractor's silence means that there is nothing to check."""
    scope: Scope = "steps"
    """The most that a pass may cover. ``answer``: the verifier may say ``Pass(scope="answer")``."""

    def __post_init__(self) -> None:
        if not isinstance(self.verifier, Verifier):
            raise UsageError(
                f"monitor {self.name!r}: {self.verifier!r} is no verifier; "
                "decorate a function with @interwhen.verifier(name=...)"
            )
        for label, value, allowed in (
            ("delivery", self.delivery, get_args(Delivery)),
            ("level", self.level, get_args(Level)),
            ("phase", self.phase, get_args(PhaseFilter)),
            ("unproven", self.unproven, ("open", "closed")),
            ("scope", self.scope, get_args(Scope)),
        ):
            if value not in allowed:
                raise UsageError(f"monitor {self.name!r}: {label}={value!r}, choose one of {', '.join(allowed)}")
        if not isinstance(self.on_error, Retry) and self.on_error not in (None, "open", "closed"):
            raise UsageError(f"monitor {self.name!r}: on_error={self.on_error!r}, choose one of open, closed, Retry()")
        self._vet_functions()
        if self.delivery == "gate_tools" and not isinstance(self.trigger, ToolCalls):
            raise UsageError(f"monitor {self.name!r}: delivery='gate_tools' needs trigger=ToolCalls()")
        for label, record, kinds in (("trigger", self.trigger, Trigger), ("remedy", self.remedy, Remedy)):
            if not isinstance(record, kinds):
                choices = ", ".join(f"{kind.__name__}()" for kind in get_args(kinds))
                raise UsageError(f"monitor {self.name!r}: {label}={record!r}, choose one of {choices}")

        if isinstance(self.remedy, Conclude):
            self._vet_conclude()

    def _vet_conclude(self) -> None:
        if self.phase != "reasoning" or isinstance(self.trigger, ThinkEnd | Answer | ToolCalls):
            raise UsageError(
                f"monitor {self.name!r}: remedy=Conclude() ends the reasoning, so it needs phase='reasoning' and a "
                "trigger inside it"
            )
        if self.required or self.delivery not in ("interrupt", "observe"):
            raise UsageError(
                f"monitor {self.name!r}: remedy=Conclude() proves nothing, so it needs required=False and "
                "delivery='interrupt' (or 'observe')"
            )

    def _vet_functions(self) -> None:
        if not (isinstance(self.extractor, Fork | Tracker) or callable(self.extractor)):
            raise UsageError(
                f"monitor {self.name!r}: extractor {self.extractor!r} is neither a function, a Tracker nor a Fork"
            )
        if self.prepare is not None and not callable(self.prepare):
            raise UsageError(f"monitor {self.name!r}: prepare={self.prepare!r} is no function")
        if self.recognizer is not None and not callable(self.recognizer):
            raise UsageError(f"monitor {self.name!r}: recognizer={self.recognizer!r} is not a function")
        if not self.prepare_deadline > 0:
            raise UsageError(f"monitor {self.name!r}: prepare_deadline={self.prepare_deadline!r} must be positive")
        if isinstance(self.extractor, Fork):
            if not isinstance(self.extractor.parse, Tracker) and not callable(self.extractor.parse):
                raise UsageError(f"monitor {self.name!r}: parse={self.extractor.parse!r} of its Fork is no function")
            if self.extractor.scores is not None and not 0 <= self.extractor.scores <= MOST_SCORES:
                raise UsageError(
                    f"monitor {self.name!r}: scores={self.extractor.scores!r}, 0 to {MOST_SCORES} can be had"
                )
