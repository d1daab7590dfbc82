"""What a planner decides on, and what it hears afterwards: frozen records, and one Protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from interwhen.models.base import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One fork that is due, as far as is known before it is sent. All sizes are in tokens."""

    prefix: int
    """Of the prompt and the trace up to the end of the segment."""
    side: int
    """Of the question."""
    reply: int
    """Of the answer, as far as can be told."""
    held: int = 0
    """Of the prefix, what the server held when it was last asked; it may have given that up since."""
    stored: int = 0
    """Of the prefix, what lies in a saved state that can be restored."""
    summary: int = 0
    """Of the text that may stand for the whole prefix."""
    routes: frozenset[Route] = field(default_factory=lambda: frozenset({"live"}))
    """What the endpoint and the fork can do."""


class Actual(NamedTuple):
    """What a fork came to, by the clock and by the server's own counters (``None`` where it does not say)."""

    seconds: float
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reply_tokens: int | None = None
    prompt_seconds: float | None = None
    """What the server says that reading the prompt took."""
    reply_seconds: float | None = None
    """What it says that writing the reply took."""
    parsed: bool = True
    """Whether a local parser had an answer."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The route that a fork takes, and what it is thought to cost."""

    route: Route
    situation: Situation
    seconds: float
    prefilled: float
    """Prompt tokens that the server is thought to read anew."""
    save: bool = False
    """Whether the state behind the fork is worth saving."""
    is_trial: bool = False
    """Whether it is taken to learn what it costs."""
    others: tuple[tuple[Route, float], ...] = ()
    """What the other routes were thought to cost, in seconds."""


@runtime_checkable
class Planner(Protocol):
    """Chooses how each fork gets its prefix. Both methods must be quick and raise nothing."""

    def choose(self, situation: Situation) -> Planned:
        """Return the route for a fork in *situation*, one of its routes."""
        ...

    def learn(self, planned: Planned, actual: Actual) -> None:
        """Take in what a fork came to."""
        ...
