"""The connection to Ray."""

from __future__ import annotations

import logging
import os
from typing import Any


class RayCluster:
    """The Ray cluster at *address*; ``None``: that of ``RAY_ADDRESS``, or the one that runs on this machine."""

    # If the program has already connected to Ray, this connection is used, and is not closed. `connect` and `close`
    # block, so the event loop must not call them.

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._ray: Any = None
        self._owns = False

    def connect(self, wanted: int) -> int:
        import ray

        self._ray = ray
        if not ray.is_initialized():
            # Ray ends the whole process if the head node does not answer for a minute. This program must continue.
            os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "1000000000")
            ray.init(
                address=self._address or "auto",
                namespace="interwhen",
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
            self._owns = True
        return min(int(self._ray.cluster_resources().get("CPU", 0)), wanted or 1 << 30)

    def start(self, memory: int | None) -> Any:
        """Start a :class:`CheckActor` with a processor of its own, as soon as one is free; return its handle.

        *memory* limits the address space of its worker process, in bytes.
        """
        from interwhen.integrations.ray._actor import CheckActor

        return self._ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(CheckActor).remote(memory)

    def kill(self, handle: Any) -> None:
        self._ray.kill(handle)

    def close(self) -> None:
        # This also ends the actors of the connection.
        if self._owns:
            self._owns = False
            self._ray.shutdown()
