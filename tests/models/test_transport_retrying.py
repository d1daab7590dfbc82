"""Retries before the first token, in virtual time."""

import itertools
import random

import anyio
import pytest
from interwhen._types.models import Piece
from interwhen.models import (
    ChatModel,
    CompletionsModel,
    ConnectError,
    RateLimited,
    Request,
    Retries,
    StreamProtocolError,
    StreamTimeout,
    Timeouts,
    UpstreamError,
)
from interwhen.models._transport import retrying
from interwhen.testing.server import Head, ScriptedTransport, Sleep, Stall, events, reply
from tests.virtual_clock import virtual_backend

HEAD = Head(200, {"content-type": "application/json"})
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return virtual_backend()


def answering(*answers):
    left = iter(answers)

    def script(_request):
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ScriptedTransport(script)


def refusal(status, retry_after=None):
    return reply(status, b"", {} if retry_after is None else {"retry-after": retry_after})


def waits(transport):
    times = [request.received_at for request in transport.posts]
    return [round(after - before, 6) for before, after in itertools.pairwise(times)]


def model_of(transport, **options):
    return CompletionsModel("http://h/v1", "m", transport=transport, retries=Retries(**options))


@pytest.mark.fault("W15", injected="429 twice with `Retry-After: 1`", happens="waits of exactly 1.0 and 1.0 s")
async def test_retry_after_is_obeyed_to_the_second():
    transport = answering(refusal(429, "1"), refusal(429, "1"), events(["x"]))
    stream = await model_of(transport).stream(Request("q"))
    assert (await stream.receive())[0].text == "x"
    assert waits(transport) == [1.0, 1.0]
    await stream.aclose()
    assert transport.open_responses == 0


async def test_a_wait_beyond_the_budget_fails_immediately():
    transport = answering(refusal(429, "86400"))
    with pytest.raises(RateLimited) as caught:
        await model_of(transport).stream(Request("q"))
    assert caught.value.retry_after == 86400
    assert waits(transport) == []


async def test_the_budget_is_for_all_waits_together():
    transport = answering(refusal(429, "20"), refusal(429, "20"))
    with pytest.raises(RateLimited):
        await model_of(transport, budget=30.0).stream(Request("q"))
    assert waits(transport) == [20.0]


async def test_after_the_last_attempt_its_error_is_raised():
    transport = answering(refusal(503), refusal(500), refusal(502))
    with pytest.raises(UpstreamError) as caught:
        await model_of(transport).stream(Request("q"))
    assert caught.value.status == 502


@pytest.mark.fault("W15", injected="400, 401, 403, 404, 422", happens="one request, no retry")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_get_better_is_not_retried(status):
    transport = answering(refusal(status))
    with pytest.raises(UpstreamError):
        await model_of(transport).stream(Request("q"))
    assert len(transport.posts) == 1


async def test_a_page_of_html_is_not_retried():
    transport = answering(reply(200, b"<html>", {"content-type": "text/html"}))
    with pytest.raises(StreamProtocolError):
        await model_of(transport).stream(Request("q"))
    assert len(transport.posts) == 1


@pytest.mark.fault("W15", injected="five failures to connect", happens="full jitter that doubles, to a cap")
async def test_connection_retries_wait_with_doubling_capped_full_jitter():
    class Upper(random.Random):
        def uniform(self, a, b):
            assert a == 0
            return b

    transport = answering(*[ConnectError("no")] * 5, events(["x"]))
    await model_of(transport, attempts=5, base=0.5, cap=3.0, rng=Upper()).stream(Request("q"))
    assert waits(transport) == [0.5, 1.0, 2.0, 3.0, 3.0]


async def test_a_silent_server_is_not_retried():
    transport = answering((Stall(),))
    model = CompletionsModel("http://h/v1", "m", transport=transport, timeouts=Timeouts(first_token=600.0))
    with pytest.raises(StreamTimeout, match="600"):
        await model.stream(Request("q"))
    assert anyio.current_time() - transport.posts[0].received_at == 600.0
    assert len(transport.posts) == 1


