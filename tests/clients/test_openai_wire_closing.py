"""The body of a response of the SDK, closed while another task reads it."""

import gc
from contextlib import suppress

import anyio
import httpx2
from interwhen.clients._openai_wire import SdkBody
from interwhen.models import StreamClosed
from interwhen.testing.server import ScriptedServer, fault


def test_closing_during_reading_leaves_nothing_for_garbage_collection():
    async def sweep():
        async with ScriptedServer(lambda _: fault("endless")) as server, httpx2.AsyncClient(timeout=60) as client:
            request = client.build_request("POST", f"{server.base_url}/completions", json={"stream": True})
            for count in range(40):
                body = SdkBody(await client.send(request, stream=True))

                async def read(body=body):
                    with suppress(StreamClosed):
                        while await body.receive():
                            pass

                async with anyio.create_task_group() as group:
                    group.start_soon(read)
                    for _ in range(count):
                        await anyio.lowlevel.checkpoint()
                    await body.aclose()
                del body, read
            gc.collect()
            await server.settled()

    anyio.run(sweep, backend="trio")
    gc.collect()
