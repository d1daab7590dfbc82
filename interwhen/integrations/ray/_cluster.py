"""The connection to a cluster, as the pool uses it, and the one to Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from interwhen._log import log_warning
from interwhen._types.errors import InterwhenError, name_error
from interwhen.integrations.ray._connection import Channel, EventLoop, dial, new_secret
from interwhen.integrations.ray._messages import Greeting


class ClusterAway(InterwhenError):
    """Raised if no connection to the Ray cluster is possible."""


class Actor(Protocol):
    """A worker process on the cluster, which runs checks and is called an actor in Ray."""

    @property
    def name(self) -> str:
        """The name of the actor, which no other actor has had."""
        ...

    def open(self, loop: EventLoop, received: Callable[[bytes], object], lost: Callable[[str], object]) -> None:
        """Begin to receive, on *loop*. *received* gets each message, and *lost* the reason if the actor is lost."""
        ...

    def send(self, message: bytes) -> None:
        """Send *message* without blocking. Do nothing if the actor is lost.

        Raises :class:`GarbledMessage` if *message* is too large.
        """
        ...

    def close(self) -> None:
        """Receive nothing any more. The event loop calls it, before :meth:`kill`."""
        ...

    def kill(self) -> None:
        """Kill the actor and its worker process. This call may block, so a thread makes it."""
        ...


class Cluster(Protocol):
    """The connection to a cluster. Its methods may block, and one thread calls them."""

    def connect(self) -> int:
        """Connect, and return how many processors the cluster has. Raises :class:`ClusterAway`."""
        ...

    def start(self, count: int, memory: int | None, until: Callable[[], bool]) -> Iterator[tuple[Actor, Greeting]]:
        """Start *count* actors, each with a processor of its own. Yield each one when it has sent its greeting.

        *memory* limits the address space of their worker processes, in bytes. An actor that fails before its greeting
        is left out. When *until* returns true, actors that have not greeted are killed.
        """
        ...

    def close(self) -> None:
        """Disconnect from the cluster, if this object has connected.

        This ends the actors that were started over this connection.
        """
        ...


_FOREVER = "1000000000"
_SLICE = 0.25
"""How long one wait for new actors may take, in seconds. The pool may be closed meanwhile."""


class RayActor(Channel):
    """An actor of Ray (a worker process on the cluster) that *handle* refers to, with the connection *sock* to it."""

    def __init__(self, handle: Any, sock: socket.socket) -> None:
        super().__init__(sock)
        self._handle = handle
        self.name: str = _name(handle)

    def kill(self) -> None:
        """Kill the actor and its worker process. Errors of Ray are ignored."""
        if not self.is_open:  # no event loop has it
            self.close()
        _kill(self._handle)


def _name(handle: Any) -> str:
    found: str = handle._actor_id.hex()  # noqa: SLF001  (Ray has no public name for it)
    return found


def _kill(handle: Any) -> None:
    import ray

    with suppress(Exception):  # it is already gone, or Ray is
        ray.kill(handle)


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

        Lost actors are logged.
        """
        import ray

        from interwhen.integrations.ray._actor import CheckActor

        kind: Any = ray.remote(CheckActor)
        kind = kind.options(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")
        waiting: dict[Any, tuple[Any, bytes]] = {}
        for _ in range(count):
            handle, secret = kind.remote(memory), new_secret()
            waiting[handle.listen.remote(secret)] = handle, secret
        try:
            while waiting and not until():
                ready, _ = ray.wait(list(waiting), timeout=_SLICE)
                for each in ready:
                    handle, secret = waiting.pop(each)
                    try:
                        greeting = msgspec.msgpack.decode(ray.get(each), type=Greeting)
                        sock = dial(greeting.host, greeting.port, secret)
                    except (ray.exceptions.RayError, OSError) as error:
                        # It died, its node has no interwhen, or its node cannot be reached.
                        _kill(handle)
                        log_warning("ray.actor_lost", actor=_name(handle)[:8], why=name_error(error)[:300])
                        continue
                    yield RayActor(handle, sock), greeting
        finally:
            for handle, _ in waiting.values():  # no processor was free for it
                _kill(handle)

    def close(self) -> None:
        """Disconnect from Ray, if this object has connected."""
        if self._owns:
            import ray

            self._owns = False
            ray.shutdown()
