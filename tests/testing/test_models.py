"""The scripted model does what its script says, and a stream may be closed at any time."""

import anyio
import pytest
from interwhen._types.models import Piece
from interwhen.models import Chunk, ConnectError, IteratorStream, Model, ModelError, Request, Stream, StreamClosed
from interwhen.testing import End, Pause, Say, ScriptedModel
from interwhen.testing._models import cut_into

pytestmark = pytest.mark.anyio

REQUEST = Request("Q")


async def read(stream):
    chunks = []
    while new := await stream.receive():
        chunks.extend(new)
    return chunks


async def chunks_of(model, request=REQUEST):
    return await read(await model.stream(request))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_a_string_is_cut_into_chunks(size):
    chunks = await chunks_of(ScriptedModel(["abcdefg"], size=size))
    assert [chunk.text for chunk in chunks[:-1]] == cut_into("abcdefg", size)
    assert chunks[-1] == Chunk("", tokens=0, finish_reason="stop")
    assert "".join(cut_into("abcdefg", size)) == "abcdefg"


async def test_script_steps_run_one_by_one():
    begun = anyio.current_time()
    model = ScriptedModel([["a", Say("b", "reasoning"), Pause(7.0), "c", End("length")]])
    assert await chunks_of(model) == [
        Chunk("a"),
        Chunk("b", "reasoning"),
        Chunk("c"),
        Chunk("", tokens=0, finish_reason="length"),
    ]
    assert anyio.current_time() - begun == 7.0


async def test_end_without_reason_or_midway_ends_stream():
    assert await chunks_of(ScriptedModel([["a", End(None), "b"]])) == [Chunk("a")]
    assert [chunk.text for chunk in await chunks_of(ScriptedModel([["a", End(), "b"]]))] == ["a", ""]


async def test_scripted_error_is_raised_in_order():
    stream = await ScriptedModel([["a", ConnectError("reset"), "b"]]).stream(REQUEST)
    assert await stream.receive() == (Chunk("a"),)
    with pytest.raises(ConnectError, match="reset"):
        await stream.receive()
    assert await stream.receive() == ()


async def test_replies_come_in_turn_and_last_repeats():
    model = ScriptedModel(["1", "2"], size=9)
    texts = ["".join(chunk.text for chunk in await chunks_of(model)) for _ in range(4)]
    assert texts == ["1", "2", "2", "2"]
    assert model.requests == [REQUEST] * 4


async def test_script_function_gets_the_request():
    model = ScriptedModel(lambda request: [f"after {request.prefix!r}"])
    request = Request("Q", (Piece("so far"),))
    assert (await chunks_of(model, request))[0].text == "after 'so far'"


async def test_a_delay_is_between_all_chunks():
    begun = anyio.current_time()
    await chunks_of(ScriptedModel(["abc"], size=1, delay=2.0))
    assert anyio.current_time() - begun == 10.0  # three chunks, the reason, the end


async def test_forks_have_their_own_replies():
    model = ScriptedModel(["x"], forks=lambda request: f"to {request.side}")
    reply = await model.complete(Request("Q", side="why?"))
    assert (reply.text, reply.usage.completion_tokens) == ("to why?", 2)
    assert (len(model.requests), len(model.fork_requests)) == (0, 1)
    with pytest.raises(ModelError, match="must have answers for forks"):
        await ScriptedModel(["x"]).complete(REQUEST)


@pytest.mark.parametrize("wait", [0.0, 3.0])
async def test_closing_ends_a_read_at_once(wait):
    model = ScriptedModel([["a", Pause(1000.0), "b"]])
    stream = await model.stream(REQUEST)
    await stream.receive()
    begun = anyio.current_time()

    async def close():
        await anyio.sleep(wait)
        await stream.aclose()
        await stream.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        if not wait:
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(StreamClosed):
            await stream.receive()
    assert anyio.current_time() - begun == wait
    with pytest.raises(StreamClosed):
        await stream.receive()
    assert model.closed == 1


async def test_exhausted_stream_does_not_count_as_closed():
    model = ScriptedModel(["a"])
    stream = await model.stream(REQUEST)
    await read(stream)
    await stream.aclose()
    assert model.closed == 0


async def test_fakes_implement_the_protocols():
    model = ScriptedModel(["a"])
    assert isinstance(model, Model)
    assert isinstance(await model.stream(REQUEST), Stream)


@pytest.mark.parametrize("started", [True, False])
async def test_closing_an_iterators_stream_closes_the_iterator(started):
    ended = []

    async def texts():
        try:
            yield "a"
            await anyio.sleep(1000)
        finally:
            ended.append(True)

    iterator = texts()
    stream = IteratorStream(iterator)

    async def close():
        await anyio.sleep(1)
        await stream.aclose()

    async with anyio.create_task_group() as group:
        if started:
            assert await stream.receive() == (Chunk("a"),)
            group.start_soon(close)
        else:
            await stream.aclose()
        with pytest.raises(StreamClosed):
            await stream.receive()
    assert ended == [True] * started
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)
