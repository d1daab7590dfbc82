"""What a run may use that was prepared before: one small Protocol between a run and whoever prepared."""

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


# Where checks run that must not run on the event loop: the border between a run and its workers.

WorkDone: TypeAlias = tuple[Any, str | None]
"""What the check returned (or an awaitable of it), and ``None``; or anything, and why the check did not end."""


@runtime_checkable
class WorkerPool(Protocol):
    """Runs the checks of verifiers whose ``worker`` is ``thread`` or ``process``, for one run or for many.

    :class:`interwhen.Workers` has threads and processes; :class:`interwhen.testing.VirtualWorkers` needs neither.
    """

    @property
    def blocked_loop_after(self) -> float | None:
        """For how many seconds the event loop may be held before whoever holds it is named; ``None``: nobody looks."""
        ...

    def bind(self) -> None:
        """Make sure that the running event loop is the one that the pool belongs to."""
        ...

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run ``verifier.check(claim)`` beside the event loop. What it raises may come through.

        *scope* surrounds this call and is cancelled when nobody waits for the verdict any more. Its deadline is
        that of the check; a check that had to wait for a worker first may be given the whole of it anew.
        """
        ...

    async def aclose(self) -> None:
        """Give back every worker. A run does so with a pool of its own only. It must not take long."""
        ...


# A task: what a run was asked, as a verifier that knows the problem reads it.


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
        """What was said to the model, by anybody but itself: the turns joined by empty lines."""
        return "\n\n".join(message.content for message in self.messages if message.role != "assistant")

    @property
    def question(self) -> str:
        """The last turn of the user; empty where there is none."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")


# What an allocator is to a run: one Protocol, and the frozen record that says how much a run may spend.


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


# Whether an object has what a protocol asks for.


def fits(value: object, protocol: type) -> bool:
    """Tell whether *value* has every member of *protocol*.

    It says what ``isinstance`` says for a protocol, at a twentieth of the cost: CPython 3.11 collects the members anew
    for each call, which is more than a run takes to begin otherwise.
    """
    return all(hasattr(value, name) for name in _members(protocol))


@functools.cache
def _members(protocol: type) -> tuple[str, ...]:
    return tuple(name for name in vars(protocol) if not name.startswith("_"))
