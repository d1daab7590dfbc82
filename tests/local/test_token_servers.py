"""llama.cpp continues a chat by token ids: run, wrapped calls, forks; always inside the reasoning."""

import random

import interwhen
import interwhen.clients
import openai
import pytest
from interwhen import Message, Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request, open_local

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

GREEDY = Sampling(max_tokens=400, temperature=0.0)
RNG = random.Random(5)
CHAINS = [(RNG.randint(41, 99), RNG.randint(12, 19), RNG.randint(21, 99)) for _ in range(24)]


def question(start, factor, less):
    return f"Take {start}. Multiply by {factor}. Subtract {less}. What do you get?"


async def read(stream):
    chunks = []
    try:
        while more := await stream.receive():
            chunks += more
    finally:
        await stream.aclose()
    return chunks


async def with_server(work, **options):
    async with open_local(slots=3) as local:
        server = local._running.server
        async with ChatModel(f"{server.url}/v1", "m", api_key=server.api_key, resume="tokens", **options) as model:
            return await work(model, server)


@pytest.mark.parametrize("size", [7, 12, 30, 60])
async def test_continuing_kept_text_reproduces_the_text_cut_off(size):
    async def work(model, server):
        prompt = (Message("user", question(59, 12, 63)),)
        whole = "".join(chunk.text for chunk in await read(await model.stream(Request(prompt, sampling=GREEDY))))
        assert "<think>" in whole
        stream = await model.stream(Request(prompt, (Piece(whole[:size]),), GREEDY))
        chunks = await read(stream)
        assert stream.way.mode == "tokens"
        assert whole[:size] + "".join(chunk.text for chunk in chunks) == whole
        assert chunks[-1].finish_reason == "stop" or any(chunk.finish_reason == "stop" for chunk in chunks)
        usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
        assert usage.cached_tokens >= 0.9 * usage.prompt_tokens
        # The stream has the ids of what it wrote, so that the next cut is exact.
        assert stream.trail.is_whole
        longer = (Piece(whole[: size + 20]),)
        again = await read(await model.stream(Request(prompt, longer, GREEDY, trail=stream.trail)))
        assert whole[: size + 20] + "".join(chunk.text for chunk in again) == whole

    await with_server(work)


async def test_chat_prompt_token_ids_match_the_servers_count():
    async def work(model, server):
        prompt = (Message("system", "Be brief."), Message("user", question(59, 12, 63)))
        chunks = await read(await model.stream(Request(prompt, sampling=Sampling(max_tokens=1))))
        counted = [chunk.usage for chunk in chunks if chunk.usage is not None][-1].prompt_tokens
        stream = await model.stream(Request(prompt, (Piece("<think>"),), Sampling(max_tokens=1)))
        await read(stream)
        assert len(stream.trail.prompt) == counted

    await with_server(work)


async def test_corrected_runs_finish():
    async def work(model, server):
        corrected = 0
        for chain in CHAINS:
            async with interwhen.run(
                model, question(*chain), monitors=["arithmetic:remedy=repair"], sampling=GREEDY
            ) as run:
                async for _ in run:
                    pass
            result = run.result
            if not result.violations:
                continue
            corrected += 1
            start, factor, less = chain
            assert (result.resume.mode, result.finish_reason) == ("tokens", "stop")
            assert f"Answer: {start * factor - less}" in result.answer
            assert all(cost.cached_share >= 0.9 for cost in result.ledger.resumes), result.ledger.resumes
        assert corrected >= 2

    await with_server(work)


async def test_corrected_calls_of_a_wrapped_client_finish():
    async def work(_, server):
        corrected = 0
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.api_key) as bare:
            client = interwhen.wrap(bare, ["arithmetic:remedy=repair"], resume="tokens")
            for chain in CHAINS:
                stream = await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": question(*chain)}],
                    stream=True,
                    temperature=0,
                    max_tokens=400,
                )
                facts = [interwhen.clients.supervision_info(chunk) async for chunk in stream]
                result = facts[-1].result
                if not result.violations:
                    continue
                corrected += 1
                start, factor, less = chain
                assert (result.resume.mode, result.finish_reason) == ("tokens", "stop")
                assert f"Answer: {start * factor - less}" in result.answer
        assert corrected >= 2

    await with_server(work)


async def test_a_fork_continues_token_ids_with_scores():
    async def work(model, server):
        prompt = (Message("user", question(59, 12, 63)),)
        sampling = Sampling(max_tokens=4, temperature=0.0, logprobs=True, top_logprobs=2)
        completion = await model.complete(Request(prompt, (Piece("<think>\n59 × "),), sampling, side="10 = "))
        assert completion.text.startswith("590")
        assert completion.finish_reason == "length"
        assert [token.text for token in completion.tokens][:3] == ["5", "9", "0"]
        assert all(token.logprob <= 0 and len(token.top) == 2 for token in completion.tokens)
        assert completion.usage.completion_tokens == 4

    await with_server(work)
