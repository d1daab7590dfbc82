"""What a run may use that was prepared before: one small Protocol between a run and whoever prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from interwhen.ledger import Offline
from interwhen.models.base import Model, Prompt


@dataclass(frozen=True, slots=True)
class Served:
    """What a run begins with, once what is ready has been put to use."""

    model: Model
    """Who is asked: the run's model, or one that says a stored answer. The run's monitors watch either."""
    prompt: Prompt
    """What is asked, with what was prepared in it."""
    items: tuple[str, ...] = ()
    """The names of the items that were used."""
    offline_tokens: int = 0
    """All tokens that were ever spent on these items and on what they were made from."""
    offline_share: float = 0.0
    """The part of it that falls on this run: each item's tokens are shared by all runs that have used it so far."""


@runtime_checkable
class Ready(Protocol):
    """A prepared context, as a run sees it. None of its methods waits, and none raises for want of something ready."""

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Return what the run begins with; the very *model* and *prompt* where nothing is ready that helps."""
        ...

    def begin(self) -> None:
        """Note that a run wants the model from now on: work ahead of time stops for it at once."""
        ...

    def end(self) -> None:
        """Note that it does not any more."""
        ...


@dataclass(frozen=True, slots=True)
class Unprepared:
    """No context: the run begins as it was asked. One that is resumed *used* what its journal says."""

    used: Offline = field(default_factory=Offline)

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Change nothing."""
        return Served(model, prompt, self.used.items, self.used.tokens, self.used.share)

    def begin(self) -> None:
        """Do nothing: nobody works ahead of time."""

    def end(self) -> None:
        """Do nothing."""
