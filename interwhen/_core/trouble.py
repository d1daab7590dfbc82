"""Counts how often the same words are refuted at one place of the model's own text, whatever was done about them."""

from __future__ import annotations

from interwhen._core.arbitration import Candidate
from interwhen._core.transcript import Transcript
from interwhen.spans import Span


class Trouble:
    """Remembers what was refuted where.

    A place is how many characters of the model's own text, without white space, stand before the segment. What we wrote
    does not count, nor does a refuted segment that feedback answers: both would move the place of a model that only
    repeats itself. Samples that differ are refuted for other words, and are no repetition.
    """

    __slots__ = ("_answered", "_marks", "_times", "_transcript")

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._times: dict[tuple[int, int, str], int] = {}
        self._answered: list[Span] = []
        self._marks: list[tuple[int, int]] = [(0, 0)]
        """Offsets of the trace, and the characters that count before each: no text is counted again and again."""

    def met(self, candidate: Candidate) -> int:
        """Count *candidate*; return how often its monitor refuted its words at its place, this time included.

        Another monitor may refute the very same words of the model: that is no repetition.
        """
        ref = candidate.ref
        key = (ref.monitor, self._place(ref.segment.span.start), " ".join(ref.text.split()))
        self._times[key] = times = self._times.get(key, 0) + 1
        return times

    def answered(self, segment: Span) -> None:
        """Take note that *segment* stays in the trace, refuted, with feedback behind it."""
        self._answered.append(segment)

    def cut(self, to: int) -> None:
        """Forget the text behind *to*."""
        while self._marks[-1][0] > to:
            self._marks.pop()
        self._answered = [span for span in self._answered if span.end <= to]

    def _place(self, start: int) -> int:
        while self._marks[-1][0] > start:
            self._marks.pop()
        base, count = self._marks[-1]
        if start > base:
            text = "".join(run.text for run in self._transcript.runs(base, start) if run.origin != "feedback")
            count += _visible(text)
            for span in self._answered:
                if base <= span.start and span.end <= start:
                    count -= _visible(self._transcript.slice(span.start, span.end))
            self._marks.append((start, count))
        return count


def _visible(text: str) -> int:
    return len("".join(text.split()))
