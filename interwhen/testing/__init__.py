"""Test doubles and test tools for interwhen and for programs that use it."""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen.testing._models import End, Pause, Say, ScriptedModel
from interwhen.testing._scores import TrialAssertion, assert_trial, cases, score
from interwhen.testing._traces import Label, LabelledTrace, Mistake, Turn, read_traces, write_traces
from interwhen.testing._trials import recut, try_monitor, try_monitor_sync
from interwhen.testing._virtual_time import (
    DeadlockError,
    OutOfVirtualTimeError,
    RealIOError,
    Shift,
    VirtualWorkers,
    run_virtual,
)

__all__ = [
    "DeadlockError",
    "End",
    "Label",
    "LabelledTrace",
    "Mistake",
    "OutOfVirtualTimeError",
    "Pause",
    "RealIOError",
    "Say",
    "ScriptedModel",
    "Shift",
    "TrialAssertion",
    "Turn",
    "VirtualWorkers",
    "assert_trial",
    "cases",
    "read_traces",
    "recut",
    "run_virtual",
    "score",
    "try_monitor",
    "try_monitor_sync",
    "write_traces",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
