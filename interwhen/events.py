"""The events of a run besides `interwhen.Delta` and `interwhen.Retracted`. `Event` is the union of all."""

from interwhen._types.events import (
    CheckSettled,
    CheckStarted,
    Event,
    Finished,
    FrontierMoved,
    Remedied,
    StreamBroken,
    StreamEnded,
    StreamStarted,
    ViolationFound,
)

__all__ = [
    "CheckSettled",
    "CheckStarted",
    "Event",
    "Finished",
    "FrontierMoved",
    "Remedied",
    "StreamBroken",
    "StreamEnded",
    "StreamStarted",
    "ViolationFound",
]
