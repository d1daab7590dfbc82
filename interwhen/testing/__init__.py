"""For tests of interwhen and of what is built on it: models that need no server, and trials of verifiers on traces."""

from interwhen.testing.assertions import assert_trial
from interwhen.testing.replay import Arrival, Recording, RecordingModel, ReplayModel, load_recordings
from interwhen.testing.scores import Cases, Rate, Score, Spread, cases, score
from interwhen.testing.scripted import End, Pause, Say, ScriptedModel, Step, cut_into
from interwhen.testing.traces import Label, LabelledTrace, Mistake, Turn, read_traces, write_traces
from interwhen.testing.trial import Found, Tried, Trouble, recut, try_monitor, try_monitor_sync
from interwhen.testing.virtual_time import (
    DeadlockError,
    OutOfVirtualTimeError,
    RealIOError,
    VirtualLoop,
    VirtualTimeError,
    run_virtual,
)
from interwhen.testing.workers import Shift, VirtualWorkers

__all__ = [
    "Arrival",
    "Cases",
    "DeadlockError",
    "End",
    "Found",
    "Label",
    "LabelledTrace",
    "Mistake",
    "OutOfVirtualTimeError",
    "Pause",
    "Rate",
    "RealIOError",
    "Recording",
    "RecordingModel",
    "ReplayModel",
    "Say",
    "Score",
    "ScriptedModel",
    "Shift",
    "Spread",
    "Step",
    "Tried",
    "Trouble",
    "Turn",
    "VirtualLoop",
    "VirtualTimeError",
    "VirtualWorkers",
    "assert_trial",
    "cases",
    "cut_into",
    "load_recordings",
    "read_traces",
    "recut",
    "run_virtual",
    "score",
    "try_monitor",
    "try_monitor_sync",
    "write_traces",
]
