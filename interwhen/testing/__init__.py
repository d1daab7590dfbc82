"""Test doubles and test tools for interwhen and for programs that use it.

`ScriptedModel` streams the steps of a script (`_models.py`). `server.py` has a scripted server with network faults by
name, and `_paced_server.py` a load generator. `run_virtual` runs hours of waiting in milliseconds (`_virtual_time.py`).
`try_monitor` measures a verifier on labelled traces (`_trials.py`, `_scores.py`). `complexity.py` finds code that is
slower than linear. The deterministic simulator is in `simulation/`.
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
