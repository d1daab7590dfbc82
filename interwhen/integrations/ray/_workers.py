"""A pool of workers on a Ray cluster.

Why: docs/decisions/0064-checks-on-a-cluster.md.
"""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.to_thread
import msgspec

from interwhen._engine.worker_child import KEPT, MOST
from interwhen._engine.workers import Workers
from interwhen._log import log_info, log_warning
from interwhen._types.errors import DECODE_ERRORS, InterwhenError, UsageError, name_error
from interwhen._types.extensions import WorkDone
from interwhen._types.verdicts import Unknown
from interwhen._types.verifiers import Verifier, note_cluster_away, note_work
from interwhen.integrations.ray._cluster import Actor, Cluster, RayCluster
from interwhen.integrations.ray._connection import EventLoop, TaskWakeup
from interwhen.integrations.ray._messages import (
    ActorReply,
    ActorRequest,
    CheckItem,
    CheckResult,
    NamedVerifier,
    code_of,
    encoded_digest,
    named,
    own_greeting,
)
from interwhen.integrations.ray._placement import CostHistory, Lane, PlacedCheck, Waiting

_GRACE = 2.0
"""How long after the deadline of a check its actor may answer, in seconds. An actor that does not is given up."""
_BOOT_SECONDS = 60.0
"""The same time, if the actor must still load the verifier or start its worker process."""
_START_SECONDS = 60.0
"""How long new actors may take to greet, in seconds."""
_CLOSE_SECONDS = 10.0
_LONGEST_PAUSE = 60.0
"""The longest time between two tries to reach the cluster, in seconds."""
_LONGEST_START_PAUSE = 5.0
"""The longest time between two tries to start missing actors on a cluster that answers, in seconds."""
_TRIES = 2
_MOST_ALONE = MOST // 4
"""The largest claim or verifier that leaves, in bytes. A message with more bytes gets no further check."""
_KNOWN = 64
"""An actor with more verifiers than this forgets them. One of them may hold a whole prompt."""
_decode = msgspec.msgpack.Decoder(ActorReply).decode

_HOME: Literal["home"] = "home"


def _nothing() -> None:
    """Do nothing: there is no timer to cancel."""


@dataclass(slots=True)
class _RemoteTarget:
    """A verifier as the cluster knows it: by the name of its plug-in and its options, from which an actor makes it."""

    name: str
    """The plug-in."""
    key: str
    """What identifies the verifier, for all tasks."""
    verifier: NamedVerifier
    encoded: bytes = b""
    """``verifier`` as bytes; empty until the digest of the code of the plug-in is known."""
    digest: bytes = b""
    """The digest of ``encoded``."""


class _Open(PlacedCheck, eq=False, kw_only=True):
    """A check that was sent to the cluster, or waits for it, with its time limits and its result."""

    target: _RemoteTarget
    claim: bytes
    """The pickled claim."""
    left: float
    """How long the check may still take, in seconds."""
    asked: float
    """When the pool was called, on the clock of the loop."""
    wakeup: TaskWakeup | None = None
    """What the check awaits. Set when the check gets an actor, loses it, or has a result."""
    result: CheckResult | Literal["home"] | None = None
    """``home``: it must run on this machine."""
    began: float | None = None
    """When an actor began it, on the clock of the loop; ``None``: none did."""
    worker: str = ""
    """The name of this actor for records."""

    def end(self, result: CheckResult | Literal["home"]) -> None:
        self.result = result
        self.wake()

    def wake(self) -> None:
        """Let the task of this check look at its place and its result again."""
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)


@dataclass(slots=True)
class _Link:
    """What the pool knows about one actor: its open checks, and the verifiers that it has already got."""

    actor: Actor
    lane: Lane[_Open]
    """Its open checks, in their order."""
    known: set[bytes] = field(default_factory=set)
    """The digests of the verifiers that it has got."""
    unsent: list[_Open] = field(default_factory=list)
    """Checks that the actor has got in this turn of the loop, and that are not sent yet."""
    late_at: float = math.inf
    """When the actor must have answered the check that it runs."""
    rings_at: float = math.inf
    """When the timer of this link ends. One timer, which is rarely set, serves all checks of the actor."""
    cancel: Callable[[], object] = _nothing
    worker: str = ""
    """The name of the actor in the results of its checks."""


