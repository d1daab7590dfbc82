"""What becomes of a check that came to no verdict."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from interwhen.errors import UsageError

Ending = Literal["open", "closed"]
"""``open`` lets the text through, marked unverified in the result; ``closed`` holds it back, and ends the run as
abstained."""

LONGEST_PAUSE = 2.0
"""The most seconds between two tries."""


class Retry(msgspec.Struct, frozen=True, tag=True):
    """Try a check that raised, timed out or lost its worker again; ``then`` says what becomes of it at last.

    Each try has the verifier's whole deadline. Raises :class:`UsageError` on values that cannot work.
    """

    times: int = 2
    """How often it is tried again: two times are three tries."""
    then: Ending | None = None
    """``None``: as for a monitor without ``on_error``: its delivery decides."""
    pause: float = 0.1
    """Seconds before the second try; each further pause is twice as long, up to 2 s."""

    def __post_init__(self) -> None:
        if type(self.times) is not int or not 0 <= self.times <= 100:
            raise UsageError(f"Retry: times={self.times!r}, a number from 0 to 100 is needed")
        if self.then not in (None, "open", "closed"):
            raise UsageError(f"Retry: then={self.then!r}, choose one of open, closed")
        if not isinstance(self.pause, int | float) or not 0 <= self.pause <= LONGEST_PAUSE:
            raise UsageError(f"Retry: pause={self.pause!r}, seconds from 0 to {LONGEST_PAUSE:g} are needed")

    def before(self, tries: int) -> float:
        """Return how many seconds to wait once the check has failed *tries* times."""
        return min(self.pause * 2.0 ** (tries - 1), LONGEST_PAUSE)


OnError: TypeAlias = Ending | Retry | None
"""What a monitor does about checks without a verdict. ``None``: its delivery decides; a gate is closed."""


def read_on_error(text: str) -> OnError:
    """Return what *text* says: ``open``, ``closed``, ``retry``, ``retry:2`` or ``retry:2:closed``.

    Raises :class:`UsageError` on anything else.
    """
    match text.strip().split(":"):
        case ["open"]:
            return "open"
        case ["closed"]:
            return "closed"
        case ["retry"]:
            return Retry()
        case ["retry", times] if times.isdecimal():
            return Retry(int(times))
        case ["retry", times, ("open" | "closed") as then] if times.isdecimal():
            return Retry(int(times), then)
        case _:
            raise UsageError(f"on_error={text!r}, choose one of open, closed, retry, retry:2, retry:2:closed")
