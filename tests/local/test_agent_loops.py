"""Real agent loops of several steps on the model of this repo, which writes no call: nothing is read, held or changed."""

import openai
import pytest
from interwhen import Monitor, Pass, ToolCalls, run_sync, verifier, wrap
from interwhen.integrations import watching
from interwhen.models import read_messages
from interwhen.testing import End, ScriptedModel
from tests.contracts.servers import llamacpp

# smolagents and the openai package have deprecations of their own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUESTION = "Start with 64. Add 29. Subtract 17. Multiply by 3. What is the result?"
STEPS, TOKENS = 2, 60
"""Few: with the hints that smolagents gives after a reply without code, more would not fit the context of the model."""
REACT = "Tools: add, in JSON.\nUse this format:\nThought: ...\nAction: add\nAction Input: ...\nObservation: ...\n"
CODE = """Thought, Observation. Tools:
{{code_block_opening_tag}}
{%- for tool in tools.values() %}
{{ tool.to_code_prompt() }}
{% endfor %}"""


@verifier(name="seen", worker="inline")
def seen(_):
    return Pass()


def gate(found):
    def extract(segment):
        found.append(segment.text)
        return ()

    return Monitor(
        name="seen",
        trigger=ToolCalls(unreadable="extract"),
        extractor=extract,
        verifier=seen,
        delivery="gate_tools",
        required=False,
    )


@pytest.fixture(scope="module")
def url():
    with llamacpp("llamacpp-tags") as url:
        yield url


def react(client):
    messages = [{"role": "system", "content": REACT}, {"role": "user", "content": QUESTION}]
    asked, replies = list(messages), []
    for _ in range(STEPS):
        answer = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=TOKENS, temperature=0, stop=["\nObservation"]
        )
        replies.append(answer.choices[0].message.content)
        messages += [
            {"role": "assistant", "content": replies[-1]},
            {"role": "user", "content": "Observation: no action was found"},
        ]
    return replies, read_messages(asked)


def code(client):
    smolagents = pytest.importorskip("smolagents", reason="smolagents is not installed")

    def add(one: int, other: int) -> int:
        """Add two numbers.

        Args:
            one: a number
            other: a number
        """
        return one + other

    model = smolagents.OpenAIModel(
        "tiny",
        api_base=str(client.base_url),
        api_key="none",
        max_tokens=TOKENS,
        temperature=0,
        flatten_messages_as_text=True,
    )
    model.client = client
    agent = smolagents.CodeAgent([smolagents.tool(add)], model, max_steps=STEPS, verbosity_level=0)
    # The prompt of smolagents is longer than the context of the model.
    agent.prompt_templates["system_prompt"] = CODE
    replies, asked = [], []

    def note(step, **_):
        if step.model_input_messages is None:
            return  # the step that smolagents adds when no further step is allowed
        replies.append(step.model_output)
        asked.append(read_messages([each.dict() for each in step.model_input_messages]))

    agent.step_callbacks.register(smolagents.ActionStep, note)
    agent.run(QUESTION)
    return replies, asked[0]


@pytest.mark.parametrize(
    ("loop", "call"),
    [(react, 'Action: add\nAction Input: {"one": 1, "other": 2}'), (code, "<code>\nadd(1, 2)\n</code>")],
)
def test_an_agent_loop_without_calls_is_not_changed(loop, call, url):
    options = {"base_url": url, "api_key": "none", "max_retries": 2, "default_headers": {"connection": "close"}}
    answers = []
    with openai.OpenAI(**options) as bare:
        plain, messages = loop(bare)
        with watching() as calls:
            assert loop(wrap(bare, monitors=[gate(answers)])) == (plain, messages)
    assert len([reply for reply in plain if reply]) == STEPS
    assert answers == []
    assert len(calls) >= STEPS
    assert all(each.result.status != "abstained" and not each.violations for each in calls)
    # The request shows that calls may come, and a call would have been found.
    with run_sync(ScriptedModel([[call, End("stop")]]), messages, monitors=[gate(answers)]) as run:
        run.drain()
    assert answers
