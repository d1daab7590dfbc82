"""Promises about closing and cancellation: prompt, complete, and the client works afterwards."""

import asyncio
import gc
from contextlib import suppress

import anyio
import pytest
from interwhen.models import ChatModel, CompletionsModel, ConnectError, Request, Retries, StreamClosed
from interwhen.testing._server_script import chunk, data
from interwhen.testing.server import Head, ScriptedServer, Send, Stall, events, fault, reply

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_collector():
    yield
    gc.collect()


def open_model(server, transport, kind=CompletionsModel):
    return kind(server.base_url, "m", transport=transport, retries=Retries(attempts=0))


async def text_of(model):
    stream = await model.stream(Request("q"))
    text = ""
    while chunks := await stream.receive():
        text += "".join(chunk.text for chunk in chunks)
    await stream.aclose()
    return text


@pytest.mark.fault(
    "W23", injected="a close while the model is silent", happens="the reader wakes at once, the server sees it"
)
async def test_closing_wakes_blocked_readers_and_the_server_notices(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        assert [chunk.text for chunk in await stream.receive()] == ["one "]
        woken = anyio.Event()

        async def reader():
            with pytest.raises(StreamClosed):
                await stream.receive()
            woken.set()

        turns = 0

        async def count_turns():
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(count_turns)
            await stream.aclose()
            await woken.wait()
            group.cancel_scope.cancel()
        # A millisecond is promised. Turns of the loop do not depend on how busy the machine is: a timer takes
        # thousands.
        assert turns < 100
        with anyio.fail_after(60):
            await server.posts[0].gone.wait()
        with pytest.raises(StreamClosed):
            await stream.receive()
        await server.settled()


async def test_closing_before_the_first_token_wakes_the_reader(transport):
    async with (
        ScriptedServer(lambda _: (Head(), Stall())) as server,
        open_model(server, transport) as model,
    ):
        stream = await model.stream(Request("q"))
        async with anyio.create_task_group() as group:

            async def reader():
                with pytest.raises(StreamClosed):
                    await stream.receive()

            group.start_soon(reader)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        await server.settled()


async def test_closing_a_stream_that_nobody_reads(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StreamClosed):
            await stream.receive()
        await server.settled()


async def test_closing_an_unframed_body_also_wakes_the_reader(transport):
    script = (Head(chunked=False), Send(data(chunk("completions", "x"))), Stall())
    async with ScriptedServer(lambda _: script) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        await stream.receive()
        async with anyio.create_task_group() as group:

            async def reader():
                with pytest.raises(StreamClosed):
                    await stream.receive()

            group.start_soon(reader)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        await server.settled()


async def test_closing_inside_a_cancelled_scope_still_closes(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        await server.settled()


async def test_connections_are_reused_only_after_whole_answers(transport, monkeypatch):
    # On a busy machine, the last bytes of the answer may come later than a user would wait for them.
    monkeypatch.setattr("interwhen.models._token_stream._DRAIN_SECONDS", 30.0)

    def script(request):
        return fault("stall") if request.number == 2 else events(["x"])

    async with ScriptedServer(script) as server, open_model(server, transport) as model:
        assert await text_of(model) == "x"
        assert await text_of(model) == "x"
        assert server.connections == 1
        stream = await model.stream(Request("q"))
        await stream.receive()
        await stream.aclose()
        assert await text_of(model) == "x"
        assert server.connections == 2
    await server.settled()


async def test_a_never_ending_body_does_not_delay_text(transport):
    async with ScriptedServer(lambda _: fault("done_no_close")) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        while await stream.receive():
            pass
        await stream.aclose()
        await server.settled()


async def test_a_kept_connection_closed_by_server_is_replaced(transport):
    from interwhen.testing.server import Disconnect

    def script(request):
        # The second request on a connection finds it closed without an answer.
        return (Disconnect(),) if request.number == 1 else events(["x"])

    async with ScriptedServer(script) as server:
        model = CompletionsModel(server.base_url, "m", transport=transport, retries=Retries(attempts=1, base=0.0))
        async with model:
            assert await text_of(model) == "x"
            assert await text_of(model) == "x"
    await server.settled()


async def turns(count):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


@pytest.mark.fault(
    "W32", injected="a stream cancelled at every turn of the loop", happens="the client works; no socket left"
)
@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
async def test_cancelled_anytime_the_client_works_without_leaking_sockets(kind, transport):
    api = "chat" if kind is ChatModel else "completions"
    async with ScriptedServer(lambda _: events(["one ", "two"], api=api)) as server:
        async with open_model(server, transport, kind) as model:
            finished = 0
            for count in range(400):
                done = False

                async def use(scope):
                    nonlocal done
                    with scope:
                        assert await text_of(model) == "one two"
                        done = True

                scope = anyio.CancelScope()
                async with anyio.create_task_group() as group:
                    group.start_soon(use, scope)
                    await turns(count)
                    scope.cancel()
                finished = finished + 1 if done else 0
                if finished == 3:
                    break
            else:
                pytest.fail("the sweep never let a request finish")
            assert count > 10
            with anyio.fail_after(60):
                assert await text_of(model) == "one two"
        await server.settled()


@pytest.mark.fault("W32", injected="the same, by `Task.cancel`", happens="the client works; no socket left")
async def test_cancelled_at_any_turn_by_asyncio_itself(way, transport):
    if way.startswith("trio"):
        return
    async with ScriptedServer(lambda _: events(["one ", "two"])) as server:
        async with open_model(server, transport) as model:
            for count in range(60):
                task = asyncio.ensure_future(text_of(model))
                await turns(count)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.result() == "one two"
            assert await text_of(model) == "one two"
        await server.settled()


def endless_with_answers(request):
    return fault("endless") if request.json.get("stream") else reply(200, b'{"choices": [{"text": "yes"}]}')


@pytest.mark.fault(
    "W32", injected="a close at every turn of a stream of text", happens="the reader wakes; nothing is left open"
)
async def test_closing_anytime_while_text_arrives_leaves_nothing_open(transport):
    # A fork is cancelled at the same turn. Trio warns about each generator that was not run to its end or closed.
    async with ScriptedServer(endless_with_answers) as server:
        model = open_model(server, transport)
        for count in range(40):
            stream = await model.stream(Request("q"))

            async def read(stream=stream):
                with suppress(StreamClosed):
                    while await stream.receive():
                        pass

            async with anyio.create_task_group() as forks, anyio.create_task_group() as group:
                group.start_soon(read)
                forks.start_soon(model.complete, Request("q"))
                await turns(count)
                await stream.aclose()
                forks.cancel_scope.cancel()
            del stream, read
        gc.collect()
        assert (await model.complete(Request("q"))).text == "yes"
        await model.aclose()
        await server.settled()


async def test_a_cancelled_read_closes_rather_than_ends_streams(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server, open_model(server, transport) as model:
        stream = await model.stream(Request("q"))
        await stream.receive()
        with anyio.move_on_after(0.01):
            await stream.receive()
        with pytest.raises(StreamClosed):
            await stream.receive()
        await stream.aclose()
        await server.settled()


@pytest.mark.fault("P12", injected="500 streams at once", happens="none waits for another; all closed")
async def test_five_hundred_streams_at_once(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server, open_model(server, transport) as model:
        streams = []

        async def start():
            stream = await model.stream(Request("q"))
            await stream.receive()
            streams.append(stream)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(500):
                    group.start_soon(start)
            assert server.open_connections == 500
            for stream in streams:
                await stream.aclose()
            await server.settled(20)


async def test_closing_the_model_closes_streams_that_are_open(transport):
    async with ScriptedServer(lambda _: fault("stall")) as server:
        model = open_model(server, transport)
        stream = await model.stream(Request("q"))
        await stream.receive()
        await model.aclose()
        with pytest.raises((StreamClosed, ConnectError)):
            await stream.receive()
        await stream.aclose()
        await server.settled()


async def test_a_transport_that_was_passed_in_stays_open(way, transport, monkeypatch):
    monkeypatch.setattr("interwhen.models._token_stream._DRAIN_SECONDS", 30.0)
    if transport == "fast":
        from interwhen.models import FastTransport as Transport
    else:
        from interwhen.models._httpx2_transport import Httpx2Transport as Transport
    shared = Transport()
    async with ScriptedServer(lambda _: events(["x"])) as server:
        async with open_model(server, shared) as model:
            assert await text_of(model) == "x"
        async with open_model(server, shared) as model:
            assert await text_of(model) == "x"
        assert server.connections == 1
        await shared.aclose()
        await server.settled()