async def test_a_connection_timeout_is_retried():
    transport = answering(StreamTimeout("connect", 10.0), events(["x"]))
    await model_of(transport, base=0.0).stream(Request("q"))
    assert len(transport.posts) == 2


@pytest.mark.fault("W15", injected="waits beyond a deadline", happens="the deadline wins")
async def test_a_deadline_wins_over_the_retries():
    transport = answering(*[refusal(429, "10")] * 3)
    with anyio.move_on_after(15) as scope:
        await model_of(transport).stream(Request("q"))
    assert scope.cancelled_caught
    assert waits(transport) == [10.0]


@pytest.mark.parametrize(
    ("timeouts", "timer"),
    [(Timeouts(total=5.0), "total"), (Timeouts(first_token=5.0, total=None), "first_token")],
)
async def test_an_answer_whose_body_stalls_is_a_timeout(timeouts, timer):
    transport = answering((Head(200, {"content-type": "application/json"}), Stall()))
    model = CompletionsModel("http://h/v1", "m", transport=transport, timeouts=timeouts)
    with pytest.raises(StreamTimeout) as caught:
        await model.complete(Request("q"))
    assert caught.value.timer == timer
    assert transport.open_responses == 0


@pytest.mark.parametrize(
    ("steps", "timeouts", "timer", "seconds"),
    [
        ((Stall(),), Timeouts(first_token=None, total=5.0), "total", 5.0),
        ((Stall(),), Timeouts(first_token=60.0, total=5.0), "total", 5.0),
        ((Stall(),), Timeouts(first_token=2.0, total=5.0), "first_token", 2.0),
        ((Sleep(3.0), HEAD, Stall()), Timeouts(first_token=4.0, total=5.0), "total", 5.0),
        ((Sleep(3.0), HEAD, Stall()), Timeouts(first_token=4.0, total=None), "first_token", 7.0),
    ],
)
async def test_the_total_timeout_limits_head_and_body_together(steps, timeouts, timer, seconds):
    transport = answering(steps)
    model = CompletionsModel("http://h/v1", "m", transport=transport, timeouts=timeouts)
    begun = anyio.current_time()
    with pytest.raises(StreamTimeout) as caught:
        await model.complete(Request("q"))
    assert (caught.value.timer, anyio.current_time() - begun) == (timer, pytest.approx(seconds))
    assert transport.open_responses == 0


async def test_errors_that_are_not_the_servers_pass():
    async def call():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await retrying(call, Retries())


def stale():
    error = ConnectError("closed while idle")
    error.stale = True
    return error


class ClosingServer(ScriptedTransport):
    """A server like llama.cpp, which closes the kept connection before each request for the path *closed*, once."""

    def __init__(self, *closed):
        super().__init__(lambda _: events(["x"], api="chat"), owned_by="llamacpp")
        self.closed = list(closed)
        self.tries = 0

    async def send(self, request, *, connect_timeout):
        self.tries += 1
        path = next((path for path in self.closed if request.url.endswith(path)), None)
        if path is not None:
            self.closed.remove(path)
            raise stale()
        return await super().send(request, connect_timeout=connect_timeout)


async def test_a_closed_idle_connection_hides_no_server_capabilities():
    transport = ClosingServer("/models")
    model = ChatModel("http://h/v1", "m", transport=transport)
    stream = await model.stream(Request("q", (Piece("kept"),)))
    assert (await stream.receive())[0].text == "x"
    assert stream.way.mode == "prefill"


async def test_requests_on_closed_connections_are_resent_at_once():
    transport = ClosingServer("/chat/completions")
    await ChatModel("http://h/v1", "m", transport=transport, retries=Retries(attempts=0)).stream(Request("q"))
    assert transport.tries == 2


async def test_a_second_closed_connection_is_an_error():
    transport = ClosingServer("/chat/completions", "/chat/completions")
    with pytest.raises(ConnectError):
        await ChatModel("http://h/v1", "m", transport=transport, retries=Retries(attempts=0)).stream(Request("q"))
    assert transport.tries == 2
