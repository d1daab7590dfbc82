"""A scripted server whose first answer has a mistake, and a monitor that finds it."""

import os

import interwhen
import openai
import pytest
from anyio.from_thread import start_blocking_portal
from interwhen.testing._server_script import counts
from interwhen.testing.server import ScriptedServer, Stall, events

os.environ.setdefault("OPENAI_AGENTS_DISABLE_TRACING", "0")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise importing it opens a connection
WRONG, SOUND = "17 * 24 = 418\n", "17 * 24 = 408\n"


def script(request):
    return answering(["17 * 24", " = 418\n"] if request.number == 0 else ["\n"])


def answering(texts):
    *chunks, end = events(texts, api="chat")
    return (*chunks, counts(1, len(texts)), end)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def server():
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer(script)) as scripted:
        yield scripted


@pytest.fixture
def endless():
    def begin(_):
        first, *_ = events(["17 * 24 = 408\n"], api="chat")
        return (first, Stall())

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer(begin)) as scripted:
        yield scripted


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare:
        yield interwhen.wrap(bare, monitors=["arithmetic"])


@pytest.fixture
async def async_client(server, anyio_backend):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare:
        yield interwhen.wrap(bare, monitors=["arithmetic"])


def is_caught(facts):
    import json

    [violation] = json.loads(json.dumps(facts))["violations"]
    return (violation["monitor"], violation["remedy"], facts["label"].endswith("verified")) == (
        "arithmetic",
        "repair",
        True,
    )
