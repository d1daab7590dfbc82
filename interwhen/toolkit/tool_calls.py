"""Reads the tool calls that an assistant wrote as text in earlier messages."""

from __future__ import annotations

from interwhen._core.segmenter import scanner_for
from interwhen._core.transcript import Transcript
from interwhen._core.written_calls import read_offer
from interwhen._types.extensions import Task
from interwhen._types.segments import ToolCall
from interwhen._types.triggers import ToolCalls

__all__ = ["CallReader"]


class CallReader:
    """Reads the tool calls that an assistant wrote as text in its messages.

    Calls in tags are read for each *task*. Its prompt decides which formats without tags are read.
    """

    def __init__(self, task: Task) -> None:
        self._offer = read_offer(task.prompt, {})

    def read(self, text: str) -> tuple[tuple[ToolCall, ...], str]:
        """Return the tool calls that are found in *text*, and the part of *text* before the first of these calls.

        Calls that cannot be read, and usually those that *text* only quotes, are left out. Without calls, the part is
        the whole *text*.
        """
        transcript = Transcript("answer")
        transcript.append(text, 0)
        scanner = scanner_for(ToolCalls(), self._offer)
        calls: list[ToolCall] = []
        first = len(text)
        for span in scanner.flush(transcript):
            written = scanner.written
            if written is not None and written.calls:
                calls += written.calls
                first = min(first, span.start)
        return tuple(calls), text[:first]
