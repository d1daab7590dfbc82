"""The actor: runs the checks of one pool on its node, one at a time, in a worker process that can be killed."""

from __future__ import annotations

import inspect
import pickle
import sys
from functools import lru_cache, partial
from typing import Any, cast

import anyio
import msgspec

from interwhen._engine.monitors import as_outcome
from interwhen._engine.worker_child import KEPT, cpu_seconds
from interwhen._engine.workers import ProcessPool
from interwhen._types.verdicts import Errored, Judged
from interwhen.integrations.ray._messages import CheckItem, CheckRequest, CheckResult, make


class ExactChecks:
    """The verifier that *encoded* names, in the worker process that makes this. A check returns a result without an id.

    An invalid verdict becomes a failure; exceptions of the verifier are passed on. Raises what :func:`make` raises.
    """

    def __init__(self, encoded: bytes) -> None:
        self._verifier = make(encoded)

    def check(self, claim: Any) -> CheckResult:
        before = cpu_seconds()
        value: Any = self._verifier.check(claim)
        if inspect.isawaitable(value):
            value = anyio.run(lambda: value)
        outcome = as_outcome(self._verifier, claim, value)
        return CheckResult(
            0,
            outcome.verdict if isinstance(outcome, Judged) else None,
            outcome.error if isinstance(outcome, Errored) else None,
            spent=cpu_seconds() - before,
        )


class Portable:
    """A placeholder for *function* of *data*, which only the worker process computes."""

    def __init__(self, function: Any, data: bytes) -> None:
        self._made = function, (data,)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return self._made


class CheckActor:
    """The actor on a node of the cluster. Ray runs its methods on an event loop.

    *memory* limits the address space of its worker process, in bytes. ``None``: no limit.
    """

    def __init__(self, memory: int | None) -> None:
        # The main module of this process is a script of Ray. A worker process must not import it, and Ray with it.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._pool = ProcessPool(1, memory)
        self._verifier = lru_cache(KEPT)(partial(Portable, ExactChecks))
        self._scopes: dict[int, anyio.CancelScope] = {}
        """The scopes of the checks of the last request, by their ids."""

    async def check(self, payload: bytes) -> bytes:
        request = msgspec.msgpack.decode(payload, type=CheckRequest)
        verifier = self._verifier(request.target)
        self._scopes = {item.id: anyio.CancelScope() for item in request.items}
        return msgspec.msgpack.encode([await self._run(verifier, item) for item in request.items])

    async def cancel(self, number: int) -> None:
        if number in self._scopes:
            self._scopes[number].cancel()

    async def _run(self, verifier: Any, item: CheckItem) -> CheckResult:
        with self._scopes[item.id] as scope:
            scope.deadline = anyio.current_time() + item.seconds
            result, failure = await self._pool.check(verifier, Portable(pickle.loads, item.claim), scope)
            if failure is not None:
                return CheckResult(item.id, failure=failure)
            return cast("CheckResult", msgspec.structs.replace(result, id=item.id))
        return CheckResult(item.id, is_late=True)
