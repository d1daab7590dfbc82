"""How many tokens of the main stream there are: those that chunks told of, put right by the server's own count."""

from __future__ import annotations

from interwhen._core.intake import Intake
from interwhen._core.tally import Tally
from interwhen._core.window import Window
from interwhen.models.base import Usage

_MOST_TOKENS = 1 << 40
"""The most that a server is believed of one request: the trace keeps 64 bits for each text."""


class Counting:
    """Keeps the count of a run that may take several requests."""

    __slots__ = ("_before", "_intake", "_tally", "_window")

    def __init__(self, intake: Intake, tally: Tally, window: Window) -> None:
        self._intake = intake
        self._tally = tally
        self._window = window
        self._before = 0
        """Tokens of the requests before this one."""

    def tokens(self) -> int:
        """Return how many tokens of the main stream have come."""
        return self._intake.transcript.kept_tokens + self._intake.owed + self._tally.discarded + self._tally.late

    def told(self, usage: Usage) -> int:
        """Return how many tokens of the main stream there are by what the server says of this request."""
        return self._before + min(usage.completion_tokens or 0, _MOST_TOKENS)

    def opened(self) -> None:
        """Begin with another request."""
        self._before = self.tokens()

    def audit(self, usage: Usage | None, *, closed: bool, ended: bool) -> None:
        """Believe the server's own count of the tokens of this request where chunks told of another number.

        A chunk may stand for several tokens, and a token may be no text: half a character, or the one that ends a turn.
        *closed*: we closed the stream already; *ended*: the model has said that it is done.
        """
        self._window.learn(usage, self._tally.requests)
        if usage is None or usage.completion_tokens is None:
            return
        missing = self.told(usage) - self.tokens()
        if closed:
            self._tally.late += max(missing, 0)
        elif missing > 0 or ended:  # before its last word a server may not have counted yet
            self._intake.credit(missing)
