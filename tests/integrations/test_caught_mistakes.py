"""A real mistake of the tiny model, found in every place at once, in five libraries: nothing is injected."""

import json
from importlib.util import find_spec

import anyio
import interwhen
import interwhen.clients
import interwhen.integrations
import openai
import pytest
from anyio.from_thread import start_blocking_portal
from interwhen.clients import SupervisedCall

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="not installed: xllamacpp (extra 'local')"),
]

PROBLEMS = tuple(
    f"Start with {start}. Add {start // 2 + 1687}. Multiply by {factor}. Subtract {start - 1408}. Result?"
    for start in range(2719, 9999, 613)
    for factor in (7, 8)
)
"""Larger numbers than the model is at home with."""


@pytest.fixture(scope="module")
def endpoint():
    from interwhen.models._local_server import LocalServer, ServerOptions
    from interwhen.models._local_weights import find_weights, parse_weights

    with start_blocking_portal() as portal:
        server = portal.call(LocalServer.start, find_weights(parse_weights("tiny")), ServerOptions(context=1024))
        try:
            yield {"base_url": f"{server.url}/v1", "api_key": server.api_key, "max_retries": 0}
        finally:
            portal.call(server.stop)


@pytest.fixture(scope="module")
def problem(endpoint):
    with interwhen.wrap(openai.OpenAI(**endpoint), monitors=["arithmetic"]) as client:
        for asked in PROBLEMS:
            messages = [{"role": "user", "content": asked}]
            answer = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=200)
            if answer.interwhen.violations:
                return asked
    pytest.fail("the model made no mistake: choose other problems")


def by_langchain(endpoint, problem, options):
    from interwhen.integrations.langchain import supervise
    from langchain_openai import ChatOpenAI

    model = supervise(ChatOpenAI(model="tiny", temperature=0, max_tokens=200, **endpoint), ["arithmetic"], **options)
    return model.invoke(problem).response_metadata["interwhen"]


def by_pydantic_ai(endpoint, problem, options):
    from interwhen.integrations.pydantic_ai import supervise
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def ask():
        async with openai.AsyncOpenAI(**endpoint) as client:
            provider = OpenAIProvider(openai_client=client)
            model = supervise(OpenAIChatModel("tiny", provider=provider), ["arithmetic"], **options)
            return await Agent(model, model_settings={"temperature": 0, "max_tokens": 200}).run(problem)

    return anyio.run(ask).all_messages()[-1].metadata["interwhen"]


def by_openai_agents(endpoint, problem, options):
    import agents
    from interwhen.integrations.openai_agents import supervise

    class Spans(agents.TracingProcessor):
        facts = None

        def on_span_end(self, span):
            if getattr(span.span_data, "name", "") == "interwhen":
                self.facts = span.span_data.data

        def on_span_start(self, span):
            pass

        on_trace_start = on_trace_end = on_span_start

        def shutdown(self):
            pass

        force_flush = shutdown

    async def ask():
        # A client that is left open closes itself at some later garbage collection, in the loop of another test.
        async with openai.AsyncOpenAI(**endpoint) as client:
            bare = agents.OpenAIChatCompletionsModel(model="tiny", openai_client=client)
            settings = agents.ModelSettings(temperature=0, max_tokens=200)
            agent = agents.Agent(name="a", model=supervise(bare, ["arithmetic"], **options), model_settings=settings)
            await agents.Runner.run(agent, problem)

    spans = Spans()
    agents.set_trace_processors([spans])
    agents.set_tracing_disabled(False)  # another test may have switched it off
    try:
        anyio.run(ask)
    finally:
        agents.set_trace_processors([])
    return spans.facts


def by_smolagents(endpoint, problem, options):
    import smolagents
    from interwhen.integrations import facts_of
    from interwhen.integrations.smolagents import supervise

    bare = smolagents.OpenAIModel(
        "tiny", api_base=endpoint["base_url"], api_key=endpoint["api_key"], temperature=0, max_tokens=200
    )
    message = supervise(bare, ["arithmetic"], **options).generate([{"role": "user", "content": problem}])
    assert interwhen.clients.supervision_info(message.raw).violations
    return facts_of(message.interwhen)


def by_litellm(endpoint, problem, options):
    import litellm
    from interwhen.integrations.litellm import attach_facts

    client = interwhen.wrap(openai.OpenAI(**endpoint), monitors=["arithmetic"], **options)
    messages = [{"role": "user", "content": problem}]
    response = attach_facts(litellm.completion)(
        model="openai/tiny", messages=messages, client=client, temperature=0, max_tokens=200
    )
    return response._hidden_params["interwhen"]


LIBRARIES = {
    "langchain_openai": by_langchain,
    "pydantic_ai": by_pydantic_ai,
    "agents": by_openai_agents,
    "smolagents": by_smolagents,
    "litellm": by_litellm,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_mistake_is_reported_by_every_observer(library, endpoint, problem, tmp_path):
    pytest.importorskip(library, reason=f"{library} is not installed")
    told, events = [], []
    file = tmp_path / "audit.jsonl"
    options = {
        "audit": file,
        "journal": tmp_path / "journals",
        "on_result": told.append,
        "on_event": lambda event, call_id: events.append((event, call_id)),
    }
    with interwhen.integrations.watching() as seen:
        facts = LIBRARIES[library](endpoint, problem, options)
    wait_for(lambda: told and file.exists() and file.read_bytes().endswith(b"\n"))
    [line] = map(json.loads, file.read_text().splitlines())
    [by_context] = seen
    [by_function] = told
    assert isinstance(by_function, SupervisedCall)
    assert interwhen.integrations.last().call_id == by_function.call_id
    for call in (by_context, by_function):
        assert call.violations
        assert {violation.monitor for violation in call.violations} == {"arithmetic"}
    assert by_context.result == by_function.result
    journal = tmp_path / "journals" / f"{line['call_id']}.journal"
    wait_for(lambda: has_ended(journal))
    recorded = interwhen.journal.read_journal(journal)
    assert recorded.header.monitors[0].untrusted_spec == "arithmetic"  # recheck makes the monitor from it
    # All places speak of the same call and of the same violations.
    ids = {facts["call_id"], by_context.call_id, by_function.call_id, line["call_id"], *(one for _, one in events)}
    assert len(ids) == 1
    whys = [violation.why for violation in by_context.violations]
    assert [violation["why"] for violation in facts["violations"]] == whys
    assert len(line["violations"]) == len(whys)
    assert [violation.why for violation in recorded.result.violations] == whys
    assert any(
        isinstance(event, interwhen.events.ViolationFound) and event.violation.why == whys[0] for event, _ in events
    )


def has_ended(journal):
    try:
        return interwhen.journal.read_journal(journal).result is not None
    except interwhen.journal.JournalError:  # there is no file yet, or its head is still to be written
        return False


def wait_for(done):
    import time

    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
