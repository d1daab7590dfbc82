"""Restarts gateways behind HAProxy while clients read streams, and counts the streams that are lost.

Needs ``haproxy`` (a package of Debian)::

    python -m tests.gateway.restarts --seconds 60 --clients 30 --restarts 2
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import httpx2
from interwhen.testing._paced_server import paced_server

PORTS = (7201, 7202)
FRONT = 7200
CHUNKS, RATE = 60, 20
BALANCER = f"""
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout check 5s
frontend clients
  bind 127.0.0.1:{FRONT}
  default_backend gateways
backend gateways
  balance leastconn
  option httpchk GET /readyz
  default-server check inter 500ms fall 1 rise 1
  server a 127.0.0.1:{PORTS[0]}
  server b 127.0.0.1:{PORTS[1]}
"""
SETTINGS = """
[limits]
ready_seconds = 6.0
drain_seconds = 60.0
"""
START = "import sys; from interwhen_launcher.__main__ import main; main(sys.argv[1:])"


class Gateways:
    """The gateway processes, by port."""

    def __init__(self, folder, upstream):
        self.settings = folder / "interwhen.toml"
        self.settings.write_text(SETTINGS)
        self.upstream = upstream
        self.running = {port: self.start(port) for port in PORTS}

    def start(self, port):
        options = ["--upstream", self.upstream, "--port", str(port), "-m", "arithmetic", "--config", str(self.settings)]
        return subprocess.Popen([sys.executable, "-c", START, "serve", *options], stderr=subprocess.DEVNULL)

    async def restart(self, port, client):
        """End the gateway at *port* by SIGTERM, wait until its calls have ended, and start it again."""
        self.running[port].terminate()
        await anyio.to_thread.run_sync(self.running[port].wait)
        self.running[port] = self.start(port)
        await is_ready(client, port)

    def end(self):
        for process in self.running.values():
            process.kill()
            process.wait()


async def is_ready(client, port):
    """Wait until the gateway at *port* takes calls."""
    with anyio.fail_after(120):
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return
            await anyio.sleep(0.1)


async def read_stream(client):
    """Read one stream to its end. Raises RuntimeError if a part of it is missing."""
    body = {"model": f"{CHUNKS}@{RATE}", "stream": True, "messages": [{"role": "user", "content": "How many?"}]}
    chunks, is_whole = 0, False
    async with client.stream("POST", f"http://127.0.0.1:{FRONT}/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            chunks += line.startswith("data: {")
            is_whole = is_whole or line == "data: [DONE]"
    if not is_whole or chunks < CHUNKS:
        raise RuntimeError(f"status {response.status_code}, {chunks} chunks")


async def main(seconds, clients, restarts):
    """Run the measurement and return the numbers of whole and of lost streams."""
    whole, lost = 0, []
    with tempfile.TemporaryDirectory() as place, paced_server() as upstream:
        folder = Path(place)
        (folder / "haproxy.cfg").write_text(BALANCER)
        gateways = Gateways(folder, upstream)
        balancer = subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL)
        try:
            limits = httpx2.Limits(max_connections=None)
            async with httpx2.AsyncClient(timeout=120, limits=limits) as client:
                for port in PORTS:
                    await is_ready(client, port)
                await anyio.sleep(2)
                until = time.monotonic() + seconds

                async def read():
                    nonlocal whole
                    while time.monotonic() < until:
                        try:
                            await read_stream(client)
                            whole += 1
                        except (RuntimeError, httpx2.HTTPError) as error:
                            lost.append(repr(error))

                async with anyio.create_task_group() as group:
                    for _ in range(clients):
                        group.start_soon(read)
                    for number in range(restarts):
                        await anyio.sleep(seconds / (restarts + 2))
                        await gateways.restart(PORTS[number % len(PORTS)], client)
        finally:
            gateways.end()
            balancer.kill()
            balancer.wait()
    print(f"{whole} whole streams, {len(lost)} lost, {restarts} restarts")
    for error in lost[:5]:
        print(error)
    return whole, len(lost)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--restarts", type=int, default=2)
    given = parser.parse_args()
    _, missing = anyio.run(main, given.seconds, given.clients, given.restarts)
    sys.exit(1 if missing else 0)
