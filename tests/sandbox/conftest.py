"""The host of the sandbox tests: a canary file, a victim process, and servers that must receive nothing."""

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def anyio_backend():
    return "asyncio"


def commands():
    by_pid = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            by_pid[int(path.parent.name)] = path.read_bytes().split(b"\0")
        except OSError:
            continue
    return by_pid


@dataclass
class Host:
    """What a program in a sandbox must not reach: a file, a process and servers on this machine."""

    # `names` maps the placeholders in the sources of attacks, such as `canary`, to their values.

    canary: Path
    victim: subprocess.Popen
    servers: list[socket.socket]
    names: dict[str, object]

    def aim(self, source):
        return Template(source).safe_substitute(self.names)

    def check(self):
        assert self.canary.read_text() == "alive"
        assert self.victim.poll() is None
        for server in self.servers:
            try:
                heard = server.recv(100) if server.type == socket.SOCK_DGRAM else server.accept()
            except BlockingIOError:
                continue
            pytest.fail(f"{server} heard {heard!r}")
        tag = str(self.names["tag"]).encode()
        assert [pid for pid, arguments in commands().items() if arguments[:2] == [b"sleep", tag]] == []


@pytest.fixture(scope="session")
def host():
    if not sys.platform.startswith("linux"):
        pytest.skip("the corpus is for Linux")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_SECRET", "GAINED")
        canary = Path(folder) / "canary"
        canary.write_text("alive")
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        local, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        local.bind(f"{folder}/socket")
        Path(folder, "socket").chmod(0o777)
        abstract.bind(f"\0interwhen-test-{os.getpid()}")
        servers = [tcp, udp, local, abstract]
        for server in servers:
            server.setblocking(False)
            if server is not udp:
                server.listen()
        victim = subprocess.Popen(["sleep", "3600"], env={"SECRET": "GAINED"})
        names = {
            "canary": canary,
            "victim": victim.pid,
            "port": port,
            "socket": f"{folder}/socket",
            "abstract": f"interwhen-test-{os.getpid()}",
            "tag": f"98765.{os.getpid()}",
        }
        yield Host(canary, victim, servers, names)
        victim.kill()
        victim.wait()
        for server in servers:
            server.close()
