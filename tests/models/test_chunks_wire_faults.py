"""Every named fault of the wire, against both APIs and each way to a server."""

import json

import anyio
import pytest
from interwhen import UsageError
from interwhen._types.errors import UnexpectedForm
from interwhen.models import (
    ChatModel,
    CompletionsModel,
    ConnectError,
    ContextOverflow,
    RateLimited,
    Request,
    Retries,
    StreamProtocolError,
    StreamTimeout,
    Timeouts,
    UpstreamError,
    Usage,
)
from interwhen.testing.server import FAULTS, ScriptedServer, events, fault, reply

pytestmark = pytest.mark.anyio

ADAPTERS = {"completions": CompletionsModel, "chat": ChatModel}


@pytest.fixture(params=["completions", "chat"])
def api(request):
    return request.param


async def read(stream):
    chunks, error = [], None
    try:
        while got := await stream.receive():
            chunks += got
    except (ConnectError, UpstreamError, StreamProtocolError) as exc:
        error = exc
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    return "".join(chunk.text for chunk in chunks), reasons, usages, error


async def play(name, api, transport, *, timeouts=None):
    async with ScriptedServer(lambda _: fault(name, api)) as server:
        model = ADAPTERS[api](
            server.base_url, "m", transport=transport, retries=Retries(attempts=0), timeouts=timeouts or Timeouts()
        )
        async with model:
            with anyio.fail_after(60):
                stream = await model.stream(Request("q"))
                outcome = await read(stream)
                await stream.aclose()
        await server.settled()
    return outcome


@pytest.mark.parametrize(
    "name",
    [
        "none",
        "no_space",
        "crlf",
        "comments",
        "multiline_data",
        "bom",
        "no_choices",
        "text_null",
        "dup_done",
        "done_no_close",
    ],
)
async def test_harmless_oddities_change_nothing(name, api, transport):
    assert await play(name, api, transport) == ("one two three", ["stop"], [], None)


async def test_unicode_line_separators_are_text(api, transport):
    text, reasons, _, error = await play("u2028", api, transport)
    assert text == "one \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1etwo three"
    assert (reasons, error) == (["stop"], None)


async def test_usage_is_kept(api, transport):
    _, _, usages, error = await play("usage_only", api, transport)
    assert (usages, error) == ([Usage(5, 4, 3)], None)


@pytest.mark.parametrize("name", ["malformed_json", "json_scalar", "utf8_invalid", "two_choices"])
async def test_invalid_data_raises_typed_errors_and_keeps_text(name, api, transport):
    text, reasons, _, error = await play(name, api, transport)
    assert (text, reasons) == ("one ", [])
    assert isinstance(error, StreamProtocolError)
    assert error.offset > 0
    assert error.sample
    assert error.retryable == (name != "two_choices")


async def test_an_unknown_shape_is_an_error_at_once(api, transport):
    text, _, _, error = await play("unknown_shape", api, transport)
    assert text == ""
    assert isinstance(error, UnexpectedForm)
    assert not error.retryable


OTHERS = [
    ("completions", "chat", "use ChatModel"),
    ("chat", "completions", "use CompletionsModel"),
]


@pytest.mark.parametrize(("asked", "answers", "hint"), OTHERS)
async def test_wrong_api_answers_raise_errors_suggesting_another_model(asked, answers, hint, transport):
    async with ScriptedServer(lambda _: events(["one ", "two"], api=answers)) as server:
        async with ADAPTERS[asked](server.base_url, "m", transport=transport) as model:
            stream = await model.stream(Request("q"))
            _, _, _, error = await read(stream)
            await stream.aclose()
        assert isinstance(error, UnexpectedForm)
        assert hint in str(error)


@pytest.mark.parametrize(("asked", "answers", "hint"), OTHERS)
async def test_whole_answers_of_the_other_api_are_refused(asked, answers, hint, transport):
    said = {"message": {"role": "assistant", "content": "one"}} if answers == "chat" else {"text": "one"}
    body = json.dumps({"choices": [{"index": 0, **said, "finish_reason": "stop"}]}).encode()
    async with ScriptedServer(lambda _: reply(200, body)) as server:
        async with ADAPTERS[asked](server.base_url, "m", transport=transport) as model:
            with pytest.raises(UnexpectedForm, match=hint):
                await model.complete(Request("q"))
        assert len(server.posts) == 1


@pytest.mark.parametrize("name", ["huge_chunk", "no_newline"])
async def test_an_endless_event_is_refused(name, api, transport):
    text, _, _, error = await play(name, api, transport)
    assert text == "one "
    assert isinstance(error, StreamProtocolError)


async def test_error_events_are_typed_and_keep_the_text(api, transport):
    text, _, _, error = await play("error_event", api, transport)
    assert text == "one "
    assert isinstance(error, UpstreamError)
    assert (error.status, error.retryable) == (503, True)


@pytest.mark.parametrize("name", ["rst_mid", "eof_mid", "bad_chunk_size"])
async def test_a_broken_connection_keeps_only_the_whole_events(name, api, transport):
    text, reasons, _, error = await play(name, api, transport)
    assert (text, reasons) == ("one ", [])
    assert isinstance(error, (ConnectError, StreamProtocolError))
    assert error.retryable


