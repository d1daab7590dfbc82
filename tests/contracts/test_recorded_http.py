"""What is recorded of a server plays back to the same chunks, and says what it lacks."""

import json

import pytest
from interwhen import Message, Sampling, UsageError
from interwhen.models import ChatModel, ConnectError, Request, Retries, UpstreamError
from interwhen.testing.server import ScriptedTransport, Send, events, reply
from tests.contracts.recorded_http import (
    HttpRecording,
    NotRecordedError,
    PlaybackTransport,
    RecordingTransport,
    load_recording,
    save_recording,
)

pytestmark = pytest.mark.anyio

ASK = Request((Message("user", "Grüße"),), sampling=Sampling(max_tokens=9))


def model_of(transport):
    return ChatModel("http://h/v1", "m", api_key="secret", transport=transport, retries=Retries(attempts=0))


async def read(model, request=ASK, most=99):
    stream, chunks = await model.stream(request), []
    while len(chunks) < most and (more := await stream.receive()):
        chunks += more
    await stream.aclose()
    return chunks


async def recorded(script, *, most=99):
    transport = RecordingTransport(ScriptedTransport(script))
    chunks = await read(model_of(transport), most=most)
    return chunks, transport.exchanges()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
async def test_a_saved_recording_plays_back_the_same_chunks(tmp_path, name):
    chunks, exchanges = await recorded(lambda _: events(["Grü", "ße\n\n", "🎈"], api="chat"))
    path = tmp_path / name
    save_recording(HttpRecording("scripted 1", "m", exchanges), path)
    loaded = load_recording(path)
    assert loaded == HttpRecording("scripted 1", "m", exchanges)
    assert await read(model_of(PlaybackTransport(loaded.exchanges))) == chunks
    assert [(each.method, each.path, each.is_cut) for each in exchanges] == [("POST", "/v1/chat/completions", False)]


async def test_no_key_is_recorded(tmp_path):
    _, exchanges = await recorded(lambda _: events(["x"], api="chat"))
    path = tmp_path / "a.jsonl"
    save_recording(HttpRecording("s", "m", exchanges), path)
    assert "secret" not in path.read_text()
    assert "authorization" not in path.read_text().lower()


async def test_an_answer_that_was_closed_early_ends_there():
    _, exchanges = await recorded(lambda _: events([*"abcdef"], api="chat"), most=2)
    assert exchanges[0].is_cut
    played = model_of(PlaybackTransport(exchanges))
    with pytest.raises(ConnectError, match="closed here"):
        await read(played)


async def test_errors_play_back_as_errors():
    body = json.dumps({"error": {"message": "no such model", "code": 404}}).encode()
    transport = RecordingTransport(ScriptedTransport(lambda _: reply(404, body)))
    with pytest.raises(UpstreamError, match="no such model"):
        await model_of(transport).stream(ASK)
    with pytest.raises(UpstreamError, match="no such model"):
        await model_of(PlaybackTransport(transport.exchanges())).stream(ASK)


async def test_a_failed_connection_plays_back_as_an_error():
    class Closed(ScriptedTransport):
        async def send(self, request, *, connect_timeout):
            raise ConnectError("refused")

    transport = RecordingTransport(Closed(lambda _: ()))
    for _ in range(2):
        with pytest.raises(ConnectError, match="refused"):
            await model_of(transport).stream(ASK)
    with pytest.raises(ConnectError, match="refused"):
        await model_of(PlaybackTransport(transport.exchanges())).stream(ASK)


async def test_a_connection_closed_while_idle_is_not_recorded():
    class Closing(ScriptedTransport):
        closed = False

        async def send(self, request, *, connect_timeout):
            if not self.closed:
                self.closed = True
                error = ConnectError("closed while idle")
                error.stale = True
                raise error
            return await super().send(request, connect_timeout=connect_timeout)

    transport = RecordingTransport(Closing(lambda _: events(["x"], api="chat")))
    chunks = await read(model_of(transport))
    assert await read(model_of(PlaybackTransport(transport.exchanges()))) == chunks


async def test_equal_requests_replay_in_order_ignoring_extra_fields():
    texts = iter("abc")
    transport = RecordingTransport(ScriptedTransport(lambda _: events([next(texts)], api="chat")))
    for _ in range(2):
        await read(model_of(transport))
    played = model_of(PlaybackTransport(transport.exchanges()))
    later = Request(ASK.prompt, sampling=Sampling(max_tokens=9, extra={"new_field": 1}))
    assert [(await read(played, later))[0].text for _ in range(3)] == ["a", "b", "b"]


async def test_an_unrecorded_request_names_what_is_missing():
    _, exchanges = await recorded(lambda _: events(["x"], api="chat"))
    with pytest.raises(NotRecordedError, match=r"POST /v1/chat/completions.*record the server again"):
        await model_of(PlaybackTransport(exchanges)).stream(Request("another"))


async def test_invalid_utf8_is_recorded_with_replacement_characters():
    async def read_all(transport):
        response = await transport.send(request, connect_timeout=None)
        body = b""
        while data := await response.receive():
            body += data
        return body

    from interwhen.models._transport import HttpRequest

    request = HttpRequest("GET", "http://h/x")
    transport = RecordingTransport(ScriptedTransport(lambda _: (), pages=lambda _: [Send(b"\xff!")]))
    assert await read_all(transport) == b"\xff!"
    assert await read_all(PlaybackTransport(transport.exchanges())) == "\N{REPLACEMENT CHARACTER}!".encode()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"server":"s","model":"m","format":99}', b'{"server":"s","model":"m"}\n[]']
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="record again"):
        load_recording(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:10] + b"\xff\xff" + data[12:]])
def test_a_damaged_compressed_recording_is_refused(tmp_path, damage):
    path = tmp_path / "a.gz"
    save_recording(HttpRecording("s", "m"), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match="record again"):
        load_recording(path)


def test_equal_recordings_are_equal_files(tmp_path):
    for name in ("a.gz", "b.gz"):
        save_recording(HttpRecording("s", "m"), tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
