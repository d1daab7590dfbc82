"""What was recorded is replayed: the same text, the same run, the same pace if wanted."""

import anyio
import msgspec
import pytest
from interwhen import UsageError
from interwhen._types.models import Piece
from interwhen.models import (
    Capabilities,
    Chunk,
    ModelError,
    RecordingModel,
    ReplayModel,
    Request,
    load_recordings,
)
from interwhen.models._replay import Recording, TimedChunk
from interwhen.results import Timing
from interwhen.testing import Pause, ScriptedModel
from sums import apply, supervise, watch
from tests.virtual_clock import virtual_backend

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return virtual_backend()


REPLIES = [["1+1=2\n", Pause(2.0), "2+2=5\n", Pause(9.0)], ["\n", Pause(4.0), "3+3=7\n"], "\n4+4=8\n"]


async def recorded():
    model = RecordingModel(ScriptedModel(REPLIES))
    result, events = await supervise(model, watch())
    return model.recordings, result, events


def plain(result):
    return msgspec.structs.replace(result, timing=Timing(), certificate=None, checks=())


async def test_a_replay_gives_the_same_run():
    recordings, result, events = await recorded()
    assert [recording.prefix for recording in recordings] == ["", "1+1=2\n2+2=4", "1+1=2\n2+2=4\n3+3=6"]
    again, same = await supervise(ReplayModel(recordings), watch())
    assert plain(again) == plain(result)
    assert apply(same) == apply(events)


@pytest.mark.parametrize("speed", [0.0, 0.5, 1.0, 4.0])
async def test_speed_scales_time(speed):
    recordings, result, _ = await recorded()
    begun = anyio.current_time()
    await supervise(ReplayModel(recordings, speed=speed), watch())
    assert anyio.current_time() - begun == (result.timing.total / speed if speed else 0.0)


async def test_recordings_are_saved_and_loaded(tmp_path):
    recordings, _, _ = await recorded()
    path = tmp_path / "run.jsonl"
    for recording in recordings:
        recording.save(path)
    assert load_recordings(path) == recordings
    assert load_recordings(str(path)) == recordings


DAMAGED = (b'{"arrivals": [], "prefix": "\xff"}', b'{"arrivals": [], "x": ' + b"[" * 100_000)
"""A text that is not UTF-8, and JSON that is nested too deeply."""


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b'{"arrivals": [{"at": "soon"}]}', b"\xff\xfe", *DAMAGED])
async def test_a_line_that_is_no_recording_is_named(tmp_path, line):
    path = tmp_path / "run.jsonl"
    Recording((TimedChunk(0.0, Chunk("a")),)).save(path)
    with path.open("ab") as file:
        file.write(b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=r"run.jsonl', line 3: must be a recording"):
        load_recordings(path)


async def test_requests_with_equal_prefixes_get_recordings_in_order():
    first, second = (Recording((TimedChunk(0.0, Chunk(text)),), prefix="p") for text in ("one", "two"))
    model = ReplayModel([Recording((), prefix=""), first, second])
    request = Request("Q", (Piece("p"),))
    streams = [await model.stream(request) for _ in range(2)]
    assert [(await stream.receive())[0].text for stream in streams] == ["one", "two"]


async def test_what_cannot_be_replayed_says_so():
    with pytest.raises(UsageError, match="recordings must hold at least one"):
        ReplayModel([])
    with pytest.raises(UsageError, match="got -1"):
        ReplayModel([Recording(())], speed=-1)
    model = ReplayModel([Recording(())])
    await model.stream(Request("Q"))
    with pytest.raises(ModelError, match="request 2"):
        await model.stream(Request("Q"))
    with pytest.raises(ModelError, match="fork 'why"):
        await model.complete(Request("Q", side="why?"))
    assert not (await model.capabilities()).forks


async def test_a_read_that_is_cancelled_loses_no_chunk():
    model = ReplayModel([Recording((TimedChunk(5.0, Chunk("a")), TimedChunk(6.0, Chunk("b"))))], speed=1.0)
    stream = await model.stream(Request("Q"))
    with anyio.move_on_after(1.0):
        await stream.receive()
    assert [(await stream.receive())[0].text for _ in range(2)] == ["a", "b"]
    assert await stream.receive() == ()


def said(*texts):
    return Recording.untimed(map(Chunk, texts))


async def drained(stream):
    reads = []
    while chunks := await stream.receive():
        reads.append("".join(chunk.text for chunk in chunks))
    await stream.aclose()
    return reads


async def test_reads_join_simultaneous_chunks_and_split_long_texts():
    arrivals = tuple(TimedChunk(float(at > 1), Chunk(text)) for at, text in enumerate("abcd"))
    assert await drained(await ReplayModel([Recording(arrivals)]).stream(Request("Q"))) == ["ab", "cd"]
    reads = await drained(await ReplayModel([said(*"x" * 100)]).stream(Request("Q")))
    assert [len(read) for read in reads] == [64, 36]


@pytest.mark.parametrize("finish_reason", ["stop", "length", None])
async def test_an_untimed_recording_ends_as_it_is_told(finish_reason):
    recording = Recording.untimed([Chunk("a")], finish_reason=finish_reason)
    chunks = await (await ReplayModel([recording]).stream(Request("Q"))).receive()
    assert [chunk.finish_reason for chunk in chunks] == [None, finish_reason][: len(chunks)]
    assert len(chunks) == 1 + (finish_reason is not None)


async def test_a_function_chooses_the_recording_for_each_request():
    model = ReplayModel(lambda request: said("again" if request.pieces else "first"))
    requests = (Request("Q"), Request("Q", (Piece("p"),)), Request("Q"))
    assert [await drained(await model.stream(request)) for request in requests] == [["first"], ["again"], ["first"]]


async def test_the_next_model_continues_a_cut_stored_answer():
    capabilities = Capabilities(resume="turn", context_tokens=9)
    real = ScriptedModel(["1=2\n"], forks=lambda _: "yes", capabilities=capabilities)
    model = ReplayModel([said("1+1=3\n")], forks=real, then=real, name=real.name)
    assert await model.capabilities() == capabilities
    assert model.timeouts is real.timeouts
    assert await drained(await model.stream(Request("Q"))) == ["1+1=3\n"]
    for request in (Request("Q", (Piece("1+"),)), Request("Q"), Request("Q", side="?")):
        assert "".join(await drained(await model.stream(request))) == "1=2\n"
    assert real.requests[0].prefix == "1+"
    assert (await model.complete(Request("Q", side="?"))).text == "yes"


async def test_given_capabilities_are_used_and_forks_are_reported():
    assert (await ReplayModel([said("a")], forks=ScriptedModel([""])).capabilities()).forks
    given = Capabilities(resume="prefill", think_tags=None)
    assert await ReplayModel([said("a")], capabilities=given).capabilities() is given