async def test_an_end_without_a_word_is_truncated(api, transport):
    assert await play("no_done", api, transport) == ("one two three", ["truncated"], [], None)


async def test_a_missing_finish_reason_is_reported_as_other(api, transport):
    assert await play("no_finish", api, transport) == ("one two three", ["other"], [], None)


@pytest.mark.parametrize(("name", "reason"), [("finish_length", "length"), ("finish_abort", "other")])
async def test_finish_reasons_arrive(name, reason, api, transport):
    assert await play(name, api, transport) == ("one ", [reason], [], None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("http_400_ctx", ContextOverflow),
        ("http_400", UpstreamError),
        ("http_429", RateLimited),
        ("http_500", UpstreamError),
        ("html_200", UnexpectedForm),
        ("http_307_away", UpstreamError),
        ("eof_before", ConnectError),
    ],
)
async def test_a_non_stream_response_is_refused_before_reading(name, kind, api, transport):
    with pytest.raises(kind) as caught:
        await play(name, api, transport)
    assert type(caught.value) is kind


async def test_the_refusal_of_html_shows_what_came(transport):
    with pytest.raises(StreamProtocolError, match=r"text/html.*Bad gateway"):
        await play("html_200", "completions", transport)


async def test_a_same_host_redirect_resends_the_same_request(api, transport):
    def script(request):
        return fault("http_307") if request.number == 0 else events(["there"], api=api)

    async with ScriptedServer(script) as server, ADAPTERS[api](server.base_url, "m", transport=transport) as model:
        stream = await model.stream(Request("q"))
        assert (await read(stream))[0] == "there"
        await stream.aclose()
        assert server.posts[1].path.endswith("?moved=307")
        assert server.posts[0].body == server.posts[1].body


@pytest.mark.parametrize("location", ["http://localhost:99999/", "http://[::1", "//localhost:port/"])
async def test_a_redirect_to_no_address_is_refused(location, transport):
    def script(_):
        return reply(307, b"", {"location": location})

    async with ScriptedServer(script) as server, CompletionsModel(server.base_url, "m", transport=transport) as model:
        with pytest.raises(UpstreamError, match="redirects to another server"):
            await model.stream(Request("q"))


async def test_an_address_may_have_letters_beyond_ascii(transport):
    async with ScriptedServer(lambda _: events(["there"], api="completions")) as server:
        url = server.base_url.replace("/v1", "/\xfcn\xef/v1")
        async with CompletionsModel(url, "m", transport=transport) as model:
            stream = await model.stream(Request("q"))
            assert (await read(stream))[0] == "there"
            await stream.aclose()
        assert server.posts[0].path == "/%C3%BCn%C3%AF/v1/completions"
        address = f"http://\xfc{'a' * 70}.invalid/v1"
        async with CompletionsModel(address, "m", transport=transport) as model:
            with pytest.raises(UsageError, match="must begin with http"):
                await model.stream(Request("q"))


async def test_a_circle_of_redirects_ends(transport):
    with pytest.raises(UpstreamError, match="more than 3 times"):
        await play("http_307", "completions", transport)


async def test_headers_that_do_not_come_are_a_timeout(api, transport):
    timeouts = Timeouts(first_token=0.02)
    with pytest.raises(StreamTimeout) as caught:
        await play("stall_headers", api, transport, timeouts=timeouts)
    assert (caught.value.timer, caught.value.seconds) == ("first_token", 0.02)


async def test_keepalives_are_no_chunks(transport):
    async with (
        ScriptedServer(lambda _: fault("keepalive_only")) as server,
        CompletionsModel(server.base_url, "m", transport=transport) as model,
    ):
        stream = await model.stream(Request("q"))
        await stream.receive()
        with anyio.move_on_after(0.02) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        await stream.aclose()


async def test_a_server_that_is_not_there(transport):
    async with CompletionsModel(
        "http://127.0.0.1:9/v1", "m", transport=transport, retries=Retries(attempts=0)
    ) as model:
        with pytest.raises(ConnectError, match="check that the server is running"):
            await model.stream(Request("q"))


async def test_what_does_not_speak_http(transport):
    async def babble(stream):
        async with stream:
            await stream.receive()
            await stream.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, babble)
        url = f"http://127.0.0.1:{port}/v1"
        async with CompletionsModel(url, "m", transport=transport, retries=Retries(attempts=0)) as model:
            with pytest.raises(StreamProtocolError, match=r"must be HTTP/1\.1, got something else"):
                await model.stream(Request("q"))
        group.cancel_scope.cancel()


async def test_sending_single_bytes_gives_the_same_stream(api, transport):
    from interwhen.testing.server import Send

    whole = b"".join(step.data for step in fault("u2028", api))
    cuts = [Send(whole[i : i + 1]) for i in range(len(whole))]
    async with (
        ScriptedServer(lambda _: cuts) as server,
        ADAPTERS[api](server.base_url, "m", transport=transport) as model,
    ):
        stream = await model.stream(Request("q"))
        text, reasons, _, error = await read(stream)
        await stream.aclose()
    assert text == "one \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1etwo three"
    assert (reasons, error) == (["stop"], None)


def test_every_named_fault_has_scripts_for_both_apis():
    for name in FAULTS:
        assert fault(name, "chat")
        assert fault(name, "completions")
