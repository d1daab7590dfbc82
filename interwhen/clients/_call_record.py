"""One record per call: what was called, what watched it, how it ended, and what it cost.

Why: docs/decisions/records.md.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from interwhen._engine.callbacks import EVERYWHERE, LISTENERS, Listener
from interwhen._types.ledger import Ledger, Timing
from interwhen._types.log import log_info
from interwhen._types.models import FinishReason, Prompt, ResumeMode
from interwhen._types.monitors import Delivery, Monitor
from interwhen._types.results import PromptRecord, RemedyName, Result, Unverified, Verified, new_call_id, prompt_sha256
from interwhen._types.segments import Span, sha256
from interwhen._types.verdicts import Judged, Scope

if TYPE_CHECKING:
    from interwhen.journal._settings import CallJournal

SCHEMA = 1

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
"""The header ``traceparent`` of the W3C recommendation "Trace Context"; its second part is the trace id."""
_NO_TRACE = "0" * 32


def trace_id_of(traceparent: str | None) -> str:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match is not None and match[1] != _NO_TRACE else ""


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Identifies a call, and says where it came from and when it began."""

    source: Literal["wrap", "gateway"] = "wrap"
    call_id: str = field(default_factory=new_call_id)
    trace_id: str = ""
    began: float = field(default_factory=time.time)
    """In seconds since 1970."""
    clock: float = field(default_factory=time.monotonic)
    """The same moment on the monotonic clock, in seconds."""
    listeners: tuple[Listener, ...] = field(default_factory=lambda: (*(LISTENERS.get() or ()), *EVERYWHERE))
    """The listeners of the context in which the call began, and those of the process."""


class RecordedMonitor(msgspec.Struct, frozen=True, gc=False):
    name: str
    verifier: str
    version: str
    delivery: Delivery


class RecordedCheck(msgspec.Struct, frozen=True, gc=False):
    """The check of a returned text, with the hash of the claim in place of its text."""

    monitor: str
    verifier: str
    version: str
    outcome: str
    """``pass``, ``violation`` or ``unknown``; or why there is no verdict: ``errored``, ``timedout``, ``cancelled`` or
    ``skipped``."""
    span: Span | None
    """In the trace; ``None`` if the position of the claim is not known."""
    milliseconds: float
    """The total time of all tries; 0 for a cancelled check, and for a verdict that was taken from an equal check."""
    claim_sha256: str
    """Empty if the claim has no span."""
    code_sha256: str
    """The hash of the source file that defines the verifier's check; empty without such a file."""


class RecordedViolation(msgspec.Struct, frozen=True, gc=False):
    # The wrong text itself is left out.

    monitor: str
    verifier: str
    span: Span
    """In offsets of the trace at the time of the violation."""
    interrupted: bool
    """Whether it could interrupt the run."""
    remedy: RemedyName | None
    """``None`` if there was none, or if another violation got it."""


class CallContent(msgspec.Struct, frozen=True, gc=False):
    prompt: Prompt
    text: str
    """The returned trace, with the reasoning."""
    whys: tuple[str, ...]
    """What was wrong in each violation, in the order of ``violations``."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one call. Unless ``content`` is set, the texts of the prompt and of the model are left out."""

    schema: int = SCHEMA
    """The version of the form of the record."""
    call_id: str
    """The id of the call, as in its log event."""
    trace_id: str = ""
    """The trace id of the caller's ``traceparent`` header; empty if there was none, or a malformed one."""
    began: str
    """The time at which the call began, in UTC (ISO 8601, with milliseconds)."""
    source: Literal["wrap", "gateway"]
    """Whether a wrapped client or a gateway had the call."""
    api: str
    """``chat``, ``completions`` or ``responses``."""
    model: str
    """The name of the model in the request, at most 200 characters of it; empty if it was not read."""
    strategy: str = ""
    """The name of the strategy; empty if the call has none."""
    monitors: tuple[RecordedMonitor, ...] = ()
    """The monitors of the answer, each with the delivery that the settings of the call give it."""
    outcome: str
    """The label of the result (``answer verified``, ``steps verified``, ``unverified``, ``abstained``, ``failed``), or
    how the call ended at the gateway without a complete supervised answer (``passed``, ``left``, ``refused``, ``cut``,
    ``slow``, ``error``)."""
    scope: Scope | None = None
    """The scope of the certificate; ``None`` if the result is not verified."""
    finish_reason: FinishReason | None = None
    """Why the model's last stream ended; ``None`` if the call ended before, or cut the end of its text."""
    resume: ResumeMode | None = None
    """How the last request that continued kept text did so; ``None`` if no request did."""
    upstream_status: int | None = None
    """The HTTP status of the server's error, if the call ended as abstained or failed after one; ``None``: none is
    known."""
    reasons: int = 0
    """How many reasons an unverified result has; 0 for every other result."""
    checks: tuple[RecordedCheck, ...] = ()
    """The checks of the returned text."""
    violations: tuple[RecordedViolation, ...] = ()
    """The violations that the result of the call has, also for text that was cut."""
    prompt_findings: tuple[PromptRecord, ...] = ()
    """What the monitors of the prompt observed, refused or rewrote, and which of them failed."""
    ledger: Ledger = Ledger()
    milliseconds: float = 0.0
    """The time of the whole call."""
    timing: Timing = Timing()
    """Where that time went, in seconds; see :class:`~interwhen.results.Timing`."""
    prompt_sha256: str = ""
    text_sha256: str = ""
    """The hash of the returned text. This and the hash of the prompt are empty for a call without a result."""
    journal: str = ""
    """The name of the file with the journal of the call; empty if none was begun."""
    journal_incomplete: str = ""
    """Why the journal is incomplete, as far as that is known when the call ends; empty if it is complete."""
    content: CallContent | None = None
    """The texts of the call; ``None`` if the settings do not ask for them, if there is no result, or if a monitor
    refused the prompt or failed to check it."""

    @property
    def has_problem(self) -> bool:
        """Whether the call had a violation, or ended in another way than verified."""
        return bool(self.violations) or self.outcome not in ("answer verified", "steps verified")

    def for_journal(self, keyed: Callable[[str], str]) -> CallRecord:
        """Return this record without its content. *keyed* makes the stored form of the hash of a text."""
        replace = msgspec.structs.replace
        return replace(
            self,
            content=None,
            checks=tuple(replace(check, claim_sha256=keyed(check.claim_sha256)) for check in self.checks),
            prompt_sha256=keyed(self.prompt_sha256),
            text_sha256=keyed(self.text_sha256),
        )


