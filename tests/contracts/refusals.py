"""Corrected calls on one server, with faults at each resume: how they end, and what they cost.

``python -m tests.contracts.refusals [--url http://localhost:8000/v1] [--key KEY] [--model NAME] [--calls N] [--json FILE]``
makes N calls with corrections without a fault, N without corrections, and for each API and each fault some more. They go
through a proxy that refuses the requests after a correction. Each line of the result says for one kind of call how many
ended in another way than they should, and how the token counts of its callers compare with those of the server. Without
``--url``, the server is a scripted one. Start vLLM with its metrics, and llama.cpp with ``--metrics``, and let no other program
use the server: its counters are read before and after each call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, product
from math import inf
from time import monotonic
from typing import Self
from urllib.parse import urlsplit

import anyio
import httpx2
import interwhen
import interwhen.clients
import openai
from interwhen import Claim, Feedback, Monitor, Pass, Repair, Resample, Span, Violation
from interwhen.testing.server import ScriptedServer
from tests.counting_server import Counting

APIS = ("chat", "completions", "responses")
TEXTS = ("text", "content", "reasoning_content", "reasoning")
"""The fields with text of the model, all of which a reader may be shown."""
_GENERATES = re.compile(r"/(chat/completions|completions|responses|completion|generate)(\?|$)")
_TOO_LONG = "This model's maximum context length is 4096 tokens."


# Faults of the proxy.


@dataclass(frozen=True)
class Fault:
    """What the proxy does with requests number *first* up to *last* of a call (from 0); ``status`` 0: it hangs up."""

    status: int
    first: int
    last: int
    message: str = "refused by the proxy"
    retry_after: str = ""

    @property
    def passes(self) -> bool:
        """Whether the same request is accepted later, so that the call must end as without the fault."""
        return self.last == self.first and self.status in (0, 429, 503)


def faults(resume: int) -> dict[str, Fault]:
    """Return the faults at the request number *resume* of a call, by name."""
    return {
        "429 once": Fault(429, resume, resume, retry_after="0.1"),
        "429 always": Fault(429, resume, 99, retry_after="0.1"),
        "429 for an hour": Fault(429, resume, 99, retry_after="3600"),
        "503 always": Fault(503, resume, 99),
        "400": Fault(400, resume, 99),
        "context full": Fault(400, resume, 99, message=_TOO_LONG),
        "closed once": Fault(0, resume, resume),
        "closed always": Fault(0, resume, 99),
    }


class FaultyProxy:
    """Passes requests on to the server at *url*, except those that the :class:`Fault` of their call is for.

    A request says in the header ``x-call`` to which call it belongs.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path
        self._serving: set[asyncio.Task] = set()
        self.faults: dict[str, Fault] = {}
        self.requests: dict[str, int] = {}
        """The number of the last request for text of each call, from 0."""
        self.passed: list[tuple[str, dict]] = []
        """The path and the body of each request for text that was passed on."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                await self._answer(reader, writer)
            finally:
                self._serving.discard(task)
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        fault = self._fault(lines[0].split(" ")[1], headers.get("x-call", ""), body)
        if fault is not None:
            if fault.status:
                writer.write(_refusal(fault))
                await writer.drain()
            return
        onward = [line for line in lines[:-2] if not line.lower().startswith(("connection:", "host:"))]
        onward += [f"host: {self._host}:{self._port}", "connection: close"]
        theirs, ours = await asyncio.open_connection(self._host, self._port)
        ours.write("\r\n".join(onward).encode("latin-1") + b"\r\n\r\n" + body)

        async def leave() -> None:  # the client: the server must notice it
            with suppress(OSError):
                while await reader.read(1 << 16):
                    pass
            ours.close()

        watching = asyncio.create_task(leave())
        try:
            head = await theirs.readuntil(b"\r\n\r\n")
            # Each request has a connection of its own, so that none is lost with the one before.
            writer.write(head[:-2] + b"connection: close\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            if length is not None:
                writer.write(await theirs.readexactly(int(length[1])))
            else:
                end = b""
                while not end.endswith(b"\r\n0\r\n\r\n") and (data := await theirs.read(1 << 16)):
                    end = end[-8:] + data
                    writer.write(data)
                    await writer.drain()
            await writer.drain()
        finally:
            watching.cancel()
            ours.close()

    def _fault(self, path: str, call: str, body: bytes) -> Fault | None:
        if not call or not _GENERATES.search(path):
            return None
        number = self.requests[call] = self.requests.get(call, -1) + 1
        fault = self.faults.get(call)
        if fault is not None and fault.first <= number <= fault.last:
            return fault
        self.passed.append((path, json.loads(body)))
        return None


def _refusal(fault: Fault) -> bytes:
    body = json.dumps({"error": {"message": fault.message, "type": "refused", "code": fault.status}}).encode()
    wait = f"retry-after: {fault.retry_after}\r\n" if fault.retry_after else ""
    head = f"HTTP/1.1 {fault.status} Refused\r\ncontent-type: application/json\r\n{wait}connection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


# The server's own counters.


class Counters:
    """Reads how many tokens of prompts a server has had and how many it has generated; ``None``: it does not say."""

    def __init__(self, root: str, key: str, script: Counting | None) -> None:
        self._root = root
        self._script = script
        self._http = httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60)

    async def read(self) -> tuple[int | None, int | None]:
        if self._script is not None:
            return sum(self._script.prompts), sum(self._script.generated)
        text = (await self._http.get(f"{self._root}/metrics")).text
        prompts = _sum(text, "vllm:prompt_tokens_total")
        generated = _sum(text, "vllm:generation_tokens_total")
        return prompts, _sum(text, "llamacpp:tokens_predicted_total") if generated is None else generated

    async def prompts_of(self, passed: list[tuple[str, dict]]) -> int | None:
        """Return the tokens of the prompts in *passed*, as llama.cpp tokenizes them; ``None`` for another server or API.

        It has no counter for them: its metrics leave out the tokens that were in its cache.
        """
        count = 0
        for path, body in passed:
            prompt = body.get("prompt")
            if path.endswith("/chat/completions"):
                answer = await self._http.post(f"{self._root}/apply-template", json=body)
                if answer.status_code != 200:
                    return None
                prompt = answer.json()["prompt"]
            if prompt is None:
                return None
            if isinstance(prompt, str):
                asked = {"content": prompt, "add_special": True, "parse_special": True}
                prompt = (await self._http.post(f"{self._root}/tokenize", json=asked)).json()["tokens"]
            count += len(prompt)
        return count

    async def is_idle(self) -> bool:
        """Return whether no request runs. A server notices a closed connection only at its next token."""
        if self._script is not None:
            return True
        text = (await self._http.get(f"{self._root}/metrics")).text
        running = _sum(text, "vllm:num_requests_running")
        return not (_sum(text, "llamacpp:requests_processing") if running is None else running)

    async def settled(self) -> tuple[int | None, int | None]:
        """Wait until no request runs and nothing is counted any more, and return the counters."""
        before = None
        while True:
            now = await self.read()
            if now == before and await self.is_idle():
                return now
            before = now
            await anyio.sleep(0.0 if self._script is not None else 0.2)

    async def aclose(self) -> None:
        await self._http.aclose()


def _sum(text: str, name: str) -> int | None:
    numbers = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return round(sum(map(float, numbers))) if numbers else None


# Calls, and how they ended.


def refuting(times: int, remedy: interwhen.remedies.Remedy) -> Monitor:
    """Return a monitor that refutes the second line that it sees, and the next ones, *times* times in all."""
    keys, seen, left = count(), count(), [times]

    def extract(segment):
        if segment.text.strip():
            # A key of its own for each: a line that is written again is judged again.
            yield Claim(key=f"{next(keys)}", span=segment.at(0, len(segment.text)))

    @interwhen.verifier(name="by-place", worker="inline")
    def judge(claim):
        if next(seen) < 1 or not left[0]:
            return Pass()
        left[0] -= 1
        end = claim.span.end - claim.span.start
        return Violation(why="the test says so", where=Span(end - 1, end), repair="7")

    return Monitor(name="by-place", verifier=judge, extractor=extract, remedy=remedy, level="witness")


@dataclass
class Ended:
    """How one call ended for its caller."""

    error: str = ""
    status: int | None = None
    text: str = ""
    finish: str | None = None
    usage: dict | None = None
    result: interwhen.Result | None = None


@dataclass
class Tally:
    """The calls of one kind: how many there were, how many were corrected, and what was wrong."""

    calls: int = 0
    corrected: int = 0
    wrong: list[str] = field(default_factory=list)
    prompts_counted: int = 0
    """Calls whose prompt tokens the server counted, and no part of which was an estimate."""
    prompts_equal: int = 0
    prompts_estimated: int = 0
    after_the_close: list[int] = field(default_factory=list)
    """Tokens that the server has generated and that are not in ``usage``, a call."""


async def call(client, api, prompt, *, model, stream, name, most, **options):
    """Make one call of *api*, and return how it ended."""
    body = {"model": model, "stream": stream, "extra_headers": {"x-call": name}, **options}
    if api == "chat":
        create, body["messages"] = client.chat.completions.create, [{"role": "user", "content": prompt}]
    elif api == "completions":
        create, body["prompt"] = client.completions.create, f"{prompt}\n"
    else:
        create, body["input"] = client.responses.create, prompt
    body["max_output_tokens" if api == "responses" else "max_tokens"] = most
    if stream and api != "responses":
        body["stream_options"] = {"include_usage": True}
    ended, chunks = Ended(), []
    try:
        answer = await create(**body)
        if stream:
            async for chunk in answer:
                chunks.append(chunk)  # noqa: PERF401  what came before an error counts
        else:
            chunks = [answer]
    except openai.APIError as error:
        ended.error, ended.status = type(error).__name__, getattr(error, "status_code", None)
    for chunk in chunks:
        _add(ended, api, chunk, stream=stream)
    return ended


def _add(ended, api, chunk, *, stream):
    info = interwhen.clients.supervision_info(chunk)
    ended.result = (info and info.result) or ended.result
    if api == "responses":
        whole = chunk if not stream else getattr(chunk, "response", None)
        ended.text += chunk.output_text if not stream else getattr(chunk, "delta", "") or ""
        if whole is not None and whole.usage is not None:
            ended.usage = whole.usage.model_dump()
        if whole is not None and whole.status == "incomplete":
            ended.finish = whole.incomplete_details.reason
        return
    if chunk.usage is not None:
        ended.usage = chunk.usage.model_dump()
    for choice in chunk.choices:
        said = choice if api == "completions" else choice.delta if stream else choice.message
        ended.text += "".join(getattr(said, name, None) or "" for name in TEXTS)
        ended.finish = choice.finish_reason or ended.finish


class Trial:
    """Makes the calls on the server behind *proxy*, and judges them."""

    def __init__(self, proxy: FaultyProxy, counters: Counters, *, key: str, model: str, most: int, seed: int) -> None:
        self._proxy = proxy
        self._counters = counters
        self._options = {"model": model, "most": most}
        self._bare = openai.AsyncOpenAI(base_url=proxy.url, api_key=key, max_retries=0, timeout=600)
        # One client, so that what is learned of the server is used.
        self._client = interwhen.wrap(self._bare)
        self._rng = random.Random(seed)
        self._names = count()
        self.tallies: dict[str, Tally] = {}

    def _prompt(self) -> str:
        rng = self._rng
        words = [f"{rng.choice(('Add', 'Subtract'))} {rng.randint(11, 99)}." for _ in range(4)]
        return f"Start with {rng.randint(400, 999)}. {' '.join(words)} What is the result?"

    async def one(self, kind: str, api: str, *, times: int, remedy=None, fault: Fault | None = None, **options) -> None:
        """Make one supervised call with *times* refutations, and note under *kind* what was wrong about its end."""
        tally = self.tallies.setdefault(kind, Tally())
        name = f"{next(self._names)}"
        if fault is not None:
            self._proxy.faults[name] = fault
        before = await self._counters.settled()
        self._proxy.passed.clear()
        monitors = [refuting(times, remedy or Resample())]
        settings = {"monitors": monitors, "reading": options.pop("reading", "live")}
        ended = await call(self._client, api, self._prompt(), name=name, interwhen=settings, **options, **self._options)
        after = await self._counters.settled()
        met = fault is not None and self._proxy.requests[name] >= fault.first
        tally.calls += 1
        tally.corrected += self._proxy.requests[name] > 0
        if why := await self._wrong(ended, api, fault if met else None, **options):
            tally.wrong.append(f"call {name}{f', {fault}' if met else ''}: {why}")
        if fault is None and ended.usage is not None:
            prompts = None if None in (before[0], after[0]) else after[0] - before[0]
            if prompts is None:
                prompts = await self._counters.prompts_of(self._proxy.passed)
            _compare(tally, ended.usage, prompts, None if None in (before[1], after[1]) else after[1] - before[1])

    async def _wrong(self, ended: Ended, api: str, fault: Fault | None, *, stream: bool) -> str:
        """Return what is wrong about how a call *ended* that met *fault*; empty if nothing is."""
        if fault is None or fault.passes:
            return f"raised {ended.error} ({ended.status})" if ended.error else ""
        if ended.text.strip() and stream:
            if ended.error:
                return f"raised {ended.error} after text"
            status = None if ended.result is None else ended.result.upstream_status
            good = (ended.finish, status) == ("content_filter", fault.status or None)
            return "" if good else f"ended with {ended.finish} and status {status}"
        name = f"{next(self._names)}"
        self._proxy.faults[name] = Fault(fault.status, 0, 99, fault.message, fault.retry_after)
        bare = await call(self._bare, api, "Well?", name=name, stream=stream, **self._options)
        same = (ended.error, ended.status) == (bare.error, bare.status)
        return "" if same else f"raised {ended.error or 'nothing'}, and the bare call {bare.error}"

    async def aclose(self) -> None:
        await self._bare.close()
        await self._counters.aclose()


def _compare(tally: Tally, usage: dict, prompts: int | None, generated: int | None) -> None:
    """Compare *usage*, which the caller got, with what the server counted for the call, if it counted."""
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    if details.get("estimated_tokens"):
        tally.prompts_estimated += 1
    elif prompts is not None:
        tally.prompts_counted += 1
        tally.prompts_equal += prompt == prompts
    if generated is not None:
        tally.after_the_close.append(generated - completion)


async def measure(
    url: str, *, key: str, model: str, calls: int, each: int, most: int, apis=APIS, script=None, seed=0, minutes=inf
):
    """Make *calls* calls with corrections and as many without, and *each* calls for each fault. Return the tallies.

    It begins no more calls after *minutes*.
    """
    until = monotonic() + minutes * 60
    async with FaultyProxy(url) as proxy:
        root = url.rstrip("/").removesuffix("/v1")
        trial = Trial(proxy, Counters(root, key, script), key=key, model=model, most=most, seed=seed)
        try:
            remedies = (Resample(), Feedback("append"), Feedback("rewind"), Repair())
            for number in range(calls):
                if monotonic() > until:
                    break
                api, stream = apis[number % len(apis)], number % 2 == 0
                await trial.one(f"{api}, no correction", api, times=0, stream=stream)
                remedy = remedies[number % len(remedies)]
                await trial.one(f"{api}, corrected", api, times=1 + number % 2, remedy=remedy, stream=stream)
            for _, resume, api in product(range(each), (1, 2), apis):
                for fault in faults(resume).values():
                    if monotonic() > until:
                        break
                    await trial.one(f"{api}, faults after text", api, times=2, fault=fault, stream=True)
                    before = {"times": 2, "fault": fault, "stream": True, "reading": "final"}
                    await trial.one(f"{api}, faults before text", api, **before)
                    await trial.one(f"{api}, faults, not streamed", api, times=2, fault=fault, stream=False)
        finally:
            await trial.aclose()
    return trial.tallies


@asynccontextmanager
async def scripted(kind: str):
    """Run a scripted server of *kind*, and yield its base URL and its script."""
    script = Counting(kind, "one\ntwo\nthree\nfour\nfive\n")
    async with ScriptedServer(script, pages=script.pages, owned_by=kind) as server:
        yield server.base_url, script


def summary(tallies: dict[str, Tally]) -> dict:
    """Return the *tallies* as rows of JSON, with a row for all calls."""
    rows = {}
    for kind, tally in tallies.items():
        late = tally.after_the_close
        row = {"calls": tally.calls, "corrected": tally.corrected, "wrong": len(tally.wrong), "whys": tally.wrong[:5]}
        if tally.prompts_counted or tally.prompts_estimated:
            row["prompts"] = {"equal": tally.prompts_equal, "counted": tally.prompts_counted}
            row["prompts"]["estimated"] = tally.prompts_estimated
        if late:
            row["tokens after the close"] = {"mean": round(sum(late) / len(late), 2), "most": max(late)}
        rows[kind] = row
    return {"wrong": sum(len(each.wrong) for each in tallies.values()), "rows": rows}


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the base URL of the server; without it, a scripted server")
    parser.add_argument("--kind", default="vllm", help="how the scripted server behaves: hosted, vllm or llamacpp")
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", default="m")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--each", type=int, default=2, help="calls for each fault, API and resume")
    parser.add_argument("--most", type=int, default=200, help="the limit of tokens of a call")
    parser.add_argument("--apis", default=",".join(APIS))
    parser.add_argument("--minutes", type=float, default=inf, help="begin no call after so many")
    parser.add_argument("--json", help="write the result there")
    given = parser.parse_args()
    options = {"key": given.key, "model": given.model, "calls": given.calls, "each": given.each, "most": given.most}
    options |= {"apis": tuple(given.apis.split(",")), "minutes": given.minutes}
    if given.url:
        tallies = await measure(given.url, **options)
    else:
        async with scripted(given.kind) as (url, script):
            tallies = await measure(url, script=script, **options)
    report = summary(tallies)
    text = json.dumps(report, indent=1)
    sys.stdout.write(f"{text}\n")
    if given.json:
        await anyio.Path(given.json).write_text(text)
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(anyio.run(main))
