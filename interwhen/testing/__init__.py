"""For tests of interwhen and of what is built on it: models that need no server."""

from interwhen.testing.replay import Arrival, Recording, RecordingModel, ReplayModel, load_recordings
from interwhen.testing.scripted import End, Pause, Say, ScriptedModel, Step, cut_into

__all__ = [
    "Arrival",
    "End",
    "Pause",
    "Recording",
    "RecordingModel",
    "ReplayModel",
    "Say",
    "ScriptedModel",
    "Step",
    "cut_into",
    "load_recordings",
]
