"""After a correction, llama.cpp takes nearly the whole prompt from its cache, and the ledger says so."""

import pytest
from interwhen import Repair
from interwhen._types.models import Piece
from interwhen.models import ChatModel, CompletionsModel, Request, open_local

from .support import GREEDY, play, refuting

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def shares(model, rounds):
    shares = []
    for line in range(rounds):
        result = (await play(model, [refuting(line % 3 + 1)])).result
        assert len(result.ledger.resumes) == result.ledger.remedies == 1
        shares += result.ledger.resumes
    assert all(cost.request == 2 and cost.first_token > 0 for cost in shares)
    return [cost.cached_share for cost in shares]


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_a_resume_reuses_the_closed_streams_cached_prefix(api):
    async with open_local(api=api, slots=3) as model:
        assert min(await shares(model, 8)) >= 0.9


def rendered(turns):
    return "".join(f"<|{turn.role}|>{turn.content}<|end|>" for turn in turns) + "<|assistant|>"


@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
async def test_a_users_own_server_is_waited_for_too(kind):
    async with open_local(slots=3) as local:
        server = local._running.server
        options = {"template": rendered} if kind is CompletionsModel else {}
        url = f"{server.url}/v1"
        async with kind(url, "m", api_key=server.api_key, headers={"connection": "close"}, **options) as model:
            assert min(await shares(model, 8)) >= 0.9


async def test_an_immediate_resume_does_not_reread_the_prefix():
    async with open_local(slots=2) as model:
        for number in range(30):
            prompt = f"{number}: " + "Start with 64. Add 129. Multiply by 3. What is the result?\n" * 6
            stream = await model.stream(Request(prompt, sampling=GREEDY))
            text = "".join(chunk.text for chunk in await stream.receive())
            await stream.aclose()
            resumed = await model.stream(Request(prompt, (Piece(text),), GREEDY))
            usage = next(chunk.usage for chunk in await resumed.receive() if chunk.usage is not None)
            await resumed.aclose()
            assert usage.cached_tokens >= 0.9 * usage.prompt_tokens


async def test_a_resume_cut_again_keeps_its_token_counts():
    async with open_local(slots=2) as model:
        ledger = (await play(model, [refuting(1, times=4, remedy=Repair())])).result.ledger
        once, again = ledger.resumes
        # Only the feedback and the token after the cut are new to the server.
        assert again.cached_tokens >= once.prompt_tokens
        assert once.uncached_tokens < 60 > again.uncached_tokens
        assert ledger.prompt_tokens > once.prompt_tokens + again.prompt_tokens
