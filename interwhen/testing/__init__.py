"""Test doubles and test tools for interwhen and for programs that use it.

They are scripted models and servers, virtual time, trials of verifiers on labelled traces, and checks of complexity.
"""

from interwhen.testing._models import (
    End,
    Pause,
    Say,
    ScriptedModel,
    Step,
    cut_into,
)
from interwhen.testing._scores import Cases, Rate, Score, Spread, TrialAssertion, assert_trial, cases, score
from interwhen.testing._traces import Label, LabelledTrace, Mistake, Turn, read_traces, write_traces
from interwhen.testing._trials import (
    TrialProblem,
    TrialResult,
    TrialViolation,
    recut,
    segments,
    try_monitor,
    try_monitor_sync,
)
from interwhen.testing._virtual_time import (
    DeadlockError,
    OutOfVirtualTimeError,
    RealIOError,
    Shift,
    VirtualLoop,
    VirtualTimeError,
    VirtualWorkers,
    run_virtual,
)

__all__ = [
    "Cases",
    "DeadlockError",
    "End",
    "Label",
    "LabelledTrace",
    "Mistake",
    "OutOfVirtualTimeError",
    "Pause",
    "Rate",
    "RealIOError",
    "Say",
    "Score",
    "ScriptedModel",
    "Shift",
    "Spread",
    "Step",
    "TrialAssertion",
    "TrialProblem",
    "TrialResult",
    "TrialViolation",
    "Turn",
    "VirtualLoop",
    "VirtualTimeError",
    "VirtualWorkers",
    "assert_trial",
    "cases",
    "cut_into",
    "read_traces",
    "recut",
    "run_virtual",
    "score",
    "segments",
    "try_monitor",
    "try_monitor_sync",
    "write_traces",
]
