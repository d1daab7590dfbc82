"""pydantic-ai: the facts are in the metadata of its responses."""

import pytest
from tests.integrations.conftest import SOUND, is_caught

pytest.importorskip("pydantic_ai", reason="pydantic-ai is not installed")
import pydantic_ai
from interwhen.integrations.pydantic_ai import supervise
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]


def agent(server):
    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=server.base_url, api_key="k"))
    return pydantic_ai.Agent(supervise(model, ["arithmetic"]))


def test_answer_carries_supervision_facts(server):
    result = agent(server).run_sync("17 * 24?")
    assert result.output.strip() == SOUND.strip()
    assert is_caught(result.all_messages()[-1].metadata["interwhen"])


async def test_stream_carries_supervision_facts(server):
    async with agent(server).run_stream("17 * 24?") as result:
        assert (await result.get_output()).strip().endswith(SOUND.strip())
        assert is_caught(result.all_messages()[-1].metadata["interwhen"])


async def test_model_with_wrapped_client_is_supervised(async_client):
    model = supervise(OpenAIChatModel("m", provider=OpenAIProvider(openai_client=async_client)))
    result = await pydantic_ai.Agent(model).run("17 * 24?")
    assert is_caught(result.response.metadata["interwhen"])
