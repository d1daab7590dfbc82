"""How what is ready is put to use in a run: a Protocol, so that the choice of items can be tried out and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from interwhen.contexts import Served
from interwhen.models.base import Model, Prompt
from interwhen.precompute.items import Item


class Serving(Protocol):
    """Chooses among the items that may be served now. Pure and quick: a reader waits for it."""

    def __call__(self, items: Sequence[Item], model: Model, prompt: Prompt) -> Served:
        """Return what the run begins with, and which *items* it uses.

        Every item in *items* was verified and is current at this moment. Costs are filled in by the caller.
        """
        ...
