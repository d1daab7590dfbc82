"""Runs with hosted models that hide their reasoning: what still works, and what the result says."""

import interwhen
import pytest
from interwhen import Message, Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request
from interwhen.testing.server import ScriptedServer
from tests.hosted_server import THOUGHTS, Hosted

VENDORS = ["openai", "anthropic", "gemini"]
ASKED = (Message("user", "What is 17 * 24?"),)
WORDED = (Message("user", "A box holds 17 rows of 24 eggs. How many eggs are that?"),)
WRONG = "17 * 24 = 418.\nSo it is 418."
RIGHT = "17 * 24 = 408"
HIDDEN = "the model's reasoning was not sent, so no check has seen it"


async def supervised(script, prompt=ASKED, *, monitor="arithmetic", **options):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if script.vendor == "anthropic" else {}
    options.setdefault("sampling", Sampling(max_tokens=500, extra=thinking))
    async with (
        ScriptedServer(script, owned_by=script.vendor) as server,
        ChatModel(server.base_url, "hosted", resume=options.pop("resume", "auto")) as model,
        interwhen.run(model, prompt, monitors=[monitor], **options) as run,
    ):
        async for _ in run:
            pass
        return run.result


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_verified_answer_says_that_reasoning_was_hidden(vendor):
    result = await supervised(Hosted(vendor, RIGHT))
    assert result.label == "answer verified", result
    assert result.hidden_reasoning
    assert result.certificate.hidden_reasoning
    assert result.ledger.reasoning_tokens == (0 if vendor == "anthropic" else THOUGHTS)


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_steps_alone_never_verify_traces_with_hidden_reasoning(vendor):
    result = await supervised(Hosted(vendor, RIGHT), WORDED)
    assert result.status == "unverified"
    assert result.hidden_reasoning
    assert HIDDEN in [reason.why for reason in result.unverified_reasons]


@pytest.mark.anyio
async def test_a_journal_keeps_what_was_hidden(tmp_path):
    path = tmp_path / "run.jsonl"
    result = await supervised(Hosted("openai", RIGHT), WORDED, journal=path)
    again = interwhen.replay(path)
    assert again.differences == ()
    assert again.result.hidden_reasoning
    assert again.result.ledger.reasoning_tokens == result.ledger.reasoning_tokens == THOUGHTS


@pytest.mark.anyio
async def test_a_model_that_never_reasoned_has_verified_steps():
    result = await supervised(Hosted("openai", RIGHT, tokens=0), WORDED)
    assert result.label == "steps verified"
    assert not result.hidden_reasoning
    assert not result.certificate.hidden_reasoning


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_correction_goes_by_a_turn(vendor):
    script = Hosted(vendor, WRONG, "So it is 408.")
    result = await supervised(script, monitor="arithmetic:remedy=feedback")
    assert result.resume.mode == "turn"
    assert result.ledger.remedies == 1
    assert script.accepted[1]["messages"][-1]["role"] == "user"
    assert result.answer.endswith("So it is 408.")
    assert result.hidden_reasoning


@pytest.mark.anyio
async def test_a_refused_prefill_becomes_a_turn_without_retry():
    script = Hosted("anthropic", WRONG, "17 * 24 = 418.", "So it is 408.")
    result = await supervised(script, monitor="arithmetic:remedy=feedback", resume="prefill")
    assert result.resume.mode == "turn"
    assert result.status != "failed"
    assert all(body["messages"][-1]["role"] == "user" for body in script.accepted)


@pytest.mark.anyio
async def test_max_tokens_gets_the_name_the_model_wants():
    script = Hosted("openai", RIGHT)
    async with ScriptedServer(script) as server, ChatModel(server.base_url, "hosted") as model:
        for _ in range(2):
            await (await model.stream(Request(ASKED, sampling=Sampling(max_tokens=500)))).aclose()
        tried = [("max_tokens" in post.json, post.json.get("max_completion_tokens")) for post in server.posts]
    assert tried == [(True, None), (False, 500), (False, 500)]


@pytest.mark.anyio
async def test_a_temperature_of_the_caller_is_not_dropped():
    # A refused option of the caller is an error. Only forks do without their options.
    async with ScriptedServer(Hosted("openai", RIGHT)) as server, ChatModel(server.base_url, "hosted") as model:
        with pytest.raises(interwhen.models.ModelError, match="temperature"):
            await model.stream(Request(ASKED, sampling=Sampling(temperature=0.0)))


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_forks_drop_refused_options_and_respect_stop_sequences(vendor):
    script = Hosted(vendor, RIGHT, fork="yes\nand more")
    async with ScriptedServer(script) as server, ChatModel(server.base_url, "hosted", resume="turn") as model:
        sampling = Sampling(max_tokens=400, temperature=0.0, stop=("\n",), logprobs=True, seed=7)
        asked = Request(ASKED, (Piece(RIGHT),), sampling, side="Is that right?")
        for _ in range(2):
            completion = await model.complete(asked)
            assert completion.text == "yes"
        assert len(server.posts) <= 6
        assert [body["messages"][-1] for body in script.accepted] == [{"role": "user", "content": "Is that right?"}] * 2
    assert completion.usage.reasoning_tokens == (None if vendor == "anthropic" else THOUGHTS)


@pytest.mark.anyio
async def test_forks_spending_all_tokens_on_reasoning_are_errors():
    # Its reply is empty. That does not say that there is nothing to check.
    @interwhen.verifier(name="sure")
    def sure(claim):
        return interwhen.Pass()

    fork = interwhen.Fork("Right?", lambda reply, segment: (), max_tokens=64)
    monitor = interwhen.Monitor(name="fork", extractor=fork, verifier=sure)
    result = await supervised(Hosted("openai", RIGHT), monitor=monitor)
    assert result.status == "unverified"
    assert any("more than 64 tokens" in reason.why for reason in result.unverified_reasons), result.unverified_reasons