class RayWorkers:
    """Runs expensive checks on a Ray cluster, and all others on this machine: ``interwhen.run(..., workers=...)``.

    A check may leave this machine if its verifier comes from a plug-in by name, and if eight checks of the verifier in
    a row (or more, once it has come back) each needed at least 7.5 ms of CPU time. *address* is the address of the
    cluster (empty: ``RAY_ADDRESS``, or the cluster on this machine). *actors* is the number of actors, each with one
    processor (0, or more than the cluster has: all its processors). *queue* limits the queue for the actors; further
    checks wait to enter the queue. A check that waits longer than *patience* seconds for an actor becomes ``Unknown``.
    If the cluster cannot be reached, the checks run here, and ``result.timing.cluster_away`` says why. A check that
    would leave ends with an error if its claim cannot be pickled, or if its verifier has other code on the cluster.
    *threads*, *processes*, *memory* and *blocked_loop_after* are those of :class:`~interwhen.Workers`; *memory* also
    limits the worker processes of the actors. *cluster* replaces the connection to Ray.

    ``async with`` connects, and raises :class:`~interwhen.UsageError` if the cluster runs other code. Without it, the
    first check begins to connect, and checks run here until there is an actor. Raises :class:`~interwhen.UsageError`
    for an invalid value, or if Ray is not installed and *cluster* is not given.
    """

    def __init__(
        self,
        *,
        address: str = "",
        actors: int = 0,
        queue: int = 1000,
        patience: float = 10.0,
        threads: int = 8,
        processes: int = 2,
        memory: int | None = 2 << 30,
        blocked_loop_after: float | None = 0.02,
        cluster: Cluster | None = None,
    ) -> None:
        if type(actors) is not int or actors < 0:
            raise UsageError(f"RayWorkers: actors must be a whole number of at least 0, got {actors!r}")
        if type(queue) is not int or queue < 1:
            raise UsageError(f"RayWorkers: queue must be a whole number of at least 1, got {queue!r}")
        if not isinstance(patience, int | float) or not patience >= 0:
            raise UsageError(f"RayWorkers: patience must be seconds, of at least 0, got {patience!r}")
        self._home = Workers(
            threads=threads,
            processes=processes,
            memory=memory,
            blocked_loop_after=blocked_loop_after,
            when_measured=self._measured_at_home,
        )
        if cluster is None and find_spec("ray") is None:
            raise UsageError("workers='ray' needs Ray, and it is not installed; run: pip install 'interwhen[ray]'")
        self._patience = float(patience)
        self._costs = CostHistory()
        self._targets: dict[int, tuple[object, _RemoteTarget | None]] = {}
        self._codes: dict[str, str] = {}
        """The digests of the code of plug-ins; empty: it is being read, or there is none."""
        self._waiting: Waiting[_Open] = Waiting(queue)
        self._open: dict[int, _Open] = {}
        self._links: dict[str, _Link] = {}
        self._rooms: deque[anyio.Event] = deque()
        self._number = 0
        self._pumps = False
        self._away = ""
        self._refused = ""
        self._known: anyio.Event | None = None
        """Set when the first try to reach the cluster has ended."""
        self._later: Callable[..., object] = _not_bound
        self._from_thread: Callable[..., object] = _not_bound
        self._wakeup: Callable[[], TaskWakeup] = _not_bound
        self._now: Callable[[], float] = time.monotonic
        """The clock of the loop. Callbacks of the loop are no tasks, and so anyio does not know their clock."""
        self._loop: EventLoop | None = None
        self._keeper = _Keeper(cluster or RayCluster(address or None), actors, memory, self)
        self._is_started = False
        """Whether the pool is open and bound, and its keeper started."""
        self._closed = False

    # ------------------------------------------------------------------ the pool

    @property
    def blocked_loop_after(self) -> float | None:
        """The longest time, in seconds, that code may block the event loop without a report; ``None``: no reports."""
        return self._home.blocked_loop_after

    def bind(self) -> None:
        """Bind the pool to the running event loop. Raises :class:`UsageError` if it is closed or has another loop."""
        self._home.bind()
        if self._loop is None:
            self._loop = loop = EventLoop()
            self._later, self._from_thread, self._now = loop.later, loop.from_thread, loop.now
            self._wakeup = loop.wakeup
            self._known = anyio.Event()

    async def check(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        """Run the check of *claim* by *verifier* on the cluster or on this machine, and return its result.

        See :meth:`WorkerPool.check <interwhen._types.extensions.WorkerPool.check>` for the parameters.
        """
        if not self._is_started:
            self.bind()
            self._keeper.start()
            self._is_started = not self._closed
        found = self._targets.get(id(verifier))
        target = found[1] if found is not None else self._target(verifier)
        if target is None or not self._costs.leaves(target.key):
            return await self._home.check(verifier, claim, scope)
        if self._refused:
            return None, self._refused
        if not self._links or not (target.encoded or self._is_encoded(target)):
            return await self._check_at_home(verifier, claim, scope)
        try:
            data = pickle.dumps(claim)
        except Exception as error:  # noqa: BLE001  (pickling runs code of the user's classes)
            return None, f"{name_error(error)} (workers='ray' needs claims that can be pickled)"
        if len(data) > _MOST_ALONE or len(target.encoded) > _MOST_ALONE:
            return await self._home.check(verifier, claim, scope)
        result = await self._check_away(target, claim.key, data, scope)
        if result is None:
            return await self._check_at_home(verifier, claim, scope)
        if result.is_late:
            scope.deadline = -math.inf
            await anyio.sleep_forever()
        return result.verdict, result.failure

    async def aclose(self) -> None:
        """End the open checks on the cluster with an error, stop the workers here, and let a thread kill the actors.

        Waits for the thread at most 10 seconds.
        """
        if self._closed:
            return
        self._closed, self._is_started = True, False
        self._keeper.is_closed = True
        failure = CheckResult(0, failure="the workers were closed during the check")
        for each in list(self._open.values()):
            each.end(failure)
        for link in self._links.values():
            link.cancel()
            link.actor.close()
        self._links.clear()
        self._waiting.lanes.clear()
        self._waiting.take_all()
        self._make_room()
        with anyio.CancelScope(shield=True):
            await self._home.aclose()
            await anyio.to_thread.run_sync(self._keeper.stop)

    async def __aenter__(self) -> Self:
        self.bind()
        self._keeper.start()
        assert self._known is not None
        try:
            await self._known.wait()
        except BaseException:
            await self.aclose()
            raise
        if self._refused:
            await self.aclose()
            raise UsageError(self._refused)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ one check

    async def _check_at_home(self, verifier: Verifier, claim: Any, scope: anyio.CancelScope) -> WorkDone:
        if not self._links:
            note_cluster_away(self._away or "the cluster was not connected yet")
        return await self._home.check(verifier, claim, scope)

    async def _check_away(
        self, target: _RemoteTarget, key: str, claim: bytes, scope: anyio.CancelScope
    ) -> CheckResult | None:
        """Run one check on the cluster and return its result; ``None`` if it must run on this machine instead.

        The verdict is ``Unknown`` if no actor was free within the time of *patience*. The deadline of *scope* is
        removed, because the actor limits the time of the check; for ``None``, it is set again.
        """
        now = self._now()
        self._number = number = self._number + 1
        each = _Open(
            number,
            target.key,
            key,
            self._costs.seconds(target.key),
            target=target,
            claim=claim,
            left=scope.deadline - now,
            asked=now,
        )
        self._open[number] = each
        # The deadline counts from the moment when the check begins, and the actor keeps it. See _watch.
        scope.deadline = math.inf
        try:
            queues = len(self._waiting) > 0 or not self._place(each)
            while each.result is None:
                if each.place:
                    each.wakeup = wakeup = self._wakeup()
                    await wakeup
                elif not await self._wait_for_actor(each, queues=queues):
                    break
                else:
                    queues = False
        finally:
            del self._open[number]
            if each.result is None:
                self._withdraw(each)
            if each.began is not None:
                note_work(each.worker, each.began - now)
        if each.result is None:
            return CheckResult(
                number,
                verdict=Unknown(
                    f"the cluster was full: no actor was free within {self._patience:g} s; add actors or raise patience"
                ),
            )
        if each.result == _HOME:
            scope.deadline = self._now() + each.left
            return None
        return each.result

    async def _wait_for_actor(self, each: _Open, *, queues: bool) -> bool:
        """Wait until *each* has an actor or a result; return false if the time of *patience* was over before.

        With *queues*, *each* must still be added to the waiting checks.
        """
        with anyio.move_on_after(self._patience) as patience:
            if queues:
                await self._queue(each)
            if each.result is None and not each.place:
                each.wakeup = wakeup = self._wakeup()
                await wakeup
        return bool(each.place) or not patience.cancelled_caught

    async def _queue(self, each: _Open) -> None:
        while self._waiting.is_full:
            room = anyio.Event()
            self._rooms.append(room)
            await room.wait()
        if each.result is None:
            self._waiting.add(each)
            self._pump_soon()

    def _withdraw(self, each: _Open) -> None:
        """Remove a check that was cancelled from the waiting checks or from its actor."""
        if self._waiting.remove(each.id) is not None:
            return
        link = self._links.get(each.place)
        if link is None or link.lane.remove(each.id) is None:
            self._make_room()  # the room that it got is free again
            return
        if each in link.unsent:
            link.unsent.remove(each)
        else:
            self._send(link, ActorRequest(cancelled=[each.id]))
        self._begin_first(link)
        self._pump_soon()

    def _target(self, verifier: Verifier) -> _RemoteTarget | None:
        found = self._targets.get(id(verifier))
        if found is None:
            if len(self._targets) >= KEPT:
                self._targets.clear()
            found = self._targets[id(verifier)] = verifier, _target(verifier)
        return found[1]

    def _is_encoded(self, target: _RemoteTarget) -> bool:
        """Return whether *target* can be sent to an actor.

        If the code of its plug-in was not read yet, let a thread read it.
        """
        if target.encoded:
            return True
        code = self._codes.get(target.name)
        if code is None:
            self._codes[target.name] = ""
            self._keeper.read_code(target.name)
        if code:
            target.encoded = msgspec.msgpack.encode(msgspec.structs.replace(target.verifier, code=code))
            target.digest = encoded_digest(target.encoded)
        return bool(code)

    def _measured_at_home(self, verifier: Any, spent: float) -> None:
        # A thread may call it. Each learning changes one entry, and a lost one costs nothing.
        found = self._targets.get(id(verifier))
        if found is not None and found[1] is not None:
            self._costs.learn(found[1].key, spent)

    # ------------------------------------------------------------------ sending and receiving, on the event loop

    def _place(self, check: _Open) -> bool:
        """Give *check* to an actor that has room, and arrange that it is sent; return whether there is one."""
        name = self._waiting.place(check)
        if name is None:
            return False
        self._hand_over(name, check)
        if not self._pumps:
            self._pump_soon()
        return True

    def _hand_over(self, name: str, check: _Open) -> None:
        link = self._links[name]
        link.unsent.append(check)
        if check.begun:
            self._begin(link, check)

    def _pump_soon(self) -> None:
        """Arrange that checks are sent to actors in a later turn of the event loop."""
        # So checks that come at the same moment are sent in one message.
        if not self._pumps:
            self._pumps = True
            self._later(self._pump)

    def _pump(self) -> None:
        self._pumps = False
        if not self._links:
            for check in self._waiting.take_all():
                check.end(_HOME)
        for check in self._waiting.assign():
            self._hand_over(check.place, check)
            check.wake()
        for link in self._links.values():
            if link.unsent:
                self._give(link)
        self._make_room()

    def _make_room(self) -> None:
        for _ in range(min(len(self._rooms), self._waiting.most - len(self._waiting))):
            self._rooms.popleft().set()

    def _give(self, link: _Link) -> None:
        """Send *link* the checks that it has got, with the verifiers that it does not know."""
        new, link.unsent = link.unsent, []
        forgets = len(link.known) > _KNOWN
        request, size = ActorRequest([], [], forgets=forgets), 0
        if forgets:
            # The actor looks a verifier up when a check begins, so it gets those of its older checks again.
            link.known.clear()
            for check in link.lane.checks.values():
                size += self._add_target(link, request, check)
        for check in new:
            if size > _MOST_ALONE:
                self._send(link, request)
                request, size = ActorRequest([], []), 0
            if check.target.digest not in link.known:
                size += self._add_target(link, request, check)
            size += len(check.claim)
            request.items.append(CheckItem(check.id, check.target.digest, check.claim, check.left))
        self._send(link, request)

    def _add_target(self, link: _Link, request: ActorRequest, check: _Open) -> int:
        """Add the verifier of *check* to *request*, unless *link* knows it. Return how many bytes were added."""
        target = check.target
        if target.digest in link.known:
            return 0
        link.known.add(target.digest)
        request.targets.append(target.encoded)
        return len(target.encoded)

    def _begin(self, link: _Link, each: _Open) -> None:
        each.begun = True
        each.began = now = self._now()
        each.worker = link.worker
        grace = _GRACE if each.target.digest in link.known else _BOOT_SECONDS
        link.late_at = now + each.left + grace
        if link.late_at < link.rings_at:
            self._watch(link)

    def _begin_first(self, link: _Link) -> None:
        """Record that the actor now runs its oldest check, whose time limit begins."""
        for check in link.lane.checks.values():
            if not check.begun:
                self._begin(link, check)
            return

    def _watch(self, link: _Link) -> None:
        """Set the timer of *link* to the moment when its actor must have answered."""
        # The timer is not set again for each check, since this costs as much as the rest of the sending: when it rings,
        # it is set to the limit of the check that then runs.
        link.cancel()
        link.rings_at = link.late_at
        if link.rings_at < math.inf:
            assert self._loop is not None
            link.cancel = self._loop.call_at(link.rings_at, partial(self._ring, link))

    def _ring(self, link: _Link) -> None:
        """Give the actor of *link* up if it has not answered in time. The check that it runs has then timed out."""
        link.rings_at, link.cancel = math.inf, _nothing
        running = next(iter(link.lane.checks.values()), None)
        if running is None or not running.begun:
            return  # the next check that begins sets the timer
        if self._now() < link.late_at:
            self._watch(link)
            return
        link.lane.remove(running.id)
        running.end(CheckResult(running.id, is_late=True))
        self._lose(link, f"the actor {link.actor.name[:8]} did not answer in time")

    def _send(self, link: _Link, request: ActorRequest) -> None:
        link.actor.send(msgspec.msgpack.encode(request))

    def _end(self, name: str, why: str) -> None:
        link = self._links.get(name)
        if link is not None:
            self._lose(link, f"the actor {name[:8]} ended: {why}")

    def _receive(self, name: str, data: bytes) -> None:
        link = self._links.get(name)
        if link is None:
            return
        try:
            results = _decode(data).results
        except DECODE_ERRORS as error:
            self._lose(link, f"the actor {name[:8]} sent an invalid message: {error}")
            return
        now, remove = self._now(), link.lane.remove
        for result in results:
            each = remove(result.id)
            if each is None:
                continue
            if each.began is None:
                # Its result came in one message with that of the check before it.
                each.began, each.worker = max(each.asked, now - result.spent), link.worker
            if result.spent:
                self._costs.learn(each.verifier, result.spent)
            if result.failure is not None and result.failure.startswith("CodeDiffers"):
                log_warning("ray.refused", why=result.failure)
            each.end(result)
        self._begin_first(link)
        if len(self._waiting) > 0:
            self._pump_soon()

    def _lose(self, link: _Link, why: str) -> None:
        """Give up the actor of *link* and log *why*. Its checks wait for other actors, before all other waiting checks.

        Without another actor, they run on this machine. A check whose time is over ends as late, and one that has lost
        its second actor fails.
        """
        log_warning("ray.actor_lost", actor=link.actor.name[:8], why=why)
        checks = list(link.lane.checks.values())
        for check in link.unsent:
            check.tries -= 1
        self._forget(link)
        now = self._now()
        for check in reversed(checks):
            if check.begun and check.began is not None:
                check.left -= now - check.began
            check.begun, check.place = False, ""
            if check.left <= 0:
                check.end(CheckResult(check.id, is_late=True))
            elif check.tries >= _TRIES:
                check.end(CheckResult(check.id, failure=f"two actors ended during the check; the last one: {why}"))
            else:
                self._waiting.add(check, first=True)
                check.wake()
        if not self._links:
            self._go_home(why)
        self._keeper.wake()
        self._pump_soon()

    def _forget(self, link: _Link) -> None:
        self._links.pop(link.actor.name, None)
        link.cancel()
        link.actor.close()
        self._waiting.lanes.pop(link.actor.name, None)
        self._keeper.remove(link.actor)

    def _go_home(self, why: str) -> None:
        """Let all waiting checks run on this machine. Log *why*, unless it was the last reason, too."""
        if why != self._away:
            log_warning("ray.cluster_away", why=why)
        self._away = why
        for check in self._waiting.take_all():
            check.end(_HOME)
        self._make_room()

    # ------------------------------------------------------------------ what the keeper's thread reports

    def report(self, method: Callable[..., object], *given: object) -> None:
        """Call *method* with *given* on the event loop, if it has not ended. The thread of the keeper uses this."""
        with suppress(RuntimeError):
            self._from_thread(method, *given)

    def joined(self, actor: Actor) -> None:
        """Use the new actor *actor* for checks from now on, and forget why the cluster was away or refused.

        If the pool is closed, close *actor* instead.
        """
        if self._closed:
            actor.close()
            return  # the keeper kills it
        lane: Lane[_Open] = Lane(actor.name)
        self._waiting.lanes[actor.name] = lane
        self._links[actor.name] = _Link(actor, lane, worker=f"ray {actor.name[:8]}")
        assert self._loop is not None
        actor.open(self._loop, partial(self._receive, actor.name), partial(self._end, actor.name))
        if self._away:
            log_info("ray.cluster_back")
        self._away = self._refused = ""
        self._set_known()
        self._pump_soon()

    def went_away(self, why: str) -> None:
        """Let the waiting checks run on this machine, because of *why*, unless there are actors that still answer."""
        if not self._links:
            self._go_home(why)
        self._set_known()

    def refuse(self, why: str) -> None:
        """Refuse the cluster, because it runs other code. If no actor is left, checks that would leave fail with *why*.

        *why* is logged unless checks already fail with it.
        """
        if why != self._refused:
            log_warning("ray.refused", why=why)
        if not self._links:
            self._refused = why
        self._set_known()

    def has_code(self, name: str, code: str) -> None:
        """Record that the code of the plug-in *name* has the digest *code*."""
        self._codes[name] = code

    def _set_known(self) -> None:
        if self._known is not None:
            self._known.set()


def _not_bound(*_given: object) -> Any:
    raise RuntimeError("bind() must be called before the pool is used")


def _target(verifier: Verifier) -> _RemoteTarget | None:
    found = named(verifier)
    return None if found is None else _RemoteTarget(found.name, found.key, found)


class _Keeper:
    """Starts the actors of *pool* and replaces lost ones, as far as the cluster allows. A thread does this."""

    def __init__(self, cluster: Cluster, actors: int, memory: int | None, pool: RayWorkers) -> None:
        self._cluster = cluster
        self._wanted = actors
        self._memory = memory
        self._pool = pool
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._alive: dict[str, Actor] = {}
        self._doomed: list[Actor] = []
        self._unread: deque[str] = deque()
        self._is_reachable = False
        self._thread: threading.Thread | None = None
        self.is_closed = False
        """Whether it starts no more actors, and ends."""

    def start(self) -> None:
        """Start the thread if it has not been started yet and the keeper is not closed."""
        if self._thread is None and not self.is_closed:
            self._thread = threading.Thread(target=self._run, name="interwhen-ray", daemon=True)
            self._thread.start()

    def read_code(self, name: str) -> None:
        """Let the thread read the code of the plug-in *name* and report its digest.

        Files must not be read on the event loop.
        """
        self._unread.append(name)
        self._news.set()

    def wake(self) -> None:
        """Let the thread do its work now, and not only at the next regular time."""
        self._news.set()

    def remove(self, actor: Actor) -> None:
        """Let the thread kill *actor* and start another one in its place."""
        with self._lock:
            self._alive.pop(actor.name, None)
            self._doomed.append(actor)
        self._news.set()

    def stop(self) -> None:
        """Let the thread kill all actors, disconnect and end, and wait for that, for at most 10 seconds."""
        self.is_closed = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        pause = 0.5
        while not self.is_closed:
            self._news.clear()
            self._kill_doomed()
            while self._unread:
                name = self._unread.popleft()
                with suppress(InterwhenError):  # the plug-in was uninstalled meanwhile
                    self._pool.report(self._pool.has_code, name, code_of(name))
            if self._look():
                pause, patience = 0.5, _LONGEST_PAUSE
            else:
                longest = _LONGEST_START_PAUSE if self._is_reachable else _LONGEST_PAUSE
                pause = patience = min(pause * 2, longest)
            self._news.wait(patience)
        with self._lock:
            self._doomed += self._alive.values()
            self._alive.clear()
        self._kill_doomed()
        with suppress(Exception):  # the cluster may be gone
            self._cluster.close()

    def _look(self) -> bool:
        """Connect to the cluster and start the actors that are missing; return whether none is missing now."""
        pool = self._pool
        try:
            self._is_reachable = False
            processors = self._cluster.connect()
            self._is_reachable = True
            wanted = min(self._wanted, processors) if self._wanted else processors
            missing = wanted - len(self._alive)
            if missing > 0:
                self._start(missing)
        except UsageError as error:
            pool.report(pool.refuse, str(error))
            return False
        except Exception as error:  # noqa: BLE001  (whatever Ray raises: the cluster cannot be used now)
            if not self.is_closed:
                pool.report(pool.went_away, str(error)[:500])
            if not self._alive:
                with suppress(Exception):
                    self._cluster.close()
            return False
        if not self._alive:
            why = "no actor could start on the cluster: it has no free processor, or no interwhen (the log says which)"
            pool.report(pool.went_away, why)
        return len(self._alive) >= wanted

    def _start(self, missing: int) -> None:
        mine = own_greeting()
        until = time.monotonic() + _START_SECONDS
        for actor, greeting in self._cluster.start(
            missing, self._memory, lambda: self.is_closed or time.monotonic() > until
        ):
            self._welcome(actor, mine.difference(greeting))

    def _welcome(self, actor: Actor, difference: str) -> None:
        if difference:
            with self._lock:
                self._doomed.append(actor)
            raise UsageError(f"the cluster must run the code of this program: {difference}; install the same version")
        with self._lock:
            self._alive[actor.name] = actor
        self._pool.report(self._pool.joined, actor)

    def _kill_doomed(self) -> None:
        with self._lock:
            doomed, self._doomed = self._doomed, []
        for actor in doomed:
            with suppress(Exception):
                actor.kill()
