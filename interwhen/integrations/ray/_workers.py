"""A pool of workers on a Ray cluster.

Why: docs/decisions/workers.md.
"""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any, Self

import anyio
import anyio.to_thread
import msgspec

from interwhen._engine.loop_blocking import current_loop
from interwhen._engine.worker_child import KEPT
from interwhen._engine.workers import BOOT_SECONDS, Workers
from interwhen._types.errors import UsageError, name_error
from interwhen._types.extensions import WorkDone
from interwhen._types.log import log_warning
from interwhen._types.verifiers import Verifier, note_cluster_away, note_work
from interwhen._types.vetting import Count, vetted
from interwhen.integrations.ray._cluster import RayCluster
from interwhen.integrations.ray._messages import (
    CheckItem,
    CheckRequest,
    CheckResult,
    NamedVerifier,
    encode,
    named,
)
from interwhen.integrations.ray._placement import VerifierCost

_MOST_BYTES = 1 << 20
"""The largest claim or verifier that leaves, in bytes: Ray copies each argument while the event loop waits."""


@dataclass(slots=True, eq=False)
class _RemoteTarget:
    """A verifier that has a name; ``encoded`` is empty until it is needed."""

    verifier: NamedVerifier
    cost: VerifierCost
    encoded: bytes = b""


@dataclass(slots=True, eq=False)
class _Actor:
    """An actor, and the call that it has not answered."""

    handle: Any
    name: str
    """The first part of its id in Ray."""
    checks: list[_AwayCheck] = field(default_factory=list)
    """Empty: the actor has nothing to do."""
    expires: float = 0.0
    """When the call must have ended, on the clock of ``time.monotonic``."""


@dataclass(slots=True, eq=False)
class _AwayCheck:
    """A check that waits for an actor, or that an actor has."""

    item: CheckItem
    target: _RemoteTarget
    actor: _Actor | None = None
    result: CheckResult | None = None
    sent: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    def end(self, result: CheckResult | None = None) -> None:
        # Without `result`, the check must run on this machine.
        self.result = result
        self.sent.set()
        self.ended.set()


