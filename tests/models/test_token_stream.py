"""What a stream counts beside its text, and what it does not take for progress."""

import pytest
from interwhen.models import ChatModel, CompletionsModel, Request, StreamClosed
from interwhen.models._chunks import decode_chat, decode_completion
from interwhen.models._token_stream import TokenStream
from interwhen.testing._server_script import data
from interwhen.testing.server import ScriptedTransport, Send, Sleep, events, fault, faulty
from tests.fuzz.stream_property import Body, finish, read
from tests.virtual_clock import virtual_backend
from wire_cases import STORY, WHOLE, open_model, supervised

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return virtual_backend()


WHOLE_BODY = b"".join(step.data for step in events(STORY))
JUNK = b'data: {"choices":[{"text":"junk"}]}\n\ndata: [DONE]\n\n'


def test_unknown_events_after_multi_chunk_events_are_ignored():
    both = data({"choices": [{"index": 0, "delta": {"reasoning": "so", "content": "a"}}]})
    stream = TokenStream(Body([both, data({"type": "ping"}), data({"choices": [{"index": 0}]})]), decode_chat)
    assert "".join(chunk.text for chunk in finish(stream.receive())) == "soa"
    assert [chunk.finish_reason for chunk in finish(stream.receive())] == ["truncated"]


def after_end(parts):
    stream = TokenStream(Body(parts), decode_completion)
    while finish(stream.receive()):
        pass
    return stream


@pytest.mark.fault(
    "W24", injected="text after the end mark, in the same read", happens="not text; its bytes are counted"
)
async def test_bytes_behind_the_end_mark_are_counted():
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        body = WHOLE_BODY.removesuffix(b"\n\n") + end
        assert after_end([body]).notes.bytes_after_end == 0
        assert after_end([body + JUNK]).notes.bytes_after_end == len(JUNK)
        assert after_end([body + b"data: half"]).notes.bytes_after_end == len(b"data: half")
    assert read([WHOLE_BODY + JUNK], "completions").text == WHOLE


@pytest.mark.fault("W24", injected="text after the end mark, later", happens="drained for 50 ms and counted")
async def test_late_bytes_are_counted_while_draining_the_body():
    stream = after_end([WHOLE_BODY, JUNK, b"\r\n"])
    assert stream.notes.bytes_after_end == 0
    await stream.aclose()
    assert stream.notes.bytes_after_end == len(JUNK) - 2


@pytest.mark.fault(
    "W24", injected="a run whose stream sends more after its end", happens="`bytes_after_end` in the result"
)
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_they_are_in_the_result(api):
    body = b"".join(step.data for step in fault("dup_done", api, story=STORY))
    transport = ScriptedTransport(lambda _: [Send(body)])
    run, _ = await supervised(open_model(api, "http://h/v1", transport=transport))
    assert (run.result.status, run.result.text) == ("verified", WHOLE)
    assert run.result.wire.bytes_after_end > 50


class Whole(Body):
    """A body that says whether all of it was read."""

    def __init__(self, parts):
        super().__init__(parts)
        self.count = len(parts)

    def settle(self):
        return self.reads >= self.count


async def test_only_ended_streams_with_complete_bodies_can_settle():
    body = Whole([WHOLE_BODY])
    stream = TokenStream(body, decode_completion)
    assert not stream.settle()
    while finish(stream.receive()):
        pass
    assert stream.settle()
    assert not stream.settle()  # it is closed
    with pytest.raises(StreamClosed):
        finish(stream.receive())
    assert not after_end([WHOLE_BODY]).settle()  # a body that cannot say so
    unread = TokenStream(Whole([WHOLE_BODY, JUNK]), decode_completion)
    while finish(unread.receive()):
        pass
    assert not unread.settle()
    await unread.aclose()
    assert unread.notes.bytes_after_end > 0


@pytest.mark.fault(
    "W25", injected="a body that does not end after its end mark", happens="the result at once; closed in 50 ms"
)
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_a_body_left_open_closes_after_fifty_milliseconds(api):
    import anyio

    transport = ScriptedTransport(lambda request: fault("done_no_close", request.api, story=STORY))
    begun = anyio.current_time()
    run, _ = await supervised(open_model(api, "http://h/v1", transport=transport))
    assert run.result.timing.total == 0.0
    assert anyio.current_time() - begun == pytest.approx(0.05)
    assert transport.open_responses == 0


USAGE = Send(data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}))


async def test_usage_counts_wait_for_text_and_latest_wins():
    parts = [USAGE.data] * 5 + [data({"choices": [], "usage": {"prompt_tokens": 9}})] + [events(["x"])[0].data]
    stream = TokenStream(Body(parts), decode_completion)
    chunks = finish(stream.receive())
    assert [(chunk.text, chunk.usage and chunk.usage.prompt_tokens) for chunk in chunks] == [("", 9), ("x", None)]


async def test_usage_after_the_finish_reason_arrives_at_once():
    text, stop, _ = events(["x"])
    stream = TokenStream(Body([text.data, stop.data, USAGE.data, USAGE.data]), decode_completion)
    assert [chunk.text for chunk in finish(stream.receive())] == ["x"]
    assert [chunk.finish_reason for chunk in finish(stream.receive())] == ["stop"]
    for _ in range(2):  # at once, and again with the end
        assert [chunk.usage.prompt_tokens for chunk in finish(stream.receive())] == [3]
    assert not finish(stream.receive())


async def test_a_token_without_text_is_progress():
    half = data({"choices": [{"index": 0, "text": "", "logprobs": {"token_logprobs": [-1.0]}}]})
    transport = ScriptedTransport(lambda _: [Send(half), Sleep(5.0), *events(["x"])])
    stream = await open_model("completions", "http://h/v1", transport=transport).stream(Request("q"))
    (chunk,) = await stream.receive()
    assert (chunk.text, chunk.tokens, chunk.logprob) == ("", 1, -1.0)
    await stream.aclose()


@pytest.mark.fault(
    "W22", injected="an endless stream of an endpoint that reports its window", happens="ended as `length`"
)
@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_an_endpoints_reported_context_window_bounds_the_run(api):
    transport = ScriptedTransport(faulty("endless", story=STORY, times=9), context_tokens=30)
    kind, options = (CompletionsModel, {"context_tokens": "ask"}) if api == "completions" else (ChatModel, {})
    model = kind("http://h/v1", "m", api_key="", transport=transport, **options)
    for _ in range(2):
        run, _ = await supervised(model)
        assert (run.result.status, run.result.finish_reason) == ("unverified", "length")
        assert run.result.ledger.kept == 31
    assert [request.method for request in transport.requests] == ["GET", "POST", "POST"]


async def test_a_run_survives_a_failed_context_window_query():
    class Refusing(ScriptedTransport):
        def answer(self, request):
            return fault("http_500") if request.method == "GET" else super().answer(request)

    model = CompletionsModel(
        "http://h/v1", "m", api_key="", transport=Refusing(faulty("none", story=STORY)), context_tokens="ask"
    )
    run, _ = await supervised(model)
    assert (run.result.status, run.result.text) == ("verified", WHOLE)
