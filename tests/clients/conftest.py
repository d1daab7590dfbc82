"""Clients of the real `openai` package against a scripted server, which runs in a thread of its own."""

import sys
from pathlib import Path

import openai
import pytest
from anyio.from_thread import start_blocking_portal
from interwhen.testing.server import ScriptedServer

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def serve():
    with start_blocking_portal() as portal:
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


@pytest.fixture
async def clients(anyio_backend):
    # All clients are closed after the test.
    made = []

    def make(kind, server, **options):
        options = {"base_url": server.base_url, "api_key": "key", "max_retries": 0, **options}
        client = kind(**options)
        made.append(client)
        return client

    yield make
    for client in made:
        if isinstance(client, openai.OpenAI):
            client.close()
        else:
            await client.close()