class RayWorkers:
    """Runs expensive checks on a Ray cluster, and all others on this machine: ``interwhen.run(..., workers=...)``.

    A check may leave this machine if its verifier comes from a plug-in by name, and if eight checks of the verifier in
    a row (or more, once it has come back) each needed at least 7.5 ms of CPU time. *address* is the address of the
    cluster (empty: ``RAY_ADDRESS``, or the cluster on this machine). *actors* is the number of actors, each with one
    processor (0, or more than the cluster has: all its processors). A check that has waited 60 seconds for an actor
    has timed out. If the cluster cannot be reached, or an actor is lost, the checks run here, and
    ``result.timing.cluster_away`` says why. A check that would leave ends with an error if its claim cannot be pickled,
    or if the cluster has other code. *threads*, *processes*, *memory* and *blocked_loop_after* are those of
    :class:`~interwhen.Workers`; *memory* also limits the worker processes of the actors.

    ``async with`` begins to connect; without it, the first check that would leave does. Checks run here until there is
    an actor. Raises :class:`~interwhen.UsageError` for an invalid value, or if Ray is not installed.
    """

    @vetted("RayWorkers: ")
    def __init__(
        self,
        *,
        address: str = "",
        actors: Count = 0,
        threads: int = 8,
        processes: int = 2,
        memory: int | None = 2 << 30,
        blocked_loop_after: float | None = 0.02,
    ) -> None:
        if find_spec("ray") is None:
            raise UsageError("workers='ray' needs Ray, and it is not installed; run: pip install 'interwhen[ray]'")
        self.blocked_loop_after = blocked_loop_after
        self._home = Workers(
            threads=threads,
            processes=processes,
            memory=memory,
            blocked_loop_after=blocked_loop_after,
            when_measured=self._measured_at_home,
        )
        self._cluster = RayCluster(address or None)
        self._wanted, self._memory = actors, memory
        self._costs: dict[str, VerifierCost] = defaultdict(VerifierCost)
        self._targets: dict[int, tuple[object, _RemoteTarget | None]] = {}
        # One thread at a time: the first check reads the files of a plug-in, and the others find its digest.
        self._numbers, self._reads = count(), anyio.CapacityLimiter(1)
        self._waiting: dict[int, _AwayCheck] = {}
        self._known: set[_Actor] = set()
        """All actors; some wait for a processor."""
        self._actors: set[_Actor] = set()
        """The actors that have started."""
        self._away = "the cluster was not connected yet"
        self._post: Any = None
        """Call a function in a later turn of the event loop, from any thread."""
        self._lock = threading.Lock()
        """Held by the thread that looks at the cluster, and at last for ever by the one that leaves it."""
        self._looks_at = 0.0

    def bind(self) -> None:
        """Bind the pool to the running event loop. Raises :class:`UsageError` if it is closed or has another loop."""
        self._home.bind()
        loop: Any = current_loop()
        self._post = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run the check of *claim* by *verifier* on the cluster or on this machine, and return its result.

        See :meth:`WorkerPool.check <interwhen._types.extensions.WorkerPool.check>` for the parameters.
        """
        target = self._target(verifier)
        if target is None or not target.cost.leaves:
            return await self._home.check(verifier, claim, scope)
        self._look_soon()
        why = self._away
        if self._actors:
            target.encoded = target.encoded or await anyio.to_thread.run_sync(
                encode, target.verifier, limiter=self._reads
            )
            why = f"a claim cannot be pickled, or has more than {_MOST_BYTES} bytes with its verifier"
            data = b""
            with suppress(Exception):  # pickling runs code of the user's classes
                data = pickle.dumps(claim)
            if 0 < len(data) < _MOST_BYTES - len(target.encoded):
                result = await self._check_away(target, data, scope)
                if result is not None:
                    return result.verdict, result.failure
                why = self._away
        note_cluster_away(why)
        return await self._home.check(verifier, claim, scope)

    async def aclose(self) -> None:
        """End the open checks on the cluster with an error, stop the workers here, and let a thread kill the actors.

        Waits for the thread at most 10 seconds.
        """
        self._looks_at = math.inf
        # A send that is already due must find nothing: it would let the checks run here.
        (waiting, self._waiting), (actors, self._actors) = (self._waiting, {}), (self._actors, set())
        for check in [*waiting.values(), *(each for actor in actors for each in actor.checks)]:
            check.end(CheckResult(check.item.id, failure="the workers were closed during the check"))
        leaving = threading.Thread(target=self._leave, name="interwhen-ray", daemon=True)
        leaving.start()
        with anyio.CancelScope(shield=True):
            await self._home.aclose()
            await anyio.to_thread.run_sync(leaving.join, 10.0)

    async def __aenter__(self) -> Self:
        self.bind()
        self._look_soon()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def _check_away(self, target: _RemoteTarget, claim: bytes, scope: anyio.CancelScope) -> CheckResult | None:
        # `None`: the check must run on this machine. The deadline of `scope` is first that of the wait for an actor,
        # then that of its answer, and for `None` that of the check. The actor limits the time of the check itself.
        asked = anyio.current_time()
        item = CheckItem(next(self._numbers), claim, scope.deadline - asked)
        self._waiting[item.id] = check = _AwayCheck(item, target)
        scope.deadline = asked + BOOT_SECONDS
        self._report(self._send)
        try:
            await check.sent.wait()
            began, actor = anyio.current_time(), check.actor
            if actor is not None:
                scope.deadline = began + actor.expires - time.monotonic()
            await check.ended.wait()
        finally:
            self._waiting.pop(item.id, None)
            if check.actor is not None and not check.ended.is_set():
                with suppress(Exception):  # Ray is gone
                    check.actor.handle.cancel.remote(item.id)
                self._report(self._send)  # `_send` gives an actor up whose time is over
        scope.deadline = began + item.seconds
        if check.result is not None:
            note_work(f"ray {actor.name}" if actor else "", began - asked)
            if check.result.is_late:
                scope.deadline = -math.inf
                await anyio.sleep_forever()
        return check.result

    def _target(self, verifier: Verifier) -> _RemoteTarget | None:
        if id(verifier) not in self._targets:
            if len(self._targets) >= KEPT:
                self._targets.clear()
            name = named(verifier)
            self._targets[id(verifier)] = verifier, _RemoteTarget(name, self._costs[name.key]) if name else None
        return self._targets[id(verifier)][1]

    def _measured_at_home(self, verifier: Verifier, spent: float) -> None:
        # A thread may call it. Each learning changes one entry, and a lost one costs nothing.
        _, target = self._targets.get(id(verifier), (None, None))
        if target is not None:
            target.cost.learn(spent)

    def _report(self, method: Callable[..., object], *given: object) -> None:
        # Any thread may call this. After the end of the event loop (`RuntimeError`), there is nothing to report to.
        with suppress(RuntimeError):
            self._post(method, *given)

    def _send(self) -> None:
        # One call carries several short checks by one verifier. Without any actor, all checks run on this machine.
        for actor in [each for each in self._actors if each.checks and each.expires < time.monotonic()]:
            self._lose(actor, "did not answer in time")
        while self._waiting and not self._actors:
            self._waiting.popitem()[1].end()
        idle = [each for each in self._actors if not each.checks]
        while idle and self._waiting:
            target = next(iter(self._waiting.values())).target
            same = [check for check in self._waiting.values() if check.target is target]
            self._call(idle.pop(), target, same[: target.cost.size_of_call(len(same), len(idle) + 1)])

    def _call(self, actor: _Actor, target: _RemoteTarget, checks: list[_AwayCheck]) -> None:
        # The actor may have to start a worker process for each check.
        actor.expires = time.monotonic() + sum(check.item.seconds + BOOT_SECONDS for check in checks)
        actor.checks = checks
        for check in checks:
            del self._waiting[check.item.id]
            check.actor = actor
            check.sent.set()
        request = CheckRequest(target.encoded, [check.item for check in checks])
        try:
            answer = actor.handle.check.remote(msgspec.msgpack.encode(request)).future()
        except Exception as error:  # noqa: BLE001  (whatever Ray raises: the program has disconnected from it)
            self._lose(actor, name_error(error))
        else:
            answer.add_done_callback(partial(self._report, self._receive, actor))

    def _receive(self, actor: _Actor, answer: Future[Any]) -> None:
        try:
            results = {each.id: each for each in msgspec.msgpack.decode(answer.result(), type=list[CheckResult])}
        except Exception as error:  # noqa: BLE001  (whatever Ray raises, or an invalid answer)
            self._lose(actor, name_error(error))
        else:
            checks, actor.checks = actor.checks, []
            for check in checks:
                result = results.get(check.item.id)
                if result is not None and result.spent:
                    check.target.cost.learn(result.spent)
                check.end(result)
            self._send()

    def _join(self, actor: _Actor, ready: Future[Any]) -> None:
        if (error := ready.exception()) is not None:
            self._lose(actor, name_error(error))
        elif actor in self._known:
            self._actors.add(actor)
            self._send()

    def _lose(self, actor: _Actor, why: str) -> None:
        # The checks of the actor end without a result, so they run on this machine.
        if actor not in self._known:
            return
        log_warning("ray.actor_lost", actor=actor.name, why=why[:300])
        self._known.discard(actor)
        self._actors.discard(actor)
        with suppress(Exception):
            self._cluster.kill(actor.handle)
        self._away = f"the actor {actor.name} was lost: {why[:300]}"
        for check in actor.checks:
            check.end()
        self._report(self._send)

    def _look_soon(self) -> None:
        if self._looks_at <= time.monotonic():
            self._looks_at = time.monotonic() + 5.0
            threading.Thread(target=self._look, name="interwhen-ray", daemon=True).start()

    def _look(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            for _ in range(self._cluster.connect(self._wanted) - len(self._known)):
                handle = self._cluster.start(self._memory)
                actor = _Actor(handle, handle._actor_id.hex()[:8])  # noqa: SLF001  (Ray has no public name for it)
                self._known.add(actor)
                handle.__ray_ready__.remote().future().add_done_callback(partial(self._report, self._join, actor))
        except Exception as error:  # noqa: BLE001  (whatever Ray raises: the cluster cannot be used now)
            log_warning("ray.cluster_away", why=name_error(error)[:300])
            self._away = f"no Ray cluster can be reached: {name_error(error)[:300]}"
            self._report(self._send)
            if not self._actors:
                self._disconnect()
        finally:
            self._lock.release()

    def _leave(self) -> None:
        self._lock.acquire()
        self._disconnect()

    def _disconnect(self) -> None:
        with suppress(Exception):  # the cluster may be gone
            while self._known:
                self._cluster.kill(self._known.pop().handle)
            self._cluster.close()
