"""A gateway on a real socket before a scripted server, each on an event loop in a thread."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'gateway' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'gateway' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'gateway' is not installed")

import httpx2
import msgspec
from anyio.from_thread import start_blocking_portal
from interwhen.gateway import Config
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._server import GatewayServer, address, listen
from interwhen.testing.server import ScriptedServer

# The requests that tests make by hand must be answered, also by a busy machine.
for _wait in ("connect", "read", "write", "pool"):
    setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, _wait, 60.0)

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def portal():
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def upstream(portal):
    managers = []

    def start(script, **options):
        server = ScriptedServer(script if callable(script) else lambda _: script, **options)
        manager = portal.wrap_async_context_manager(server)
        manager.__enter__()
        managers.append(manager)
        return server

    yield start
    for manager in managers:
        manager.__exit__(None, None, None)


@dataclass
class Running:
    gateway: Gateway
    server: GatewayServer
    base_url: str
    ended: object

    @property
    def root(self):
        return self.base_url.removesuffix("/v1")

    def idle(self, seconds=60):
        until = time.monotonic() + seconds
        while self.gateway.live:
            assert time.monotonic() < until, "a call is left"
            time.sleep(0.005)

    def metric(self, line):
        self.idle()
        lines = httpx2.get(f"{self.root}/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(f"{line} ")), 0.0)


@pytest.fixture
def gateway(portal):
    running = []

    def start(*servers, watchers=(), offers=(), **config):
        urls = tuple(each if isinstance(each, str) else each.base_url for each in servers)
        config = {"upstreams": urls, "port": 0, **config}
        built = portal.call(build, config, watchers, offers)
        listener = listen(built.config)
        server = portal.call(GatewayServer, built)
        ended = portal.start_task_soon(server.serve, [listener])
        service = Running(built, server, address(listener), ended)
        while not server.started:
            portal.call(wait)
        running.append(service)
        return service

    yield start
    for service in running:
        service.server.should_exit = service.server.force_exit = True
        portal.call(service.gateway.cut)
        service.ended.result(60)


async def wait():
    import anyio

    await anyio.sleep(0.005)


def build(config, watchers, offers):
    built = Gateway(msgspec.convert(config, Config))
    chooser = built.chooser
    chooser.monitors.update({monitor.name: monitor for monitor in (*watchers, *offers)})
    chooser.usual += tuple(watchers)
    return built
