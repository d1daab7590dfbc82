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

# A tracker: an extractor with a state that follows the standing text, segment after segment.

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Tracker(Generic[StateT]):
    """Turns segments into claims by a fold: each *step* gets the state after the segment before, and returns the next.

    States are values: *step* must not change one, because a rewind goes back to an earlier state. A segment that was
    cut leaves no state, and neither does a refuted segment that feedback answers: the next step starts from the state
    before it. *start* gets the return value of the monitor's ``prepare`` (``None`` without one). Like a parser, *step*
    runs on the event loop: it must be quick, and linear in the segment.
    """

    start: Callable[[Any], StateT]
    """Takes what was prepared; returns the state before the first segment."""
    step: Callable[..., tuple[StateT, Iterable[Claim]]]
    """Takes the state and the segment; returns the next state and the claims. (In a :class:`~interwhen.Fork` it takes
    state, reply and segment.)"""


Delivery = Literal["observe", "interrupt", "gate", "gate_tools", "final"]
"""How a monitor affects the reader. ``observe``: not at all. ``interrupt``: it cancels the stream and cuts the trace.
``gate``: it holds text back until its checks have passed. ``gate_tools``: the same for tool calls only (trigger
``ToolCalls``). ``final``: the same for the answer only."""
GATING: tuple[Delivery, ...] = ("gate", "gate_tools")
"""The deliveries that hold text back until the checks of the monitor have ended."""

MOST_SCORES = 20
"""The largest number of likeliest tokens per place that any of the APIs returns."""

Parser: TypeAlias = Callable[..., Iterable[Claim]]
"""Turns a segment into claims by code, without tokens. It runs on the event loop, so it must be linear and quick. In a
monitor with ``prepare`` it is called with the segment and what was prepared."""

Recognizer: TypeAlias = Callable[..., Iterable[Span]]
"""Turns a segment into the spans of the trace that look like this monitor's kind of claim, whether the extractor reads
them or not. It must be cheap, and should return one span too many rather than one too few. Like a parser, it runs on
the event loop and, in a monitor with ``prepare``, also gets what was prepared."""

Prepare: TypeAlias = Callable[[Task], Any]
"""Turns the task of a run into what the extractor and the verifier need; ``None``: not their kind of problem."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Turns a segment into claims by a short side inference on the same prefix.

    ``prompt`` follows the trace up to the end of the segment. ``parse`` gets the model's reply and the segment
    (and, in a monitor with ``prepare``, what was prepared).
    Ground the claims with :meth:`Segment.ground`: a claim without a span never interrupts.

    ``parse`` may be a :class:`Tracker`, whose ``step`` gets the state, the reply (a
    :class:`~interwhen.models.Reply`) and the segment. Replies are then read in the order of their segments, in
    whatever order they come.
    """

    prompt: str
    parse: Callable[..., Iterable[Claim]] | Tracker[Any]
    max_tokens: int = 64
    """The largest number of tokens of the reply."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply. (It is sampled with temperature 0.)"""
    deadline: float = 30.0
    """How long the inference may take, in seconds. After that, the segment stays unproven."""
    scores: int | None = None
    """Ask for the probabilities of the reply's tokens, and of so many likeliest tokens at each place. The reply is
    then a :class:`~interwhen.models.Reply` instead of a text. (Many endpoints return at most 5, some 20.)"""

    local: Parser | None = None
    """A parser that runs first and spends no token. If it returns ``None`` or raises, the model is asked. If it returns
    claims (or an empty list), these are all claims of the segment. It cannot go with a tracker."""
    summary: Callable[[str], str | None] | None = None
    """Returns a shorter text that may replace the trace up to the end of the segment, or ``None``. Make sure that it is
    right: claims are read from the model's reply to it. It is used only if a planner finds it cheaper
    (:class:`~interwhen.strategies.PlannedModel`)."""

    def __post_init__(self) -> None:
        if self.local is not None and isinstance(self.parse, Tracker):
            raise UsageError(
                "Fork: local= cannot go with a tracker, which must read every reply in the order of the text"
            )

    @property
    def wants_reply(self) -> bool:
        """Whether ``parse`` gets a :class:`~interwhen.models.Reply` instead of a text."""
        return self.scores is not None or isinstance(self.parse, Tracker)


Extractor: TypeAlias = Parser | Tracker[Any] | Fork


