"""Wrapped calls to hosted models that hide their reasoning: what still works, and what the result says."""

import interwhen
import interwhen.clients
import openai
import pytest
from interwhen import Claim, Feedback, Monitor, ToolCalls, Violation
from interwhen.testing.server import ScriptedServer
from tests.hosted_server import THOUGHTS, Hosted

pytestmark = pytest.mark.anyio

VENDORS = ["openai", "anthropic", "gemini"]
APIS = [*((vendor, "chat") for vendor in VENDORS), ("openai", "responses")]
ASKED = "What is 17 * 24?"
WORDED = "A box holds 17 rows of 24 eggs. How many eggs are that?"
WRONG = "17 * 24 = 418.\nSo it is 418."
RIGHT = "17 * 24 = 408"
HIDDEN = "the model's reasoning was not sent, so no check has seen it"
TOOLS = [{"type": "function", "function": {"name": "delete", "parameters": {"type": "object", "properties": {}}}}]


async def ask(script, api, text=ASKED, *, monitors=("arithmetic",), options=None, **more):
    if script.vendor == "anthropic":
        more["extra_body"] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with (
        ScriptedServer(script, owned_by=script.vendor) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, list(monitors), **(options or {}))
        if api == "responses":
            answer = await client.responses.create(model="m", input=text, **more)
            return answer, interwhen.clients.supervision_info(answer).result
        answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)
        return answer, interwhen.clients.supervision_info(answer).result


@pytest.mark.parametrize(("vendor", "api"), APIS)
async def test_judged_answers_are_verified_and_report_hidden_reasoning(vendor, api):
    _, result = await ask(Hosted(vendor, RIGHT), api)
    assert result.label == "answer verified", result
    assert result.hidden_reasoning
    assert result.certificate.hidden_reasoning
    assert result.ledger.reasoning_tokens == (0 if vendor == "anthropic" else THOUGHTS)


@pytest.mark.parametrize(("vendor", "api"), APIS)
async def test_steps_alone_cannot_verify_when_reasoning_is_hidden(vendor, api):
    _, result = await ask(Hosted(vendor, RIGHT), api, WORDED)
    assert result.status == "unverified"
    assert HIDDEN in [reason.why for reason in result.unverified_reasons]


async def test_a_reasoning_summary_still_counts_as_hidden_reasoning():
    _, result = await ask(Hosted("openai", RIGHT, summary="I compute 17 * 24 = 408."), "responses", WORDED)
    assert result.reasoning == "I compute 17 * 24 = 408."
    assert result.hidden_reasoning
    assert HIDDEN in [reason.why for reason in result.unverified_reasons]


async def test_a_reasoning_item_without_tokens_hides_nothing():
    _, result = await ask(Hosted("openai", RIGHT, tokens=0), "responses", WORDED)
    assert result.label == "steps verified"
    assert not result.hidden_reasoning


@pytest.mark.parametrize(("vendor", "api"), APIS)
async def test_a_correction_goes_by_a_turn(vendor, api):
    script = Hosted(vendor, WRONG, "So it is 408.")
    _, result = await ask(script, api, monitors=["arithmetic:remedy=feedback"])
    assert result.resume.mode == "turn"
    assert result.ledger.remedies == 1
    assert result.hidden_reasoning
    turns = script.accepted[1]["input" if api == "responses" else "messages"]
    assert turns[-1]["role"] == "user"


async def test_a_refused_prefill_becomes_a_turn_for_good():
    script = Hosted("anthropic", WRONG, "17 * 24 = 418.", "So it is 408.")
    _, result = await ask(script, "chat", monitors=["arithmetic:remedy=feedback"], options={"resume": "prefill"})
    assert result.resume.mode == "turn"
    assert all(body["messages"][-1]["role"] == "user" for body in script.accepted)


@pytest.mark.parametrize(("vendor", "api"), APIS)
async def test_gate_and_final_hold_the_answer(vendor, api):
    for reading in ("gate", "final"):
        script = Hosted(vendor, WRONG, "So it is 408.")
        answer, result = await ask(script, api, monitors=["arithmetic:remedy=resample"], options={"reading": reading})
        said = answer.output_text if api == "responses" else answer.choices[0].message.content
        assert "418" not in said
        assert result.ledger.remedies == 1


@pytest.mark.parametrize(("vendor", "api"), APIS)
async def test_a_fork_does_without_refused_options(vendor, api):
    @interwhen.verifier(name="sure")
    def sure(claim):
        return interwhen.Pass()

    def parse(reply, segment):
        return [Claim(key=reply, span=segment.span)]

    fork = interwhen.Fork("Right?", parse, max_tokens=400, stop=("\n",))
    monitor = Monitor(name="fork", extractor=fork, verifier=sure)
    _, result = await ask(Hosted(vendor, RIGHT, fork="yes\nand more"), api, monitors=[monitor])
    assert [record.key for record in result.checks] == ["yes"], result


async def test_a_refused_gemini_call_keeps_its_thought_signature():
    @interwhen.verifier(name="no-deletes")
    def check(claim):
        return Violation(why="nothing may be deleted")

    def extract(segment):
        if segment.call is not None:
            yield Claim(key=segment.call.name, span=segment.span)

    never = Monitor(
        name="no-deletes",
        trigger=ToolCalls(),
        extractor=extract,
        verifier=check,
        delivery="gate_tools",
        remedy=Feedback(),
        unproven="closed",
    )
    script = Hosted("gemini", "I did not.", call=("delete", "{}"))
    answer, _ = await ask(script, "chat", monitors=[never], tools=TOOLS)
    assert answer.choices[0].message.content == "I did not."
    assert not answer.choices[0].message.tool_calls
    (call,) = next(turn["tool_calls"] for turn in script.accepted[1]["messages"] if turn.get("tool_calls"))
    assert call["extra_content"] == {"google": {"thought_signature": "c2ln"}}
