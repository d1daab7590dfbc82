"""What a run asks its allocator, if it has one, and what it tells it at the end."""

from __future__ import annotations

from interwhen._log import log_warning
from interwhen.allocation.allowance import Allocator
from interwhen.budgets import Budgets
from interwhen.models.base import Prompt
from interwhen.results import Result
from interwhen.tasks import Task


class Allowing:
    """The allocator of one run; without one, nothing changes."""

    def __init__(self, allocator: Allocator | None, prompt: Prompt) -> None:
        self._allocator = allocator
        self._task = Task(prompt)

    def within(self, budgets: Budgets) -> Budgets:
        """Return what of *budgets* the run may spend."""
        return budgets if self._allocator is None else self._allocator.allow(self._task).within(budgets)

    def learn(self, result: Result) -> None:
        """Let the allocator learn from *result*. Whatever it raises, the result stands: that is logged."""
        if self._allocator is None:
            return
        try:
            self._allocator.learn(self._task, result)
        except Exception as error:  # noqa: BLE001  (it is a plug-in, and the run is over)
            log_warning("allocator.failed", error=type(error).__name__)
