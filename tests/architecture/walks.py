"""Three walks through the code, recorded as it runs: a token, a violation that is repaired, and a refused tool call.

``python -m tests.architecture.walks`` prints how many files of `interwhen` run code in each, and which functions, in
the order in which they are called first. Model servers are scripted, on a real socket; the client is the real `openai`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import anyio
import interwhen
from interwhen import Monitor, Resample, Segment, ToolCalls, Violation, Workers
from interwhen.models import CompletionsModel
from interwhen.testing._server_script import ReceivedRequest, Step, delta
from interwhen.testing.server import ScriptedServer, Sleep, events, tool_call

HOME = Path(interwhen.__file__).parent


@dataclass
class Walk:
    """What ran: functions as ``file.py:Class.function``, in the order in which each was called first."""

    name: str
    functions: dict[str, None] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        return sorted({function.partition(":")[0] for function in self.functions})

    def take(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(HOME)):
            return
        path = Path(code.co_filename).relative_to(HOME)
        if path.parts[0] != "testing" and "<" not in code.co_qualname.rpartition(".")[2]:
            self.functions.setdefault(f"{path}:{code.co_qualname.replace('<locals>.', '')}")


@contextmanager
def recorded(walk: Walk) -> Iterator[Callable[[], None]]:
    sys.setprofile(walk.take)
    threading.setprofile(walk.take)

    def end() -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    try:
        yield end
    finally:
        end()


def _answer(request: ReceivedRequest) -> tuple[Step, ...]:
    if "408" in request.kept:
        return events([" so", " it is 408", ".\n"])
    return events(["17 * 24", " = 418\n", "and", " on"])


async def walk_token() -> Walk:
    walk = Walk("a token")
    texts = events(["one", " two", " three", " four", "\n"])
    paced = tuple(step for text in texts for step in (text, Sleep(0.05)))
    async with (
        ScriptedServer(lambda _request: paced) as server,
        CompletionsModel(server.base_url, "scripted") as model,
        # On a busy machine any step may block the loop for 20 ms, and reporting that is no part of the walk.
        interwhen.run(model, "count", monitors=["arithmetic"], workers=Workers(blocked_loop_after=None)) as run,
    ):
        await run.__anext__()
        await run.__anext__()
        await run.__anext__()
        with recorded(walk):
            await run.__anext__()
    return walk


async def walk_violation() -> Walk:
    walk = Walk("a violation that is repaired")
    async with (
        ScriptedServer(_answer) as server,
        CompletionsModel(server.base_url, "scripted") as model,
        interwhen.run(
            model,
            "He buys 17 boxes of 24 eggs. How much?\n",
            monitors=["arithmetic"],
            workers=Workers(blocked_loop_after=None),
        ) as run,
    ):
        async for event in run:
            if isinstance(event, interwhen.events.StreamStarted):
                break
        with recorded(walk):
            async for event in run:
                if isinstance(event, interwhen.events.StreamStarted):
                    break
        async for _ in run:
            pass
    assert run.result.ledger.remedies == 1, run.result
    return walk


@interwhen.verifier(name="no_deletion", version="1", worker="inline")
def _no_deletion(claim: interwhen.Claim) -> interwhen.Verdict:
    return Violation(why="nothing may be deleted")


def _calls(segment: Segment) -> list[interwhen.Claim]:
    return [interwhen.Claim(key=segment.text, span=segment.span)] if "delete" in segment.text else []


async def walk_refused_call() -> Walk:
    from openai import AsyncOpenAI

    walk = Walk("a refused tool call")

    def script(request: ReceivedRequest) -> tuple[Step, ...]:
        if request.number % 2:
            return (delta({"role": "assistant", "content": "I leave it."}), delta({}, finish_reason="stop"))
        return (*tool_call("delete", '{"path": "/"}'), delta({}, finish_reason="tool_calls"))

    monitor = Monitor(
        name="no_deletion",
        trigger=ToolCalls(),
        extractor=_calls,
        verifier=_no_deletion,
        delivery="gate_tools",
        remedy=Resample(),
    )
    tools = [
        {
            "type": "function",
            "function": {"name": "delete", "parameters": {"type": "object", "properties": {"path": {}}}},
        }
    ]
    async with (
        ScriptedServer(script) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as bare,
    ):
        client = interwhen.wrap(bare, monitors=[monitor])
        # Once before, so that imports and caches do not count.
        for number in range(2):
            with recorded(walk) as end:
                if number == 0:
                    end()
                stream = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "go"}], tools=tools, stream=True
                )
                async for _ in stream:
                    pass
    return walk


WALKS = (walk_token, walk_violation, walk_refused_call)

if __name__ == "__main__":
    for make in WALKS:
        walk = anyio.run(make)
        print(f"{walk.name}: {len(walk.functions)} functions in {len(walk.files)} files")
        for function in walk.functions if "-v" in sys.argv else ():
            print("   ", function)
