"""What an event loop was found doing in one of its turns, and who held it: from frames, without a clock or thread."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from types import FrameType
from typing import Any

_FRAMES = 3
"""How many of the innermost frames are told."""
_WAITS_IN = frozenset(
    [
        *("selectors.py", "windows_events.py", "base_events.py", "runners.py"),
        *("_io_epoll.py", "_io_kqueue.py", "_io_windows.py", "_run.py"),
    ]
)
"""Files in which a loop waits for work or hands it out; whoever is found there holds nothing."""
_OURS: Mapping[str, str] = {
    "check_inline": "verifier",
    "check_aside": "verifier",
    "_check": "verifier",  # the task of a check: all that is seen of it where functions cannot be
    "parse": "name",
}
"""Functions of the engine that call foreign code, by the variable that says whose it is."""
_TIMED = frozenset(("check_inline", "parse"))
"""Those whose caller measures them, and tells how long they took."""


class Sample:
    """What a loop was found doing."""

    __slots__ = ("is_timed", "what", "where")

    def __init__(self, frames: Iterable[FrameType]) -> None:
        self.what = "other code"
        self.is_timed = False
        trail: list[str] = []
        for found in frames:
            code = found.f_code
            if len(trail) < _FRAMES:
                trail.append(f"{code.co_qualname} ({code.co_filename}:{found.f_lineno})")
            if code.co_name in _OURS and code.co_filename.endswith(_HOMES):
                self.what = _whose(found) or self.what
                self.is_timed = code.co_name in _TIMED
                break
        self.where = " < ".join(trail)[:600]


_HOMES = tuple(str(PurePath("interwhen", "_engine", name)) for name in ("checks.py", "jobs.py"))


def _call(frames: Sequence[FrameType]) -> FrameType:
    """Return the frame of what the loop called, of its *frames*, innermost first."""
    return deque(takewhile(lambda frame: not _is_of_loop(frame), frames), maxlen=1).pop()


def _is_of_loop(frame: FrameType) -> bool:
    return _turns(frame.f_code.co_filename, frame.f_code.co_name)


@functools.lru_cache(maxsize=4096)
def _turns(file: str, function: str) -> bool:
    """Tell whether a *function* in *file* is a loop's own, in which it waits or hands out work."""
    name = PurePath(file).name
    return name in _WAITS_IN or (name == "events.py" and function == "_run")  # asyncio's Handle


def _whose(frame: FrameType) -> str | None:
    """Return whose code *frame*, one of the engine's, has called; ``None``: it only hands it to a worker."""
    local = _OURS[frame.f_code.co_name]
    role = "verifier" if local == "verifier" else "extractor of"
    whose: Any = frame.f_locals.get(local)
    try:
        if isinstance(whose, str):
            return f"{role} {whose!r:.100}"
        is_handed_on = whose.worker not in ("inline", "async")
        name = f"{role} {whose.name!r}"
    except Exception:  # noqa: BLE001  (they may be properties of the user's)
        return role
    return None if is_handed_on else name


class Turn:
    """What a loop was found doing, from when it was asked to call back until it did.

    Only the watching thread looks, and a turn that is over is never told: what it still writes then is lost.
    """

    __slots__ = ("_call", "_first", "_last", "_looked", "_since", "asked", "held", "sample")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.held: list[tuple[Sample, float]] = []
        """Who was found for a while, and for how long that may have been."""
        self.sample: Sample | None = None
        """The call that was found last."""
        self._call: FrameType | None = None
        self._looked = self._since = self._first = self._last = asked

    def see(self, now: float, frames: Sequence[FrameType], limit: float) -> None:
        """Take in what the loop is in *now*; nothing: it waits for work, or it cannot be seen."""
        call = None if not frames or _is_of_loop(frames[0]) else _call(frames)
        if call is None or call is not self._call:
            self.part(now, limit)
            self._call, self._since, self._first = call, self._looked, now
            self.sample = None if call is None else Sample(frames)
        self._looked = self._last = now

    def part(self, now: float, limit: float) -> None:
        """End the call that was found last, *now* at the latest.

        It must have been found for a quarter of the *limit*, or have kept the watching thread from looking for long.
        """
        sample, self.sample, self._call = self.sample, None, None
        is_found = self._last - self._first >= limit / 4 or self._first - self._since > 2 * limit
        if sample is not None and is_found and not sample.is_timed:
            self.held.append((sample, now - self._since))
