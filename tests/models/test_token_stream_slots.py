"""A resume on llama.cpp waits until the slot of the closed stream is free, and for nothing else."""

import json

import anyio
import pytest
from interwhen._types.models import Piece
from interwhen.models import ChatModel, CompletionsModel, Request, UpstreamError
from interwhen.models._token_stream import MOST_LOOKS, MOST_SECONDS, SlotRelease
from interwhen.testing.server import ScriptedServer, Stall, events, reply

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def long(request, monkeypatch):
    if "given_up" not in request.node.name:
        monkeypatch.setattr("interwhen.models._token_stream.MOST_SECONDS", 60.0)


class Stream:
    def __init__(self):
        self.is_open, self.was_cut = True, False

    def cut(self):
        self.is_open, self.was_cut = False, True


class Server:
    """Answers what slots process, one list of (slot, task) for each look; the last one for ever."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.asked = 0

    async def __call__(self):
        await anyio.lowlevel.checkpoint()
        self.asked += 1
        busy = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(busy, Exception):
            raise busy
        free = [{"id": 9, "is_processing": False}]
        return json.dumps(free + [{"id": a, "id_task": b, "is_processing": True} for a, b in busy]).encode()


def releases(*streams):
    release = SlotRelease()
    for stream in streams:
        release.add(stream)
    return release


async def looks_for(server, *streams):
    await releases(*streams).wait(server)
    return server.asked


def cut():
    stream = Stream()
    stream.cut()
    return stream


def over():
    stream = Stream()
    stream.is_open = False
    return stream


async def test_a_resume_waits_for_the_closed_streams_slot():
    assert await looks_for(Server([(0, 7)], [(0, 7)], []), cut()) == 3


async def test_without_a_closed_stream_no_slots_are_queried():
    assert await looks_for(Server([(0, 7)]), Stream(), over()) == 0


async def test_open_streams_and_requests_keep_their_slots():
    assert await looks_for(Server([(0, 7), (1, 8)], [(1, 8)]), cut(), Stream()) == 2
    waiting = releases(cut())
    with waiting.asking():
        server = Server([(1, 8)])
        await waiting.wait(server)
    assert server.asked == 1


async def test_a_slot_counts_once():
    waiting, server = releases(cut()), Server([])
    await waiting.wait(server)
    await waiting.wait(server)
    assert server.asked == 1


async def test_the_end_of_any_clients_task_ends_waiting():
    assert await looks_for(Server([(0, 7), (1, 8), (2, 9)], [(1, 8), (2, 9)]), cut()) == 2
    # The slot is free for a moment, and another client's task gets it.
    assert await looks_for(Server([(0, 7)], [(0, 8)]), cut()) == 2


async def test_waiting_ends_though_the_server_ignores_closed_connections():
    assert await looks_for(Server([(0, 7)]), cut()) == MOST_LOOKS


async def test_a_server_that_never_answers_is_given_up(anyio_backend):
    async def silent():
        await anyio.sleep_forever()

    began = anyio.current_time()
    with anyio.fail_after(60):
        await releases(cut()).wait(silent)
    assert anyio.current_time() - began >= MOST_SECONDS - 0.1


@pytest.mark.parametrize("bad", [UpstreamError("no", status=501), b"{}", b"\xff", b'[{"id": "a"}]'])
async def test_a_server_without_slots_is_asked_once(bad):
    asked = []

    async def answer():
        asked.append(1)
        if isinstance(bad, Exception):
            raise bad
        return bad

    waiting = releases(cut())
    await waiting.wait(answer)
    waiting.add(cut())
    await waiting.wait(answer)
    assert len(asked) == 1


# ------------------------------------------------------------------------------------------ the adapters


def llama(looks):
    left = [looks]

    def pages(request):
        if request.path == "/props":
            return reply(404, b"{}")
        if request.path == "/slots":
            left[0] -= 1
            return reply(200, json.dumps([{"id": 0, "id_task": 1, "is_processing": left[0] >= 0}]).encode())
        assert request.path == "/v1/models"
        return reply(200, b'{"data": [{"id": "m", "owned_by": "llamacpp"}]}')

    return pages


def script(request):
    api = "chat" if "chat" in request.path else "completions"
    if request.number == 0:
        return (*events(["Mon", "day"], api=api)[:2], Stall())
    return events(["s"], api=api)


async def cut_and_resumed(kind, pages):
    async with ScriptedServer(script, pages=pages) as server, kind(server.base_url, "m") as model:
        stream = await model.stream(Request("Q"))
        await stream.receive()
        await stream.aclose()
        stream = await model.stream(Request("Q", (Piece("Mon"),)))
        await stream.aclose()
        stream = await model.stream(Request("Q", (Piece("Monday"),)))
        await stream.aclose()
        return [request.path for request in server.requests], [post.json for post in server.posts]


@pytest.mark.parametrize("kind", [ChatModel, CompletionsModel])
async def test_the_adapters_wait_before_a_resume(kind):
    paths, bodies = await cut_and_resumed(kind, llama(2))
    path = "/v1/chat/completions" if kind is ChatModel else "/v1/completions"
    paths = [path for path in paths if path not in {"/props", "/apply-template"}]
    assert paths[:6] == [path, "/v1/models", "/slots", "/slots", "/slots", path]
    assert ["return_progress" in body for body in bodies] == [False, True, True]


@pytest.mark.parametrize("kind", [ChatModel, CompletionsModel])
async def test_other_servers_are_not_asked_for_slots(kind):
    def pages(request):
        assert request.path == "/v1/models"
        return reply(200, b'{"data": [{"id": "m", "owned_by": "vllm"}]}')

    paths, bodies = await cut_and_resumed(kind, pages)
    assert "/slots" not in paths
    assert not any("return_progress" in body for body in bodies)
