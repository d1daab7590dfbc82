"""What an allocator is to a run: one Protocol, and the frozen record that says how much a run may spend."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from interwhen.budgets import Budgets
from interwhen.results import Result
from interwhen.tasks import Task


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How much one run may spend. ``None`` leaves a budget as it is; an allowance never widens one."""

    remedies: int | None = None
    """Remedies that are worth their tokens; the next violation ends the run as ``abstained``."""
    forks: int | None = None
    """Side inferences that are worth their tokens; further ones are skipped."""
    discarded_tokens: int | None = None
    """Tokens that may be cut, in all."""

    def within(self, budgets: Budgets) -> Budgets:
        """Return *budgets*, made as small as this allowance."""
        smaller = {
            name: min(getattr(self, name), getattr(budgets, name))
            for name in self.__struct_fields__
            if getattr(self, name) is not None
        }
        return msgspec.structs.replace(budgets, **smaller)


@runtime_checkable
class Allocator(Protocol):
    """Says what each run may spend, and learns from what came of it. Both are called in the run's own task.

    They must be quick, and :meth:`learn` gets the results in the order in which runs end.
    """

    def allow(self, task: Task) -> Allowance:
        """Return what a run on *task* may spend; called once, before its first request."""
        ...

    def learn(self, task: Task, result: Result) -> None:
        """Take in how the run on *task* ended."""
        ...
