"""LangChain: the facts are in the metadata of its messages."""

import interwhen
import interwhen.integrations
import pytest
from tests.integrations.conftest import SOUND, is_caught

pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
from interwhen.integrations.langchain import supervise
from langchain_openai import ChatOpenAI

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]


def chat(server, **options):
    bare = ChatOpenAI(model="m", base_url=server.base_url, api_key="k", max_retries=0, **options)
    return supervise(bare, ["arithmetic"]), bare


def test_answer_carries_supervision_facts(server):
    model, bare = chat(server)
    message = model.invoke("17 * 24?")
    assert message.content == SOUND
    assert is_caught(message.response_metadata["interwhen"])
    assert message.response_metadata["finish_reason"] == "stop"
    assert isinstance(model, ChatOpenAI)
    assert bare.client is not model.client


async def test_async_answer_carries_supervision_facts(server):
    model, _ = chat(server)
    assert is_caught((await model.ainvoke("17 * 24?")).response_metadata["interwhen"])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_stream_carries_supervision_facts(kind, server):
    model, _ = chat(server)
    chunks = list(model.stream("17 * 24?")) if kind == "sync" else [c async for c in model.astream("17 * 24?")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.content.endswith(SOUND)
    assert is_caught(whole.response_metadata["interwhen"])


def test_a_chain_with_tools_keeps_the_supervision(server):
    from langchain_core.prompts import ChatPromptTemplate

    model, _ = chat(server)
    chain = ChatPromptTemplate.from_messages([("user", "{q}")]) | model.bind(stop=["END"])
    assert is_caught(chain.invoke({"q": "17 * 24?"}).response_metadata["interwhen"])


def test_a_graph_keeps_the_facts_in_its_messages(server):
    graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    model, _ = chat(server)
    builder = graph.StateGraph(graph.MessagesState)
    builder.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(graph.START, "ask")
    with interwhen.integrations.watching() as seen:
        state = builder.compile().invoke({"messages": [("user", "17 * 24?")]})
    facts = state["messages"][-1].response_metadata["interwhen"]
    assert is_caught(facts)
    assert [call.call_id for call in seen] == [facts["call_id"]]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_reader_that_stops_early_ends_the_call(kind, endless):
    model, _ = chat(endless)
    with interwhen.integrations.watching() as seen:
        if kind == "sync":
            stream = model.stream("17 * 24?")
            next(stream)
            stream.close()
        else:
            stream = model.astream("17 * 24?")
            await anext(stream)
            await stream.aclose()
    [call] = seen
    assert call.result.unverified_reasons[0].why == "the reader left before the end"
