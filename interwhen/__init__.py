"""interwhen: asynchronous verifiers beside the reasoning stream of a language model."""

from interwhen._version import __version__
from interwhen.budgets import Budgets
from interwhen.claims import Claim
from interwhen.deadlines import time_left, when_called_off
from interwhen.errors import InterwhenError, JournalError, ModelError, PluginError, UsageError
from interwhen.events import (
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
from interwhen.failing import OnError, Retry
from interwhen.feedback import FeedbackTemplate
from interwhen.journal import Journal, Journaled, read_journal
from interwhen.ledger import Held, Ledger, Timing
from interwhen.models.base import Message, Model, Sampling
from interwhen.monitors import Delivery, Extractor, Fork, Monitor, Parser
from interwhen.rechecking import Finding, Recheck, recheck
from interwhen.registry import load_model, load_monitor
from interwhen.remedies import Abstain, Conclude, Feedback, Remedy, Repair, Resample, Stop
from interwhen.replaying import Replay, replay
from interwhen.results import (
    Abstained,
    Certificate,
    CheckRecord,
    Doubt,
    Failed,
    Insertion,
    JournalState,
    Result,
    Unverified,
    Verified,
    ViolationRecord,
)
from interwhen.resuming import resume, resume_sync
from interwhen.running import Run, SyncRun, Workers, run, run_sync
from interwhen.segments import Phase, Segment
from interwhen.spans import Offset, Span
from interwhen.tasks import Task
from interwhen.tool_calls import ToolCall
from interwhen.trackers import Tracker
from interwhen.triggers import (
    Answer,
    CodeBlocks,
    EveryChars,
    Lines,
    Markers,
    Paragraphs,
    PhaseFilter,
    Sentences,
    ThinkEnd,
    ToolCalls,
    Trigger,
)
from interwhen.verdicts import (
    Cancelled,
    Errored,
    Judged,
    Level,
    Outcome,
    Pass,
    Skipped,
    TimedOut,
    Unknown,
    Verdict,
    Violation,
)
from interwhen.verifier import FunctionVerifier, Verifier, Worker, verifier
from interwhen.wire_report import SkippedEvent, WireReport
from interwhen.wrapping import Facts, Refused, facts_of, guard, wrap

__all__ = [
    "Abstain",
    "Abstained",
    "Answer",
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
    "Doubt",
    "Errored",
    "Event",
    "EveryChars",
    "Extractor",
    "Facts",
    "Failed",
    "Feedback",
    "FeedbackTemplate",
    "Finding",
    "Finished",
    "Fork",
    "FrontierMoved",
    "FunctionVerifier",
    "Held",
    "Insertion",
    "InterwhenError",
    "Journal",
    "JournalError",
    "JournalState",
    "Journaled",
    "Judged",
    "Ledger",
    "Level",
    "Lines",
    "Markers",
    "Message",
    "Model",
    "ModelError",
    "Monitor",
    "Offset",
    "OnError",
    "Outcome",
    "Paragraphs",
    "Parser",
    "Pass",
    "Phase",
    "PhaseFilter",
    "PluginError",
    "Recheck",
    "Refused",
    "Remedied",
    "Remedy",
    "Repair",
    "Replay",
    "Resample",
    "Result",
    "Retracted",
    "Retry",
    "Run",
    "Sampling",
    "Segment",
    "Sentences",
    "Skipped",
    "SkippedEvent",
    "Span",
    "Stop",
    "StreamBroken",
    "StreamEnded",
    "StreamStarted",
    "SyncRun",
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
    "WireReport",
    "Worker",
    "Workers",
    "__version__",
    "facts_of",
    "guard",
    "load_model",
    "load_monitor",
    "read_journal",
    "recheck",
    "replay",
    "resume",
    "resume_sync",
    "run",
    "run_sync",
    "time_left",
    "verifier",
    "when_called_off",
    "wrap",
]