def record_call(
    origin: CallOrigin,
    *,
    api: str,
    model: str,
    strategy: str = "",
    monitors: Sequence[Monitor] = (),
    prompt: Prompt = "",
    result: Result | None = None,
    outcome: str = "",
    content: bool = False,
    journal: CallJournal | None = None,
) -> CallRecord:
    """Return the record of a call that ends now.

    The outcome is *outcome*, or else the label of *result*, or else ``failed``. With *content* and a *result*, the
    record contains the prompt, the text and the reasons of violations.
    """
    began = dt.datetime.fromtimestamp(origin.began, dt.UTC)
    common: dict[str, Any] = {
        "call_id": origin.call_id,
        "trace_id": origin.trace_id,
        "began": began.isoformat(timespec="milliseconds"),
        "source": origin.source,
        "api": api,
        "model": model[:200],
        "strategy": strategy,
        "monitors": tuple(
            RecordedMonitor(one.name, one.verifier.name, one.verifier.version, one.delivery) for one in monitors
        ),
        "milliseconds": round((time.monotonic() - origin.clock) * 1000, 3),
        "journal": "" if journal is None or not journal.slot.has_begun else os.path.basename(journal.name),  # noqa: PTH119
        "journal_incomplete": "" if journal is None else journal.slot.incomplete,
    }
    if result is None:
        return CallRecord(**common, outcome=outcome or "failed")
    return CallRecord(
        **common,
        outcome=outcome or result.label,
        scope=result.certificate.scope if isinstance(result, Verified) else None,
        finish_reason=result.finish_reason,
        resume=result.resume.mode if result.resume else None,
        upstream_status=result.upstream_status,
        reasons=len(result.unverified_reasons) if isinstance(result, Unverified) else 0,
        checks=tuple(
            RecordedCheck(
                check.monitor,
                check.verifier,
                check.version,
                type(check.outcome.verdict if isinstance(check.outcome, Judged) else check.outcome).__name__.lower(),
                check.span,
                round(check.seconds * 1000, 3),
                check.claim_sha256,
                check.code_sha256,
            )
            for check in result.checks
        ),
        violations=tuple(
            RecordedViolation(one.monitor, one.verifier, one.span, one.interrupted, one.remedy)
            for one in result.violations
        ),
        prompt_findings=result.prompt_findings,
        ledger=result.ledger,
        timing=result.timing,
        prompt_sha256=prompt_sha256(prompt),
        text_sha256=sha256(result.text),
        content=CallContent(prompt, result.text, tuple(one.why for one in result.violations)) if content else None,
    )


def log_call(record: CallRecord, *, watching: str = "") -> None:
    # If `watching` is given, it replaces the names of the monitors.
    ledger = record.ledger
    log_info(
        "call.ended",
        call_id=record.call_id,
        **({"trace_id": record.trace_id} if record.trace_id else {}),
        source=record.source,
        api=record.api,
        **({"model": record.model} if record.model else {}),
        monitors=watching or ", ".join(monitor.name for monitor in record.monitors) or "none",
        **({"strategy": record.strategy} if record.strategy else {}),
        outcome=record.outcome,
        **({} if record.upstream_status is None else {"upstream_status": record.upstream_status}),
        checks=len(record.checks),
        violations=len(record.violations),
        tokens=ledger.total_tokens,
        prompt_tokens=ledger.total_prompt_tokens,
        seconds=round(record.milliseconds / 1000, 4),
    )
