"""Retries before the first token, in virtual time."""

import random

import anyio
import pytest
import trio.testing
from interwhen.models import (
    CompletionsModel,
    ConnectError,
    RateLimited,
    Request,
    StreamProtocolError,
    StreamTimeout,
    Timeouts,
    UpstreamError,
)
from interwhen.models._exchange import Retries, retrying

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Response:
    def __init__(self, status=200, body=b"", **headers):
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.parts = [body, b""]
        self.closed = False

    async def receive(self):
        return self.parts.pop(0)

    async def aclose(self):
        self.closed = True


class FakeTransport:
    """Answers with what it was given, in order, and keeps when it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.given = list(answers)
        self.asked_at = []

    async def send(self, request, *, connect_timeout):
        self.asked_at.append(anyio.current_time())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer == "silence":
            await anyio.sleep_forever()
        return answer

    async def aclose(self):
        pass

    @property
    def waits(self):
        return [round(after - before, 6) for before, after in zip(self.asked_at, self.asked_at[1:], strict=False)]


def good():
    return Response(body=b'data: {"choices":[{"text":"x"}]}\n\ndata: [DONE]\n\n', content_type="text/event-stream")


def model_of(transport, **options):
    return CompletionsModel("http://h/v1", "m", transport=transport, retries=Retries(**options))


@pytest.mark.fault("W15", injected="429 twice with `Retry-After: 1`", happens="waits of exactly 1.0 and 1.0 s")
async def test_retry_after_is_obeyed_to_the_second():
    transport = FakeTransport(Response(429, retry_after="1"), Response(429, retry_after="1"), good())
    stream = await model_of(transport).stream(Request("q"))
    assert (await stream.receive())[0].text == "x"
    assert transport.waits == [1.0, 1.0]
    assert all(response.closed for response in transport.given[:2])


async def test_a_wait_beyond_the_budget_is_refused_at_once():
    transport = FakeTransport(Response(429, retry_after="86400"))
    with pytest.raises(RateLimited) as caught:
        await model_of(transport).stream(Request("q"))
    assert caught.value.retry_after == 86400
    assert transport.waits == []


async def test_the_budget_is_for_all_waits_together():
    transport = FakeTransport(Response(429, retry_after="20"), Response(429, retry_after="20"))
    with pytest.raises(RateLimited):
        await model_of(transport, budget=30.0).stream(Request("q"))
    assert transport.waits == [20.0]


async def test_after_the_last_attempt_its_error_is_raised():
    transport = FakeTransport(Response(503), Response(500), Response(502))
    with pytest.raises(UpstreamError) as caught:
        await model_of(transport).stream(Request("q"))
    assert caught.value.status == 502


@pytest.mark.fault("W15", injected="400, 401, 403, 404, 422", happens="one request, no retry")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_get_better_is_not_retried(status):
    transport = FakeTransport(Response(status))
    with pytest.raises(UpstreamError):
        await model_of(transport).stream(Request("q"))
    assert len(transport.asked_at) == 1


async def test_a_page_of_html_is_not_retried():
    transport = FakeTransport(Response(200, b"<html>", content_type="text/html"))
    with pytest.raises(StreamProtocolError):
        await model_of(transport).stream(Request("q"))
    assert len(transport.asked_at) == 1


@pytest.mark.fault("W15", injected="five failures to connect", happens="full jitter that doubles, to a cap")
async def test_connection_errors_are_retried_with_full_jitter_that_doubles_to_a_cap():
    class Upper(random.Random):
        def uniform(self, a, b):
            assert a == 0
            return b

    transport = FakeTransport(*[ConnectError("no")] * 5, good())
    await model_of(transport, attempts=5, base=0.5, cap=3.0, rng=Upper()).stream(Request("q"))
    assert transport.waits == [0.5, 1.0, 2.0, 3.0, 3.0]


async def test_a_server_that_is_silent_is_not_asked_again():
    transport = FakeTransport("silence")
    model = CompletionsModel("http://h/v1", "m", transport=transport, timeouts=Timeouts(first_token=600.0))
    with pytest.raises(StreamTimeout, match="600"):
        await model.stream(Request("q"))
    assert anyio.current_time() - transport.asked_at[0] == 600.0
    assert len(transport.asked_at) == 1


async def test_a_connection_that_does_not_come_about_is_tried_again():
    transport = FakeTransport(StreamTimeout("connect", 10.0), good())
    await model_of(transport, base=0.0).stream(Request("q"))
    assert len(transport.asked_at) == 2


@pytest.mark.fault("W15", injected="waits beyond a deadline", happens="the deadline wins")
async def test_a_deadline_wins_over_the_retries():
    transport = FakeTransport(*[Response(429, retry_after="10")] * 3)
    with anyio.move_on_after(15) as scope:
        await model_of(transport).stream(Request("q"))
    assert scope.cancelled_caught
    assert transport.waits == [10.0]


async def test_an_answer_whose_body_stalls_is_a_timeout():
    class Stalling(Response):
        async def receive(self):
            await anyio.sleep_forever()

    response = Stalling()
    model = CompletionsModel("http://h/v1", "m", transport=FakeTransport(response), timeouts=Timeouts(total=5.0))
    with pytest.raises(StreamTimeout, match="total"):
        await model.complete(Request("q"))
    assert response.closed


async def test_errors_that_are_not_the_servers_pass():
    async def call():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await retrying(call, Retries())
