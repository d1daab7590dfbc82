"""litellm: the facts are in the hidden parameters of its responses."""

import pytest
from tests.integrations.conftest import SOUND, is_caught

pytest.importorskip("litellm", reason="litellm is not installed")
import litellm
from interwhen.integrations.litellm import attach_facts

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]

ASK = {"model": "openai/m", "messages": [{"role": "user", "content": "17 * 24?"}]}


@pytest.mark.parametrize("stream", [False, True])
def test_answer_carries_supervision_facts(client, stream):
    response = attach_facts(litellm.completion)(**ASK, client=client, stream=stream)
    text = (
        "".join(c.choices[0].delta.content or "" for c in response) if stream else response.choices[0].message.content
    )
    assert text.endswith(SOUND)
    assert is_caught(response._hidden_params["interwhen"])


@pytest.mark.parametrize("stream", [False, True])
async def test_async_answer_carries_supervision_facts(async_client, stream):
    response = await attach_facts(litellm.acompletion)(**ASK, client=async_client, stream=stream)
    if stream:
        text = "".join([c.choices[0].delta.content or "" async for c in response])
    else:
        text = response.choices[0].message.content
    assert text.endswith(SOUND)
    assert is_caught(response._hidden_params["interwhen"])


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "with counts"])
def test_a_stream_keeps_its_facts_in_its_chunks(options, client):
    chunks = [*attach_facts(litellm.completion)(**ASK, client=client, stream=True, **options)]
    assert is_caught(chunks[-1]._hidden_params["interwhen"])
    assert is_caught(litellm.stream_chunk_builder(chunks)._hidden_params["interwhen"])
