"""Verifiers judge claims. The decorator :func:`verifier` makes one from a function."""

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

from interwhen._types.errors import UsageError
from interwhen._types.segments import Claim
from interwhen._types.verdicts import Verdict
from interwhen._types.vetting import Seconds, require

Worker = Literal["inline", "thread", "process", "async"]
"""Where a check runs. ``inline`` blocks the event loop: use it only for pure checks that take microseconds."""

ClaimT = TypeVar("ClaimT", bound=Claim)


@runtime_checkable
class Verifier(Protocol):
    """Judges claims: takes one claim and returns a verdict."""

    @property
    def name(self) -> str:
        """The verifier's name, for example in certificates."""
        ...

    @property
    def version(self) -> str:
        """The verifier's version, which certificates record. Change it whenever a verdict may change."""
        ...

    @property
    def deadline(self) -> float:
        """How long one check may take, in seconds in which it could run. An inline check is not stopped at it.

        Time in which the machine does not run this process does not count, up to twice the deadline.
        """
        ...

    @property
    def worker(self) -> Worker:
        """Where a check runs.

        ``inline``: directly on the event loop; ``async``: as a task of the loop; ``thread`` or ``process``: in a
        worker.
        """
        ...

    def check(self, claim: Any, /) -> Verdict | Awaitable[Verdict]:
        """Judge *claim*. A check that raises has not passed: its outcome is ``Errored``."""
        ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class FunctionVerifier:
    """A verifier that :func:`verifier` made from a function. Calling the verifier calls the function."""

    name: str
    version: str
    deadline: float
    worker: Worker
    check: Callable[..., Verdict | Awaitable[Verdict]]
    """The function."""

    def __call__(self, claim: Any, *prepared: Any) -> Verdict | Awaitable[Verdict]:
        # `prepared`: the value of `prepare`, if any.
        return self.check(claim, *prepared)

    def __reduce__(self) -> tuple[Callable[[str, str], FunctionVerifier], tuple[str, str]]:
        # A worker process imports the module and looks up the name.
        return _find, (self.check.__module__, self.check.__qualname__)


def _find(module: str, qualname: str) -> FunctionVerifier:
    imported: Any = importlib.import_module(module)
    for part in qualname.split("."):
        imported = getattr(imported, part, None)
    if not isinstance(imported, FunctionVerifier):
        raise UsageError(
            f"verifier {qualname!r} must be at the top level of module {module!r}, where a worker "
            "process can import it, and it is not there; move its definition, or choose another "
            "worker"
        )
    return imported


def is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def verifier(
    *, name: str, version: str = "1", deadline: float = 5.0, worker: Worker | None = None
) -> Callable[[Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]], FunctionVerifier]:
    """Make a :class:`Verifier` from a function that takes a claim and returns a verdict.

    *name* and *version* identify it in certificates. *deadline* is the longest time of one check, in seconds; an inline
    check is not stopped at it, and time in which the machine does not run this process does not count, up to twice as
    much. In a monitor with ``prepare``, the function also gets the return value of ``prepare``.
    Without *worker*, an ``async def`` function runs as a task, and any other function runs in a thread. Raises
    :class:`UsageError` if the deadline is not positive, or if *worker* does not fit the function.
    """

    def decorate(function: Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]) -> FunctionVerifier:
        waits = is_async(function)
        chosen: Worker = worker or ("async" if waits else "thread")
        if waits != (chosen == "async"):
            kind = "an async function" if waits else "a plain function"
            raise UsageError(
                f"verifier {name!r}: worker must fit the function, got {chosen!r} for {kind}; leave "
                "worker= out, or change the function"
            )
        require(f"verifier {name!r}: worker", chosen, Worker)
        require(f"verifier {name!r}: deadline", deadline, Seconds)
        return FunctionVerifier(name=name, version=version, deadline=deadline, worker=chosen, check=function)

    return decorate


# Deadline and cancellation of a check in a worker, which the check itself can ask for.


class Ticket:
    """The deadline of one check in a worker, and its cancellation, which comes from another thread."""

    __slots__ = ("_callbacks", "_lock", "cancelled", "deadline")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.cancelled = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock = Lock()

    def add(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def remove(self, callback: Callable[[], object]) -> None:
        # `callback` is not called after this method has returned.
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def cancel(self) -> None:
        # Under the lock, so that a callback that was removed is not called.
        with self._lock:
            self.cancelled = True
            for callback in self._callbacks:
                callback()
            self._callbacks.clear()


CURRENT: ContextVar[Ticket | None] = ContextVar("interwhen_ticket", default=None)


@contextmanager
def hold(ticket: Ticket) -> Iterator[None]:
    token = CURRENT.set(ticket)
    try:
        yield
    finally:
        CURRENT.reset(token)


class WorkNote:
    """Where a check ran, or who answered a fork, and how long that had waited before."""

    __slots__ = ("cluster_away", "waited", "worker")

    def __init__(self) -> None:
        self.cluster_away = ""
        """Why the check ran on this machine, although its place was on a cluster; empty: it ran where it should."""
        self.worker = ""
        """The worker; ``loop``: the event loop; for a fork, ``model`` or ``local`` (its parser); empty: the check is
        inline or has not begun."""
        self.waited = 0.0
        """The seconds from the call of the worker pool to the begin of the check; for a fork, from the begin of its job
        until its model or its parser is asked."""


_NOTE: ContextVar[WorkNote | None] = ContextVar("interwhen_work_note", default=None)


def take_note() -> WorkNote:
    note = WorkNote()
    _NOTE.set(note)  # not reset: each check has a task of its own, and so a context of its own
    return note


def note_work(worker: str, waited: float) -> None:
    # A worker pool calls it, in the context of the check. Later calls for the same check change nothing.
    note = _NOTE.get()
    if note is not None and not note.worker:
        note.worker, note.waited = worker, waited


def note_cluster_away(why: str) -> None:
    # A worker pool calls it, in the context of the check, when the cluster cannot be used; `why` is the reason.
    note = _NOTE.get()
    if note is not None:
        note.cluster_away = why


__all__ = ["on_cancel", "time_left"]


def time_left() -> float:
    """Return how many seconds the running check has left; ``inf`` outside of a thread or process worker.

    The value is never negative, and it is 0 if the check was cancelled.
    """
    ticket = CURRENT.get()
    if ticket is None:
        return float("inf")
    return 0.0 if ticket.cancelled else max(ticket.deadline - time.monotonic(), 0.0)


@contextmanager
def on_cancel(callback: Callable[[], object]) -> Iterator[None]:
    """Call *callback* from another thread if the running check times out or is not needed any more.

    Use it in a ``with`` block to interrupt a long computation in a thread, because a thread cannot be killed. If the
    check is cancelled already, *callback* is called at once, in the same thread. It must be quick and must not raise.
    It is not called after the block, in a worker process (which is killed instead), or outside of a worker.
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
