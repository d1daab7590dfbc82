"""What a rule looks at: a call, and all that is known when it is made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from interwhen.policy.kinds import Bool, Kind, ListOf, Moment, Number, Record, Text

TALK: Final = Record(
    "the conversation",
    (("told", Bool()), ("last", Text()), ("recent", Text()), ("heard", Text()), ("user", ListOf(Text()))),
)
"""What ``talk`` holds."""


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that was made before, and what came back."""

    tool: str
    arguments: Mapping[str, Any]
    result: Any = None
    """The result, decoded from JSON; a text where it is none; ``None``: it is not known."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What was said before a call."""

    user: tuple[str, ...] = ()
    """What the user has said, in order."""
    told: bool = False
    """Whether the assistant has said anything to the user before the user's last words."""

    def fields(self) -> Mapping[str, Any]:
        """Return the fields of ``talk``."""
        return {
            "told": self.told,
            "last": self.user[-1] if self.user else "",
            "recent": " ".join(self.user[-2:]),
            "heard": " ".join(self.user),
            "user": self.user,
        }


@dataclass(frozen=True, slots=True)
class Situation:
    """A call with all that is known when it is made."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    """Tables by name; of several keys, the entries stand under tuples of them."""
    calls: tuple[MadeCall, ...] = ()
    """The calls before this one."""
    talk: Talk | None = None
    """What was said; ``None``: that is not known, and neither is whether *calls* are all."""
    beside: int = 0
    """How many calls this very turn has made before."""
    now: dt.datetime | None = None
    """The time, in the time zone of the data."""
    result: Any = None
    """For rules over results: what came back."""


ROOTS: Mapping[str, Kind] = {"talk": TALK, "beside": Number(whole=True), "now": Moment()}
"""The names that every expression has, beside ``args``, ``state`` and ``result``."""
