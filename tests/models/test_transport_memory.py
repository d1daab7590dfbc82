"""A server cannot fill the memory: what it sends without end is refused at the limit."""

import sys

import anyio
import pytest
from interwhen.testing.server import ScriptedServer, fault

pytestmark = pytest.mark.anyio

CLIENT = """
import resource, sys
import anyio
from interwhen.models import StreamProtocolError
from interwhen.models import Request
from interwhen.models import ChatModel
from interwhen.models import CompletionsModel

async def read(model):
    stream = await model.stream(Request("q"))
    text = ""
    try:
        while chunks := await stream.receive():
            text += "".join(chunk.text for chunk in chunks)
    except StreamProtocolError as error:
        text += f" {error.sample[:8]!r}"
    finally:
        await stream.aclose()
    return text

async def main():
    url, transport, api = sys.argv[1:]
    kind = ChatModel if api == "chat" else CompletionsModel
    async with kind(url, "m", transport=transport, api_key="") as model:
        assert await read(model) == "one two three"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(3):
            found = await read(model)
        assert found.startswith("one  b'"), found
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.fault(
    "W28", injected="64 MiB in one event, a line without end", happens="refused at 1 MiB; under 8 MiB of memory"
)
@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("name", ["huge_chunk", "no_newline"])
async def test_memory_stays_bounded(name, api, way, transport):
    if way.startswith("trio"):
        pytest.skip("the client is a process of its own, on asyncio")
    script = lambda request: fault("none" if request.number == 0 else name, request.api)  # noqa: E731
    async with ScriptedServer(script) as server:
        with anyio.fail_after(100):
            done = await anyio.run_process([sys.executable, "-c", CLIENT, server.base_url, transport, api])
    assert int(done.stdout) < 8 * 1024, "KiB more at the peak"
