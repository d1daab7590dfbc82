"""Readers who leave in the middle, and runs that share what they were given."""

import asyncio
import contextlib

import anyio
import anyio.lowlevel
import interwhen
import pytest
from interwhen import Budgets, Feedback, Sampling
from interwhen.models import CompletionsModel
from interwhen.remedies import FeedbackTemplate
from interwhen.testing import ScriptedModel
from interwhen.testing._server_script import chunk, data
from interwhen.testing.server import ScriptedServer, Send, Sleep, events
from msgspec.structs import replace
from sums import slow, supervise, watch

pytestmark = pytest.mark.anyio

TOKENS = ["1+1", "=2\n", "2+", "2=4", "\n", "3+3=6\n"]


@pytest.mark.fault(
    "P1",
    injected="a break at every token of a stream on a real socket",
    happens="no task, no socket; the server sees the close",
)
@pytest.mark.parametrize("leave", ["break", "raise", "cancel"])
async def test_leaving_midstream_leaks_no_task_and_no_socket(leave, real_time, record_property):
    endless = (*(Send(data(chunk("completions", token))) for token in TOKENS), Sleep(60.0))
    async with ScriptedServer(lambda _: endless) as server:
        await anyio.sleep(0.01)
        tasks = asyncio.all_tasks()  # ours, and that of the server
        for stop in range(1, len(TOKENS) + 1):
            model = CompletionsModel(server.base_url, "scripted")
            text = "".join(TOKENS[:stop])
            with anyio.CancelScope() as scope, contextlib.suppress(LookupError):
                async with interwhen.run(model, "q", monitors=[watch(slow(500.0))]) as run:
                    await read(run, text)
                    if leave == "cancel":
                        scope.cancel()
                        await anyio.lowlevel.checkpoint()
                    if leave == "raise":
                        raise LookupError
            assert (run.result.status, run.result.text) == ("unverified", text)
            await model.aclose()
            await server.settled()
            with anyio.fail_after(60):
                await server.posts[-1].gone.wait()
                while asyncio.all_tasks() - tasks:  # the server's, of that connection
                    await anyio.sleep(0.001)
    record_property("tries", len(TOKENS))
    assert len(server.posts) == len(TOKENS)


async def read(run, text):
    shown = ""
    async for event in run:
        if isinstance(event, interwhen.Delta):
            shown += event.text
            if shown == text:
                return


@pytest.mark.fault(
    "P11",
    injected="two interleaved runs of one model, monitors, budgets, sampling and template",
    happens="each ends as it does alone",
)
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.0025, 0.004, 0.01])
async def test_runs_sharing_configuration_do_not_affect_each_other(delay):
    replies = {
        "one": ["1+1=2\n2+2=5\n", "3+3=6\n4+4=9\n", "5+5=10\n"],
        "two": ["6+6=12\n7+7=14\n8+8=15\n", "9+9=18\n"],
    }

    def script(request):
        turn = sum(piece.origin == "feedback" for piece in request.pieces)
        reply = replies[request.prompt][turn]
        return [reply[at : at + 3] for at in range(0, len(reply), 3)]

    options = {
        "monitors": [
            watch(slow(0.003), remedy=Feedback("append")),
            watch(slow(0.002), name="observer", delivery="observe"),
        ],
        "budgets": Budgets(remedies=2),
        "sampling": Sampling(max_tokens=100, seed=7),
        "feedback": FeedbackTemplate(witness="No: {witness}."),
    }
    before = repr(options)
    model = ScriptedModel(script, delay=0.001)

    async def alone(prompt):
        result, _ = await supervise(ScriptedModel(script, delay=0.001), *options["monitors"], prompt=prompt, **rest)
        return what_counts(result)

    rest = {name: value for name, value in options.items() if name != "monitors"}
    expected = {prompt: await alone(prompt) for prompt in replies}
    texts = {}

    async def together(prompt, after):
        await anyio.sleep(after)
        result, _ = await supervise(model, *options["monitors"], prompt=prompt, **rest)
        texts[prompt] = what_counts(result)

    async with anyio.create_task_group() as group:
        group.start_soon(together, "one", 0.0)
        group.start_soon(together, "two", delay)
    assert texts == expected
    assert [texts[prompt][0] for prompt in ("one", "two")] == ["unverified", "unverified"]
    assert repr(options) == before


def what_counts(result):
    checks = [(check.monitor, check.key, check.span, check.outcome) for check in result.checks]
    # The time to the first text of a resume is a difference of two readings of the clock, and not exact.
    resumes = tuple(replace(each, first_token=None) for each in result.ledger.resumes)
    ledger = replace(result.ledger, resumes=resumes)
    return result.status, result.text, checks, result.violations, result.insertions, ledger


async def test_a_run_beside_a_hostile_one_is_unaffected(real_time):
    bad = events(["\x00" * 100, "</think><|im_end|>\n", "1+1=3\n" * 50])
    good = events(TOKENS)

    def script(request):
        return bad if request.json["prompt"].startswith("bad") else good

    results = {}
    async with ScriptedServer(script) as server:
        model = CompletionsModel(server.base_url, "scripted")

        async def go(prompt):
            results[prompt], _ = await supervise(model, watch(), prompt=prompt, budgets=Budgets(remedies=1))

        async with anyio.create_task_group() as group:
            for prompt in ("bad 1", "good 1", "bad 2", "good 2"):
                group.start_soon(go, prompt)
        await model.aclose()
    for prompt, result in results.items():
        assert result.status == ("abstained" if prompt.startswith("bad") else "verified")
        assert prompt.startswith("bad") or result.text == "".join(TOKENS)
