"""The events that a run yields to its reader."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from interwhen._types.models import FinishReason, Origin, ResumeMode
from interwhen._types.results import CheckRecord, Result, ViolationRecord
from interwhen._types.segments import Phase, Span, ToolCall


class Delta(msgspec.Struct, frozen=True, tag="delta", gc=False):
    """New text of the trace, which starts at offset ``start``."""

    text: str
    start: int
    phase: Phase = "answer"
    origin: Origin = "model"
    call: ToolCall | None = None
    """The structured tool call, if this text is one."""
    refused: tuple[ToolCall, ...] = ()
    """The refused tool calls, if this text is feedback on them: the model gets it instead of their results."""


class Retracted(msgspec.Struct, frozen=True, tag="retracted", gc=False):
    """The text from offset ``to`` on was cut; any text that follows replaces it.

    Only cuts of text that the reader has seen are reported.
    """

    to: int


class CheckStarted(msgspec.Struct, frozen=True, tag="check_started", gc=False):
    """A check of a claim was ordered. ``key`` and ``span`` are those of the claim.

    A claim that is answered by a cached verdict, or whose check is skipped, has only :class:`CheckSettled`.
    """

    monitor: str
    key: str
    span: Span | None


class CheckSettled(msgspec.Struct, frozen=True, tag="check_settled", gc=False):
    """A check ended, or claims could not be extracted; ``check`` is the record with the outcome."""

    check: CheckRecord


class ViolationFound(msgspec.Struct, frozen=True, tag="violation_found", gc=False):
    """A verifier refuted a claim. If a claim before it in the trace is refuted too, that one may get the remedy.

    There is no remedy if ``violation.interrupted`` is false, for example because the monitor only observes.
    """

    violation: ViolationRecord


class Remedied(msgspec.Struct, frozen=True, tag="remedied", gc=False):
    """A remedy was carried out: the trace was cut, and text may have been written. Usually the model then continues.

    The remedies ``stop`` and ``abstain`` end the run instead. A run that ends because no remedy is left, or a budget is
    spent, has no such event for it.
    """

    violation: ViolationRecord
    generation: int
    """The number of remedies so far after which the run continued, including this one, unless it ends the run."""


class FrontierMoved(msgspec.Struct, frozen=True, tag="frontier_moved", gc=False):
    """The frontier moved forward to offset ``to``. A cut may move it back, without an event.

    In the text before it, every due check of a required monitor has passed, or feedback answers the refuted text.
    """

    to: int


class StreamStarted(msgspec.Struct, frozen=True, tag="stream_started", gc=False):
    """The model accepted a request. ``resume`` says how it continues the text; ``None``: there was no text."""

    generation: int
    """The number of remedies so far after which the run continued."""
    resume: ResumeMode | None


class StreamBroken(msgspec.Struct, frozen=True, tag="stream_broken", gc=False):
    """The stream broke, or its request failed.

    ``reconnect``: the run continues from the text so far. ``fail``: the run ends.
    """

    error: str
    action: Literal["reconnect", "fail"]


class StreamEnded(msgspec.Struct, frozen=True, tag="stream_ended", gc=False):
    """The stream has ended, by the model, by a limit, or after a break.

    Checks may still be running. If one of them finds a violation, its remedy may start another stream.
    """

    finish_reason: FinishReason


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The run is over. This is always the last event."""

    result: Result


Event: TypeAlias = (
    Delta
    | Retracted
    | CheckStarted
    | CheckSettled
    | ViolationFound
    | Remedied
    | FrontierMoved
    | StreamStarted
    | StreamBroken
    | StreamEnded
    | Finished
)
