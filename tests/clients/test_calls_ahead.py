"""The first request of a call is sent while its run is being made: once, and never for nothing."""

import json

import anyio
import pytest
from interwhen import Budgets
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import CallModel, ModelEndpoint
from interwhen.models import UpstreamError
from watchers import passing, word
from wires import MemoryWire, collect, read_naively, texts

pytestmark = pytest.mark.anyio
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "q"}], "stream": True}


class SlowWire(MemoryWire):
    """Answers on command."""

    def __init__(self, script):
        super().__init__(script)
        self.asked, self.may_answer = anyio.Event(), anyio.Event()

    async def open(self, body, place="call"):
        self.asked.set()
        response = await super().open(body)
        await self.may_answer.wait()
        return response


class WholeWire(MemoryWire):
    """Answers with JSON."""

    async def open(self, body, place="call"):
        response = await super().open(body)
        response.headers["content-type"] = "application/json"
        return response


def call_model(transport, call):
    settings = make_settings([], {})
    return CallModel(call, transport, ModelEndpoint(), None, resume=settings.resume)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_a_call_is_sent_once(stream, delivery):
    transport = MemoryWire(lambda number, body: texts(["one\n", "two\n"]))
    monitor = passing(delivery=delivery)
    more = {"max_tokens": 7, "seed": 3, **({"stream_options": {"include_usage": True}} if stream else {})}
    parts, result = await collect(transport, [monitor], stream=stream, **more)
    assert read_naively(parts) == "one\ntwo\n"
    assert result.status == "verified"
    assert len(transport.bodies) == 1


async def test_a_refused_stream_is_retried_once_without_streaming():
    def script(number, body):
        if body["stream"]:
            return UpstreamError("no streaming here", status=400, body="stream is not supported")
        answer = {"choices": [{"index": 0, "message": {"content": "one\n"}, "finish_reason": "stop"}]}
        return [json.dumps(answer).encode()]

    transport = WholeWire(script)
    parts, _ = await collect(transport, [passing()], stream=False)
    assert read_naively(parts) == "one\n"
    assert [body["stream"] for body in transport.bodies] == [True, False]


async def test_the_run_is_made_while_the_server_reads(monkeypatch):
    steps = []
    transport = SlowWire(lambda number, body: steps.append("asked") or texts(["one\n"]))
    able = CallModel.capabilities

    async def capabilities(self):
        steps.append("made")
        return await able(self)

    monkeypatch.setattr(CallModel, "capabilities", capabilities)
    async with anyio.create_task_group() as group:

        async def begin():
            call = read_call("chat", QUESTION)
            supervised = await supervise(call, make_settings([passing()], {}), transport, ModelEndpoint())
            steps.append("accepted")
            await supervised.aclose()

        group.start_soon(begin)
        await transport.asked.wait()
        await anyio.wait_all_tasks_blocked()
        assert steps == ["asked", "made"]
        transport.may_answer.set()
    assert steps == ["asked", "made", "accepted"]


async def test_cancelling_during_run_setup_closes_the_open_response(monkeypatch):
    begun = anyio.Event()

    async def never(self):
        begun.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(CallModel, "capabilities", never)
    transport = MemoryWire(lambda number, body: texts(["one\n"]))
    call = read_call("chat", QUESTION)
    ended = []

    async def use():
        await supervise(call, make_settings([passing()], {}), transport, ModelEndpoint())
        ended.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(use)
        await begun.wait()
        while not transport.sent:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert not ended
    assert [response.closed for response in transport.sent] == [True]


async def test_a_refusal_is_the_callers():
    transport = MemoryWire(lambda number, body: UpstreamError("no", status=401, body="who are you?"))
    with pytest.raises(UpstreamError, match="no"):
        await collect(transport, [passing()])
    assert len(transport.bodies) == 1


async def test_the_time_budget_bounds_waiting_on_silent_servers():
    transport = SlowWire(lambda number, body: texts(["one\n"]))
    with anyio.fail_after(60):
        _, result = await collect(transport, [passing()], settings={"budgets": Budgets(seconds=0.1)})
    assert result.status == "abstained"


async def test_what_is_not_used_is_closed():
    transport = MemoryWire(lambda number, body: texts(["one\n"]))
    model = call_model(transport, read_call("chat", QUESTION))
    await model.send_ahead(None)
    await model.forget()
    await model.forget()
    assert [response.closed for response in transport.sent] == [True]


async def test_a_request_changed_after_sending_is_sent_again(monkeypatch):
    transport = MemoryWire(lambda number, body: texts([f"answer {number}\n"]))
    first = CallModel._first
    monkeypatch.setattr(
        CallModel, "_first", lambda self, sampling, **more: first(self, sampling, **more) | {"n": len(transport.bodies)}
    )
    parts, _ = await collect(transport, [word()])
    assert read_naively(parts) == "answer 1\n"
    assert [response.closed for response in transport.sent] == [True, True]