def tracks(extractor: Extractor) -> bool:
    """Tell whether *extractor* is a tracker, or a fork with one."""
    return isinstance(extractor.parse if isinstance(extractor, Fork) else extractor, Tracker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A trigger, an extractor, a verifier, a delivery and a remedy. Raises :class:`UsageError` on wrong values."""

    name: str
    verifier: Verifier
    extractor: Extractor
    trigger: Trigger = field(default_factory=Lines)
    """Which segments it reads."""
    delivery: Delivery = "interrupt"
    remedy: Remedy = field(default_factory=Repair)
    """The remedy for a violation, unless the monitor only observes."""
    level: Level = "witness"
    """How much the feedback of this monitor may say."""
    phase: PhaseFilter = "both"
    """Which text it reads. ``ThinkEnd`` and ``Answer`` imply it."""
    unproven: Ending = "open"
    """The end of a check that returned ``Unknown``. ``open``: the text is shown, and the result is unverified.
    ``closed``: the text is held back or taken back, and the run ends as abstained."""
    on_error: OnError = None
    """The same for a check without a verdict (it raised, timed out, lost its worker or was skipped, or the extractor or
    ``prepare`` failed), or :class:`Retry`. ``None``: ``closed`` if the delivery gates or ``unproven`` is ``closed``,
    otherwise ``open``."""
    required: bool = True
    """Whether the result is ``verified`` only if the checks of this monitor passed."""
    prepare: Prepare | None = None
    """Reads the problem once per run, in a worker thread while the model begins (or as a task, if it is async). The
    extractor and the verifier then get its return value as one more argument: ``check(claim, prepared)``. Segments that
    end before it has returned wait for it; the reader does not. If it returns ``None``, this is not its kind of
    problem, and the monitor does nothing. If it raises or is late, no segment of this monitor is proven."""
    prepare_deadline: float = 30.0
    """How long ``prepare`` may take, in seconds."""
    recognizer: Recognizer | None = None
    """Finds text that looks like a claim of this monitor. If no claim of the extractor covers such text, it is
    ``Unknown`` at its place: unreadable text does not count as text without claims. ``None``: where the extractor finds
    no claim, there is nothing to check."""
    scope: Scope = "steps"
    """The largest scope of a pass. ``answer``: the verifier may return ``Pass(scope="answer")``."""

    def __post_init__(self) -> None:
        if not isinstance(self.verifier, Verifier):
            raise UsageError(
                f"monitor {self.name!r}: the verifier must have name, version, deadline, worker and check, got "
                f"{self.verifier!r}; decorate a function with @interwhen.verifier(name=...)"
            )
        for label, value, allowed in (
            ("delivery", self.delivery, get_args(Delivery)),
            ("level", self.level, get_args(Level)),
            ("phase", self.phase, get_args(PhaseFilter)),
            ("unproven", self.unproven, ("open", "closed")),
            ("scope", self.scope, get_args(Scope)),
        ):
            if value not in allowed:
                raise UsageError(f"monitor {self.name!r}: {label} must be one of {', '.join(allowed)}, got {value!r}")
        if not isinstance(self.on_error, Retry) and self.on_error not in (None, "open", "closed"):
            raise UsageError(
                f"monitor {self.name!r}: on_error must be open, closed or a Retry(), got {self.on_error!r}"
            )
        self._vet_functions()
        if self.delivery == "gate_tools" and not isinstance(self.trigger, ToolCalls):
            raise UsageError(f"monitor {self.name!r}: delivery='gate_tools' needs trigger=ToolCalls()")
        for label, record, kinds in (("trigger", self.trigger, Trigger), ("remedy", self.remedy, Remedy)):
            if not isinstance(record, kinds):
                choices = ", ".join(f"{kind.__name__}()" for kind in get_args(kinds))
                raise UsageError(f"monitor {self.name!r}: {label} must be one of {choices}, got {record!r}")

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
                f"monitor {self.name!r}: extractor must be a function, a Tracker or a Fork, got {self.extractor!r}"
            )
        if self.prepare is not None and not callable(self.prepare):
            raise UsageError(f"monitor {self.name!r}: prepare must be a function, got {self.prepare!r}")
        if self.recognizer is not None and not callable(self.recognizer):
            raise UsageError(f"monitor {self.name!r}: recognizer must be a function, got {self.recognizer!r}")
        if not self.prepare_deadline > 0:
            raise UsageError(
                f"monitor {self.name!r}: prepare_deadline must be positive seconds, got {self.prepare_deadline!r}"
            )
        if isinstance(self.extractor, Fork):
            if not isinstance(self.extractor.parse, Tracker) and not callable(self.extractor.parse):
                raise UsageError(
                    f"monitor {self.name!r}: parse of its Fork must be a function, got {self.extractor.parse!r}"
                )
            if self.extractor.scores is not None and not 0 <= self.extractor.scores <= MOST_SCORES:
                raise UsageError(
                    f"monitor {self.name!r}: scores must be from 0 to {MOST_SCORES}, got {self.extractor.scores!r}"
                )
