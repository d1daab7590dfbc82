"""smolagents: the facts are in the memory of the agent."""

import interwhen
import interwhen.clients
import pytest
from tests.integrations.conftest import answering, is_caught

pytest.importorskip("smolagents", reason="smolagents is not installed")
import smolagents
from interwhen.integrations.smolagents import facts_in, supervise

pytestmark = pytest.mark.filterwarnings("ignore")


def model(server, monitors=("arithmetic",)):
    bare = smolagents.OpenAIModel("m", api_base=server.base_url, api_key="k", client_kwargs={"max_retries": 0})
    return supervise(bare, monitors)


def test_a_message_has_the_facts(server):
    message = model(server).generate([{"role": "user", "content": "17 * 24?"}])
    assert interwhen.clients.supervision_info(message.raw).result == message.interwhen.result
    assert message.interwhen.violations[0].monitor == "arithmetic"


def test_the_steps_of_an_agent_have_the_facts(server):
    texts = ["Thought: 17 * 24", " = 418\n"], ["<code>\nfinal_answer(408)\n</code>"]
    server._script = lambda request: answering(texts[min(request.number, 1)])
    agent = smolagents.CodeAgent([], model(server), max_steps=1, verbosity_level=0)
    assert agent.run("17 * 24?") == 408
    [facts] = facts_in(agent)
    assert is_caught(facts)
