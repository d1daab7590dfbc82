"""What was recorded is replayed: the same text, the same run, the same pace if wanted."""

import anyio
import msgspec
import pytest
from interwhen import ModelError, Timing, UsageError
from interwhen.models import Chunk, Piece, Request
from interwhen.testing import Arrival, Pause, Recording, RecordingModel, ReplayModel, ScriptedModel, load_recordings
from sums import apply, supervise, watch

pytestmark = pytest.mark.anyio

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


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b'{"arrivals": [{"at": "soon"}]}', b"\xff\xfe"])
async def test_a_line_that_is_no_recording_is_named(tmp_path, line):
    path = tmp_path / "run.jsonl"
    Recording((Arrival(0.0, Chunk("a")),)).save(path)
    with path.open("ab") as file:
        file.write(b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=r"run.jsonl', line 3: not a recording"):
        load_recordings(path)


async def test_requests_with_the_same_prefix_get_their_recordings_in_turn():
    first, second = (Recording((Arrival(0.0, Chunk(text)),), prefix="p") for text in ("one", "two"))
    model = ReplayModel([Recording((), prefix=""), first, second])
    request = Request("Q", (Piece("p"),))
    streams = [await model.stream(request) for _ in range(2)]
    assert [(await stream.receive())[0].text for stream in streams] == ["one", "two"]


async def test_what_cannot_be_replayed_says_so():
    with pytest.raises(UsageError, match="nothing to replay"):
        ReplayModel([])
    with pytest.raises(UsageError, match="speed=-1"):
        ReplayModel([Recording(())], speed=-1)
    model = ReplayModel([Recording(())])
    await model.stream(Request("Q"))
    with pytest.raises(ModelError, match="request 2"):
        await model.stream(Request("Q"))
    with pytest.raises(ModelError, match="fork 'why"):
        await model.complete(Request("Q", side="why?"))
    assert not (await model.capabilities()).forks


async def test_a_read_that_is_cancelled_loses_no_chunk():
    model = ReplayModel([Recording((Arrival(5.0, Chunk("a")), Arrival(6.0, Chunk("b"))))], speed=1.0)
    stream = await model.stream(Request("Q"))
    with anyio.move_on_after(1.0):
        await stream.receive()
    assert [(await stream.receive())[0].text for _ in range(2)] == ["a", "b"]
    assert await stream.receive() == ()
