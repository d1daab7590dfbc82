"""For tests of interwhen and of what is built on it: models that need no server."""

from interwhen.testing.replay import Arrival, Recording, RecordingModel, ReplayModel, load_recordings
from interwhen.testing.scripted import End, Pause, Say, ScriptedModel, Step, cut_into
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
    "DeadlockError",
    "End",
    "OutOfVirtualTimeError",
    "Pause",
    "RealIOError",
    "Recording",
    "RecordingModel",
    "ReplayModel",
    "Say",
    "ScriptedModel",
    "Shift",
    "Step",
    "VirtualLoop",
    "VirtualTimeError",
    "VirtualWorkers",
    "cut_into",
    "load_recordings",
    "run_virtual",
]
