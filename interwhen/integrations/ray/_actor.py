"""The actor: runs the checks of one pool on its node, one at a time, in a worker process that can be killed."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections import deque
from typing import Any

import anyio
import msgspec

from interwhen._engine.monitors import as_outcome
from interwhen._engine.workers import ProcessPool
from interwhen._types.errors import name_error
from interwhen._types.verdicts import Errored, Judged, Outcome
from interwhen._types.verifiers import Verifier
from interwhen.integrations.ray._messages import (
    ActorReply,
    ActorRequest,
    CheckItem,
    CheckResult,
    encoded_digest,
    make,
    own_greeting,
)

_LINGER = 0.0015
"""The seconds that an answer waits for further results, if there are open checks. One call then carries several."""
_decode = msgspec.msgpack.Decoder(ActorRequest).decode


class ExactChecks:
    """Wraps *verifier* in the worker process of an actor, so that a check there returns an outcome.

    An invalid verdict becomes ``Errored`` in that process, as it does without a cluster.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def check(self, claim: Any) -> Outcome:
        """Judge *claim*, and return the outcome: a verdict, or an error if the verifier returned no valid one.

        An asynchronous verifier is awaited in an event loop of its own. Exceptions of the verifier are passed on.
        """
        value = self._verifier.check(claim)
        if inspect.isawaitable(value):
            value = anyio.run(_wait_for, value)
        return as_outcome(self._verifier, claim, value)


async def _wait_for(value: Any) -> Any:
    return await value


def load(encoded: bytes) -> ExactChecks:
    """Make the verifier that *encoded* names, in the worker process that calls this."""
    return ExactChecks(make(encoded))


class PortableVerifier:
    """Stands for a verifier in the process of the actor. To unpickle it in a worker process makes the verifier there.

    *encoded* is a :class:`NamedVerifier` as bytes.
    """

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return load, (self._encoded,)


class CheckActor:
    """The actor on a node of the cluster: it runs checks one after another, in a worker process.

    *memory* limits the address space of the worker process, in bytes.
    """

    def __init__(self, memory: int | None) -> None:
        # The main module of this process is a script of Ray. A worker process must not import it, and Ray with it.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._memory = memory
        self._pool: ProcessPool | None = None
        self._targets: dict[bytes, PortableVerifier] = {}
        self._waiting: deque[CheckItem] = deque()
        self._running: tuple[int, anyio.CancelScope] | None = None
        self._cancelled: set[int] = set()
        self._results: list[CheckResult] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._spent = 0.0

    async def greet(self) -> bytes:
        """Return the encoded :class:`Greeting`, which says which code this actor runs."""
        return msgspec.msgpack.encode(own_greeting())

    async def exchange(self, data: bytes) -> bytes:
        """Take the checks of the :class:`ActorRequest` in *data*, and return an :class:`ActorReply` as bytes.

        It waits for a result, unless the request says otherwise, and has all results that are ready. The request can
        also cancel checks.
        """
        request = _decode(data)
        if request.forgets:
            self._targets.clear()
        for encoded in request.targets:
            self._targets[encoded_digest(encoded)] = PortableVerifier(encoded)
        for number in request.cancelled:
            self._cancel(number)
        self._waiting.extend(request.items)
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._work())
        if request.waits:
            await self._until_ready()
        results, self._results = self._results, []
        return msgspec.msgpack.encode(ActorReply(results))

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting) or self._running is not None

    async def _until_ready(self) -> None:
        while not self._results and self._is_busy:
            self._changed.clear()
            await self._changed.wait()
        if self._results and self._is_busy:
            await asyncio.sleep(_LINGER)

    def _cancel(self, number: int) -> None:
        if self._running is not None and self._running[0] == number:
            self._cancelled.add(number)
            self._running[1].cancel()
            return
        self._waiting = deque(item for item in self._waiting if item.id != number)

    async def _work(self) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            result = await self._run(item)
            self._running = None
            if item.id in self._cancelled:
                self._cancelled.discard(item.id)
            else:
                self._results.append(result)
            self._changed.set()
        self._task = None
        self._changed.set()

    async def _run(self, item: CheckItem) -> CheckResult:
        target = self._targets.get(item.target)
        if target is None:
            return CheckResult(item.id, failure="the actor must have got the verifier before its checks, and has not")
        if self._pool is None:
            self._pool = ProcessPool(1, self._memory, when_measured=self._measured)
        self._spent = 0.0
        value: Any = None
        failure: str | None = None
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + item.seconds) as scope:
                self._running = item.id, scope
                value, failure = await self._pool.check_pickled(target, item.claim, scope)
            if scope.cancelled_caught:
                return CheckResult(item.id, is_late=True, spent=self._spent)
        except Exception as error:  # noqa: BLE001  (a fault of this check must not end the loop)
            failure = name_error(error)
        if failure is None and type(value) is Errored:
            failure = value.error
        if failure is None and type(value) is Judged:
            return CheckResult(item.id, value.verdict, spent=self._spent)
        return CheckResult(item.id, failure=failure or "the worker process must return an outcome, and did not")

    def _measured(self, _verifier: object, spent: float) -> None:
        self._spent = spent
