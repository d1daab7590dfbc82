"""The connection to a cluster, as the pool uses it, and the one to Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from interwhen._log import log_warning
from interwhen._types.errors import InterwhenError, name_error
from interwhen.integrations.ray._messages import Greeting

Done = Callable[[bytes | None, str], None]
"""Gets the answer of an actor, or ``None`` and why there is none. It is called in any thread, and must be quick."""


class ClusterAway(InterwhenError):
    """Raised if no connection to the Ray cluster is possible."""


class Actor(Protocol):
    """A worker process on the cluster, which runs checks and is called an actor in Ray."""

    @property
    def name(self) -> str:
        """The name of the actor. No other actor has had it, also not an earlier one."""
        ...

    def exchange(self, request: bytes, done: Done) -> None:
        """Send *request*, and call *done* once: with the answer, or with the reason if the actor is lost.

        It does not block.
        """
        ...

    def kill(self) -> None:
        """Kill the actor and its worker process."""
        ...


class Cluster(Protocol):
    """The connection to a cluster. Its methods may block, and one thread calls them."""

    def connect(self) -> int:
        """Connect, and return how many processors the cluster has. Raises :class:`ClusterAway`."""
        ...

    def start(self, count: int, memory: int | None, until: Callable[[], bool]) -> Iterator[tuple[Actor, Greeting]]:
        """Start *count* actors, each with a processor of its own. Yield each one when it has sent its greeting.

        *memory* limits the address space of their worker processes, in bytes. When *until* returns true, the actors
        that have not greeted are killed.
        """
        ...

    def close(self) -> None:
        """Disconnect from the cluster. This ends the actors that were started over this connection."""
        ...


_FOREVER = "1000000000"
_SLICE = 0.25
"""How long one wait for new actors may take, in seconds. The pool may be closed meanwhile."""


class RayActor:
    """Calls the actor of Ray (a worker process on the cluster) that *handle* refers to."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.name: str = handle._actor_id.hex()  # noqa: SLF001  (Ray has no public name for it)

    def exchange(self, request: bytes, done: Done) -> None:
        """Send *request*, and call *done* once: with the answer, or with the reason if there is none."""

        def finished(future: Any) -> None:
            error = future.exception()
            if error is None:
                done(future.result(), "")
            else:
                done(None, name_error(error)[:300])

        try:
            self._handle.exchange.remote(request).future().add_done_callback(finished)
        except Exception as error:  # noqa: BLE001  (whatever Ray raises: the actor cannot be asked)
            done(None, name_error(error)[:300])

    def kill(self) -> None:
        """Kill the actor and its worker process. Errors of Ray are ignored."""
        import ray

        with suppress(Exception):  # it is already gone, or Ray is
            ray.kill(self._handle)


class RayCluster:
    """The Ray cluster at *address*; ``None``: that of ``RAY_ADDRESS``, or the one that runs on this machine.

    If the program has already connected to Ray, this connection is used, and is not closed.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._connected = False
        self._owns = False

    def connect(self) -> int:
        """Connect to the cluster, and return how many processors it has. Raises :class:`ClusterAway`."""
        import ray

        try:
            if not ray.is_initialized():
                self._initialize(ray)
            found: Any = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return int(found.get("CPU", 0))
        except Exception as error:
            raise ClusterAway(f"no Ray cluster can be reached: {name_error(error)[:300]}") from error

    def _initialize(self, ray: Any) -> None:
        # Ray ends the whole process if the head node does not answer for a minute. This program must continue.
        name = "RAY_gcs_rpc_server_reconnect_timeout_s"
        before = os.environ.get(name)
        os.environ[name] = before or _FOREVER
        try:
            ray.init(
                address=self._address or "auto",
                namespace="interwhen",
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
        finally:
            if before is None:
                del os.environ[name]
        self._owns = True

    def start(self, count: int, memory: int | None, until: Callable[[], bool]) -> Iterator[tuple[Actor, Greeting]]:
        """Start *count* actors, and yield each one when it has greeted; see :meth:`Cluster.start`.

        If an actor dies before it has greeted, this is logged, and it is left out.
        """
        import ray

        from interwhen.integrations.ray._actor import CheckActor

        kind: Any = ray.remote(CheckActor)
        kind = kind.options(
            num_cpus=1, max_restarts=0, max_task_retries=0, max_concurrency=100, scheduling_strategy="SPREAD"
        )
        handles: list[Any] = [kind.remote(memory) for _ in range(count)]
        waiting = {handle.greet.remote(): handle for handle in handles}
        try:
            while waiting and not until():
                ready, _ = ray.wait(list(waiting), timeout=_SLICE)
                for each in ready:
                    handle = waiting.pop(each)
                    try:
                        greeting = msgspec.msgpack.decode(ray.get(each), type=Greeting)
                    except ray.exceptions.RayError as error:  # it died, or its node has no interwhen
                        RayActor(handle).kill()
                        log_warning("ray.actor_lost", actor=RayActor(handle).name[:8], why=name_error(error)[:300])
                        continue
                    yield RayActor(handle), greeting
        finally:
            for handle in waiting.values():  # no processor was free for it
                RayActor(handle).kill()

    def close(self) -> None:
        """Disconnect from Ray, if this object has connected."""
        if self._owns:
            import ray

            self._owns = False
            ray.shutdown()
