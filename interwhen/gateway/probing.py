"""Whether the gateway is ready: taking calls, with a server behind it that answers."""

from __future__ import annotations

import time

import anyio
import msgspec

from interwhen.errors import ModelError, UpstreamError
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.wire import Upstream
from interwhen.models.transport import Timeouts

_KEPT_SECONDS = 2.0
"""How long an answer holds: a probe must not be a load on the upstreams."""
_PATIENCE = Timeouts(connect=2.0, first_token=2.0, inter_token=None, total=2.0)


class Prober:
    """Asks the upstreams, at most every other second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked = float("-inf")
        self._reached: dict[str, bool] = {}
        self._lock = anyio.Lock()

    async def state(self) -> tuple[int, bytes]:
        """Return the status and the body of ``/readyz``."""
        gateway = self._gateway
        if gateway.unready or gateway.closing:
            return 503, msgspec.json.encode({"status": "shutting down"})
        async with self._lock:
            if time.monotonic() - self._asked > _KEPT_SECONDS:
                await self._ask_all()
                self._asked = time.monotonic()
        ready = any(self._reached.values())
        states = {host: "reached" if reached else "not reached" for host, reached in self._reached.items()}
        status = "ready" if ready else "no upstream can be reached"
        return 200 if ready else 503, msgspec.json.encode({"status": status, "upstreams": states})

    async def _ask_all(self) -> None:
        async with anyio.create_task_group() as group:
            for upstream in self._gateway.upstreams:
                group.start_soon(self._ask, upstream, name="probe")

    async def _ask(self, upstream: Upstream) -> None:
        try:
            await upstream.ask(upstream.request("GET", "models", {"accept": "application/json"}), _PATIENCE)
            reached = True
        except UpstreamError as error:
            reached = error.status is not None and error.status < 500  # it is there, and wants a key, for example
        except ModelError:
            reached = False
        self._reached[upstream.host] = reached
