"""A verifier judges one claim. The decorator makes one from a function."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, Concatenate, Literal, Protocol, TypeVar, runtime_checkable

from interwhen._types.claims import Claim
from interwhen._types.errors import UsageError
from interwhen._types.verdicts import Verdict

Worker = Literal["inline", "thread", "process", "async"]
"""Where a check runs. ``inline`` is for pure checks of microseconds only: it holds the event loop."""

ClaimT = TypeVar("ClaimT", bound=Claim)


@runtime_checkable
class Verifier(Protocol):
    """What judges claims. ``deadline`` is in seconds and bounds one check."""

    @property
    def name(self) -> str:
        """The verifier's name, in certificates and on the command line."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever a verdict may change: certificates record it."""
        ...

    @property
    def deadline(self) -> float:
        """How long one check may take, in seconds."""
        ...

    @property
    def worker(self) -> Worker:
        """Where a check runs."""
        ...

    def check(self, claim: Any, /) -> Verdict | Awaitable[Verdict]:
        """Judge *claim*. May raise: that is the outcome ``Errored``, never a pass."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionVerifier:
    """A verifier made from a function by :func:`verifier`. Calling it calls the function."""

    name: str
    version: str
    deadline: float
    worker: Worker
    check: Callable[..., Verdict | Awaitable[Verdict]]

    def __call__(self, claim: Any, *prepared: Any) -> Verdict | Awaitable[Verdict]:
        """Judge *claim*, as a plain call."""
        return self.check(claim, *prepared)

    def __reduce__(self) -> tuple[Callable[[str, str], FunctionVerifier], tuple[str, str]]:
        """Pickle by name, as functions are, so that a worker process finds it by importing its module."""
        return _find, (self.check.__module__, self.check.__qualname__)


def _find(module: str, qualname: str) -> FunctionVerifier:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, FunctionVerifier):
        raise UsageError(
            f"a worker process cannot find the verifier {qualname!r} in module {module!r}: "
            "a verifier with worker='process' must be defined at the top level of a module"
        )
    return found


def verifier(
    *, name: str, version: str = "1", deadline: float = 5.0, worker: Worker | None = None
) -> Callable[[Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]], FunctionVerifier]:
    """Make a :class:`Verifier` from a function of one claim (and of what its monitor's ``prepare`` returns).

    Without *worker*, an ``async def`` runs as a task and any other function in a thread, where blocking does
    not stop the stream. Raises :class:`UsageError` on a deadline that is not positive or a worker that does
    not fit the function.
    """

    def decorate(function: Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]) -> FunctionVerifier:
        is_async = inspect.iscoroutinefunction(function)
        chosen: Worker = worker or ("async" if is_async else "thread")
        if is_async != (chosen == "async"):
            kind = "an async function" if is_async else "a plain function"
            raise UsageError(f"verifier {name!r} is {kind}, which cannot run with worker={chosen!r}")
        if not deadline > 0:
            raise UsageError(f"verifier {name!r}: deadline must be positive seconds, got {deadline!r}")
        return FunctionVerifier(name=name, version=version, deadline=deadline, worker=chosen, check=function)

    return decorate


# What a check may know about itself: how much time it has left, and that nobody waits for it any more.


class Ticket:
    """One check in a worker. It is called off from another thread than the one it runs in."""

    __slots__ = ("_callbacks", "_lock", "called_off", "deadline")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.called_off = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock = Lock()

    def add(self, callback: Callable[[], object]) -> None:
        """Have *callback* called once this is called off; at once if it is."""
        with self._lock:
            if not self.called_off:
                self._callbacks.append(callback)
                return
        callback()

    def remove(self, callback: Callable[[], object]) -> None:
        """Take *callback* back. Once this returns, it is not called any more."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def call_off(self) -> None:
        """Tell whoever wants to know. Under the lock, so that none is called who has been taken back."""
        with self._lock:
            self.called_off = True
            for callback in self._callbacks:
                callback()
            self._callbacks.clear()


CURRENT: ContextVar[Ticket | None] = ContextVar("interwhen_ticket", default=None)


@contextmanager
def hold(ticket: Ticket) -> Iterator[None]:
    """Make *ticket* that of the code within."""
    token = CURRENT.set(ticket)
    try:
        yield
    finally:
        CURRENT.reset(token)


# For verifiers that run in a worker: how long they still have, and what to do once nobody waits for them.

__all__ = ["on_cancel", "time_left"]


def time_left() -> float:
    """Return how many seconds the running check has left; ``inf`` outside of a thread or process worker.

    Never negative, and 0 for one that nobody waits for any more. A check that asks can give up in good time and say
    ``Unknown``, which tells more than a timeout.
    """
    ticket = CURRENT.get()
    if ticket is None:
        return float("inf")
    return 0.0 if ticket.called_off else max(ticket.deadline - time.monotonic(), 0.0)


@contextmanager
def on_cancel(callback: Callable[[], object]) -> Iterator[None]:
    """Have *callback* called, from another thread, if the running check times out or is not needed any more.

    A thread cannot be killed: this is how a long computation in one can be interrupted. *callback* must be quick
    and must not raise; it is not called once the block is left. (A worker process is killed instead.)
    """
    ticket = CURRENT.get()
    if ticket is None:
        yield
        return
    ticket.add(callback)
    try:
        yield
    finally:
        ticket.remove(callback)
