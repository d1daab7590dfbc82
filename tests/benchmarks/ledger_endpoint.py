"""A scripted endpoint that counts its requests and tokens, so that a ledger can be compared with these counts.

It shares no code with the counters of a run.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from interwhen.testing._server_script import ReceivedRequest, Step, chunk, data
from interwhen.testing.server import Disconnect, Head, Reset, Send, Sleep, reply
from tests.benchmarks.soak_server import asked

Counting = Literal["end", "always", "logprobs"]
"""How the endpoint reports token counts: in the last chunk, in each chunk (vLLM's ``continuous_usage_stats``), or in
the last chunk plus log-probabilities.
"""

_TOKEN = 4
_BLOCK = 16
"""Tokens per block of the prefix cache, which keeps whole blocks only."""
_BREAKS: Mapping[str, Sequence[Step]] = {
    "reset": (Reset(),),
    "close": (Disconnect(),),
    "error": (Send(data({"error": {"message": "out of memory", "code": 503}})),),
    "garbage": (Send(b'data: {"choices": [{"te\n\n'),),
    "no_done": (),  # the body ends before the end of the story
    "half": (Send(data(chunk("completions", "lost"))[:20]), Reset()),
}
"""Faults in the middle of an answer."""
_REFUSALS: Mapping[str, Sequence[Step]] = {
    "http_429": reply(429, b'{"error": {"message": "too many", "code": 429}}', {"retry-after": "0.1"}),
    "http_503": reply(503, b'{"error": {"message": "busy", "code": 503}}'),
    "html": reply(502, b"<!doctype html><title>Bad gateway</title>", {"content-type": "text/html"}),
}
"""Faults instead of an answer."""
FAULTS = ("none", *_BREAKS, *_REFUSALS)


class Habits(msgspec.Struct, frozen=True):
    """How a simulated endpoint behaves in one run: how it counts tokens, groups chunks, and how often it fails."""

    seed: int
    """The seed of the answers and of the faults."""
    counting: Counting = "end"
    bundle: int = 1
    """The maximum number of tokens in one chunk."""
    joined: int = 1
    """The maximum number of chunks that arrive in one read."""
    has_end_token: bool = True
    """Whether the endpoint counts the token that ends an answer, although it has no text."""
    broken: float = 0.25
    """The probability that a request has a fault."""
    rate: float = 50.0
    """Chunks per second."""


@dataclass(slots=True)
class RequestRecord:
    """What the endpoint noted about one request: its kind, its fault, and its token counts."""

    kind: Literal["main", "fork"]
    fault: str
    """One of :data:`FAULTS`; ``none`` if the answer has no fault."""
    prompt: int
    """Tokens of the prompt."""
    cached: int
    """Prompt tokens that the cache had."""
    accepted: bool = False
    """Whether the endpoint began an answer."""
    sent: int = 0
    """The number of generated tokens that the client got, with the token that ends the answer, if that is counted."""
    told: bool = False
    """Whether the endpoint has reported its count; for a fork, whether the answer was complete."""


@dataclass(slots=True)
class Books:
    """The endpoint's own records of all requests of one run."""

    served: list[RequestRecord] = field(default_factory=list)

    def totals(self) -> dict[str, int]:
        # Only what the client can know is counted.
        main = [each for each in self.served if each.kind == "main" and each.accepted]
        forks = [each for each in self.served if each.kind == "fork" and each.told]
        return {
            "requests": len(main),
            "main_tokens": sum(each.sent for each in main),
            "prompt_tokens": sum(each.prompt for each in main if each.told),
            "fork_tokens": sum(each.sent for each in forks),
            "fork_prompt_tokens": sum(each.prompt for each in forks),
            "cached_tokens": sum(each.cached for each in (*(each for each in main if each.told), *forks)),
        }

    def unreported_prompt_tokens(self) -> int:
        # Return the prompt tokens of accepted main requests for which the endpoint never sent a count.
        return sum(each.prompt for each in self.served if each.kind == "main" and each.accepted and not each.told)


class CountingEndpoint:
    """A script for a scripted server: it streams stories of sums, answers forks, breaks answers, and counts tokens."""

    # `books` has its counts.

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self.books = Books()
        self._seen: list[str] = []

    def __call__(self, request: ReceivedRequest) -> Sequence[Step] | Iterator[Step]:
        # A request that is no POST is not recorded; its answer has the status 404.
        if request.method != "POST":
            return reply(404, b'{"error": {"message": "no such page", "code": 404}}')
        rng = random.Random(f"{self.habits.seed} {len(self.books.served)}")
        body = request.json
        prompt = body["prompt"]
        is_fork = not body.get("stream")
        name = rng.choice(FAULTS[1:]) if rng.random() < self.habits.broken else "none"
        served = RequestRecord("fork" if is_fork else "main", name, _tokens(prompt), self._cached(prompt))
        self.books.served.append(served)
        self._seen.append(prompt)
        if name in _REFUSALS:
            return _REFUSALS[name]
        if is_fork:
            return self._fork(served, rng, prompt)
        return self._story(served, rng, prompt)

    def _cached(self, prompt: str) -> int:
        shared = max((_common(prompt, seen) for seen in self._seen), default=0)
        return shared // _TOKEN // _BLOCK * _BLOCK

    def _fork(self, served: RequestRecord, rng: random.Random, prompt: str) -> Iterator[Step]:
        yield Sleep(rng.uniform(0.0, 0.4))
        text = prompt[-24:].replace("\n", " ") * rng.randint(1, 2)
        served.accepted = True
        if served.fault != "none":
            # The answer cannot be read, so its tokens cannot be reported either.
            yield from reply(200, b'{"choices": [')
            return
        served.sent = _tokens(text)
        usage = _usage(served, end=0)
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        body = msgspec.json.encode({"object": "text_completion", "choices": [choice], "usage": usage})
        head, send = reply(200, body)
        yield head
        served.told = True
        yield send

    def _story(self, served: RequestRecord, rng: random.Random, prompt: str) -> Iterator[Step]:
        habits = self.habits
        served.accepted = True
        yield Head()
        told, prefix = asked(prompt)
        events = self._events(rng, told.after(prefix))
        breaks = rng.randrange(len(events) + 1)
        at = 0
        while at < len(events):
            size = rng.randint(1, habits.joined)
            if served.fault in _BREAKS and at <= breaks < at + size:
                yield from _BREAKS[served.fault]
                return
            yield Sleep(rng.uniform(0.5, 1.5) / habits.rate)
            sent = b""
            for text, tokens in events[at : at + size]:
                served.sent += tokens
                sent += self._event(served, text, tokens)
            served.told = served.told or habits.counting == "always"
            at += size
            if at >= len(events) and rng.random() < 0.3:
                yield from self._ending(served, before=sent)
                return
            yield Send(sent)
        yield from self._ending(served)

    def _events(self, rng: random.Random, text: str) -> list[tuple[str, int]]:
        events, at = [], 0
        while at < len(text):
            tokens = rng.randint(1, self.habits.bundle)
            events.append((text[at : at + tokens * _TOKEN], tokens))
            at += tokens * _TOKEN
        return events

    def _event(self, served: RequestRecord, text: str, tokens: int) -> bytes:
        extra: dict[str, Any] = {}
        if self.habits.counting == "logprobs":
            extra = {"logprobs": {"token_logprobs": [-0.5] * tokens, "tokens": ["x"] * tokens}}
        body = chunk("completions", text, **extra)
        if self.habits.counting == "always":
            body["usage"] = _usage(served, end=0)
        return data(body)

    def _ending(self, served: RequestRecord, before: bytes = b"") -> Iterator[Step]:
        end = int(self.habits.has_end_token)
        stop = data(chunk("completions", "", finish_reason="stop"))
        body = {"id": "scripted", "object": "text_completion", "choices": [], "usage": _usage(served, end=end)}
        if not before:
            yield Send(stop)
            stop = b""
        served.sent += end
        served.told = True
        yield Send(before + stop + data(body))
        yield Send(b"data: [DONE]\n\n")


def _usage(served: RequestRecord, *, end: int) -> dict[str, object]:
    completion = served.sent + end
    return {
        "prompt_tokens": served.prompt,
        "completion_tokens": completion,
        "total_tokens": served.prompt + completion,
        "prompt_tokens_details": {"cached_tokens": served.cached},
    }


def _common(one: str, other: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _tokens(text: str) -> int:
    return -(-len(text) // _TOKEN)
