"""Each way a check can fail, under each delivery, through each way in: what gates holds, what is live shows."""

import asyncio
import json

import anyio
import interwhen
import openai
import pytest
from helpers import ASK, post, sse
from interwhen import Claim, Lines, Monitor, Pass, ToolCalls
from interwhen.testing import ScriptedModel
from interwhen.testing._server_script import data, delta
from interwhen.testing.server import Send, events, tool_call
from interwhen.toolkit import FunctionVerifier
from workers import exits

pytestmark = pytest.mark.anyio

SECRET = "SECRET"
TOOLS = [{"type": "function", "function": {"name": "move", "parameters": {"type": "object", "properties": {"to": {}}}}}]
DELIVERIES = ("observe", "interrupt", "gate", "gate_tools", "final")
WAYS = ("run", "wrap", "gateway", "guard")


def every_segment(segment, *_prepared):
    return [Claim(key=segment.text, span=segment.span)]


def fails(*_):
    raise RuntimeError("bad luck")


def passes(_claim, *_prepared):
    return Pass()


async def is_late(_claim):
    await anyio.sleep(60)


async def is_cancelled(_claim):
    raise asyncio.CancelledError


def made(check, worker="inline", deadline=20.0):
    return FunctionVerifier("brittle", "1", deadline, worker, check)


FAILURES = {
    "the verifier raises": {"verifier": made(fails)},
    "its deadline passes": {"verifier": made(is_late, "async", 0.1)},
    "its worker process dies": {"verifier": exits},
    "its extractor raises": {"verifier": made(passes), "extractor": fails},
    "its `prepare` raises": {"verifier": made(passes), "prepare": fails},
    "the check is cancelled": {"verifier": made(is_cancelled, "async")},
}


def monitor(failure, delivery, **options):
    trigger = ToolCalls() if delivery == "gate_tools" else Lines()
    given = {"extractor": every_segment, **FAILURES[failure], **options}
    return Monitor(name="brittle", trigger=trigger, delivery=delivery, **given)


def script(delivery):
    if delivery == "gate_tools":
        return (
            *tool_call("move", f'{{"to": "{SECRET}"}}', size=100),
            delta({}, finish_reason="tool_calls"),
            *events([]),
        )
    return events([f"the {SECRET} is out\n"], api="chat")


async def by_run(who, _upstream, _gateway):
    text = f"<tool_call>{SECRET}</tool_call>" if who.delivery == "gate_tools" else f"the {SECRET} is out\n"
    async with interwhen.run(ScriptedModel([text]), "Q", monitors=[who]) as run:
        shown = [event.text async for event in run if isinstance(event, interwhen.Delta)]
    return "".join(shown), run.result.status == "verified"


async def by_wrap(who, upstream, _gateway):
    server = upstream(script(who.delivery))
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as bare:
        client = interwhen.wrap(bare, monitors=[who])
        stream = await client.chat.completions.create(**ASK, tools=TOOLS, stream=True)
        return "".join([chunk.model_dump_json() async for chunk in stream]), False


async def by_gateway(who, upstream, gateway):
    running = await anyio.to_thread.run_sync(
        lambda: gateway(upstream(script(who.delivery)), watchers=[who], detail="off")
    )
    asked = {**ASK, "tools": TOOLS, "stream": True}
    return (await anyio.to_thread.run_sync(lambda: post(running, asked))).text, False


async def by_guard(who, _upstream, _gateway):
    option = "calls" if isinstance(who.trigger, ToolCalls) else "results"

    @interwhen.guard(on_refused=lambda _: "refused", **{option: [who]})
    async def act(on):
        return on

    return await act(SECRET), False


BY = {"run": by_run, "wrap": by_wrap, "gateway": by_gateway, "guard": by_guard}


@pytest.mark.fault(
    "G1", injected="each failure, delivery and entry point (the table below)", happens="as the table says"
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("failure", FAILURES)
async def test_gating_delivery_fails_closed_and_live_open(
    failure, delivery, way, upstream, gateway, record_property, anyio_backend
):
    shown, is_verified = await BY[way](monitor(failure, delivery), upstream, gateway)
    gates = delivery in ("gate", "gate_tools", "final") or (way == "guard" and delivery != "observe")
    assert (SECRET not in shown) == gates
    assert not is_verified
    record_property("matrix", ("Gates when a check fails", failure, way, delivery, "held" if gates else "shown"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delivery", ["gate", "gate_tools", "final"])
async def test_open_on_failure_is_an_explicit_choice(delivery, way, upstream, gateway, anyio_backend):
    shown, is_verified = await BY[way](monitor("the verifier raises", delivery, on_error="open"), upstream, gateway)
    assert SECRET in shown
    assert not is_verified


def with_text(place):
    body = json.loads(events(["fine\n"], api="chat")[0].data.removeprefix(b"data: "))
    if place == "logprobs":
        scores = [{"token": SECRET, "logprob": -0.5, "bytes": None, "top_logprobs": []}]
        body["choices"][0]["logprobs"] = {"content": scores, "refusal": None}
    else:
        body[place] = f"the {SECRET} is out"
    return (Send(data(body)), *events(["so\n"], api="chat"))


@pytest.mark.fault("G2", injected="text in fields for short values, behind the URL", happens="unverified; held back")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("place", ["system_fingerprint", "service_tier", "obfuscation", "logprobs"])
def test_gate_withholds_text_in_unread_fields(place, streamed, upstream, gateway):
    who = Monitor(name="lines", verifier=made(passes), extractor=every_segment, trigger=Lines(), delivery="gate")
    answer = post(gateway(upstream(lambda _: with_text(place)), watchers=[who]), {**ASK, "stream": streamed})
    assert SECRET not in answer.text
    body = [each for each in sse(answer.text) if each != "[DONE]"][-1] if streamed else answer.json()
    assert body["interwhen"]["result"]["type"] == "unverified"
    assert place in json.dumps(body["interwhen"]["result"]["unverified_reasons"])
