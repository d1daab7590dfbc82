"""Monitors and extractors. A monitor binds a trigger, an extractor, a verifier, a delivery and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.extensions import Task
from interwhen._types.remedies import Auto, Conclude, Remedy
from interwhen._types.segments import Claim, Mention, Span
from interwhen._types.triggers import Answer, Lines, PhaseFilter, ThinkEnd, ToolCalls, Trigger
from interwhen._types.verdicts import Ending, Level, OnError, Retry, Scope
from interwhen._types.verifiers import Verifier, is_seconds

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
"""The deliveries that hold any text back: those of :data:`GATING`, and ``final``, which holds back the answer."""

Reading = Literal["live", "gate", "final"]
"""When the reader gets text.

``live``: as it arrives, with retractions, unless the delivery of a monitor holds it back. ``gate``: after its checks.
``final``: after the checks of the whole answer. A monitor that only observes holds nothing back."""
MOST_SCORES = 20
"""The largest value of :attr:`Fork.scores`."""

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
"""Computes, from the task of a run, a value for the extractor and the verifier. ``None``: the monitor does not apply to
this task."""


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
    max_tokens: int = 64
    """The largest number of tokens of the reply."""
    stop: tuple[str, ...] = ()
    """Stop sequences of the reply. It is requested with temperature 0."""
    deadline: float = 30.0
    """How long the fork may take, in seconds, with all waits."""
    scores: int | None = None
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
        if not isinstance(self.prompt, str):
            raise UsageError(f"Fork: prompt must be a text, got {self.prompt!r:.200}")
        if type(self.max_tokens) is not int or self.max_tokens < 1:
            raise UsageError(f"Fork: max_tokens must be a whole number of at least 1, got {self.max_tokens!r}")
        if not is_seconds(self.deadline):
            raise UsageError(f"Fork: deadline must be positive seconds, got {self.deadline!r}")
        if isinstance(self.stop, str) or not all(isinstance(each, str) and each for each in self.stop):
            raise UsageError(f"Fork: stop must be a tuple of texts that are not empty, got {self.stop!r:.200}")
        if self.scores is not None and (type(self.scores) is not int or not 0 <= self.scores <= MOST_SCORES):
            raise UsageError(f"Fork: scores must be a whole number from 0 to {MOST_SCORES}, got {self.scores!r}")
        if self.local is not None and not callable(self.local):
            raise UsageError(f"Fork: local must be a function, got {self.local!r:.200}")

    @property
    def wants_reply(self) -> bool:
        """Whether ``parse`` gets a :class:`~interwhen.models.Reply` instead of a string."""
        return self.scores is not None or isinstance(self.parse, Tracker)


Extractor: TypeAlias = Parser | Tracker[Any] | Fork


def tracks(extractor: Extractor) -> bool:
    """Tell whether *extractor* is a tracker, or a fork whose ``parse`` is a tracker."""
    return isinstance(extractor.parse if isinstance(extractor, Fork) else extractor, Tracker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Binds a trigger, extractor, verifier, delivery and remedy. Raises :class:`UsageError` on wrong values."""

    name: str
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
    prepare_deadline: float = 30.0
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
        self._vet_identity()
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
            raise UsageError(
                f"monitor {self.name!r}: delivery='gate_tools' needs trigger=ToolCalls(), got "
                f"{self.trigger!r:.100}; change one of the two"
            )
        self._vet_records()
        if isinstance(self.remedy, Conclude):
            self._vet_conclude()
        if self.verifier.worker == "process":
            # 15 ms, which the event loop has now, and not at the first check, while it reads streams.
            import multiprocessing.connection  # noqa: F401

    def _vet_identity(self) -> None:
        if type(self.name) is not str or not self.name:
            raise UsageError(f"monitor {self.name!r}: name must be a text that is not empty")
        if not isinstance(self.verifier, Verifier):
            raise UsageError(
                f"monitor {self.name!r}: the verifier must have name, version, deadline, worker and check, got "
                f"{self.verifier!r}; decorate a function with @interwhen.verifier(name=...)"
            )
        for label, text in (("name", self.verifier.name), ("version", self.verifier.version)):
            # A journal with a value of another type could not be read.
            if type(text) is not str:
                raise UsageError(f"monitor {self.name!r}: {label} of its verifier must be a text, got {text!r:.200}")
        if type(self.required) is not bool:
            raise UsageError(f"monitor {self.name!r}: required must be True or False, got {self.required!r}")

    def _vet_records(self) -> None:
        for label, record, kinds in (("trigger", self.trigger, Trigger), ("remedy", self.remedy, Remedy)):
            if not isinstance(record, kinds):
                choices = ", ".join(f"{kind.__name__}()" for kind in get_args(kinds))
                raise UsageError(f"monitor {self.name!r}: {label} must be one of {choices}, got {record!r}")
            try:
                msgspec.convert(msgspec.to_builtins(record), type(record))
                if label == "trigger":
                    hash(record)  # equal triggers share one scanner
            except (TypeError, msgspec.ValidationError) as error:
                raise UsageError(
                    f"monitor {self.name!r}: {label} must have values of the right types, got {record!r}: {error}"
                ) from error

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

    def _vet_functions(self) -> None:
        if not (isinstance(self.extractor, Fork | Tracker) or callable(self.extractor)):
            raise UsageError(
                f"monitor {self.name!r}: extractor must be a function, a Tracker or a Fork, got {self.extractor!r}"
            )
        if self.prepare is not None and not callable(self.prepare):
            raise UsageError(f"monitor {self.name!r}: prepare must be a function, got {self.prepare!r}")
        if self.recognizer is not None and not callable(self.recognizer):
            raise UsageError(f"monitor {self.name!r}: recognizer must be a function, got {self.recognizer!r}")
        if not is_seconds(self.prepare_deadline):
            raise UsageError(
                f"monitor {self.name!r}: prepare_deadline must be positive seconds, got {self.prepare_deadline!r}"
            )
        parse = self.extractor.parse if isinstance(self.extractor, Fork) else self.extractor
        if not (isinstance(parse, Tracker) or callable(parse)):
            raise UsageError(f"monitor {self.name!r}: parse of its Fork must be a function, got {parse!r}")
