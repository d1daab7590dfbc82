"""The ledger of a run on the real server is what that server counts, read off the wire by other code than the run's."""

from __future__ import annotations

import json

import interwhen
import pytest
from interwhen import Claim, Fork, Monitor, Pass, Sampling
from interwhen.models import CompletionsModel, open_local
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.triggers import EveryChars

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Wiretap:
    """A transport that keeps the bytes of each answer."""

    def __init__(self):
        self._inner = Httpx2Transport(trust_env=False)
        self.answers = []

    async def send(self, request, *, connect_timeout):
        response = await self._inner.send(request, connect_timeout=connect_timeout)
        self.answers.append([json.loads(request.body or b"{}").get("stream", False), b""])
        return Tapped(response, self.answers[-1])

    async def aclose(self):
        await self._inner.aclose()

    def timings(self, *, stream):
        timings = []
        for is_stream, data in self.answers:
            if is_stream is stream:
                lines = [line.removeprefix(b"data: ") for line in data.splitlines()] if is_stream else [data]
                bodies = [json.loads(line) for line in lines if line.startswith(b"{")]
                timings += [body["timings"] for body in bodies if "timings" in body][-1:]
        return timings


class Tapped:
    def __init__(self, inner, answer):
        self._inner, self._answer = inner, answer

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def receive(self):
        data = await self._inner.receive()
        self._answer[1] += data
        return data


@interwhen.verifier(name="content", worker="inline")
def content(_claim):
    return Pass()


def read_reply(reply, segment):
    yield Claim(key=f"{segment.span.start}", span=segment.span)


@pytest.mark.parametrize("tokens", [80, 400])
async def test_stream_and_fork_tokens_match_the_servers_counts(tokens):
    asking = Monitor(
        name="asking",
        verifier=content,
        extractor=Fork(prompt="\nSo far:", parse=read_reply, max_tokens=8),
        trigger=EveryChars(40),
    )
    tap = Wiretap()
    async with open_local(slots=2) as local:
        server = local._running.server
        model = CompletionsModel(
            f"{server.url}/v1",
            "tiny",
            api_key=server.api_key,
            transport=tap,
            headers={"connection": "close"},
            sampling=Sampling(extra={"cache_prompt": True}),
        )
        prompt = "Start with 64. Add 29. Subtract 17. Multiply by 3. What is the result?\n"
        sampling = Sampling(max_tokens=tokens, temperature=0.0)
        async with interwhen.run(model, prompt, monitors=[asking], sampling=sampling) as run:
            result = await run.drain()
        await tap.aclose()
    main, forks = tap.timings(stream=True), tap.timings(stream=False)
    ledger = result.ledger
    assert len(main) == ledger.requests == 1
    assert len(forks) == ledger.forks >= 1
    assert ledger.kept + ledger.discarded == main[0]["predicted_n"]
    assert ledger.prompt_tokens == main[0]["prompt_n"] + main[0]["cache_n"]
    assert ledger.fork_tokens == sum(each["predicted_n"] for each in forks)
    assert ledger.fork_prompt_tokens == sum(each["prompt_n"] + each["cache_n"] for each in forks)
    assert ledger.cached_tokens == sum(each["cache_n"] for each in (*main, *forks))
