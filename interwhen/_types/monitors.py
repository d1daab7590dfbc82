"""Monitors and extractors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.extensions import Task
from interwhen._types.remedies import Auto, Conclude, Remedy
from interwhen._types.segments import Claim, Mention, Span
from interwhen._types.triggers import Answer, Lines, PhaseFilter, ThinkEnd, ToolCalls, Trigger
from interwhen._types.verdicts import Ending, Level, OnError, Scope
from interwhen._types.verifiers import Verifier
from interwhen._types.vetting import Positive, Seconds, Text, Texts, require, vet

# A tracker: an extractor that carries a state from segment to segment.

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Tracker(Generic[StateT]):
    """Turns segments into claims by a fold: each ``step`` gets the previous state and returns the next state.

    ``step`` must not modify a state, because a cut goes back to an earlier one. Like a parser, ``step`` runs on the
    event loop: it must be quick, and linear in the length of the segment.
    """

    start: Callable[[Any], StateT]
    """Returns the state before the first segment. Its argument is the return value of the monitor's ``prepare``
    (``None`` without ``prepare``). It may be called again, for example after a cut."""
    step: Callable[..., tuple[StateT, Iterable[Claim]]]
    """Takes the state and the segment (in a :class:`~interwhen.Fork` the state, the reply and the segment); returns the
    next state and the claims. It does not get the value of ``prepare``, so ``start`` must store it in the state."""


Delivery = Literal["observe", "interrupt", "gate", "gate_tools", "final"]
"""When a monitor lets the reader see text. ``observe``: at once, without remedies. ``interrupt``: at once, and a
violation may interrupt; after one in text that was shown, later text waits for the checks of such monitors. ``gate``:
after the checks of the text have ended; whether text with an unproven check is shown depends on ``unproven`` and
``on_error``. ``gate_tools``: like ``gate``, but only for tool calls (trigger ``ToolCalls``). ``final``: like ``gate``,
but only for the answer."""
GATING: tuple[Delivery, ...] = ("gate", "gate_tools")
"""The deliveries that hold text back until the checks of this text have ended."""
HOLDING: tuple[Delivery, ...] = (*GATING, "final")
"""The deliveries that hold any text back."""

Reading = Literal["live", "gate", "final"]
"""When the reader gets text.

``live``: as it arrives, with retractions, unless the delivery of a monitor holds it back. ``gate``: after its checks.
``final``: after the checks of the whole answer. A monitor that only observes holds nothing back."""
MOST_SCORES = 20

Parser: TypeAlias = Callable[..., Iterable[Claim]]
"""Turns a segment into claims by code, without spending tokens. It runs on the event loop, so it must be quick, and
linear in the length of the segment. In a monitor with ``prepare`` its second argument is the return value of
``prepare``. ``None`` means that there are no claims. If it raises or returns invalid claims, such as one outside the
segment, the extraction has failed, and the monitor's ``on_error`` decides."""

Recognizer: TypeAlias = Callable[..., Iterable[Span | Mention]]
"""Returns the spans of a segment that look like a claim of this monitor, whether the extractor can read them or not. It
must be quick, and should rather return too many spans than too few. In a monitor with ``prepare`` it also gets the
return value of ``prepare``."""

Prepare: TypeAlias = Callable[[Task], Any]
"""See :attr:`Monitor.prepare`."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Turns a segment into claims by asking the model in a short side inference.

    The request holds the trace up to the end of the segment, and then ``prompt``. ``parse`` gets the model's reply and
    the segment (and, in a monitor with ``prepare``, its return value), and returns the claims. Use
    :meth:`Segment.ground` to give each claim its span. ``parse`` may also be a :class:`Tracker`, whose ``step`` gets
    the state, the reply (a :class:`~interwhen.models.Reply`) and the segment, in the order of the segments.

    If the model, ``summary`` or ``parse`` fails, the monitor's ``on_error`` decides. Raises :class:`UsageError` on
    wrong values, and for a tracker together with ``local``.
    """

    prompt: str
    parse: Callable[..., Iterable[Claim]] | Tracker[Any]
    max_tokens: Positive = 64
    """The largest number of tokens of the reply."""
    stop: Texts = ()
    """Stop sequences of the reply. It is requested with temperature 0."""
    deadline: Seconds = 30.0
    """How long the fork may take, in seconds, with all waits."""
    scores: Annotated[int, Meta(ge=0, le=MOST_SCORES)] | None = None
    """Requests the log-probability of each token of the reply, and of this many most likely tokens at each position.
    Many endpoints return at most 5, some 20. ``parse`` then gets a :class:`~interwhen.models.Reply` instead of a
    string."""

    local: Parser | None = None
    """A parser that runs first and spends no tokens. If it returns ``None`` or raises, the model is asked. Its segments
    count in ``Budgets.forks``, too. It cannot be combined with a tracker."""

    def __post_init__(self) -> None:
        if self.local is not None and isinstance(self.parse, Tracker):
            raise UsageError(
                "Fork: local= must not be used with a tracker, which reads every reply in the order of the text, got "
                "both; leave one of them out"
            )
        vet(self)

    @property
    def wants_reply(self) -> bool:
        """Whether ``parse`` gets a :class:`~interwhen.models.Reply` instead of a string."""
        return self.scores is not None or isinstance(self.parse, Tracker)


