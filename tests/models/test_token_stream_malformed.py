"""Events that cannot be read: strict breaks the stream, skip leaves them out and says so."""

import pytest
from interwhen import UsageError
from interwhen._types.errors import MalformedEvent
from interwhen.models import CompletionsModel, Request, Retries, StreamProtocolError
from interwhen.models._token_stream import KEPT_SAMPLES
from interwhen.testing.server import ScriptedTransport, Send, events, faulty
from tests.virtual_clock import virtual_backend
from wire_cases import FIRST, STORY, WHOLE, open_model, supervised

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return virtual_backend()


@pytest.fixture(params=["completions", "chat"])
def api(request):
    return request.param


async def run_of(script, api, malformed):
    transport = ScriptedTransport(script)
    model = open_model(api, "http://h/v1", transport=transport, retries=Retries(base=0.0), malformed=malformed)
    run, shown = await supervised(model)
    assert shown == run.result.text
    return run.result, transport


@pytest.mark.fault("W1", injected="malformed JSON, policy `skip`", happens="left out, counted and kept as a sample")
@pytest.mark.parametrize("name", ["malformed_json", "json_scalar", "json_shape"])
async def test_a_skipped_event_is_in_the_result(name, api):
    result, transport = await run_of(faulty(name, story=STORY), api, "skip")
    assert (result.status, result.text, len(transport.posts)) == ("verified", WHOLE, 1)
    assert result.ledger.reconnects == 0
    assert result.wire.skipped_events == 1
    (skipped,) = result.wire.skipped
    assert skipped.offset == len(events([FIRST], api=api)[0].data)
    assert skipped.sample.startswith(("42", '{"choices"'))
    assert skipped.why.startswith(("an event of the stream must be JSON", "an event of the stream must be a chunk"))


@pytest.mark.fault("W4", injected="invalid UTF-8, policy `skip`", happens="U+FFFD in its place, and counted")
async def test_invalid_utf8_is_replaced_and_counted(api):
    result, _ = await run_of(faulty("utf8_invalid", story=STORY), api, "skip")
    assert result.text == FIRST + "\ufffd\ufffd" + WHOLE[len(FIRST) :]
    assert (result.wire.replaced_events, result.wire.skipped_events) == (1, 0)


@pytest.mark.parametrize("name", ["error_event", "huge_chunk"])
async def test_error_events_and_huge_chunks_are_never_skipped(name, api):
    result, _ = await run_of(faulty(name, story=STORY), api, "skip")
    assert (result.status, result.text, result.ledger.reconnects) == ("verified", WHOLE, 1)
    assert result.wire.skipped_events == 0


async def test_skipped_samples_are_bounded_but_all_are_counted(api):
    bad = Send(b"data: \xff\x1b" + b"x" * 500 + b"\n\n")
    result, _ = await run_of(lambda _: [*[bad] * 100, *events(STORY, api=api)], api, "skip")
    assert (result.text, result.wire.skipped_events, len(result.wire.skipped)) == (WHOLE, 100, KEPT_SAMPLES)
    assert result.wire.skipped[0].sample == "\\xff\\x1b" + "x" * 198
    assert all(skipped.offset == number * len(bad.data) for number, skipped in enumerate(result.wire.skipped))


@pytest.mark.fault(
    "W1", injected="malformed JSON, policy `strict`", happens="a typed error: its byte and first 200 bytes"
)
async def test_strict_names_the_place_and_shows_the_start(api):
    bad = b"{" + b"y" * 1000
    transport = ScriptedTransport(lambda _: [events([FIRST], api=api)[0], Send(b"data: " + bad + b"\n\n")])
    stream = await open_model(api, "http://h/v1", transport=transport).stream(Request("q"))
    (chunk,) = await stream.receive()
    assert chunk.text == FIRST
    for _ in range(2):
        with pytest.raises(MalformedEvent) as caught:
            await stream.receive()
        assert caught.value.offset == len(events([FIRST], api=api)[0].data)
        assert caught.value.sample == bad[:200]
    assert isinstance(caught.value, StreamProtocolError)
    await stream.aclose()


def test_another_policy_is_refused():
    with pytest.raises(UsageError, match="strict, skip"):
        CompletionsModel("http://h/v1", "m", malformed="ignore")


@pytest.mark.parametrize(("name", "text"), [("two_choices", STORY[0]), ("unknown_shape", "")])
async def test_repeatable_faults_are_neither_skipped_nor_retried(name, api, text):
    result, _ = await run_of(faulty(name, story=STORY), api, "skip")
    assert (result.status, result.text, result.ledger.reconnects) == ("failed", text, 0)
