"""interwhen: asynchronous verifiers beside the reasoning stream of a language model."""

import typing

from interwhen._run.run import Run, Workers, resume, run, run_sync
from interwhen._types import __version__
from interwhen._types import lazy_names as _lazy_names
from interwhen._types.budgets import Budgets
from interwhen._types.errors import InterwhenError, UsageError
from interwhen._types.events import Delta, Retracted
from interwhen._types.extensions import Task
from interwhen._types.models import Message, Sampling
from interwhen._types.monitors import Fork, Monitor, Tracker
from interwhen._types.remedies import Auto, Feedback, Repair, Resample
from interwhen._types.results import Abstained, Failed, Result, Unverified, Verified
from interwhen._types.segments import Claim, Segment, Span, ToolCall
from interwhen._types.triggers import Answer, CodeBlocks, Lines, Paragraphs, Sentences, ToolCalls
from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen._types.verifiers import verifier
from interwhen.registry import load_monitor

if typing.TYPE_CHECKING:
    from interwhen import events as events
    from interwhen import remedies as remedies
    from interwhen import results as results
    from interwhen import triggers as triggers
    from interwhen._run.recheck import recheck, replay
    from interwhen.clients._guard import guard
    from interwhen.clients._wrap import wrap

__all__ = [
    "Abstained",
    "Answer",
    "Auto",
    "Budgets",
    "Claim",
    "CodeBlocks",
    "Delta",
    "Failed",
    "Feedback",
    "Fork",
    "InterwhenError",
    "Lines",
    "Message",
    "Monitor",
    "Paragraphs",
    "Pass",
    "Repair",
    "Resample",
    "Result",
    "Retracted",
    "Run",
    "Sampling",
    "Segment",
    "Sentences",
    "Span",
    "Task",
    "ToolCall",
    "ToolCalls",
    "Tracker",
    "Unknown",
    "Unverified",
    "UsageError",
    "Verdict",
    "Verified",
    "Violation",
    "Workers",
    "__version__",
    "guard",
    "load_monitor",
    "recheck",
    "replay",
    "resume",
    "run",
    "run_sync",
    "verifier",
    "wrap",
]

if not typing.TYPE_CHECKING:  # a type checker would take every name for one of this module
    # A program that only calls `run` does not pay for the codecs of the clients' APIs, nor for what reads journals.
    __getattr__ = _lazy_names(
        __name__,
        {
            "interwhen._run.recheck": ("recheck", "replay"),
            "interwhen.clients._guard": ("guard",),
            "interwhen.clients._wrap": ("wrap",),
            "interwhen.events": (),
            "interwhen.remedies": (),
            "interwhen.results": (),
            "interwhen.triggers": (),
        },
    )
