"""Triggers for special cases. The usual ones, such as `Lines`, are in `interwhen`."""

from interwhen._types.triggers import EveryChars, Markers, Polls, ThinkEnd, Trigger

__all__ = [
    "EveryChars",
    "Markers",
    "Polls",
    "ThinkEnd",
    "Trigger",
]
