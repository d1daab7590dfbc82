"""llama.cpp slots on disk: the requests, the answers of the server, and one real server that is restarted."""

import json
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from interwhen import UsageError
from interwhen.models import StreamTimeout, UpstreamError
from interwhen.precompute import LlamaSlots
from interwhen.precompute._slots import SlotFile
from interwhen.testing.server import Head, ScriptedTransport, Send, Stall

pytestmark = pytest.mark.anyio
SAVED = b'{"id_slot": 0, "filename": "a.bin", "n_saved": 84, "n_written": 120, "timings": {"save_ms": 0.1}}'


def answering(*answers, status=200):
    """Return a transport that gives these answers in turn, each as its parts."""
    left = iter(answers)
    return ScriptedTransport(lambda _request: (Head(status, {}, chunked=False), *map(Send, next(left))))


@pytest.mark.parametrize("root", ["http://h:1", "http://h:1/", "http://h:1/v1"])
async def test_a_slot_is_saved_by_its_number_and_a_name(root):
    transport = answering((SAVED[:20], SAVED[20:]))
    found = await LlamaSlots(root, transport, headers={"authorization": "Bearer k"}).save(0, "a.bin")
    assert found == SlotFile(0, "a.bin", n_saved=84)
    (request,) = transport.requests
    assert (request.method, request.path) == ("POST", "/slots/0?action=save")
    assert json.loads(request.body) == {"filename": "a.bin"}
    assert request.headers["authorization"] == "Bearer k"
    assert transport.open_responses == 0


async def test_restoring_and_erasing():
    transport = answering([b'{"id_slot": 2, "n_restored": 84}'], [b'{"id_slot": 2, "n_erased": 84}'])
    assert (await LlamaSlots("http://h:1", transport).restore(2, "a.bin")).n_restored == 84
    assert (await LlamaSlots("http://h:1", transport).erase(2)).id_slot == 2
    assert transport.requests[1].path == "/slots/2?action=erase"


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a\nb", "x" * 121])
async def test_a_name_that_leads_elsewhere_is_refused(name):
    transport = answering()
    with pytest.raises(UsageError, match="the file of a slot must be named by"):
        await LlamaSlots("http://h:1", transport).save(0, name)
    assert transport.requests == []


async def test_a_server_that_was_not_told_where_to_save_is_explained():
    with pytest.raises(UpstreamError, match="--slot-save-path") as caught:
        await LlamaSlots("http://h:1", answering([b"not supported"], status=501)).save(0, "a.bin")
    assert caught.value.status == 501
    assert caught.value.body == "not supported"


async def test_an_answer_that_is_none_is_an_error():
    with pytest.raises(UpstreamError, match=r"must answer in llama\.cpp's format"):
        await LlamaSlots("http://h:1", answering([b"<html>"])).save(0, "a.bin")


async def test_a_server_that_hangs_is_given_up():
    with pytest.raises(StreamTimeout):
        await LlamaSlots("http://h:1", ScriptedTransport(lambda _request: (Stall(),)), seconds=5.0).restore(0, "a.bin")


SERVER = """
    import sys, time, xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path, params.slot_save_path = sys.argv[1], sys.argv[2] + "/"
    params.port, params.n_parallel, params.n_ctx, params.n_batch, params.n_ubatch = 0, 1, 1024, 64, 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_prompt, params.warmup, params.ui, params.verbosity = True, False, False, 0
    server = xllamacpp.Server(params)
    open(sys.argv[3], "w").write(server.listening_address)
    sys.stdin.read()
"""


@asynccontextmanager
async def llama(folder, name):
    import interwhen.models

    weights = Path(interwhen.models.__file__).parent / "tiny.gguf"
    said = folder / name
    command = [sys.executable, "-c", textwrap.dedent(SERVER), str(weights), str(folder), str(said)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with anyio.fail_after(60):
            while not (said.exists() and said.read_text()):
                await anyio.sleep(0.05)
        yield said.read_text()
    finally:
        child.kill()
        child.communicate()


@pytest.mark.slow
@pytest.mark.usefixtures("loop")
async def test_a_real_server_that_was_started_anew_has_its_prefix_again(tmp_path):
    pytest.importorskip("xllamacpp")
    from interwhen import Sampling
    from interwhen.models import CompletionsModel, Httpx2Transport, Request

    prompt = "Start with 64. Add 129. Multiply by 3. Subtract 17. Add 240. What is the result?"
    once = Request(prompt, sampling=Sampling(max_tokens=1, temperature=0.0))
    transport = Httpx2Transport()
    async with llama(tmp_path, "first") as url:
        model = CompletionsModel(f"{url}/v1", "tiny", transport=transport)
        assert not (await model.complete(once)).usage.cached_tokens
        saved = await LlamaSlots(url, transport).save(0, "total.bin")
        assert saved.n_saved >= len(prompt)
    async with llama(tmp_path, "second") as url:
        model = CompletionsModel(f"{url}/v1", "tiny", transport=transport)
        restored = await LlamaSlots(url, transport).restore(0, "total.bin")
        assert restored.n_restored == saved.n_saved
        assert (await model.complete(once)).usage.cached_tokens >= len(prompt) - 2
    await transport.aclose()
