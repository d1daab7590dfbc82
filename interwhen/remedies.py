"""Remedies: what follows a violation."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from interwhen.errors import UsageError


class Repair(msgspec.Struct, frozen=True, tag=True):
    """Cut at the wrong part and write the sound text in its place; the model goes on from there.

    Needs the level ``witness`` and a violation with a ``repair`` of at most 200 characters, without control
    characters and chat-template tokens. The repaired text is read again by the extractor, in its place, and must be
    judged right (by a verifier with ``worker="async"``: read as another claim); a number or a name that goes on behind
    the wrong part is never cut short. Else ``otherwise`` is what is done. (A fork is not asked again.)
    """

    otherwise: Feedback | Resample = msgspec.field(default_factory=lambda: Feedback())  # noqa: PLW0108 (defined below)


class Feedback(msgspec.Struct, frozen=True, tag=True):
    """Say what is wrong, as far as the monitor's level allows.

    ``rewind``: cut before the segment with the wrong claim and say it there. ``append``: keep that segment,
    cut what was built on it, and say it after.
    """

    place: Literal["rewind", "append"] = "append"


class Resample(msgspec.Struct, frozen=True, tag=True):
    """Cut before the segment with the wrong claim, say nothing, and sample again."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run there with the text before the violation, unverified."""


class Abstain(msgspec.Struct, frozen=True, tag=True):
    """End the run there and give no answer."""


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """End the reasoning behind the segment with the claim, and let the model answer; what came after it is cut.

    For a verifier that finds more thinking to be of no use. Its monitor looks at the reasoning only, and proves nothing
    (``required=False``). Where the model has ended its reasoning by itself meanwhile, nothing is done, and what its
    monitor had not looked at yet it does not look at. A result whose reasoning was ended is never ``verified``.
    """

    lead: str = "\n\n"
    """What the answer begins with: it is written behind the tag that closes the reasoning. At least a character."""
    ask: str = "That is enough thinking. Give the final answer now."
    """What is said instead to a model that goes on by turns only."""

    def __post_init__(self) -> None:
        if not self.lead or not self.ask:
            raise UsageError(f"Conclude: lead={self.lead!r} and ask={self.ask!r} must not be empty")


Remedy: TypeAlias = Repair | Feedback | Resample | Conclude | Stop | Abstain
