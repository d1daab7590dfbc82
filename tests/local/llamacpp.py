"""A llama.cpp server with a small model, for tests that need its address."""

from contextlib import asynccontextmanager

from interwhen.models._local_server import LocalServer, ServerOptions
from interwhen.models._local_weights import find_weights, parse_weights


@asynccontextmanager
async def llama_server(spec="tiny", context=1024):
    server = await LocalServer.start(find_weights(parse_weights(spec)), ServerOptions(context=context))
    try:
        yield server
    finally:
        await server.stop()