Extractor: TypeAlias = Parser | Tracker[Any] | Fork


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Binds a trigger, extractor, verifier, delivery and remedy. Raises :class:`UsageError` on wrong values."""

    name: Text
    verifier: Verifier
    extractor: Extractor
    trigger: Trigger = field(default_factory=Lines)
    """Which segments the monitor reads."""
    delivery: Delivery = "interrupt"
    remedy: Remedy = field(default_factory=Auto)
    """What follows a violation. It is not used with the delivery ``observe``."""
    level: Level = "witness"
    """How much the feedback of this monitor may say."""
    phase: PhaseFilter = "both"
    """Which phase of the trace the monitor reads. The triggers ``ThinkEnd`` and ``Answer`` set it themselves."""
    unproven: Ending = "open"
    """What happens if a check returns ``Unknown``. ``open``: the text may be shown, and if the monitor is required, the
    result is not verified. ``closed``: the text is held back or retracted, and usually the run ends as ``abstained``.
    The delivery ``observe`` is always open, and ``Unknown(excused=True)`` is always closed in a delivery that gates."""
    on_error: OnError = None
    """What happens if a check or an extraction has no result, because it failed, timed out or was skipped: ``open``,
    ``closed`` (as for ``unproven``) or a :class:`Retry`. ``None`` means ``closed`` if the delivery is ``gate``,
    ``gate_tools`` or ``final``, or if ``unproven`` is ``closed``; otherwise ``open``."""
    required: bool = True
    """Whether the result can be ``verified`` only if the checks of this monitor passed (except in reasoning that was
    refuted and is answered by feedback), and at least one did. A run without a required monitor is never ``verified``.
    """
    prepare: Prepare | None = None
    """Computes a value from the task, once per run, in a worker thread (or as a task, if it is async) while the model
    starts. The extractor (of a tracker, only ``start``) and the verifier get the value as an extra argument:
    ``check(claim, prepared)``. Segments wait for the value. If it is ``None``, the monitor checks nothing, and the
    result is not verified if the monitor is required. If ``prepare`` raises or times out, all segments of this monitor
    stay unproven."""
    prepare_deadline: Seconds = 30.0
    """How long ``prepare`` may take, in seconds."""
    recognizer: Recognizer | None = None
    """Finds text that looks like a claim of this monitor. If no claim of the extractor covers such text, the text gets
    the verdict ``Unknown``. It may also find each :class:`Mention` of a number. Those that have no check are counted at
    the end, and the result is then not verified if the monitor is required. ``None``: text in which the extractor finds
    no claim is not checked."""
    scope: Scope = "steps"
    """The largest scope that a pass of this monitor may have. With ``answer``, ``Pass(scope="answer")`` counts, if the
    monitor is required."""
    spec: str | Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """The name and options from which the monitor was loaded; ``None`` if it was given as an object or a function."""

    def __post_init__(self) -> None:
        label = f"monitor {self.name!r}: "
        if not isinstance(self.verifier, Verifier):
            raise UsageError(
                f"{label}the verifier must have name, version, deadline, worker and check, got "
                f"{self.verifier!r}; decorate a function with @interwhen.verifier(name=...)"
            )
        vet(self, label)
        # A journal with a value of another type could not be read.
        require(f"{label}name of its verifier", self.verifier.name, str)
        require(f"{label}version of its verifier", self.verifier.version, str)
        if self.delivery == "gate_tools" and not isinstance(self.trigger, ToolCalls):
            raise UsageError(
                f"monitor {self.name!r}: delivery='gate_tools' needs trigger=ToolCalls(), got "
                f"{self.trigger!r:.100}; change one of the two"
            )
        for name, record in (("trigger", self.trigger), ("remedy", self.remedy)):
            vet(record, f"{label}{name}: ")
        try:
            hash(self.trigger)  # equal triggers share one scanner
        except TypeError as error:
            raise UsageError(f"{label}trigger must have tuples, not lists, got {self.trigger!r}: correct it") from error
        if isinstance(self.remedy, Conclude):
            self._vet_conclude()
        if self.verifier.worker == "process":
            # 15 ms, which the event loop has now, and not at the first check, while it reads streams.
            import multiprocessing.connection  # noqa: F401

    def _vet_conclude(self) -> None:
        if self.phase != "reasoning" or isinstance(self.trigger, ThinkEnd | Answer | ToolCalls):
            raise UsageError(
                f"monitor {self.name!r}: remedy=Conclude() ends the reasoning, so it needs "
                f"phase='reasoning' and a trigger inside it; got phase={self.phase!r} and "
                f"{self.trigger!r:.100}"
            )
        if self.required or self.delivery not in ("interrupt", "observe"):
            raise UsageError(
                f"monitor {self.name!r}: remedy=Conclude() proves nothing, so it needs required=False and "
                f"delivery='interrupt' (or 'observe'); got required={self.required!r} and "
                f"delivery={self.delivery!r}"
            )
