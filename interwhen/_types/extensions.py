"""The Protocols through which annexes join a run: prepared contexts, worker pools, allocators."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import anyio
import msgspec

from interwhen._types.budgets import Budgets
from interwhen._types.ledger import Offline
from interwhen._types.models import Message, Model, Prompt
from interwhen._types.results import Result
from interwhen._types.verifiers import Verifier


@dataclass(frozen=True, slots=True)
class Served:
    """The model and the prompt of a run, after its prepared items were used."""

    model: Model
    """The run's model, or one that replays a stored answer. The run's monitors watch either."""
    prompt: Prompt
    """The prompt, with prepared text in it."""
    items: tuple[str, ...] = ()
    """The names of the items that were used."""
    offline_tokens: int = 0
    """All tokens that were spent on these items and on the items that they were made from."""
    offline_share: float = 0.0
    """This run's part of them: each item's tokens are divided among all runs that have used it so far."""


@runtime_checkable
class Ready(Protocol):
    """A prepared context, as a run sees it. No method waits, and none raises because an item is not ready."""

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Return the model and prompt to begin with; *model* and *prompt* themselves if no item helps."""
        ...

    def begin(self) -> None:
        """Note that a run needs the model from now on: background work stops at once."""
        ...

    def end(self) -> None:
        """Note that the run does not need the model any more."""
        ...


@dataclass(frozen=True, slots=True)
class Unprepared:
    """No context: the prompt stays as it is. A resumed run has *used* the items that its journal names."""

    used: Offline = field(default_factory=Offline)

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Change nothing."""
        return Served(model, prompt, self.used.items, self.used.tokens, self.used.share)

    def begin(self) -> None:
        """Do nothing: there is no background work."""

    def end(self) -> None:
        """Do nothing."""


# The worker pool: runs the checks that must not run on the event loop.

WorkDone: TypeAlias = tuple[Any, str | None]
"""The return value of the check (or an awaitable of it) and ``None``; or any value, and why the check did not end."""


@runtime_checkable
class WorkerPool(Protocol):
    """Runs the checks of verifiers whose ``worker`` is ``thread`` or ``process``, for one run or for many.

    :class:`interwhen.Workers` has threads and processes; :class:`interwhen.testing.VirtualWorkers` needs neither.
    """

    @property
    def blocked_loop_after(self) -> float | None:
        """Code that blocks the event loop for longer than so many seconds is reported; ``None``: no watch."""
        ...

    def bind(self) -> None:
        """Raise unless the pool belongs to the running event loop."""
        ...

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run ``verifier.check(claim)`` outside of the event loop. Exceptions of the check may come through.

        *scope* surrounds this call, has the deadline of the check, and is cancelled when the verdict is not needed any
        more. A pool may move the deadline by the time for which the check waited for a worker.
        """
        ...

    async def aclose(self) -> None:
        """Stop every worker, quickly. A run closes only a pool that it made itself."""
        ...


# The task of a run, for verifiers that know the problem.


@dataclass(frozen=True, slots=True)
class Task:
    """The prompt of a run: a text that is continued, or the messages of a chat."""

    prompt: Prompt

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns of the chat; a text is one turn of the user."""
        return self.prompt if isinstance(self.prompt, tuple) else (Message(role="user", content=self.prompt),)

    @property
    def text(self) -> str:
        """The turns of all roles but the assistant, joined by empty lines."""
        return "\n\n".join(message.content for message in self.messages if message.role != "assistant")

    @property
    def question(self) -> str:
        """The last turn of the user; empty if there is none."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")


# The allocator: how much each run may spend.


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How much one run may spend. ``None`` leaves a budget as it is; an allowance never widens one."""

    remedies: int | None = None
    """How many remedies the run may make; the next violation ends it as ``abstained``."""
    forks: int | None = None
    """How many side inferences the run may make; further ones are skipped."""
    discarded_tokens: int | None = None
    """How many tokens may be cut in total."""

    def within(self, budgets: Budgets) -> Budgets:
        """Return *budgets*, with each field at most that of this allowance."""
        smaller = {
            name: min(getattr(self, name), getattr(budgets, name))
            for name in self.__struct_fields__
            if getattr(self, name) is not None
        }
        return msgspec.structs.replace(budgets, **smaller)


@runtime_checkable
class Allocator(Protocol):
    """Decides how much each run may spend, and learns from its result. Both methods run in the task of the run.

    They must be quick, and :meth:`learn` gets the results in the order in which runs end.
    """

    def allow(self, task: Task) -> Allowance:
        """Return what a run on *task* may spend; called once, before its first request."""
        ...

    def learn(self, task: Task, result: Result) -> None:
        """Learn from the *result* of the run on *task*."""
        ...


def fits(value: object, protocol: type) -> bool:
    """Tell whether *value* has every member of *protocol*.

    As ``isinstance`` for a protocol, at a twentieth of its cost.
    """
    # CPython 3.11 collects the members of a protocol in each call of isinstance, which takes longer than all else at
    # the beginning of a run.
    return all(hasattr(value, name) for name in _members(protocol))


@functools.cache
def _members(protocol: type) -> tuple[str, ...]:
    return tuple(name for name in vars(protocol) if not name.startswith("_"))
