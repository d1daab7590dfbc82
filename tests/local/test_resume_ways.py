"""The doctor and the results of runs say truly how the real llama.cpp continues, in each of its forms of reasoning."""

import interwhen
import interwhen.clients
import openai
import pytest
from interwhen import Feedback, Repair, Resample
from interwhen.models import ChatModel, probe
from tests.contracts.servers import KINDS, llamacpp

from .support import PROMPT, REPAIR, refuting

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

FORMS = ("auto", "none", "deepseek", "deepseek-legacy")


@pytest.fixture(scope="module", params=KINDS)
def server(request):
    with llamacpp(request.param) as url:
        yield request.param, url


def expected(kind, form):
    if kind == "llamacpp-tags":
        return "prefill", None
    # Reasoning as text, and a template that writes a reasoning of its own before it: only token ids continue there.
    return ("tokens", None) if form == "none" else ("prefill", "field")


@pytest.mark.parametrize("form", FORMS)
async def test_runs_continue_exactly_at_cuts_and_report_how(server, form):
    kind, url = server
    sampling = interwhen.Sampling(max_tokens=200, temperature=0.0, extra={"reasoning_format": form})
    async with (
        ChatModel(url, "m", api_key="", headers={"connection": "close"}) as model,
        interwhen.run(model, PROMPT, monitors=[refuting(2)], sampling=sampling) as run,
    ):
        result = await run.drain()
    assert (result.resume.mode, result.resume.reasoning) == expected(kind, form)
    assert result.resume.reason
    # The reasoning continues after the repaired value, on the same line, and then with what the value leads to.
    (insertion,) = result.insertions
    assert result.text[insertion.span.start : insertion.span.end] == REPAIR
    assert "\n76 × 3 = 227\n" in result.reasoning
    assert result.answer.endswith("Answer: 227")
    (cost,) = result.ledger.resumes
    assert cost.cached_share >= 0.9
    assert result.ledger.probe_tokens == 0


async def test_a_wrapped_call_says_the_same(server):
    kind, url = server
    async with openai.AsyncOpenAI(base_url=url, api_key="k", default_headers={"connection": "close"}) as bare:
        client = interwhen.wrap(bare, [refuting(2)])
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": PROMPT[0].content}], max_tokens=200, temperature=0
        )
    result = answer.interwhen.result
    assert (result.resume.mode, result.resume.reasoning) == expected(kind, "auto")
    assert result.answer.endswith("Answer: 227")


async def test_the_doctor_says_the_same(server):
    kind, url = server
    way = (await probe(url, "m", api_key=""))["way of resuming"]
    assert way.mark == "ok"
    assert "in the answer by prefill (llamacpp" in way.detail
    assert ("in the reasoning by prefill (llamacpp" in way.detail) == (kind != "llamacpp-tags")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("remedy", [Feedback("append"), Feedback("rewind"), Resample(), Repair()], ids=str)
async def test_responses_continue_by_a_turn(remedy, stream, server):
    _, url = server
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as bare:
        client = interwhen.wrap(bare, [refuting(2, remedy=remedy, level="witness")])
        answer = await client.responses.create(
            model="m", input=PROMPT[0].content, max_output_tokens=200, temperature=0, stream=stream
        )
        last = [event async for event in answer][-1] if stream else answer
    result = interwhen.clients.supervision_info(last).result
    assert (result.resume.mode, result.ledger.remedies) == ("turn", 1)
    assert result.status in ("verified", "unverified")
