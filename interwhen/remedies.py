"""Remedies: what follows a violation."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class Repair(msgspec.Struct, frozen=True, tag=True):
    """Cut at the wrong part and write the sound text in its place; the model goes on from there.

    Needs the level ``witness`` and a violation with a ``repair`` of at most 200 characters, without control
    characters and chat-template tokens; else ``otherwise`` is what is done.
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


Remedy: TypeAlias = Repair | Feedback | Resample | Stop | Abstain
