"""interwhen: asynchronous verifiers beside the reasoning stream of a language model."""

from interwhen.claims import Claim
from interwhen.errors import InterwhenError, ModelError, PluginError, UsageError
from interwhen.monitors import Delivery, Extractor, Fork, Monitor, Parser
from interwhen.remedies import Abstain, Feedback, Remedy, Repair, Resample, Stop
from interwhen.segments import Phase, Segment
from interwhen.spans import Offset, Span
from interwhen.triggers import Answer, EveryChars, Lines, Markers, Paragraphs, Sentences, ThinkEnd, ToolCalls, Trigger
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
