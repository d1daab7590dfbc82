"""Real agent loops that read calls in the text, against a scripted server: a refused tool never runs.

The loops are smolagents' agents and a ReAct loop with the pattern that LangChain publishes. The texts are scripted,
because the model of this repo is too small to write calls.
"""

import re

import interwhen
import openai
import pytest
from interwhen import Claim, Feedback, Monitor, Pass, Violation
from interwhen.testing._server_script import counts
from interwhen.testing.server import events
from page import whole

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BAD, GOOD = "mallory", "bob"


@interwhen.verifier(name="recipients", worker="inline")
def check(claim):
    return Violation(why=f"{BAD} is not a known recipient") if BAD in claim.key else Pass()


def extract(segment):
    for number, call in enumerate(segment.calls):
        if call.name == "send_money":
            yield Claim(key=f"{call.arguments} {number}", span=segment.span)


def recipients(**options):
    options = {"delivery": "gate_tools", "remedy": Feedback(), "level": "explain", **options}
    return Monitor(
        name="recipients", verifier=check, extractor=extract, trigger=interwhen.ToolCalls(), required=False, **options
    )


def answering(*texts):
    seen = []

    def script(request):
        seen.append(request.json)
        text = texts[min(len(seen), len(texts)) - 1]
        if request.json.get("stream"):
            *chunks, end = events([text[at : at + 6] for at in range(0, len(text), 6)], api="chat")
            return (*chunks, counts(1, len(text) // 6 + 1), end)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return whole(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        )

    return script, seen


# A ReAct loop

PROMPT = """Answer the question. You have this tool:

send_money: sends an amount to a recipient. The input is JSON with recipient and amount.

Use this format:
Thought: what to do
Action: send_money
Action Input: the input of the action
Observation: the result of the action
Final Answer: the answer
"""
ACTION = re.compile(r"Action\s*\d*\s*:[\s]*(.*?)[\s]*Action\s*\d*\s*Input\s*\d*\s*:[\s]*(.*)", re.DOTALL)
"""The pattern with which LangChain's ReAct agents read an action."""


def react(client, sent, steps=4):
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": "Pay the bill."}]
    for _ in range(steps):
        answer = client.chat.completions.create(model="m", messages=messages, stop=["\nObservation"])
        text = answer.choices[0].message.content or ""
        action = ACTION.search(text)
        if action is None:
            return text
        sent.append(action[2].strip())
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Observation: sent"}]
    return None


def test_a_react_loop_runs_what_was_not_refused(serve):
    bad = f'Thought: I pay.\nAction: send_money\nAction Input: {{"recipient": "{BAD}", "amount": 9}}'
    script, seen = answering(bad, bad.replace(BAD, GOOD), "Final Answer: paid")
    server = serve(script)
    with openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0) as plain:
        sent = []
        react(plain, sent, steps=1)
        assert BAD in sent[0]  # without supervision it is sent
    seen.clear()
    with interwhen.wrap(
        openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0), monitors=[recipients()]
    ) as client:
        sent = []
        assert react(client, sent) == "Final Answer: paid"
    assert [BAD in text for text in sent] == [False]
    assert GOOD in sent[0]
    assert f"{BAD} is not a known recipient" in str(seen[1]["messages"])


def test_a_react_loop_never_runs_an_unreadable_action(serve):
    bad = f'Thought: I pay.\nAction: send_money\nAction Input: {{"recipient": {BAD}, "amount": 9}}'
    script, _ = answering(bad)
    server = serve(script)
    with interwhen.wrap(
        openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0), monitors=[recipients()]
    ) as client:
        sent = []
        react(client, sent)
    assert sent == []


# smolagents


def smolagents_tools(smolagents, sent):
    class SendMoney(smolagents.Tool):
        name = "send_money"
        description = "Sends money."
        inputs = {  # noqa: RUF012  smolagents wants it so
            "recipient": {"type": "string", "description": "Who gets it."},
            "amount": {"type": "number", "description": "How much."},
        }
        output_type = "string"

        def forward(self, recipient, amount):
            sent.append((recipient, amount))
            return "sent"

    return [SendMoney()]


def smolagents_model(smolagents, server, monitors):
    model = smolagents.OpenAIModel("m", api_base=server.base_url, api_key="key", client_kwargs={"max_retries": 0})
    if monitors:
        model.client = interwhen.wrap(model.client, monitors=monitors)
    return model


CODE = [
    f'Thought: I pay the bill.\n<code>\nname = "{BAD}"\nsend_money(recipient=name, amount=9)\n',
    f'Thought: I pay the bill.\n<code>\nsend_money("{GOOD}", 9)\n',
    'Thought: Done.\n<code>\nfinal_answer("paid")\n',
]


@pytest.mark.parametrize("supervised", [False, True])
def test_code_agent(supervised, serve):
    # The closing tag is a stop sequence, so that it never comes: the end of the text ends the call.
    smolagents = pytest.importorskip("smolagents", reason="smolagents is not installed")
    script, seen = answering(*(CODE if supervised else [CODE[0], CODE[2]]))
    sent = []
    model = smolagents_model(smolagents, serve(script), [recipients()] if supervised else [])
    agent = smolagents.CodeAgent(smolagents_tools(smolagents, sent), model, max_steps=3, verbosity_level=0)
    assert agent.run("Pay the bill.") == "paid"
    assert sent == [(GOOD, 9)] if supervised else sent == [(BAD, 9)]
    if supervised:
        assert f"{BAD} is not a known recipient" in str(seen[1]["messages"])


def test_code_agent_with_fences(serve):
    smolagents = pytest.importorskip("smolagents", reason="smolagents is not installed")
    texts = [text.replace("<code>", "```python") + "```" for text in CODE]
    script, _ = answering(*texts)
    sent = []
    model = smolagents_model(smolagents, serve(script), [recipients()])
    agent = smolagents.CodeAgent(smolagents_tools(smolagents, sent), model, max_steps=3, verbosity_level=0)
    assert agent.run("Pay the bill.") == "paid"
    assert sent == [(GOOD, 9)]


def test_code_agent_with_code_that_cannot_be_read(serve):
    smolagents = pytest.importorskip("smolagents", reason="smolagents is not installed")
    script, _ = answering(f'<code>\nsend_money("{BAD}", 9\n', CODE[2])
    sent = []
    model = smolagents_model(smolagents, serve(script), [recipients()])
    agent = smolagents.CodeAgent(smolagents_tools(smolagents, sent), model, max_steps=2, verbosity_level=0)
    agent.run("Pay the bill.")
    assert sent == []


def test_tool_calling_agent_whose_server_parses_no_calls(serve):
    smolagents = pytest.importorskip("smolagents", reason="smolagents is not installed")
    bad = f'Action:\n{{"name": "send_money", "arguments": {{"recipient": "{BAD}", "amount": 9}}}}'
    final = 'Action:\n{"name": "final_answer", "arguments": {"answer": "paid"}}'
    script, _ = answering(bad, bad.replace(BAD, GOOD), final)
    sent = []
    model = smolagents_model(smolagents, serve(script), [recipients()])
    agent = smolagents.ToolCallingAgent(smolagents_tools(smolagents, sent), model, max_steps=3, verbosity_level=0)
    assert agent.run("Pay the bill.") == "paid"
    assert sent == [(GOOD, 9)]
