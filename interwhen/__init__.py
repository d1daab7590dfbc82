"""interwhen: asynchronous verifiers beside the reasoning stream of a language model."""

import importlib
import typing

from interwhen._engine.callbacks import last, watching
from interwhen._run.run import Run, Workers, resume, resume_sync, run, run_sync
from interwhen._types import __version__
from interwhen._types.budgets import Budgets
from interwhen._types.errors import InterwhenError, JournalError, ModelError, PluginError, UsageError
from interwhen._types.events import (
    CheckSettled,
    CheckStarted,
    Delta,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    Retracted,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)
from interwhen._types.extensions import Task
from interwhen._types.ledger import Ledger, Timing
from interwhen._types.models import Message, Model, Sampling
from interwhen._types.monitors import Delivery, Fork, Monitor, Tracker
from interwhen._types.remedies import (
    Abstain,
    Auto,
    Conclude,
    Feedback,
    FeedbackTemplate,
    Remedy,
    Repair,
    Resample,
    Stop,
)
from interwhen._types.results import (
    Abstained,
    Certificate,
    CheckRecord,
    Failed,
    Result,
    Unverified,
    Verified,
    ViolationRecord,
)
from interwhen._types.segments import Claim, Mention, Phase, Segment, Span, ToolCall
from interwhen._types.triggers import (
    Answer,
    CodeBlocks,
    EveryChars,
    Lines,
    Markers,
    Paragraphs,
    PhaseFilter,
    Polls,
    Sentences,
    ThinkEnd,
    ToolCalls,
    Trigger,
)
from interwhen._types.verdicts import (
    Cancelled,
    Errored,
    Judged,
    Level,
    Pass,
    Retry,
    Scope,
    Skipped,
    TimedOut,
    Unknown,
    Verdict,
    Violation,
)
from interwhen._types.verifiers import FunctionVerifier, Verifier, on_cancel, time_left, verifier
from interwhen.journal import Journal, read_journal
from interwhen.registry import load_model, load_monitor

if typing.TYPE_CHECKING:
    from interwhen._run.recheck import recheck, replay
    from interwhen.clients import Refused, SupervisionInfo, guard, supervision_info, wrap
    from interwhen.journal import timeline

__all__ = [
    "Abstain",
    "Abstained",
    "Answer",
    "Auto",
    "Budgets",
    "Cancelled",
    "Certificate",
    "CheckRecord",
    "CheckSettled",
    "CheckStarted",
    "Claim",
    "CodeBlocks",
    "Conclude",
    "Delivery",
    "Delta",
    "Errored",
    "Event",
    "EveryChars",
    "Failed",
    "Feedback",
    "FeedbackTemplate",
    "Finished",
    "Fork",
    "FrontierMoved",
    "FunctionVerifier",
    "InterwhenError",
    "Journal",
    "JournalError",
    "Judged",
    "Ledger",
    "Level",
    "Lines",
    "Markers",
    "Mention",
    "Message",
    "Model",
    "ModelError",
    "Monitor",
    "Paragraphs",
    "Pass",
    "Phase",
    "PhaseFilter",
    "PluginError",
    "Polls",
    "Refused",
    "Remedied",
    "Remedy",
    "Repair",
    "Resample",
    "Result",
    "Retracted",
    "Retry",
    "Run",
    "Sampling",
    "Scope",
    "Segment",
    "Sentences",
    "Skipped",
    "Span",
    "Stop",
    "StreamBroken",
    "StreamEnded",
    "StreamStarted",
    "SupervisionInfo",
    "Task",
    "ThinkEnd",
    "TimedOut",
    "Timing",
    "ToolCall",
    "ToolCalls",
    "Tracker",
    "Trigger",
    "Unknown",
    "Unverified",
    "UsageError",
    "Verdict",
    "Verified",
    "Verifier",
    "Violation",
    "ViolationFound",
    "ViolationRecord",
    "Workers",
    "__version__",
    "guard",
    "last",
    "load_model",
    "load_monitor",
    "on_cancel",
    "read_journal",
    "recheck",
    "replay",
    "resume",
    "resume_sync",
    "run",
    "run_sync",
    "supervision_info",
    "time_left",
    "timeline",
    "verifier",
    "watching",
    "wrap",
]

# A program that only calls `run` does not pay for the codecs of the clients' APIs, nor for what reads journals.
_LATER = {
    **dict.fromkeys(("Refused", "SupervisionInfo", "guard", "supervision_info", "wrap"), "interwhen.clients"),
    **dict.fromkeys(("recheck", "replay"), "interwhen._run.recheck"),
    "timeline": "interwhen.journal",
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value  # this function is not called again for it
    return value
