"""Protocols for the optional parts of a run: prepared contexts and worker pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import anyio
import msgspec

from interwhen._types.ledger import ContextUse
from interwhen._types.models import Chunk, Message, Model, Prompt
from interwhen._types.verifiers import Verifier

if TYPE_CHECKING:
    from pathlib import Path

OnProgress: TypeAlias = Callable[[int, int], None]
"""Gets the number of steps of a long work that are done, and the number of all its steps."""


@dataclass(frozen=True, slots=True)
class Served:
    """The model and the prompt that a run uses, after prepared items were applied."""

    model: Model
    """The run's model, or a model that replays a stored answer. The monitors check a replayed answer, too."""
    prompt: Prompt
    items: tuple[str, ...] = ()
    offline_tokens: int = 0
    """As :attr:`~interwhen._types.ledger.Ledger.offline_tokens`."""
    offline_share: float = 0.0
    """As :attr:`~interwhen._types.ledger.Ledger.offline_share`."""
    answer: tuple[Chunk, ...] = ()
    """The stored answer that ``model`` replays; empty if it replays none."""
    use: ContextUse | None = None
    """``None``: the context does not say."""


@runtime_checkable
class Ready(Protocol):
    """A prepared context, as a run uses it. Its methods must be quick, and must not raise if an item is not ready."""

    def serve(self, model: Model, prompt: Prompt) -> Served:
        """Return the model and the prompt that the run must use: *model* and *prompt* unchanged if nothing fits."""
        ...

    def begin(self) -> None:
        """Signal that a run needs the model from now on, so that background work on the model can stop."""
        ...

    def end(self) -> None:
        """Signal that the run does not need the model any more, so that background work may continue."""
        ...


class ContextOpener(Protocol):
    """Opens a prepared context of a store for reading: an entry point of the group ``interwhen.contexts``."""

    def __call__(
        self, name: str, model: Model, *, store: str | None, key_file: Path | None, passages: int = 0
    ) -> AbstractAsyncContextManager[Ready]:
        """Open the context *name* for runs of *model*, until the end of the ``async with`` block.

        *store* is the place of the store (``None``: the default place), and *key_file* a file with its key. A run whose
        prompt lacks the text of the context gets at most *passages* characters of it. Raises
        :class:`~interwhen.UsageError` if there is no such context, if it was prepared for another model, or if
        *key_file* cannot be read, and :class:`~interwhen.precompute.StoreError` if the store fails.
        """
        ...


class ContextSource(Protocol):
    """The prepared contexts of one store, for the calls of a client or a gateway. Any thread may call its methods."""

    # An entry point of the group `interwhen.contexts` names a factory for it. The factory takes the place of the store
    # (`None`: the default place), a file with the store's key (or `None`), and the most characters of the text of a
    # context that a prompt without it gets.

    def find(self, name: str) -> Ready | None:
        """Return the context *name* if it is open, else ``None``. Never waits."""
        ...

    def open(self, name: str) -> Ready:
        """Return the context *name*. If it is not open yet, this may read the store and block.

        A context whose store cannot be read now serves nothing. Raises :class:`~interwhen.UsageError` if the store has
        no such context.
        """
        ...

    def recognize(self, prompt: Prompt, names: Sequence[str], *, least: int) -> str:
        """Return the name of the context whose whole text is a system message, or begins a user message, of *prompt*.

        A text prompt counts as a user message. The context must have at least *least* characters, and a name that
        matches one of the patterns *names*, such as ``support-*``. The result is empty if there is no such context.
        Does not wait.
        """
        ...

    def load(self, names: Sequence[str]) -> None:
        """Open the contexts whose names match one of the patterns *names*, such as ``support-*``. It may block.

        Raises :class:`~interwhen.precompute.StoreError` if the store cannot be read, and :class:`~interwhen.UsageError`
        if there is no store at its place.
        """
        ...

    def close(self) -> None:
        """Close the store. Soon after, its open contexts change no prompt any more."""
        ...


# The worker pool: runs the checks that must not run on the event loop.

WorkDone: TypeAlias = tuple[Any, str | None]
"""``(value, None)`` with the return value of the check (or an awaitable of it), or ``(anything, error)`` with the
reason why it has none."""


@runtime_checkable
class WorkerPool(Protocol):
    """Runs the checks of verifiers whose ``worker`` is ``thread`` or ``process``. Several runs may share a pool."""

    # `interwhen.Workers` uses threads and processes. `interwhen.testing.VirtualWorkers` simulates them.

    @property
    def blocked_loop_after(self) -> float | None:
        """The longest time, in seconds, that code may block the event loop without a report; ``None``: no reports."""
        ...

    def bind(self) -> None:
        """Bind the pool to the running event loop.

        It may raise :class:`~interwhen.UsageError` if the pool is closed or belongs to another event loop.
        """
        ...

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run ``verifier.check(claim)`` outside of the event loop, and return its value or an error text.

        An exception of the check may be raised here. *scope* is the cancel scope around this call. A pool may extend
        its deadline by the time that the check waited for a worker.
        """
        ...

    async def aclose(self) -> None:
        """Close the pool, and stop its idle workers. A run closes only a pool that it owns."""
        ...


# The task of a run, for verifiers that know the problem.


class Task(msgspec.Struct, frozen=True):
    """The prompt of a run, which a monitor's ``prepare`` gets: a text to continue, or the messages of a chat."""

    prompt: Prompt

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the chat. A text prompt is returned as one message of the user."""
        return self.prompt if isinstance(self.prompt, tuple) else (Message(role="user", content=self.prompt),)

    @property
    def text(self) -> str:
        """The texts of all messages except those of the assistant, joined by blank lines."""
        return "\n\n".join(message.content for message in self.messages if message.role != "assistant")

    @property
    def question(self) -> str:
        """The text of the last message of the user; empty if there is none."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")
