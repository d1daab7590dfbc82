"""What real servers sent, played back to our adapters, wrapped clients and the gateway."""

import json

import anyio
import interwhen
import msgspec
import openai
import pytest
from interwhen import Sampling
from interwhen.models import ChatModel, Request, probe
from interwhen.models._questions import check_contract
from interwhen.testing.server import Head, ScriptedServer, ScriptedTransport, Send
from tests.contracts.recorded_http import PlaybackTransport, load_recording
from tests.contracts.servers import (
    EXPECTED,
    FOLDER,
    LLAMACPP,
    assert_diagnosed,
    assert_kept,
    doctor_file_of,
    expected_of,
    file_of,
    llamacpp,
)

pytestmark = pytest.mark.anyio

MOST_NEW = 6
NAMES = sorted(EXPECTED)
KNOWN_FIELDS = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "temperature",
    "stop",
    "logprobs",
    "tools",
}
"""Fields of requests that the OpenAI SDK takes as arguments."""


@pytest.fixture
def anyio_backend():
    return "asyncio"


def marks_of(report):
    return {line.name: line.mark for line in report.findings}


def streams_of(name):
    return [
        each
        for each in load_recording(file_of(name)).exchanges
        if each.path == "/v1/chat/completions" and each.body["stream"] and each.status == 200 and not each.is_cut
    ]


def deltas_of(exchange):
    reasoning, content, arguments = "", "", ""
    for line in exchange.answer.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                delta = choice["delta"]
                reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
                content += delta.get("content") or ""
                arguments += "".join(call["function"].get("arguments") or "" for call in delta.get("tool_calls") or ())
    return reasoning, content, arguments


def test_every_record_is_expected():
    files = [*map(file_of, NAMES), *map(doctor_file_of, NAMES)]
    assert sorted(FOLDER.iterdir()) == sorted(files)


@pytest.mark.parametrize("name", NAMES)
async def test_contract_playback_gives_the_real_servers_marks(name):
    transport = PlaybackTransport(load_recording(file_of(name)).exchanges)
    report = await check_contract("http://127.0.0.1:1/v1", "tiny", transport=transport)
    # An adapter that asks something new makes a line unknown until the server is recorded again.
    new = {line.name for line in report.findings if "the recording must have" in line.detail}
    assert len(new) <= MOST_NEW, f"run python -m tests.contracts.record {name}"
    assert marks_of(report) == expected_of(name) | dict.fromkeys(new, "unknown")


@pytest.mark.parametrize("name", NAMES)
async def test_the_doctor_says_truly_how_each_server_continues(name):
    # The doctor asks much of what the contract asks, and is recorded apart.
    exchanges = [each for file in (file_of(name), doctor_file_of(name)) for each in load_recording(file).exchanges]
    transport = PlaybackTransport(exchanges)
    assert_diagnosed(name, await probe("http://127.0.0.1:1/v1", "tiny", transport=transport))


@pytest.mark.parametrize("file", [file_of, doctor_file_of])
@pytest.mark.parametrize("name", NAMES)
def test_a_record_names_its_server_and_no_machine(name, file):
    recording = load_recording(file(name))
    assert len(recording.server.split()) >= 2, "name and version"
    text = msgspec.json.encode(recording).decode()
    for private in ("/work/", "/home/", "/root/", "/tmp/", "authorization", "Bearer"):
        assert private not in text
    assert file(name).stat().st_size < 64 * 1024


@pytest.mark.parametrize("name", NAMES)
async def test_the_adapter_reads_the_text_of_each_stream(name):
    for exchange in streams_of(name):
        transport = ScriptedTransport(lambda _, recorded=exchange: replayed(recorded))
        tools = {"tools": exchange.body["tools"]} if exchange.body.get("tools") else {}
        sampling = Sampling(logprobs=exchange.body.get("logprobs", False), extra=tools)
        async with ChatModel("http://host/v1", "tiny", transport=transport, resume="prefill") as model:
            stream, chunks = await model.stream(Request("Q", sampling=sampling)), []
            while more := await stream.receive():
                chunks += more
        reasoning, content, arguments = deltas_of(exchange)
        assert "".join(chunk.call.arguments for chunk in chunks if chunk.call) == arguments
        assert "".join(chunk.text for chunk in chunks if chunk.phase == "reasoning") == reasoning
        assert "".join(chunk.text for chunk in chunks if chunk.phase == "answer" and not chunk.call) == content
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] != ["truncated"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_wrapped_client_passes_each_stream_on(name):
    for exchange in streams_of(name):
        async with (
            ScriptedServer(lambda _, recorded=exchange: replayed(recorded)) as server,
            openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
        ):
            client = interwhen.wrap(bare, ["arithmetic:delivery=observe"])
            with anyio.fail_after(30):
                known = {key: value for key, value in exchange.body.items() if key in KNOWN_FIELDS}
                others = {key: value for key, value in exchange.body.items() if key not in KNOWN_FIELDS}
                stream = await client.chat.completions.create(**known, extra_body=others)
                reasoning, content, arguments = "", "", ""
                async for chunk in stream:
                    for choice in chunk.choices:
                        delta = choice.delta
                        reasoning += (
                            getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
                        )
                        content += delta.content or ""
                        arguments += "".join(call.function.arguments or "" for call in delta.tool_calls or ())
        assert (reasoning, content, arguments) == deltas_of(exchange)


def replayed(exchange):
    events = [event + "\n\n" for event in exchange.answer.split("\n\n") if event]
    return [Head(200, {"content-type": exchange.content_type}), *(Send(event.encode()) for event in events)]


@pytest.mark.slow
@pytest.mark.parametrize("name", LLAMACPP)
async def test_a_real_llama_cpp_keeps_the_recorded_contract(name):
    pytest.importorskip("xllamacpp")
    with llamacpp(name) as url:
        assert_kept(name, await check_contract(url, "tiny"))
