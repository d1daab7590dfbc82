"""For verifiers that run in a worker: how long they still have, and what to do once nobody waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interwhen._tickets import CURRENT

__all__ = ["time_left", "when_called_off"]


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
def when_called_off(callback: Callable[[], object]) -> Iterator[None]:
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
