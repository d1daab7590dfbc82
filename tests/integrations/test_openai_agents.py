"""OpenAI Agents: the facts are a span of the trace."""

import openai
import pytest
from interwhen.testing.server import ScriptedServer, reply
from tests.integrations.conftest import SOUND, is_caught

pytest.importorskip("agents", reason="openai-agents is not installed")
import agents
from interwhen.integrations.openai_agents import supervise

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]


class Spans(agents.TracingProcessor):
    def __init__(self):
        self.ended = []

    def on_span_end(self, span):
        self.ended.append(span)

    def on_span_start(self, span):
        pass

    on_trace_start = on_trace_end = on_span_start

    def shutdown(self):
        pass

    force_flush = shutdown

    @property
    def facts(self):
        return [s.span_data.data for s in self.ended if getattr(s.span_data, "name", "") == "interwhen"]


@pytest.fixture
def spans():
    recorded = Spans()
    agents.set_trace_processors([recorded])
    agents.set_tracing_disabled(False)
    yield recorded
    agents.set_trace_processors([])


@pytest.fixture
async def agent(server, anyio_backend):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare:
        model = agents.OpenAIChatCompletionsModel(model="m", openai_client=bare)
        yield agents.Agent(name="Calculator", model=supervise(model, ["arithmetic"]))


async def test_answer_records_supervision_facts(agent, spans):
    result = await agents.Runner.run(agent, "17 * 24?")
    assert result.final_output == SOUND
    [facts] = spans.facts
    assert is_caught(facts)


async def test_stream_records_supervision_facts(agent, spans):
    result = agents.Runner.run_streamed(agent, "17 * 24?")
    async for _ in result.stream_events():
        pass
    assert result.final_output.endswith(SOUND)
    [facts] = spans.facts
    assert is_caught(facts)


@pytest.mark.parametrize("streams", [False, True])
async def test_failing_call_is_reported(streams, spans):
    async with (
        ScriptedServer(lambda _: reply(400, b'{"error": {"message": "no"}}')) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        model = agents.OpenAIChatCompletionsModel(model="m", openai_client=bare)
        agent = agents.Agent(name="Calculator", model=supervise(model, ["arithmetic"]))

        async def ask():
            if not streams:
                return await agents.Runner.run(agent, "17 * 24?")
            return [each async for each in agents.Runner.run_streamed(agent, "17 * 24?").stream_events()]

        with pytest.raises(openai.BadRequestError):
            await ask()
    assert [facts["label"] for facts in spans.facts] == ["failed"]


async def test_a_reader_that_stops_early_ends_the_call(endless, spans):
    async with openai.AsyncOpenAI(base_url=endless.base_url, api_key="k", max_retries=0) as bare:
        model = supervise(agents.OpenAIChatCompletionsModel(model="m", openai_client=bare), ["arithmetic"])
        settings, tracing = agents.ModelSettings(), agents.ModelTracing.ENABLED
        with agents.trace("early"):
            events = model.stream_response(
                None, "17 * 24?", settings, [], None, [], tracing,
                previous_response_id=None, conversation_id=None, prompt=None,
            )  # fmt: skip
            await anext(events)
            await events.aclose()
    [facts] = spans.facts
    assert (facts["label"], facts["reasons"][0]) == ("unverified", "the reader left before the end")
